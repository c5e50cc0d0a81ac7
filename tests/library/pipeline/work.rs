//! Processors that tests use.

use std::io::{BufRead, Write};
use std::sync::Arc;

use batchpipe::processor::Work;
use batchpipe::{Job, ProcessError};

/// What runs on a thread, from a closure.
pub(crate) fn filter<F>(processor: F) -> Work
where
    F: Fn(&Job, &mut dyn BufRead, &mut dyn Write) -> Result<(), ProcessError> + Send + Sync + 'static,
{
    Work::Filter(Arc::new(processor))
}

/// Copies on a thread.
pub(crate) fn copying() -> Work {
    filter(|_, input, output| {
        std::io::copy(input, output)?;
        Ok(())
    })
}

/// Copies so many bytes and then does something else.
pub(crate) fn after(bytes: u64, then: impl Fn() -> Result<(), ProcessError> + Send + Sync + 'static) -> Work {
    filter(move |_, input, output| {
        std::io::copy(&mut std::io::Read::take(input, bytes), output)?;
        then()
    })
}
