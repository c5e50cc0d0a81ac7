//! Tools to test a processor, a backend or the pipeline itself: in-memory services, and faults.
//!
//! [`run_one`] runs a [`Processor`](crate::Processor) on some bytes as the pipeline would. [`MemoryQueue`] and
//! [`MemoryStore`] pass the same conformance suites as every backend, so a pipeline can't distinguish them from cloud
//! services. [`Faulty`] and [`FaultyQueue`] make any backend fail, by script or at random; a [`Wire`] adds delays
//! between a backend and the worker, in simulated time. A [`Rig`] combines all of them.

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
