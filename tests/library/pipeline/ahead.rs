//! Messages asked for ahead of the slots they need, on the runtime's clock: no test here waits.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use batchpipe::processor::Work;
use batchpipe::stop::shutdown::Phase;
use batchpipe::testing::{Fault, MemoryQueue, On, Operation, Rig, Wire};
use tokio::time::{Instant, sleep};

/// What a receive, a read and a write take each.
const TRIP: Duration = Duration::from_millis(20);

/// A rig of `slots` and so many tiny jobs, all 20 ms away.
fn rig(slots: usize, jobs: usize) -> Rig {
    let mut rig = Rig::new();
    rig.queue = Arc::new(MemoryQueue::new("jobs").with_log(rig.log.clone()));
    // The keeper of leases lives on a real clock, and has nothing to do here.
    rig.visibility = Duration::from_secs(12 * 60 * 60);
    rig.patience = Duration::from_secs(60 * 60);
    rig.memory = 256 << 20;
    rig.concurrency = slots;
    rig.receive.receivers = None;
    rig.transfer.retry.deadline = Duration::from_secs(1000);
    for on in [On::Receive, On::Get, On::Put, On::Delete] {
        rig.faults.always(on, Fault::Late(TRIP));
    }
    (0..jobs).for_each(|number| drop(rig.job(&number.to_string(), 100)));
    rig
}

fn received(rig: &Rig) -> usize {
    let count = |operation: &Operation| match operation {
        Operation::Receive { ids, .. } => ids.len(),
        _ => 0,
    };
    rig.log.operations().iter().map(count).sum()
}

fn begun(rig: &Rig) -> usize {
    rig.meters.jobs_received.load(Relaxed) as usize
}

