//! What ends a job or a run, but for what needs a thread of its own.

pub use batchpipe::stop::shutdown;

#[path = "../../../src/stop/cancel.rs"]
pub mod cancel;
#[path = "../../../src/stop/circuit.rs"]
pub mod circuit;
#[path = "../../../src/stop/refusal.rs"]
pub mod refusal;
