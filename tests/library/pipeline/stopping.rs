//! How a run ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use batchpipe::processor::Work;
use batchpipe::stages::Settled;
use batchpipe::stop::shutdown::Phase;
use batchpipe::testing::{Fault, On, Operation, Rig};

use super::work::filter;

const PART: u64 = 64 * 1024;

fn received(rig: &Rig) -> usize {
    let count = |operation: &Operation| match operation {
        Operation::Receive { ids, .. } => ids.len(),
        _ => 0,
    };
    rig.log.operations().iter().map(count).sum()
}

fn counting(runs: &Arc<AtomicU32>, time: Duration) -> Work {
    let runs = Arc::clone(runs);
    filter(move |_, input, output| {
        runs.fetch_add(1, SeqCst);
        std::io::copy(input, output)?;
        std::thread::sleep(time);
        Ok(())
    })
}

async fn begun(runs: &Arc<AtomicU32>, count: u32) {
    let begun = Instant::now();
    while runs.load(SeqCst) < count {
        assert!(begun.elapsed() < Duration::from_secs(10), "no job began");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_is_in_flight_and_receives_nothing_more() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.concurrency = 4;
    (0..50).for_each(|name| drop(rig.job(&name.to_string(), 3 * PART)));
    let runs = Arc::default();
    let running = rig.start(counting(&runs, Duration::from_millis(50)));
    begun(&runs, 5).await;
    rig.shutdown.advance(Phase::Draining);
    // What was under way ends.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (taken, asked) = (received(&rig), rig.faults.calls(On::Receive));
    let settled = running.end().await;
    assert_eq!(settled, Settled { done: taken as u64, ..Settled::default() });
    assert_eq!((received(&rig), rig.queue.len()), (taken, 50 - taken), "and nothing more was received");
    assert_eq!(rig.faults.calls(On::Receive), asked, "nor asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn cutting_gives_everything_back_at_once_and_publishes_nothing() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.visibility = Duration::from_secs(30);
    for (name, size) in (0..6).zip([10, 20 * PART].into_iter().cycle()) {
        rig.job(&name.to_string(), size);
    }
    let runs = Arc::default();
    let running = rig.start(counting(&runs, Duration::from_millis(500)));
    begun(&runs, 2).await;
    let cut = Instant::now();
    rig.shutdown.advance(Phase::Cutting);
    let settled = running.end().await;
    assert_eq!(settled, Settled { released: 6, ..Settled::default() });
    assert!(cut.elapsed() < Duration::from_secs(10), "{:?}", cut.elapsed());
    assert_eq!(rig.queue.visible(), 6, "visible at once");
    assert_eq!(rig.store.locations().len(), 6, "the inputs and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_takes_too_long_is_cut() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.visibility = Duration::from_secs(30);
    rig.job("quick", 10);
    rig.job("slow", 10);
    let runs = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    let running = rig.start(filter(move |job, input, output| {
        seen.fetch_add(1, SeqCst);
        std::io::copy(input, output)?;
        std::thread::sleep(Duration::from_millis(if job.input.key() == "slow" { 2500 } else { 50 }));
        Ok(())
    }));
    begun(&runs, 2).await;
    rig.shutdown.drain(Duration::from_secs(1)).await;
    assert_eq!(running.end().await, Settled { done: 1, released: 1, ..Settled::default() });
    assert_eq!(rig.queue.visible(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_messages_are_taken_as_are_wanted_and_no_more() {
    for (receivers, concurrency, wanted) in [(1, 8, 5), (1, 2, 5), (3, 8, 25), (2, 16, 7)] {
        let mut rig = Rig::new();
        (rig.receive.receivers, rig.concurrency) = (Some(receivers), concurrency);
        rig.receive.until_empty = false;
        rig.receive.max_messages = Some(wanted);
        (0..40).for_each(|name| drop(rig.job(&name.to_string(), 10)));
        assert_eq!(rig.run(Work::Copy).await, Settled { done: wanted, ..Settled::default() });
        assert_eq!((received(&rig) as u64, rig.queue.len() as u64), (wanted, 40 - wanted));
    }
}

/// One receiver asks for all that is wanted and gets little; the others must not take that for the end.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_messages_are_taken_as_are_wanted_though_they_come_one_by_one() {
    let mut rig = Rig::new();
    rig.receive.receivers = Some(3);
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(5);
    let running = rig.start(Work::Copy);
    for name in 0..8 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        rig.job(&name.to_string(), 10);
    }
    assert_eq!(running.end().await, Settled { done: 5, ..Settled::default() });
    assert_eq!(rig.queue.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_empty_waits_for_jobs_that_come_back() {
    let rig = Rig::new();
    rig.job("a", 10);
    // Somebody else has it, and dies.
    let taken = batchpipe::services::queue::JobQueue::receive(&*rig.queue, 1, Duration::ZERO, Duration::from_secs(9))
        .await
        .unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(rig.run(Work::Copy).await.done, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_queue_ends_a_run_until_empty_at_once() {
    let begun = Instant::now();
    assert_eq!(Rig::new().run(Work::Copy).await, Settled::default());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_when_nothing_has_come_for_long_enough() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.receive.idle_exit = Some(Duration::from_secs(2));
    let begun = Instant::now();
    let running = rig.start(Work::Copy);
    tokio::time::sleep(Duration::from_millis(700)).await;
    rig.job("late", 10);
    assert_eq!(running.end().await.done, 1);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2700) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_long_job_is_not_idle() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.receive.idle_exit = Some(Duration::from_millis(300));
    rig.job("a", 10);
    let runs = Arc::default();
    let running = rig.start(counting(&runs, Duration::from_secs(3)));
    begun(&runs, 1).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    rig.job("b", 10);
    assert_eq!(running.end().await.done, 2, "it still received");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_while_an_upload_is_begun_leaves_none_open() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.job("a", 5 * PART);
    rig.faults.always(On::Begin, Fault::Late(Duration::from_millis(100)));
    let running = rig.start(Work::Copy);
    while rig.store.uploads() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.shutdown.advance(Phase::Cutting);
    assert_eq!(running.end().await, Settled { released: 1, ..Settled::default() });
}
