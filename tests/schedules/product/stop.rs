//! What ends a job or a run, but for what needs the whole pipeline.

pub use batchpipe::stop::shutdown;

#[path = "../../../src/stop/cancel.rs"]
pub mod cancel;
#[path = "../../../src/stop/circuit.rs"]
pub mod circuit;
