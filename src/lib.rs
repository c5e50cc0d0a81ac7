//! Turns any program into a fleet that works through S3 objects from an SQS queue, and never loses a job.

pub mod backends;
pub mod error;
pub mod job;
pub mod link;
pub mod message;
pub mod meter;
pub mod processor;
pub mod queue;
pub mod scratch;
pub mod stages;
pub mod store;
mod task;

pub use job::{Job, Location};
pub use processor::{ProcessError, Processor};
