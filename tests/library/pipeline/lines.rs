//! Messages of one group are worked in order, and groups beside each other.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};

use batchpipe::ProcessError;
use batchpipe::capacity::budget::{Budget, LINK_BYTES};
use batchpipe::error::ServiceErrorKind::Unavailable;
use batchpipe::processor::Work;
use batchpipe::record::Ended;
use batchpipe::stages::Settled;
use batchpipe::stop::shutdown::Phase;
use batchpipe::testing::{Fault, On, Operation, Rig};

use super::work::filter;

/// The names of the jobs that were begun, in order, and the most that ran at once.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Seen {
    /// Copies, and notes it; `also` may fail the job.
    fn copying(&self, also: impl Fn(&str, u32) -> Result<(), ProcessError> + Send + Sync + 'static) -> Work {
        let Self(names, at_once, most) = self.clone();
        filter(move |job, input, output| {
            names.lock().unwrap().push(job.input.key().to_owned());
            most.fetch_max(at_once.fetch_add(1, SeqCst) + 1, SeqCst);
            let result = also(job.input.key(), job.attempt);
            at_once.fetch_sub(1, SeqCst);
            result?;
            std::io::copy(input, output)?;
            Ok(())
        })
    }

    fn of(&self, group: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|name| name.starts_with(group)).cloned().collect()
    }

    async fn wait_for(&self, name: &str) {
        let begun = Instant::now();
        while !self.0.lock().unwrap().iter().any(|seen| seen == name) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{name} never began");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn names(group: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{group}{nth}")).collect()
}

/// Sends jobs of a group; returns the ids of their messages.
fn send(rig: &Rig, group: &str, count: usize) -> Vec<String> {
    names(group, count).iter().map(|name| rig.job_in(group, name, 10)).collect()
}

/// The most messages that came in one receive.
fn longest_receive(rig: &Rig) -> usize {
    let came = |operation| match operation {
        Operation::Receive { ids, .. } => ids.len(),
        _ => 0,
    };
    rig.log.operations().into_iter().map(came).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_group_are_worked_in_order_one_at_a_time() {
    let mut rig = Rig::fifo();
    rig.processors = 8;
    send(&rig, "a", 20);
    let seen = Seen::default();
    let slower_first = |_: &str, _| {
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..5)));
        Ok(())
    };
    assert_eq!(rig.run(seen.copying(slower_first)).await, Settled { done: 20, ..Settled::default() });
    assert_eq!(seen.of("a"), names("a", 20));
    assert_eq!(seen.2.load(SeqCst), 1, "at once");
    assert!(longest_receive(&rig) >= 8, "several came in one receive, which is what this is about");
    assert!(names("a", 20).iter().all(|name| rig.is_copied(name)));
}

