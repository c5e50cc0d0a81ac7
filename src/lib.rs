//! Turns any program into a fleet that works through S3 objects from an SQS queue, and never loses a job.
//!
//! ```text
//!             ┌──────────────── one job, streaming, × concurrency ────────────────┐
//! receive ───▶│ download ───link───▶ process ───link───▶ upload                   │───▶ acknowledge
//! ≤ 10 a call │ ranged GETs    2     blocking thread  2   one PUT, or parts       │     ≤ 10 a call
//! room first  │ in order     chunks  or program    chunks several at a time       │     after the output
//!             └──────────── bytes in memory ≤ the budget ─────────────────────────┘
//! ```
//!
//! Start with [`Worker`]: a queue, a [`Processor`], and it runs. To test a processor, [`testing::run_one`].
//!
//! To read the source, read [`pipeline`] first: it is the whole flow on one screen. Then the three ideas that carry it:
//! a
//! [`link`] is a pipe that can't lie about its end, a [`lease`] is ownership of a message, and the
//! [`budget`](capacity::budget) bounds bytes without ever deadlocking. Each stage is one file under [`stages`];
//! [`error::JobError::disposition`] is the one decision.
//!
//! Delivery is at least once. A message is deleted only after its output is complete, an output is whole or absent, and
//! a job done twice writes the same bytes to the same key.

pub mod capacity;
pub mod cli;
pub mod config;
pub mod error;
pub mod job;
pub mod lease;
pub mod link;
pub mod observe;
pub mod pipeline;
pub mod processor;
pub mod record;
pub mod runtime;
pub mod services;
pub mod stages;
pub mod stop;
pub mod submit;
pub mod testing;
pub mod worker;

pub use job::{Job, Location};
pub use processor::{ProcessError, Processor};
pub use worker::Worker;
