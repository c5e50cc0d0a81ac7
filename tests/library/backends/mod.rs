//! One conformance suite, every backend: the embedded pair here, always; a cloud's own test file includes the two
//! suites by `#[path]` and hands them its queues and stores.

mod local_queue;
mod local_store;
mod memory;
mod queue_conformance;
mod store_conformance;
