//! A message is ours while we work on it, and when it is not, nothing is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use batchpipe::processor::Work;
use batchpipe::stages::Settled;
use batchpipe::testing::{Fault, On, Operation, Rig};

use super::work::filter;

const PART: u64 = 64 * 1024;

/// Copies, and takes its time before that is all.
fn slow(time: Duration, runs: &Arc<AtomicU32>) -> Work {
    let runs = Arc::clone(runs);
    filter(move |_, input, output| {
        runs.fetch_add(1, SeqCst);
        std::io::copy(input, output)?;
        std::thread::sleep(time);
        Ok(())
    })
}

async fn until(mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never happened");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_longer_than_its_visibility_timeout_runs_once() {
    let rig = Rig::new();
    rig.job("a", 10);
    let runs = Arc::default();
    let settled = rig.run(slow(rig.visibility * 4, &runs)).await;
    assert_eq!((settled.done, runs.load(SeqCst)), (1, 1));
    assert_eq!(rig.meters.duplicates.load(Relaxed), 0);
    assert!(rig.meters.renewals.load(Relaxed) >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_stops_the_job_before_it_publishes_and_aborts_the_upload() {
    for size in [10, 10 * PART] {
        let mut rig = Rig::new();
        rig.receive.until_empty = false;
        rig.receive.max_messages = Some(1);
        rig.job("a", size);
        let runs = Arc::default();
        let running = rig.start(slow(rig.visibility * 2, &runs));
        until(|| runs.load(SeqCst) == 1).await;
        assert_eq!(rig.queue.steal(Duration::from_secs(60)), 1);
        assert_eq!(running.end().await, Settled { abandoned: 1, ..Settled::default() });
        assert!(rig.store.contents(&Rig::output("a")).is_none());
        let spoke = |operation: &Operation| matches!(operation, Operation::Delete { ids } if !ids.is_empty());
        assert_eq!(rig.log.count(spoke), 0, "it is not ours to speak for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_delivery_never_runs_beside_the_first_and_its_receipt_deletes() {
    let rig = Rig::new();
    rig.job("a", 10);
    let runs = Arc::default();
    let running = rig.start(slow(rig.visibility, &runs));
    until(|| runs.load(SeqCst) == 1).await;
    assert_eq!(rig.queue.forget(), 1);
    until(|| rig.meters.duplicates.load(Relaxed) == 1).await;
    assert_eq!(running.end().await, Settled { done: 1, ..Settled::default() });
    assert_eq!(runs.load(SeqCst), 1);
    assert!(rig.queue.is_empty(), "only the newest receipt deletes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_stops_extending_costs_the_lease_and_publishes_nothing() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(1);
    rig.job("a", 10);
    rig.faults.always(On::Extend, Fault::Silence);
    let runs = Arc::default();
    let running = rig.start(slow(rig.visibility * 2, &runs));
    let settled = tokio::time::timeout(Duration::from_secs(10), running.end()).await.expect("it is not waited for");
    assert_eq!(settled, Settled { abandoned: 1, ..Settled::default() });
    assert!(rig.store.contents(&Rig::output("a")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_extension_follows_a_delete() {
    let mut rig = Rig::new();
    rig.visibility = Duration::from_millis(160);
    (0..40).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.always(On::Extend, Fault::Delay(Duration::from_millis(10)));
    let runs = Arc::default();
    assert_eq!(rig.run(slow(Duration::from_millis(60), &runs)).await.done, 40);
    assert!(rig.meters.renewals.load(Relaxed) > 0);
    let mut deleted = std::collections::HashSet::new();
    for operation in rig.log.operations() {
        match operation {
            Operation::Delete { ids } => deleted.extend(ids),
            Operation::Extend { ids, .. } => ids.iter().for_each(|id| assert!(!deleted.contains(id))),
            _ => {}
        }
    }
}

/// The network was away for longer than the lease: another has the message by now, and may have done it and the next of
/// its group. What is tried again then would replace a newer output.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_tried_again_after_the_lease_has_run_out_is_not_made() {
    for (size, on) in [(10, On::Put), (10 * PART, On::Complete)] {
        let mut rig = Rig::new();
        rig.receive.until_empty = false;
        rig.receive.max_messages = Some(1);
        rig.job("a", size);
        // Longer than the visibility timeout.
        rig.transfer.retry.deadline = rig.visibility * 2;
        rig.faults.next(on, Fault::Silence, 1);
        rig.faults.always(On::Extend, Fault::Silence);
        let settled = rig.run(Work::Copy).await;
        assert_eq!((settled.done, settled.abandoned), (0, 1), "{on:?}: {settled:?}");
        assert!(rig.store.contents(&Rig::output("a")).is_none());
        assert_eq!(rig.faults.calls(on), 1);
    }
}
