//! The tools of the ground floor: the scheduler's locks and tasks, and of batchpipe's what needs neither.

pub use batchpipe::runtime::{digest, failpoint, words};

#[path = "../../../src/runtime/batched.rs"]
pub(crate) mod batched;

pub use crate::task;
pub(crate) use crate::{heartbeat, sync};