/// Messages that the queue has given and that have not begun, on their way or here.
async fn some_wait(rig: &Rig) {
    while received(rig) <= begun(rig) {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn slots_are_at_work_while_the_next_messages_are_on_their_way() {
    for slots in [1, 2, 4, 16, 64, 256] {
        let jobs = 100 * slots;
        let began = Instant::now();
        assert_eq!(rig(slots, jobs).run(Work::Copy).await.done, jobs as u64);
        // A read and a write each, with no time between jobs.
        let ideal = TRIP * 2 * 100;
        let share = ideal.as_secs_f64() / began.elapsed().as_secs_f64();
        assert!(share > 0.9, "{share} of what {slots} slots can do");
    }
}

/// How long 300 tiny jobs take in so many slots, with one receiver: a receive and a delete take 60 ms, a read so many.
async fn from_far_away(slots: usize, read: u64) -> Duration {
    let mut rig = rig(slots, 300);
    rig.receive.receivers = Some(1);
    for (on, takes) in [(On::Receive, 60), (On::Delete, 60), (On::Get, read), (On::Put, 3)] {
        rig.faults.cease(on);
        rig.faults.always(on, Fault::Late(Duration::from_millis(takes)));
    }
    let began = Instant::now();
    assert_eq!(rig.run(Work::Copy).await.done, 300);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn twice_the_slots_take_twice_the_messages_from_a_queue_that_is_far_away() {
    for read in [2, 8, 13, 14, 15, 20, 35] {
        let (few, more) = (from_far_away(3, read).await, from_far_away(6, read).await);
        assert!(few > more.mul_f64(1.7), "{few:?} with three slots, {more:?} with six, reads of {read} ms");
    }
}

/// How long so many tiny jobs take in memory for two of unknown size, with messages that tell the size or don't.
async fn in_little_memory(told: bool, jobs: usize) -> Duration {
    let mut rig = rig(16, 0);
    rig.memory = 3 << 20;
    for number in 0..jobs {
        let name = number.to_string();
        rig.store.insert_pattern(Rig::input(&name), 100);
        let size = if told { r#","size":100"# } else { "" };
        let body = format!(r#"{{"v":1,"input":"{}","output":"{}"{size}}}"#, Rig::input(&name), Rig::output(&name));
        rig.body(body, &[&name]);
    }
    let began = Instant::now();
    assert_eq!(rig.run(Work::Copy).await.done, jobs as u64);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn little_memory_is_enough_for_many_jobs_whose_messages_tell_that_they_are_small() {
    let (told, untold) = (in_little_memory(true, 800).await, in_little_memory(false, 800).await);
    assert!(told * 3 < untold, "{told:?} with sizes, {untold:?} without");
    // A read and a write each in 16 slots, and the way there.
    assert!(told < TRIP * 2 * 800 / 16 * 3 / 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_for_a_slot_are_counted_while_they_do() {
    let rig = rig(16, 1600);
    let running = rig.start(Work::Copy);
    let mut most = 0;
    while begun(&rig) < 1600 {
        let waiting = rig.meters.ahead.load(Relaxed);
        assert!(waiting <= (received(&rig) - begun(&rig)) as u64, "no more than have come and not begun");
        most = most.max(waiting);
        sleep(Duration::from_millis(1)).await;
    }
    assert!((1..=16).contains(&most), "{most} at once");
    // That none is left is seen to by the rig.
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_ahead_of_jobs_that_take_long() {
    let rig = rig(4, 40);
    rig.faults.cease(On::Get);
    rig.faults.always(On::Get, Fault::Late(Duration::from_secs(2)));
    assert_eq!(rig.run(Work::Copy).await.done, 40);
    let mut open = 0;
    for operation in rig.log.operations() {
        match operation {
            Operation::Receive { ids, .. } => open += ids.len(),
            Operation::Put { at } if at.to_string().starts_with("s3://output/") => open -= 1,
            _ => {}
        }
        assert!(open <= 4, "{open} messages are held by 4 slots");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_given_back_as_soon_as_the_worker_is_to_stop() {
    let mut rig = rig(4, 400);
    rig.receive.until_empty = false;
    let running = rig.start(Work::Copy);
    sleep(Duration::from_millis(300)).await;
    some_wait(&rig).await;
    let begun = begun(&rig);
    rig.shutdown.advance(Phase::Draining);
    // What the queue had given already is on its way for a trip.
    sleep(TRIP + Duration::from_millis(1)).await;
    assert_eq!(rig.queue.visible(), 400 - begun, "all that has not begun");
    assert_eq!(running.end().await.done, begun as u64, "and nothing more began");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_so_many_jobs_takes_no_more_messages_and_does_them_all() {
    let mut rig = rig(16, 500);
    rig.receive.max_messages = Some(333);
    assert_eq!(rig.run(Work::Copy).await.done, 333);
    assert_eq!((received(&rig), rig.queue.visible()), (333, 167));
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_jobs_that_became_slow_is_given_back_and_not_counted() {
    let mut rig = rig(4, 200);
    rig.simulated = Some(Wire::new(1, 0.0));
    rig.visibility = Duration::from_secs(30);
    rig.receive.max_messages = Some(200);
    let running = rig.start(Work::Copy);
    sleep(Duration::from_millis(500)).await;
    rig.faults.cease(On::Get);
    rig.faults.always(On::Get, Fault::Late(Duration::from_secs(100)));
    sleep(Duration::from_secs(1)).await;
    assert!(received(&rig) > begun(&rig), "some wait behind slow jobs");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.queue.visible(), 200 - begun(&rig), "others may have time for them");
    rig.faults.cease(On::Get);
    assert_eq!(running.end().await.done, 200, "and they are made up for");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_so_many_jobs_ends_though_the_receiver_of_the_last_is_no_longer_due() {
    let mut rig = rig(64, 50);
    rig.most = 65;
    rig.receive.max_messages = Some(50);
    let running = rig.start(Work::Copy);
    // Five receivers have asked for all there is to be.
    sleep(TRIP / 2).await;
    running.slots.set(1);
    assert_eq!(running.end().await.done, 50);
}
