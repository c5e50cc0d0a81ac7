//! What works on an object here: nothing, or a script. Filters and programs are on threads and in processes of their
//! own.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

pub use batchpipe::processor::{AnyAsyncProcessor, ProcessError, Processor, Script};

#[path = "../../../src/processor/slots.rs"]
mod slots;

pub use slots::Slots;

use crate::error::JobError;
use crate::job::Job;
use crate::link::{Inlet, Outlet};

/// In the place of batchpipe's.
#[derive(Clone)]
pub enum Work {
    Copy,
    Filter(Arc<dyn Processor>),
    Program(Arc<Program>),
    Async(Arc<dyn AnyAsyncProcessor>),
    Script(Arc<dyn Script>),
}

impl Work {
    pub fn id(&self) -> Option<String> {
        Some("the model's".to_owned())
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// There is none.
pub struct Program(Infallible);

impl Program {
    pub(crate) async fn run(&self, _: &Job, _: Inlet, _: Outlet, _: &Slots) -> Result<(), JobError> {
        match self.0 {}
    }
}

/// In the place of batchpipe's, which tells threads apart: here all tasks are on one.
pub(crate) mod panics {
    use std::any::Any;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use crate::runtime::task::Drawn;

    /// Catches what the model draws. Any other panic is a failure of the model.
    pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
        let ended = catch_unwind(AssertUnwindSafe(work));
        ended.map_err(|panic| if panic.is::<Drawn>() { message(&*panic).to_owned() } else { resume_unwind(panic) })
    }

    pub(crate) fn message(_: &(dyn Any + Send)) -> &str {
        "the model says so"
    }
}
