//! Turns any program into a fleet that works through S3 objects from an SQS queue, and never loses a job.

pub mod aws;
pub mod backends;
mod batched;
pub mod budget;
pub mod circuit;
pub mod codes;
pub mod cut;
pub mod error;
pub mod job;
pub mod lease;
pub mod link;
pub mod message;
pub mod meter;
pub mod pipeline;
pub mod processor;
pub mod queue;
pub mod retry;
pub mod shutdown;
pub mod stages;
pub mod store;
mod task;
pub mod testing;

pub use job::{Job, Location};
pub use processor::{ProcessError, Processor};
