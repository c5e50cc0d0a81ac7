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
//! To read the source, read [`pipeline`] first: it is the whole flow on one screen. Then the three ideas that carry it: a
//! [`link`] is a pipe that can't lie about its end, a [`lease`] is ownership of a message, and the [`budget`] bounds bytes
//! without ever deadlocking. Each stage is one file under [`stages`]; [`error::JobError::disposition`] is the one decision.
//!
//! Delivery is at least once. A message is deleted only after its output is complete, an output is whole or absent, and a
//! job done twice writes the same bytes to the same key.

pub mod aws;
pub mod backends;
mod batched;
pub mod budget;
mod careful;
pub mod circuit;
pub mod cli;
pub mod codes;
pub mod config;
pub mod crash;
pub mod cut;
pub mod error;
pub mod hedge;
pub mod job;
pub mod journal;
pub mod lease;
pub mod leftovers;
pub mod letter;
pub mod limit;
mod line;
pub mod link;
pub mod log;
pub mod message;
pub mod meter;
pub mod metrics;
pub mod names;
pub mod origin;
pub mod own_places;
pub mod pipeline;
pub mod prefix;
pub mod processor;
pub mod queue;
mod records;
pub mod redact;
pub mod refusal;
pub mod retry;
pub mod scratch;
pub mod shutdown;
pub mod source;
pub mod stages;
pub mod status;
pub mod store;
pub mod submit;
mod sync;
mod task;
pub mod testing;
pub mod tuner;
pub mod watchdog;
pub mod worker;

pub use job::{Job, Location};
pub use processor::{ProcessError, Processor};
pub use worker::Worker;
