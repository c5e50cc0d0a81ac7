//! What a test of a processor, a backend or the pipeline itself needs: twins in memory, and faults.
//!
//! [`run_one`] runs a [`Processor`](crate::Processor) on some bytes as the pipeline would. [`MemoryQueue`] and
//! [`MemoryStore`] keep the conformance suites that every backend keeps, so a pipeline can't tell them from a cloud's.
//! [`Faulty`] and
//! [`FaultyQueue`] make any backend fail, by script or by dice. The pipeline's own tests add a wire, which puts time
//! between a backend and the worker, and a rig, which puts them all together.

mod cores;
mod faulty;
mod log;
mod memory_queue;
mod memory_store;
mod one;
mod rig;
mod wire;

#[doc(hidden)]
pub use cores::Cores;
pub use faulty::{Fault, Faults, Faulty, FaultyQueue, On};
pub use log::{Log, Operation};
pub use memory_queue::MemoryQueue;
pub use memory_store::MemoryStore;
#[doc(hidden)]
pub use memory_store::pattern;
pub use one::{Outcome, Report, run_one};
#[doc(hidden)]
pub use rig::{Rig, Running};
#[doc(hidden)]
pub use wire::{Reads, Wire};
