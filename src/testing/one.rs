//! One processor, one input, the real pipeline.
//!
//! The processor runs as in production, on a blocking thread between two links, so bytes written before a failure are
//! not published here either. It needs no runtime, and may be called within one.

use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::rig::Rig;
use crate::error::Code;
use crate::job::Job;
use crate::processor::{ProcessError, Processor, Work};

/// How a processor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded, and its output was published.
    Done,
    /// It requested another try.
    Retry {
        /// The reason that it gave.
        reason: String,
        /// The delay before the next try, if given.
        after: Option<Duration>,
    },
    /// It rejected the input.
    Reject {
        /// The code of the failure.
        code: Code,
        /// The reason that it gave.
        reason: String,
    },
    /// It panicked: its job would be tried again.
    Panicked,
}

/// The result for one input.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How the processor ended.
    pub outcome: Outcome,
    /// The object that was published, if one was.
    pub output: Option<Vec<u8>>,
}

/// Runs `processor` once on an object that holds `input`.
///
/// ```
/// use std::io::{BufRead, Write};
/// use batchpipe::testing::{Outcome, run_one};
/// use batchpipe::{Code, Job, ProcessError};
///
/// fn first_line(_: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
///     let mut line = String::new();
///     if input.read_line(&mut line)? == 0 {
///         return Err(ProcessError::reject("the file is empty"));
///     }
///     Ok(output.write_all(line.as_bytes())?)
/// }
///
/// let report = run_one(first_line, "one\ntwo\n");
/// assert_eq!(report.outcome, Outcome::Done);
/// assert_eq!(report.output.as_deref(), Some(&b"one\n"[..]));
///
/// let report = run_one(first_line, "");
/// assert_eq!(report.outcome, Outcome::Reject { code: Code::ProcessorFailed, reason: "the file is empty".into() });
/// assert_eq!(report.output, None);
/// ```
///
/// # Panics
///
/// If the machine has no thread left, or the processor never ends.
pub fn run_one(processor: impl Processor, input: impl Into<Vec<u8>>) -> Report {
    let watched = Arc::new(Watched { processor, outcome: Mutex::new(Outcome::Panicked) });
    let mut rig = Rig::new();
    rig.max_receives = Some(1);
    rig.store.insert(Rig::input("object"), input.into());
    rig.message("object");
    let work = Work::Filter(Arc::clone(&watched) as Arc<dyn Processor>);
    let store = rig.store.clone();
    // A separate thread, because a runtime can't wait for another runtime.
    let run = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(rig.run(work));
    });
    run.join().expect("the run ends");
    let outcome = watched.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Report { outcome, output: store.contents(&Rig::output("object")).map(|bytes| bytes.to_vec()) }
}

/// A processor whose outcome is recorded.
struct Watched<P> {
    processor: P,
    outcome: Mutex<Outcome>,
}

impl<P: Processor> Processor for Watched<P> {
    fn process(&self, job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        let result = self.processor.process(job, input, output);
        let outcome = match &result {
            Ok(()) => Outcome::Done,
            Err(ProcessError::Retry { reason, after }) => Outcome::Retry { reason: reason.clone(), after: *after },
            Err(ProcessError::Reject { code, reason }) => Outcome::Reject { code: *code, reason: reason.clone() },
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
        result
    }
}
