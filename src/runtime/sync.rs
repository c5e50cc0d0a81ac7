//! The locks and counters whose orders `tests/schedules` explores: here those of the standard library, and in
//! `tests/schedules` those of a scheduler that tries many orders of the tasks. Only files that are also compiled
//! there use this module.

pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::{Mutex, MutexGuard};
