//! What ends a job or a run early: a shutdown, a cut of a job, a circuit that opens because every further job would
//! fail the same way, and the watchdog of a worker in which nothing progresses.
//!
//! Uses everything up to `processor`, and no stages.

pub mod cancel;
pub mod circuit;
pub mod refusal;
pub mod shutdown;
pub mod watchdog;
