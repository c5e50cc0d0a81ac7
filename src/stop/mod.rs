//! What ends a job or a run before its time: a shutdown, a cancelled job, a circuit that opens because every further
//! job would fail the same way, and the watchdog of a worker in which nothing moves.
//!
//! Uses everything up to `processor`; knows nothing of stages.

pub mod cancel;
pub mod circuit;
pub mod refusal;
pub mod shutdown;
pub mod watchdog;
