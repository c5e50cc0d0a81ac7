//! The twins in memory keep the same suites as what they stand for.

use std::sync::Arc;

use batchpipe::Location;
use batchpipe::queue::JobQueue;
use batchpipe::testing::{Faults, Faulty, FaultyQueue, MemoryQueue, MemoryStore};

use super::{queue_conformance, store_conformance};

fn fresh() -> Arc<dyn JobQueue> {
    Arc::new(MemoryQueue::new("jobs").with_dead_letters(Arc::new(MemoryQueue::new("dead"))))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_in_memory_keeps_every_sentence() {
    queue_conformance::conforms("memory", || Box::pin(async { fresh() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_keeps_every_sentence() {
    store_conformance::conforms("memory", Arc::new(MemoryStore::new()), Location::s3("bucket", "base/")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_backend_without_faults_is_the_backend() {
    let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), Faults::none()));
    store_conformance::conforms("faulty memory", store, Location::s3("bucket", "base/")).await;
    let queue = || Arc::new(FaultyQueue::new(fresh(), Faults::none())) as Arc<dyn JobQueue>;
    queue_conformance::conforms("faulty memory", move || Box::pin(std::future::ready(queue()))).await;
}
