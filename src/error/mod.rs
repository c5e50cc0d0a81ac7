//! What can go wrong, and what each failure means.
//!
//! Three types, one for each listener. A [`ServiceError`] is what a queue or a store said, as a
//! *kind* that tells whether trying again can help; the adapters make it and nothing above them
//! looks at an SDK type. A [`JobError`] is the failure of one attempt at one job; its
//! [`disposition`](JobError::disposition) is the one place where a failure becomes a decision. A
//! [`UserError`] is what a person reads: one line of what, `cause:`, `help:`, and an exit code.
//!
//! Each has a [`Code`]; the catalogue in [`codes`] holds what a code means, its help and its exit code. A refusal of a
//! service becomes a [`UserError`] in one place, [`ServiceError::told`], for every command and for the library. Each
//! error keeps the error that caused it as its `source()`.

mod code;
pub mod codes;
mod job;
mod refusal;
mod service;
mod source;
mod user;

pub use code::Code;
pub use job::{Disposition, ErrorKind, FailedJob, JobError};
pub use refusal::{Role, Subject};
pub use service::{Reason, ServiceError, ServiceErrorKind};
pub use source::Source;
pub use user::{Exit, UserError, escaped};

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

    /// Whether the stage asks the queue, and not a store.
    pub const fn asks_queue(self) -> bool {
        matches!(self, Self::Receive | Self::Acknowledge | Self::Send)
    }

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
