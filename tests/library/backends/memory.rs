//! The twins in memory keep the same suites as what they stand for.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::Location;
use batchpipe::services::queue::{JobQueue, Outcome, Outgoing};
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
async fn the_fifo_queue_in_memory_keeps_groups() {
    let queue = || Arc::new(MemoryQueue::new("jobs.fifo")) as Arc<dyn JobQueue>;
    queue_conformance::keeps_groups("memory", move || Box::pin(std::future::ready(queue()))).await;
}

/// As SQS does, where it answers with an error.
#[tokio::test]
async fn the_queues_in_memory_refuse_what_sqs_refuses() {
    let (standard, fifo) = (MemoryQueue::new("jobs"), MemoryQueue::new("jobs.fifo"));
    let (group, name) = (Some("g".to_owned()), Some("n".to_owned()));
    let outgoing = |group: &Option<String>, name: &Option<String>| Outgoing {
        group: group.clone(),
        deduplication: name.clone(),
        ..Outgoing::default()
    };
    let [plain, grouped, named, both] =
        [(&None, &None), (&group, &None), (&None, &name), (&group, &name)].map(|(group, name)| outgoing(group, name));
    let ok = |outcomes: Vec<Outcome>| outcomes.iter().map(Result::is_ok).collect::<Vec<_>>();
    let all = [plain, grouped, named, both];
    assert_eq!(ok(standard.send(&all).await.unwrap()), [true, true, false, false]);
    assert_eq!(ok(fifo.send(&all).await.unwrap()), [false, false, false, true]);
    let received = standard.receive(10, Duration::ZERO, Duration::from_secs(1)).await.unwrap();
    assert!(received.len() == 2 && received.iter().all(|message| message.group.is_none()), "a tenant is no order");
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
