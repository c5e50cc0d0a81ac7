//! The failure of one attempt at one job, and what the queue is told because of it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::{Code, Source, Stage};

/// What failed in a job, in as few kinds as change what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The message is not a job.
    Malformed,
    /// The message names a place the operator did not allow.
    Forbidden,
    /// The input does not exist.
    Missing,
    /// The input is not, or no longer, the version the message means.
    Changed,
    /// There is an output already and the operator said not to touch it.
    Exists,
    /// A service refused us: the next job would fail the same way.
    Denied,
    /// A service throttled, timed out or failed; trying again may work.
    Unavailable,
    /// The processor can't handle this input, now or ever.
    Rejected,
    /// The processor failed in a way that may pass.
    Failed,
    /// The processor panicked.
    Panicked,
    /// The job took longer than the operator allows.
    TimedOut,
    /// The work directory is full.
    NoSpace,
    /// The message is no longer ours; somebody else is doing the job.
    LeaseLost,
    /// The worker is stopping and the job had not begun, or the drain ran out of time.
    Stopped,
    /// The neighbouring stage went away first; its error is the one to report.
    Disconnected,
}

/// The job that failed, as it is told: errors know no jobs and no places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedJob {
    /// Its id.
    pub id: String,
    /// Where its input is; holds a name that others chose: print it escaped.
    pub input: String,
    /// Where its output was to go; the same holds.
    pub output: String,
}

/// The failure of one attempt at one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// Where it happened.
    pub stage: Stage,
    /// What it means.
    pub kind: ErrorKind,
    /// Its number.
    pub code: Code,
    /// What was said, in one line; may hold bytes of others: print it escaped.
    pub cause: String,
    /// The last words of a program on stderr, if one ran.
    pub stderr: Option<String>,
    /// When the processor asked to be tried again, if it did.
    pub retry_after: Option<Duration>,
    /// Which job it was, where it was one: a message may ask for several.
    pub job: Option<Box<FailedJob>>,
    /// What caused it. Two errors that differ in nothing else are equal.
    pub source: Source,
}

/// What to tell the queue about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disposition {
    /// Delete the message.
    Done,
    /// Move the message to the dead letters with the reason.
    Reject,
    /// Make the message visible again, after a delay that grows with its receive count.
    Retry,
    /// Make the message visible again at once: nobody failed.
    Release,
    /// Say nothing: the message is not ours to speak for.
    Abandon,
}

impl JobError {
    /// An error of `kind` in `stage`.
    pub fn new(stage: Stage, kind: ErrorKind, code: Code, cause: impl Into<String>) -> Self {
        Self {
            stage,
            kind,
            code,
            cause: cause.into(),
            stderr: None,
            retry_after: None,
            job: None,
            source: Source::NONE,
        }
    }

    /// The echo that a stage reports when its neighbour broke the link.
    pub fn disconnected(stage: Stage) -> Self {
        Self::new(stage, ErrorKind::Disconnected, Code::NeighbourEnded, "the neighbouring stage went away")
    }

    /// The same failure, of this job.
    #[must_use]
    pub fn of(self, job: impl Into<FailedJob>) -> Self {
        Self { job: Some(Box::new(job.into())), ..self }
    }

    /// The same failure, with what caused it.
    #[must_use]
    pub fn with_source(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Source::of(error), ..self }
    }

    /// The one place where a failure becomes a decision.
    pub fn disposition(&self) -> Disposition {
        match self.kind {
            ErrorKind::Malformed
            | ErrorKind::Forbidden
            | ErrorKind::Missing
            | ErrorKind::Changed
            | ErrorKind::Exists
            | ErrorKind::Rejected => Disposition::Reject,
            ErrorKind::Unavailable
            | ErrorKind::Failed
            | ErrorKind::Panicked
            | ErrorKind::TimedOut
            | ErrorKind::Disconnected => Disposition::Retry,
            ErrorKind::Denied | ErrorKind::NoSpace | ErrorKind::Stopped => Disposition::Release,
            ErrorKind::LeaseLost => Disposition::Abandon,
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}): {}", self.stage.as_str(), self.code, self.cause)
    }
}

impl Error for JobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.error()
    }
}
