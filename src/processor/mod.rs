//! The work on an object: bytes in, bytes out.
//!
//! A [`Processor`] runs on a blocking thread and may use as much CPU as it likes. The codec chain ([`codec`]) is a
//! processor. An external program ([`program`]) is not: the async runtime drives its pipes, so that it can be killed
//! with its whole process group as soon as its job is cut.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::Code;
use crate::job::Job;
use crate::link::{Disconnected, Inlet, Outlet};

pub mod codec;
pub(crate) mod panics;
pub mod program;
pub mod scratch;
mod slots;

pub use codec::work_from_steps;
pub use slots::Slots;

/// A blocking filter over one job, like a Unix filter.
///
/// Reading waits for the download and writing waits for the upload. The output is published only on `Ok`, which a
/// processor may return before it has read all of its input.
///
/// ```
/// use std::io::{BufRead, Write};
/// use batchpipe::{Job, ProcessError, Processor};
///
/// struct Upper;
///
/// impl Processor for Upper {
///     fn process(&self, _job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
///         let mut line = String::new();
///         while input.read_line(&mut line)? > 0 {
///             output.write_all(line.to_uppercase().as_bytes())?;
///             line.clear();
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Processor: Send + Sync + 'static {
    /// Reads `input` to produce `output`.
    fn process(&self, job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError>;

    /// Identifies this work: the same text for work that makes the same output from the same input, and a different
    /// text after any relevant change, such as `"thumbnails:800:v2"`. Outputs are marked with this text, and
    /// [`IfExists::Skip`](crate::stages::IfExists::Skip) recognises them by it. Without an id no output is recognised
    /// and every output is made again, because only the author knows what a type's code and fields do.
    fn id(&self) -> Option<String> {
        None
    }

    /// The most bytes that one run holds beside the chunk it reads and the chunk it writes. This memory is set aside
    /// from the worker's memory for each processor that may run at once; memory that is not stated here is used in
    /// addition to `--memory`.
    fn memory(&self) -> u64 {
        0
    }
}

impl<F> Processor for F
where
    F: Fn(&Job, &mut dyn BufRead, &mut dyn Write) -> Result<(), ProcessError> + Send + Sync + 'static,
{
    fn process(&self, job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        self(job, input, output)
    }
}

/// Why a processor did not produce its output.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The job may succeed another time: the message is given back, and delivered again after `after` if that is known.
    #[error("{reason}")]
    Retry {
        /// One line for the log.
        reason: String,
        /// How long to wait; `None` leaves the choice to the pipeline. At most twelve hours after the receive, as on
        /// SQS.
        after: Option<Duration>,
    },
    /// The job will never succeed with this input: the message goes to the dead-letter queue.
    #[error("{reason}")]
    Reject {
        /// The failure's number (`BPnnn`); a library user's processors use 400.
        code: Code,
        /// One line for the log and the dead letter.
        reason: String,
    },
}

impl ProcessError {
    /// Rejects: this input can never be processed.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { code: Code::ProcessorFailed, reason: reason.into() }
    }

    /// Retries: this may succeed another time.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None }
    }
}

/// Invalid or truncated data fails every time; any other failure of reading or writing may pass.
impl From<io::Error> for ProcessError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::reject(error.to_string()),
            _ => Self::retry(error.to_string()),
        }
    }
}

/// A filter that waits without a thread, for tests in simulated time, because simulated time stops while a blocking
/// thread works. In all other respects it behaves like a [`Processor`].
pub trait Script: Send + Sync + 'static {
    /// Reads `input` to produce `output`; a broken link ends it.
    fn run<'a>(
        &'a self,
        job: &'a Job,
        input: &'a mut Inlet,
        output: &'a Outlet,
    ) -> BoxFuture<'a, Result<Result<(), ProcessError>, Disconnected>>;
}

/// The work of the process stage.
#[derive(Clone)]
pub enum Work {
    /// No work: bytes go from the download to the upload unchanged.
    Copy,
    /// A filter in this process, on a blocking thread.
    Filter(Arc<dyn Processor>),
    /// A program in a process of its own.
    Program(Arc<program::Program>),
    /// A filter for tests in simulated time.
    Script(Arc<dyn Script>),
}

impl Work {
    /// Identifies the work: the same text for the same work, `None` if that is not known.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Copy => Some("copy".to_owned()),
            Self::Filter(processor) => processor.id(),
            Self::Program(program) => Some(program.id().to_owned()),
            Self::Script(_) => Some("script".to_owned()),
        }
    }
}

impl Work {
    /// The most bytes that one run holds in this process beside its chunks.
    pub fn memory(&self) -> u64 {
        match self {
            Self::Filter(processor) => processor.memory(),
            Self::Copy | Self::Program(_) | Self::Script(_) => 0,
        }
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Copy => f.write_str("Copy"),
            Self::Filter(_) => f.write_str("Filter"),
            Self::Script(_) => f.write_str("Script"),
            Self::Program(program) => program.fmt(f),
        }
    }
}
