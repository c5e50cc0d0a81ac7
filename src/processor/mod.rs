//! The work on an object: bytes in, bytes out.
//!
//! A [`Processor`] runs on a blocking thread and may use as much CPU as it likes; an [`AsyncProcessor`] runs on the
//! runtime. The steps of `--process` are a [`Processor`]. An external program is not: its pipes are driven by the async
//! runtime, so that it can be killed with its whole process group the moment its job is cut.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::Code;
use crate::job::Job;
use crate::link::{AsyncInput, AsyncOutput, Disconnected, Inlet, Outlet};

#[doc(hidden)]
pub mod codec;
pub(crate) mod panics;
#[doc(hidden)]
pub mod program;
#[doc(hidden)]
pub mod scratch;
mod slots;

#[doc(hidden)]
pub use codec::work_from_steps;
#[doc(hidden)]
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

    /// What names this work: the same text for what makes the same output of the same input, another after any change
    /// that counts, as `"thumbnails:800:v2"`. Outputs are marked with it, and
    /// [`IfExists::Skip`](crate::IfExists::Skip) recognises them by it. Without a name nothing is recognised
    /// and everything made again: nobody but its author knows what a type's code and fields amount to.
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

/// An async filter over one job: the counterpart of [`Processor`] for work that waits more than it computes, such as a
/// call of another service for each object.
///
/// It runs on the runtime of the worker and takes one of the `processors`, as a [`Processor`] does. Work that computes
/// for more than some 100 µs between two `await`s holds up other jobs: use a [`Processor`] for that. A job that is cut
/// (the worker stops, the lease is lost, the timeout has passed) drops the future at its current `await`. Only `Ok`
/// publishes the output.
///
/// ```
/// use batchpipe::{AsyncInput, AsyncOutput, AsyncProcessor, Job, ProcessError};
/// use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
///
/// struct Upper;
///
/// impl AsyncProcessor for Upper {
///     async fn process(
///         &self,
///         _job: &Job,
///         input: &mut AsyncInput,
///         output: &mut AsyncOutput,
///     ) -> Result<(), ProcessError> {
///         let mut line = String::new();
///         while input.read_line(&mut line).await? > 0 {
///             output.write_all(line.to_uppercase().as_bytes()).await?;
///             line.clear();
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait AsyncProcessor: Send + Sync + 'static {
    /// Reads `input` to produce `output`.
    fn process(
        &self,
        job: &Job,
        input: &mut AsyncInput,
        output: &mut AsyncOutput,
    ) -> impl Future<Output = Result<(), ProcessError>> + Send;

    /// What names this work, as [`Processor::id`].
    fn id(&self) -> Option<String> {
        None
    }

    /// The most bytes that one run holds, as [`Processor::memory`].
    fn memory(&self) -> u64 {
        0
    }
}

/// An [`AsyncProcessor`] behind a pointer.
#[doc(hidden)]
pub trait AnyAsyncProcessor: Send + Sync + 'static {
    /// [`AsyncProcessor::process`].
    fn process<'a>(
        &'a self,
        job: &'a Job,
        input: &'a mut AsyncInput,
        output: &'a mut AsyncOutput,
    ) -> BoxFuture<'a, Result<(), ProcessError>>;

    /// [`AsyncProcessor::id`].
    fn id(&self) -> Option<String>;

    /// [`AsyncProcessor::memory`].
    fn memory(&self) -> u64;
}

impl<P: AsyncProcessor> AnyAsyncProcessor for P {
    fn process<'a>(
        &'a self,
        job: &'a Job,
        input: &'a mut AsyncInput,
        output: &'a mut AsyncOutput,
    ) -> BoxFuture<'a, Result<(), ProcessError>> {
        Box::pin(AsyncProcessor::process(self, job, input, output))
    }

    fn id(&self) -> Option<String> {
        AsyncProcessor::id(self)
    }

    fn memory(&self) -> u64 {
        AsyncProcessor::memory(self)
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

    /// This may work after `after` has passed.
    pub fn retry_after(reason: impl Into<String>, after: Duration) -> Self {
        Self::Retry { reason: reason.into(), after: Some(after) }
    }

    /// This may work another time.
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

/// A filter that waits without a thread, for tests in simulated time: that stands still while a blocking thread works.
/// Everything else about it is as with a [`Processor`].
#[doc(hidden)]
pub trait Script: Send + Sync + 'static {
    /// Reads `input` to produce `output`; a broken link ends it.
    fn run<'a>(
        &'a self,
        job: &'a Job,
        input: &'a mut Inlet,
        output: &'a Outlet,
    ) -> BoxFuture<'a, Result<Result<(), ProcessError>, Disconnected>>;
}

/// What runs in the process stage.
#[doc(hidden)]
#[derive(Clone)]
pub enum Work {
    /// No work: bytes go from the download to the upload unchanged.
    Copy,
    /// A filter in this process, on a blocking thread.
    Filter(Arc<dyn Processor>),
    /// A filter in this process, on the runtime.
    Async(Arc<dyn AnyAsyncProcessor>),
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
            Self::Async(processor) => processor.id(),
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
            Self::Async(processor) => processor.memory(),
            Self::Copy | Self::Program(_) | Self::Script(_) => 0,
        }
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Copy => f.write_str("Copy"),
            Self::Filter(_) => f.write_str("Filter"),
            Self::Async(_) => f.write_str("Async"),
            Self::Script(_) => f.write_str("Script"),
            Self::Program(program) => program.fmt(f),
        }
    }
}
