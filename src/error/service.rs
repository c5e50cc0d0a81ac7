//! A failure of a queue or a store, as a kind that tells whether trying again can help.

use std::error::Error;
use std::fmt;

use super::{Code, ErrorKind, JobError, Source, Stage, UserError};

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

/// What a failure is in particular, where a decision or the help depends on more than its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No connection could be made, for the reason that the [`UserError`] in the source tells.
    NotConnected,
    /// The object is missing, and not its bucket.
    KeyMissing,
    /// The bucket is missing, and not only the object.
    BucketMissing,
    /// The upload was completed, aborted or discarded.
    UploadMissing,
    /// There are no credentials.
    NoCredentials,
    /// There are no credentials because nobody has signed in to the profile.
    SignedOut,
    /// The credentials have expired.
    Expired,
    /// The bucket is in this region.
    InRegion(String),
    /// The service does not know what was asked of it.
    NotImplemented,
    /// The answer says success and can't be read.
    Unreadable,
    /// The store's answer says success and proves nothing.
    NoProof,
    /// The queue's answer lacks what was asked for.
    NoAnswer,
    /// The output would replace the very file that is read.
    InputItself,
    /// The output would replace a file that the command itself needs: its queue, its journal, its log.
    OwnFile,
}

/// A failure of a queue or a store.
#[derive(Clone, Debug)]
pub struct ServiceError {
    /// What it means.
    pub kind: ServiceErrorKind,
    /// What it is in particular.
    pub reason: Option<Reason>,
    /// The service's own name for it (`SlowDown`, `NoSuchKey`, `ENOSPC`).
    pub code: String,
    /// The service's own words.
    pub message: String,
    /// The error of the SDK, the system or the database that it was read from.
    pub source: Source,
}

impl ServiceError {
    /// A failure of `kind`, in the service's words.
    pub fn new(kind: ServiceErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, reason: None, code: code.into(), message: message.into(), source: Source::NONE }
    }

    /// A store's answer that says success and proves nothing.
    pub fn no_proof(message: impl Into<String>) -> Self {
        Self::new(ServiceErrorKind::Unavailable, "NoProof", message).because(Reason::NoProof)
    }

    /// A queue's answer that lacks what was asked for.
    pub fn no_answer(message: impl Into<String>) -> Self {
        Self::new(ServiceErrorKind::Unavailable, "NoAnswer", message).because(Reason::NoAnswer)
    }

    /// A connection that could not be made, as a failure of the request that wanted it. No job is to blame.
    pub fn not_connected(error: UserError) -> Self {
        let kind = match error.code {
            // Whoever set it must change it, as with keys: asking again can't help.
            Code::CredentialsMissing | Code::CredentialsExpired | Code::SecretInAddress => {
                ServiceErrorKind::Credentials
            }
            Code::RegionMissing => ServiceErrorKind::WrongRegion,
            _ => ServiceErrorKind::Unavailable,
        };
        let message = format!("{}: {}", error.what, error.cause);
        Self::new(kind, "NoConnection", message).because(Reason::NotConnected).with_source(error)
    }

    /// The same failure, with what it is in particular.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The same failure, with the error that it was read from.
    #[must_use]
    pub fn with_source(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Source::of(error), ..self }
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

    /// The error of the connection that could not be made, if that is what failed.
    pub(super) fn connection(&self) -> Option<&UserError> {
        let not_connected = self.reason == Some(Reason::NotConnected);
        not_connected.then(|| self.source.find()).flatten()
    }

    /// Its code: the same refusal has another one where the queue refuses, since another right is missing there.
    pub fn bp_code(&self, by_queue: bool) -> Code {
        match (self.kind, &self.reason) {
            (kind, Some(Reason::NotConnected)) => self.connection().map_or(not_connected(kind), |error| error.code),
            (ServiceErrorKind::Missing, _) if by_queue => Code::QueueMissing,
            (ServiceErrorKind::Missing, _) => Code::ObjectMissing,
            (ServiceErrorKind::Changed, _) => Code::ObjectChanged,
            (ServiceErrorKind::Exists, _) => Code::OutputExists,
            (ServiceErrorKind::Denied, _) if by_queue => Code::QueueDenied,
            (ServiceErrorKind::Denied, _) => Code::AccessDenied,
            (ServiceErrorKind::Credentials, Some(Reason::NoCredentials | Reason::SignedOut)) => {
                Code::CredentialsMissing
            }
            (ServiceErrorKind::Credentials, _) => Code::CredentialsExpired,
            (ServiceErrorKind::WrongRegion, _) => Code::WrongRegion,
            (ServiceErrorKind::Throttled, _) => Code::Throttled,
            (ServiceErrorKind::Unavailable, Some(Reason::NoProof)) => Code::StoreProvesNothing,
            (ServiceErrorKind::Unavailable, Some(Reason::NoAnswer)) => Code::QueueAnswerIncomplete,
            (ServiceErrorKind::Unavailable, _) => Code::Unreachable,
            (ServiceErrorKind::Corrupt, _) => Code::ChecksumMismatch,
            (ServiceErrorKind::NoSpace, _) => Code::NoSpace,
            (ServiceErrorKind::LeaseLost, _) => Code::LeaseLost,
            (ServiceErrorKind::Invalid, Some(Reason::InputItself)) => Code::OutputAmongInputs,
            (ServiceErrorKind::Invalid, Some(Reason::OwnFile)) => Code::OwnFile,
            (ServiceErrorKind::Invalid, _) => Code::RequestInvalid,
        }
    }

    /// The job error this is in `stage`.
    pub fn at(self, stage: Stage) -> JobError {
        let kind = match self.kind {
            // An upload that somebody else discarded: a new attempt begins a new one.
            ServiceErrorKind::Missing if self.reason == Some(Reason::UploadMissing) => ErrorKind::Failed,
            // Without its bucket no output can be written: the next job would fail the same way.
            ServiceErrorKind::Missing if self.reason == Some(Reason::BucketMissing) && stage == Stage::Upload => {
                ErrorKind::Denied
            }
            ServiceErrorKind::Missing => ErrorKind::Missing,
            ServiceErrorKind::Changed => ErrorKind::Changed,
            ServiceErrorKind::Exists => ErrorKind::Exists,
            ServiceErrorKind::Denied | ServiceErrorKind::Credentials | ServiceErrorKind::WrongRegion => {
                ErrorKind::Denied
            }
            ServiceErrorKind::Throttled | ServiceErrorKind::Unavailable | ServiceErrorKind::Corrupt => {
                ErrorKind::Unavailable
            }
            ServiceErrorKind::NoSpace => ErrorKind::NoSpace,
            ServiceErrorKind::LeaseLost => ErrorKind::LeaseLost,
            ServiceErrorKind::Invalid => ErrorKind::Rejected,
        };
        let (code, cause) = (self.bp_code(stage.asks_queue()), self.to_string());
        JobError::new(stage, kind, code, cause).with_source(self)
    }
}

/// The code of a connection that could not be made where its error is lost.
const fn not_connected(kind: ServiceErrorKind) -> Code {
    match kind {
        ServiceErrorKind::Credentials => Code::CredentialsMissing,
        ServiceErrorKind::WrongRegion => Code::RegionMissing,
        _ => Code::Unreachable,
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Error for ServiceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.error()
    }
}
