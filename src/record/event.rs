//! Events of a worker: what became of each job, told to whoever listens, at the moment when it is known.
//!
//! The listener is a function of the user of this library. It runs on the runtime of the worker, between two batches of
//! messages that are settled, so a listener must return quickly: it should send the event to a channel if more is to be
//! done. A listener that panics stops nothing; the panic is logged.
//!
//! Bounded: nothing is kept. Without a listener no event is made.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Code, Disposition, JobError, Stage};

/// What happened to a job, or to the worker.
///
/// A job that is tried again has several events: one `Retried` for each failed attempt, and one at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The output is complete, and the message of the job is deleted.
    #[non_exhaustive]
    Finished {
        /// The job.
        job: JobRef,
    },
    /// There was nothing to do: the output was there already, or the message is an event that creates no object.
    #[non_exhaustive]
    Skipped {
        /// The job.
        job: JobRef,
    },
    /// The attempt failed, and the queue will deliver the message again.
    #[non_exhaustive]
    Retried {
        /// The job.
        job: JobRef,
        /// Why it failed. `None` if the output is complete and only the message could not be deleted.
        failure: Option<JobFailure>,
    },
    /// The job failed for good. Its message went to the dead-letter queue, or stays in a queue that has none.
    #[non_exhaustive]
    Rejected {
        /// The job.
        job: JobRef,
        /// Why it failed.
        failure: JobFailure,
    },
    /// The job did not fail, and its message was given back: the worker stops, or a service refuses it.
    #[non_exhaustive]
    Released {
        /// The job.
        job: JobRef,
        /// Why the job was given back.
        failure: Option<JobFailure>,
    },
    /// The message belongs to another worker by now.
    #[non_exhaustive]
    LeaseLost {
        /// The job.
        job: JobRef,
    },
}

impl Event {
    /// The event of a record whose message ends like `fate`; `nothing` if there was nothing to do.
    #[doc(hidden)]
    pub fn of(fate: Disposition, nothing: bool, job: JobRef, error: Option<JobError>) -> Self {
        match (fate, error.map(JobFailure::from)) {
            (Disposition::Done, _) if nothing => Self::Skipped { job },
            (Disposition::Done, _) => Self::Finished { job },
            (Disposition::Reject, Some(failure)) => Self::Rejected { job, failure },
            (Disposition::Retry | Disposition::Reject, failure) => Self::Retried { job, failure },
            (Disposition::Release, failure) => Self::Released { job, failure },
            (Disposition::Abandon, _) => Self::LeaseLost { job },
        }
    }

    /// The job that the event is about.
    pub fn job(&self) -> &JobRef {
        match self {
            Self::Finished { job }
            | Self::Skipped { job }
            | Self::Retried { job, .. }
            | Self::Rejected { job, .. }
            | Self::Released { job, .. }
            | Self::LeaseLost { job } => job,
        }
    }

    /// The failure that the event is about, if a failure is known.
    pub fn failure(&self) -> Option<&JobFailure> {
        match self {
            Self::Rejected { failure, .. } => Some(failure),
            Self::Retried { failure, .. } | Self::Released { failure, .. } => failure.as_ref(),
            Self::Finished { .. } | Self::Skipped { .. } | Self::LeaseLost { .. } => None,
        }
    }
}

/// The job of an event. The names come from whoever sends messages: print them escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRef {
    /// The id that the queue gave the message.
    pub message_id: String,
    /// How often the message was received, this time included.
    pub attempt: u32,
    /// The id of the job. `None` if the message could not be read as a job; so are the two places.
    pub id: Option<String>,
    /// The URI of the input.
    pub input: Option<String>,
    /// The URI of the output.
    pub output: Option<String>,
}

/// Why an attempt at a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobFailure {
    /// The number of the failure, shown as `BPnnn`.
    pub code: Code,
    /// The stage that failed.
    pub stage: Stage,
    /// What was said, in one line. It may hold bytes of the object or of a program: print it escaped.
    pub cause: String,
    /// The end of what a program wrote to stderr, if a program ran.
    pub stderr: Option<String>,
}

impl From<JobError> for JobFailure {
    fn from(error: JobError) -> Self {
        Self { code: error.code, stage: error.stage, cause: error.cause, stderr: error.stderr }
    }
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}): {}", self.stage.as_str(), self.code, self.cause.escape_debug())
    }
}

/// Who is told of events.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&Event) + Send + Sync>);

impl Listener {
    /// Tells `listener` of each event.
    pub fn new(listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Tells of one event.
    pub(super) fn tell(&self, event: &Event) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(event))).is_err() {
            tracing::warn!(target: "batchpipe::events", "the listener of events panicked");
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
