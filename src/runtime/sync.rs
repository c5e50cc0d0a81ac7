//! The locks and counters whose orders `tests/schedules` explores: the standard library's here, and there those of a
//! scheduler that tries one order of the tasks after the other. Only the files that are compiled there as well name
//! this module.

pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::{Mutex, MutexGuard};
