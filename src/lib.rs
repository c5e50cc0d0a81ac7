//! Turns any program into a fleet that works through S3 objects from an SQS queue, and never loses a job.

pub mod aws;
pub mod backends;
mod batched;
pub mod budget;
pub mod circuit;
pub mod cli;
pub mod codes;
pub mod config;
pub mod cut;
pub mod error;
pub mod job;
pub mod journal;
pub mod lease;
pub mod link;
pub mod log;
pub mod message;
pub mod meter;
pub mod metrics;
pub mod pipeline;
pub mod processor;
pub mod queue;
pub mod retry;
pub mod scratch;
pub mod shutdown;
pub mod source;
pub mod stages;
pub mod status;
pub mod store;
pub mod submit;
mod task;
pub mod testing;

pub use job::{Job, Location};
pub use processor::{ProcessError, Processor};
