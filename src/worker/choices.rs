//! What a worker may be given in more than one form: a queue, a number of jobs, a store.

use std::sync::Arc;

use crate::services::queue::JobQueue;

/// A queue by its name, or a queue of the user's own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueueSource {
    /// An SQS queue by name, ARN or URL, or `sqlite:PATH`.
    Uri(String),
    /// A queue that the user has made.
    Own(Arc<dyn JobQueue>),
}

impl From<&str> for QueueSource {
    fn from(uri: &str) -> Self {
        Self::Uri(uri.to_owned())
    }
}

impl From<String> for QueueSource {
    fn from(uri: String) -> Self {
        Self::Uri(uri)
    }
}

impl From<Arc<dyn JobQueue>> for QueueSource {
    fn from(queue: Arc<dyn JobQueue>) -> Self {
        Self::Own(queue)
    }
}

impl<Q: JobQueue> From<Arc<Q>> for QueueSource {
    fn from(queue: Arc<Q>) -> Self {
        Self::Own(queue)
    }
}

/// How many jobs are in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concurrency {
    /// As many as pay: the worker begins with four for each core, at least 16, and keeps looking for a better number.
    #[default]
    Auto,
    /// This many.
    Fixed(usize),
}

impl From<usize> for Concurrency {
    fn from(jobs: usize) -> Self {
        Self::Fixed(jobs)
    }
}

/// Which objects a store of the user's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// Those whose URI begins with `s3:`.
    S3,
    /// Those whose URI begins with `file:`.
    File,
}
