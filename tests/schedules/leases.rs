//! Leases, while their keeper extends them, jobs confirm and settle, and the queue forgets or gives messages to others.
//!
//! The property: in whatever order that comes,
//!
//! - a message that is held and that nobody meddled with is extended before its visibility ends, though the keeper's
//!   calls fail or are slow, and it panics itself, now and then (one of these in a visibility timeout, as it has time
//!   for);
//! - a lease that was reported lost never confirms, and one that confirms is on a message that others can't see;
//! - whoever asks for that hears of it, also from a worker that stood still for too long and a queue that does not
//!   answer;
//! - no extension is sent of a message whose settling has begun, or by a receipt that a newer one has replaced;
//! - nothing is extended beyond the longest that a queue allows;
//! - in the end nothing is held, and the queue is empty.
//!
//! The keeper looks under the lock and sends when it has freed it, which is one step here. On threads of their own
//! another may begin to settle in between, so one extension may still be sent a moment later than a delete, as one that
//! was sent before may arrive later; it meets a message that is gone.
//!
//! Not in here: the keeper's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use batchpipe::error::ErrorKind;
use batchpipe::record::Meters;
use batchpipe::services::queue::{JobQueue, Message};
use batchpipe_schedules::kept;
use batchpipe_schedules::lease::{LONGEST, Lease, Leases};
use shuttle::future::{block_on, spawn};
use tokio::time::{Instant, sleep};

use super::checked::Checked;
use super::clock::{self, LOOK, STEP, VISIBILITY};
use super::{draw, others};

/// The longest a job works: more than two visibility timeouts.
const WORK: usize = 18;

/// Receives after which nothing goes wrong with a job's own calls any more, so that every message is settled some time.
const PATIENT: u32 = 3;

/// The shortest time that a queue lets a message be held, here: some jobs reach it.
const SHORT: Duration = Duration::from_secs(3 * 8);

pub(super) fn model() {
    block_on(async {
        // Some jobs are held for too long, but then the queue has to be quick, or they never end.
        let longest = if draw(0..3) == 0 { SHORT } else { LONGEST };
        let queue = Checked::new(longest, if draw(0..2) == 0 { 0 } else { 4 });
        let leases = kept(Arc::clone(&queue) as Arc<dyn JobQueue>, VISIBILITY, longest, Arc::new(Meters::default()));
        for number in 0..draw(1..5) {
            queue.real.push(number.to_string());
        }
        let done = Arc::new(AtomicBool::new(false));
        let clock = spawn(clock::run(queue.held_until(), Arc::clone(&done)));
        let meddling = spawn(meddle(Arc::clone(&queue)));
        let standing = spawn(stand_still(Arc::clone(&queue)));
        let mut jobs = Vec::new();
        while !queue.real.is_empty() {
            let asked = Instant::now();
            let messages = queue.receive(2, Duration::ZERO, VISIBILITY).await.expect("messages");
            for message in &messages {
                let Some(lease) = leases.grant(message, asked) else {
                    queue.replaced(message);
                    continue;
                };
                let lease = Arc::new(lease);
                queue.granted(message, &lease);
                jobs.push(spawn(job(Arc::clone(&queue), message.clone(), lease)));
            }
            if messages.is_empty() {
                sleep(STEP).await;
            }
        }
        for job in jobs {
            job.await.unwrap();
        }
        meddling.await.unwrap();
        standing.await.unwrap();
        all_is_settled(&leases);
        done.store(true, SeqCst);
        clock.await.unwrap();
    });
}

fn all_is_settled(leases: &Leases) {
    assert_eq!(leases.health().held, 0, "a lease is held that nobody has");
}

/// Now and then, and not for ever, somebody else gets what is in flight, or the queue forgets that it is.
async fn meddle(queue: Arc<Checked>) {
    for _ in 0..draw(0..3) {
        sleep(STEP * draw(0..24) as u32).await;
        others(3).await;
        queue.meddle(draw(0..2) == 0);
    }
}

/// Now and then the whole worker stands still for longer than the queue hides a message. Then a job confirms before the
/// keeper has looked.
async fn stand_still(queue: Arc<Checked>) {
    for _ in 0..draw(0..3) {
        sleep(STEP * draw(0..24) as u32).await;
        queue.nothing_is_safe();
        clock::jump(VISIBILITY + STEP);
    }
}

/// A job: works, confirms, settles. Whoever watches it tells it that its lease was lost, at whatever moment.
async fn job(queue: Arc<Checked>, message: Message, lease: Arc<Lease>) {
    let lost = Arc::new(AtomicBool::new(false));
    let over = Arc::new(tokio::sync::Notify::new());
    let watching = spawn(watch(Arc::clone(&lease), Arc::clone(&lost), Arc::clone(&over)));
    let works = if message.attempt > PATIENT { 0 } else { draw(0..WORK) };
    for _ in 0..draw(1..3) {
        sleep(LOOK * works as u32).await;
        others(2).await;
        if !confirmed(&queue, &message, &lease, &lost).await {
            break;
        }
    }
    if !lost.load(SeqCst) {
        settle(&queue, &message, &lease).await;
    }
    over.notify_one();
    watching.await.unwrap();
}

async fn watch(lease: Arc<Lease>, lost: Arc<AtomicBool>, over: Arc<tokio::sync::Notify>) {
    tokio::select! {
        biased;
        error = lease.lost() => {
            assert_eq!(error.kind, ErrorKind::LeaseLost);
            lost.store(true, SeqCst);
        }
        () = over.notified() => {}
    }
}

async fn confirmed(queue: &Checked, message: &Message, lease: &Lease, lost: &AtomicBool) -> bool {
    let reported = lost.load(SeqCst);
    let asked = Instant::now();
    let answer = lease.confirm().await;
    assert!(!(reported && answer.is_ok()), "a lost lease was confirmed");
    if answer.is_ok() {
        let until = queue.hidden_until(&message.id);
        assert!(until > Some(asked), "a lease was confirmed though others could see {}", message.id);
    }
    answer.is_ok()
}

/// Deletes the message, patiently: what fails is tried again after a while in which nothing may be extended.
async fn settle(queue: &Checked, message: &Message, lease: &Lease) {
    queue.ending(&message.id);
    lease.settle(true);
    queue.settling(&message.id);
    let Some(receipt) = lease.receipt() else { panic!("{} is not held by the job that has its lease", message.id) };
    for _ in 0..3 {
        let Err(_) = queue.delete(std::slice::from_ref(&receipt)).await else { break };
        sleep(LOOK * draw(0..6) as u32).await;
    }
}
