//! What can go wrong, and what each failure means.
//!
//! Three types, one for each listener. A [`ServiceError`] is what a queue or a store said, as a
//! *kind* that tells whether trying again can help; the adapters make it and nothing above them
//! looks at an SDK type. A [`JobError`] is the failure of one attempt at one job; its
//! [`disposition`](JobError::disposition) is the one place where a failure becomes a decision. A
//! [`UserError`] is what a person reads: one line of what, `cause:`, `help:`, and an exit code.

mod code;
pub mod codes;

use std::time::Duration;

pub use code::Code;

/// The stages of the two flows, in order. The names are metric labels and words in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// Reads a local file, when submitting.
    Read,
    /// Leases messages from the queue.
    Receive,
    /// Streams the input object in.
    Download,
    /// Runs the processor.
    Process,
    /// Streams the output object out.
    Upload,
    /// Settles finished jobs with the queue. Its label is `delete`, the word of the screens.
    Acknowledge,
    /// Sends job messages, when submitting.
    Send,
}

impl Stage {
    /// Every stage, in the order of the flows.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Receive, Self::Download, Self::Process, Self::Upload, Self::Acknowledge, Self::Send];

    /// The label used in metrics, screens and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Receive => "receive",
            Self::Download => "download",
            Self::Process => "process",
            Self::Upload => "upload",
            Self::Acknowledge => "delete",
            Self::Send => "send",
        }
    }
}

/// What a service's failure means for whoever called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceErrorKind {
    /// The object, bucket, upload or queue does not exist.
    Missing,
    /// The caller has no right to do this.
    Denied,
    /// There are no credentials, or they have expired.
    Credentials,
    /// The service asked for fewer requests.
    Throttled,
    /// The service failed, timed out or could not be reached; trying again may work.
    Unavailable,
    /// The object is not the version that was asked for (412 on `If-Match`).
    Changed,
    /// There is an object already (412 or 409 on `If-None-Match`).
    Exists,
    /// The bucket or queue lives in another region.
    WrongRegion,
    /// Bytes arrived that do not match their checksum or length; reading again may work.
    Corrupt,
    /// The local disk is full.
    NoSpace,
    /// The receipt no longer holds the message.
    LeaseLost,
    /// The request can't be right, however often it is sent.
    Invalid,
}

impl ServiceErrorKind {
    /// The label used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Credentials => "credentials",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Changed => "changed",
            Self::Exists => "exists",
            Self::WrongRegion => "wrong_region",
            Self::Corrupt => "corrupt",
            Self::NoSpace => "no_space",
            Self::LeaseLost => "lease_lost",
            Self::Invalid => "invalid",
        }
    }
}

/// The code of a store's answer that says success and proves nothing.
pub const NO_PROOF: &str = "NoProof";

/// The code of a queue's answer that lacks what was asked for.
pub const NO_ANSWER: &str = "NoAnswer";

/// The code of a connection that can't be made: an endpoint holds what may be secret.
pub const SECRET_ENDPOINT: &str = "SecretEndpoint";

/// The code of a connection that can't be made: an endpoint is no URL.
pub const BAD_ENDPOINT: &str = "BadEndpoint";

/// The store's name for a write over the very file that is read.
pub const INPUT_ITSELF: &str = "InputItself";

/// The store's name for a write over a file that the command itself needs: its queue, its journal, its log.
pub const OWN_FILE: &str = "OwnFile";

/// A failure of a queue or a store.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ServiceError {
    /// What it means.
    pub kind: ServiceErrorKind,
    /// The service's own name for it (`SlowDown`, `NoSuchKey`, `ENOSPC`).
    pub code: String,
    /// The service's own words.
    pub message: String,
}

