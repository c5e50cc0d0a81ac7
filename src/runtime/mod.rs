//! The ground floor: small tools that know nothing about jobs.
//!
//! Tasks that end with their owner, batching, locks, the machine's size and mounts, and the points at which tests
//! kill the program. Uses no other room.

pub(crate) mod batched;
pub mod cpu;
pub mod digest;
pub mod failpoint;
pub(crate) mod heartbeat;
pub mod machine;
pub(crate) mod mounts;
pub mod process;
pub mod redact;
pub(crate) mod suggest;
pub(crate) mod sync;
pub(crate) mod task;
pub mod words;