/// Were a line to take a place for each of its messages, three of the groups would wait for the first.
#[tokio::test(flavor = "multi_thread")]
async fn groups_are_worked_beside_each_other_and_a_line_takes_one_place() {
    let mut rig = Rig::fifo();
    (rig.concurrency, rig.processors) = (4, 4);
    ["a", "b", "c", "d"].iter().for_each(|group| drop(send(&rig, group, 3)));
    let all = Arc::new(Barrier::new(4));
    let seen = Seen::default();
    let together = move |name: &str, _| {
        if name.ends_with('0') {
            all.wait();
        }
        Ok(())
    };
    let settled = tokio::time::timeout(Duration::from_secs(20), rig.run(seen.copying(together)));
    assert_eq!(settled.await.expect("all four at once").done, 12);
    ["a", "b", "c", "d"].iter().for_each(|group| assert_eq!(seen.of(group), names(group, 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_holds_its_group_and_no_other() {
    let rig = Rig::fifo();
    send(&rig, "a", 4);
    send(&rig, "b", 4);
    let seen = Seen::default();
    let once =
        |name: &str, attempt| if (name, attempt) == ("a1", 1) { Err(ProcessError::retry("not yet")) } else { Ok(()) };
    let settled = rig.run(seen.copying(once)).await;
    assert_eq!((settled.done, settled.retried, settled.rejected), (8, 1, 0));
    assert_eq!(seen.of("a"), ["a0", "a1", "a1", "a2", "a3"]);
    assert_eq!(seen.of("b"), names("b", 4));
    assert!(settled.released >= 2, "those behind it were given back untried: {settled:?}");
    assert_eq!(rig.meters.jobs(Ended::Failed), 1, "and have not failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_job_lets_its_group_go_on() {
    let rig = Rig::fifo();
    let ids = send(&rig, "a", 4);
    let seen = Seen::default();
    let first = |name: &str, _| if name == "a0" { Err(ProcessError::reject("never")) } else { Ok(()) };
    assert_eq!(rig.run(seen.copying(first)).await, Settled { done: 3, rejected: 1, ..Settled::default() });
    assert_eq!(seen.of("a"), names("a", 4));
    let letter = rig.dead_letters.peek().remove(0);
    assert_eq!((letter.group.as_deref(), letter.deduplication.as_ref()), (Some("a"), Some(&ids[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_message_could_not_be_deleted_is_done_again_before_the_next() {
    let rig = Rig::fifo();
    send(&rig, "a", 3);
    rig.faults.next(On::Delete, Fault::Fail(Unavailable), 5);
    let seen = Seen::default();
    let settled = rig.run(seen.copying(|_, _| Ok(()))).await;
    assert_eq!(settled, Settled { done: 3, retried: 1, released: 2, ..Settled::default() });
    assert_eq!(seen.of("a"), ["a0", "a0", "a1", "a2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_one_that_has_the_turn_finish_and_gives_back_the_rest() {
    let mut rig = Rig::fifo();
    rig.receive.until_empty = false;
    rig.visibility = Duration::from_secs(30);
    send(&rig, "a", 6);
    let (seen, goes_on) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let waits = Arc::clone(&goes_on);
    let running = rig.start(seen.copying(move |_, _| {
        while !waits.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }));
    seen.wait_for("a0").await;
    rig.shutdown.advance(Phase::Draining);
    goes_on.store(true, SeqCst);
    assert_eq!(running.end().await, Settled { done: 1, released: 5, ..Settled::default() });
    assert_eq!((seen.of("a"), rig.queue.visible()), (names("a", 1), 5), "visible at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lost_in_line_leaves_its_job_to_another_and_holds_up_those_behind() {
    let mut rig = Rig::fifo();
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(4);
    let ids = send(&rig, "a", 4);
    let (seen, visibility) = (Seen::default(), rig.visibility);
    let running = rig.start(seen.copying(move |name, _| {
        std::thread::sleep(if name == "a0" { visibility * 2 } else { Duration::ZERO });
        Ok(())
    }));
    seen.wait_for("a0").await;
    assert!(rig.queue.steal_one(&ids[1], Duration::from_secs(60)));
    assert_eq!(running.end().await, Settled { done: 1, abandoned: 1, released: 2, ..Settled::default() });
    assert_eq!(seen.of("a"), names("a", 1), "nothing else was begun");
    assert!(rig.meters.renewals.load(SeqCst) > 0, "what waits is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_in_line_for_longer_than_their_visibility_timeout_are_kept() {
    let rig = Rig::fifo();
    send(&rig, "a", 6);
    let (seen, time) = (Seen::default(), rig.visibility / 2);
    let slow = move |_: &str, _| {
        std::thread::sleep(time);
        Ok(())
    };
    assert_eq!(rig.run(seen.copying(slow)).await, Settled { done: 6, ..Settled::default() });
    assert_eq!(seen.of("a"), names("a", 6), "each once");
    assert_eq!(rig.meters.duplicates.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_messages_are_worked_as_are_wanted_though_they_are_one_line() {
    let mut rig = Rig::fifo();
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(5);
    send(&rig, "a", 8);
    let seen = Seen::default();
    assert_eq!(rig.run(seen.copying(|_, _| Ok(()))).await, Settled { done: 5, ..Settled::default() });
    assert_eq!((seen.of("a"), rig.queue.len()), (names("a", 5), 3));
}

/// The queue forgets that the first is in flight, and hands out the group anew while it is still at work here.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_comes_again_waits_for_its_message_that_is_still_at_work() {
    let mut rig = Rig::fifo();
    rig.receive.receivers = Some(2);
    rig.processors = 4;
    send(&rig, "a", 1);
    let (seen, goes_on) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let waits = Arc::clone(&goes_on);
    let running = rig.start(seen.copying(move |name, _| {
        while name == "a0" && !waits.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }));
    seen.wait_for("a0").await;
    rig.job_in("a", "a1", 10);
    assert_eq!(rig.queue.forget(), 1);
    while rig.meters.duplicates.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(seen.of("a"), ["a0"], "the next must not overtake it");
    goes_on.store(true, SeqCst);
    assert_eq!(running.end().await, Settled { done: 2, ..Settled::default() });
    assert_eq!(seen.of("a"), ["a0", "a1"]);
}

/// The first has failed, and the queue is slow to say that it has it back: so the second still waits behind it when the
/// queue forgets both, and hands them out anew with a third.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_comes_again_does_not_leave_out_one_in_its_middle_that_is_still_held() {
    let mut rig = Rig::fifo();
    (rig.receive.receivers, rig.visibility) = (Some(2), Duration::from_secs(30));
    rig.faults.next(On::Extend, Fault::Late(Duration::from_millis(400)), 1);
    send(&rig, "a", 2);
    let seen = Seen::default();
    let once =
        |name: &str, attempt| if (name, attempt) == ("a0", 1) { Err(ProcessError::retry("not yet")) } else { Ok(()) };
    let running = rig.start(seen.copying(once));
    while !rig.log.operations().iter().any(|operation| matches!(operation, Operation::Extend { .. })) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.job_in("a", "a2", 10);
    assert!(rig.queue.forget() > 0);
    assert_eq!(running.end().await.done, 3);
    assert_eq!(seen.of("a"), ["a0", "a0", "a1", "a2"]);
}

/// Memory for two jobs, outputs that must grow, and lines on every place: nothing may wait for what waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_must_grow_in_little_memory_do_not_deadlock() {
    const PART: u64 = 64 * 1024;
    let mut rig = Rig::fifo();
    (rig.concurrency, rig.memory) = (8, 2 * PART);
    for group in ["a", "b", "c", "d", "e"] {
        names(group, 4)
            .iter()
            .zip([10, 5 * PART, 0, PART])
            .for_each(|(name, size)| drop(rig.job_in(group, name, size)));
    }
    let twice = filter(|_, input, output| {
        let mut all = Vec::new();
        input.read_to_end(&mut all)?;
        output.write_all(&all)?;
        output.write_all(&all)?;
        Ok(())
    });
    assert_eq!(rig.run(twice).await, Settled { done: 20, ..Settled::default() });
}

/// They use one room in turn: were the first to give back what it does not need, the next would read into memory that
/// is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_of_a_line_has_room_however_small_the_one_before() {
    const PART: u64 = 64 * 1024;
    let mut rig = Rig::fifo();
    // No poll holds room beside them.
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(2);
    for (name, size) in [("a0", 1), ("a1", PART)] {
        rig.job_in("a", name, size);
    }
    let least = Arc::new(AtomicU64::new(u64::MAX));
    let budget: Arc<OnceLock<Arc<Budget>>> = Arc::default();
    let (seen, of) = (Arc::clone(&least), Arc::clone(&budget));
    let running = rig.start(filter(move |job, input, output| {
        if job.input.key() == "a1" {
            input.fill_buf()?;
            seen.fetch_min(of.wait().reserved(), SeqCst);
        }
        std::io::copy(input, output)?;
        Ok(())
    }));
    budget.set(Arc::clone(&running.budget)).unwrap();
    assert_eq!(running.end().await, Settled { done: 2, ..Settled::default() });
    assert_eq!(longest_receive(&rig), 2, "they came together");
    // A part to read into, and a write room that is full for as long as a processor works.
    assert!(
        least.load(SeqCst) >= PART + (PART + LINK_BYTES),
        "{} bytes were reserved for parts of {PART}",
        least.load(SeqCst)
    );
}