impl ServiceError {
    /// A failure of `kind`, in the service's words.
    pub fn new(kind: ServiceErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into() }
    }

    /// Whether the same request may succeed later with nothing changed on our side.
    pub fn is_transient(&self) -> bool {
        use ServiceErrorKind::{Corrupt, Throttled, Unavailable};
        matches!(self.kind, Throttled | Unavailable | Corrupt)
    }

    /// Whether every other request would fail the same way, so that going on burns jobs.
    pub fn is_fatal(&self) -> bool {
        use ServiceErrorKind::{Credentials, Denied, WrongRegion};
        matches!(self.kind, Credentials | Denied | WrongRegion)
    }

    /// The job error this is in `stage`.
    pub fn at(self, stage: Stage) -> JobError {
        let (kind, code) = match self.kind {
            // An upload that somebody else discarded: a new attempt begins a new one.
            ServiceErrorKind::Missing if self.code == "NoSuchUpload" => (ErrorKind::Failed, Code::ObjectMissing),
            // Without its bucket no output can be written: the next job would fail the same way.
            ServiceErrorKind::Missing if self.code == "NoSuchBucket" && stage == Stage::Upload => {
                (ErrorKind::Denied, Code::ObjectMissing)
            }
            ServiceErrorKind::Missing => (ErrorKind::Missing, Code::ObjectMissing),
            ServiceErrorKind::Changed => (ErrorKind::Changed, Code::ObjectChanged),
            ServiceErrorKind::Exists => (ErrorKind::Exists, Code::OutputExists),
            ServiceErrorKind::Denied => (ErrorKind::Denied, Code::AccessDenied),
            ServiceErrorKind::Credentials if self.code == SECRET_ENDPOINT => (ErrorKind::Denied, Code::SecretInAddress),
            ServiceErrorKind::Credentials => (ErrorKind::Denied, Code::CredentialsExpired),
            ServiceErrorKind::WrongRegion => (ErrorKind::Denied, Code::WrongRegion),
            ServiceErrorKind::Throttled => (ErrorKind::Unavailable, Code::Throttled),
            ServiceErrorKind::Unavailable if self.code == NO_PROOF => {
                (ErrorKind::Unavailable, Code::StoreProvesNothing)
            }
            ServiceErrorKind::Unavailable if self.code == NO_ANSWER => {
                (ErrorKind::Unavailable, Code::QueueAnswerIncomplete)
            }
            ServiceErrorKind::Unavailable => (ErrorKind::Unavailable, Code::Unreachable),
            ServiceErrorKind::Corrupt => (ErrorKind::Unavailable, Code::ChecksumMismatch),
            ServiceErrorKind::NoSpace => (ErrorKind::NoSpace, Code::NoSpace),
            ServiceErrorKind::LeaseLost => (ErrorKind::LeaseLost, Code::LeaseLost),
            ServiceErrorKind::Invalid if self.code == INPUT_ITSELF => (ErrorKind::Rejected, Code::OutputAmongInputs),
            ServiceErrorKind::Invalid if self.code == OWN_FILE => (ErrorKind::Rejected, Code::OwnFile),
            ServiceErrorKind::Invalid => (ErrorKind::Rejected, Code::RequestInvalid),
        };
        JobError::new(stage, kind, code, self.to_string())
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage} failed ({code}): {cause}", stage = .stage.as_str())]
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
        Self { stage, kind, code, cause: cause.into(), stderr: None, retry_after: None, job: None }
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

/// How the process ends. The numbers are a contract that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All done, all well.
    Done = 0,
    /// A failure inside batchpipe or its machine.
    Failed = 1,
    /// The command line or the configuration can't be right.
    Usage = 2,
    /// `doctor` found a failure.
    Preflight = 3,
    /// A queue, bucket or file is missing, or access to it is denied.
    Access = 4,
    /// Stopped with work given back: the drain ran out of time.
    GaveBack = 5,
    /// No credentials, or expired ones.
    Credentials = 6,
    /// The watchdog saw no progress.
    Watchdog = 7,
    /// Finished, but some jobs failed.
    SomeFailed = 8,
    /// There was nothing to do (`--fail-if-empty`).
    Nothing = 9,
    /// Left by itself after `--idle-exit`.
    Idle = 10,
    /// The second Ctrl-C.
    Interrupted = 130,
}

/// A failure as a person reads it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("error[{code}]: {what}\n  cause: {cause}\n  help:  {help}")]
pub struct UserError {
    /// Its number.
    pub code: Code,
    /// One line: what went wrong.
    pub what: String,
    /// Why, as far as is known.
    pub cause: String,
    /// What to do about it.
    pub help: String,
    /// How the process ends.
    pub exit: Exit,
}

impl UserError {
    /// A mistake in the command line or the configuration (exit 2).
    pub fn usage(code: Code, what: impl Into<String>, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, what: what.into(), cause: cause.into(), help: help.into(), exit: Exit::Usage }
    }

    /// The same error with another exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}
