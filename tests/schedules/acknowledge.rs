//! The end of the pipeline: jobs that finish at once, in all orders, at a queue that deletes some of a batch and not
//! others, answers late or never, and whose leases are extended meanwhile.
//!
//! The property: whatever comes together,
//!
//! - everything ends: a batch that waits for more, a pause between two attempts, a wake-up that is lost;
//! - each message is deleted, given back or left to whoever has it, one of these, by one job, and never two;
//! - nothing is deleted again that the queue has said is gone, nothing is given back once its delete was sent, and no
//!   look of the keeper's that begins after either extends it;
//! - what is counted as done or skipped is what the queue said is gone, and it is; every job is counted once, as one
//!   thing;
//! - a letter is sent before its message is deleted;
//! - in the end nothing is held.
//!
//! Not in here: the words that are told of failures. Lines of a FIFO group, whose messages settle one by one, have
//! `lines.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchpipe::error::{Code, Disposition, ErrorKind, JobError, ServiceError, ServiceErrorKind, Stage};
use batchpipe::record::Meters;
use batchpipe::services::ServiceFuture;
use batchpipe::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};
use batchpipe::services::retry::Retry;
use batchpipe::stages::acknowledge::dead_letter::MESSAGE_ID;
use batchpipe::stop::shutdown::Shutdown;
use batchpipe::testing::MemoryQueue;
use batchpipe_schedules::lease::{LONGEST, Lease};
use batchpipe_schedules::stages::{Finished, Settled, Settling};
use batchpipe_schedules::stop::circuit::Circuit;
use batchpipe_schedules::{acknowledged, kept};
use futures::FutureExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use shuttle::future::{block_on, spawn};
use tokio::time::sleep;

use super::checked::Checked;
use super::clock::{self, STEP, VISIBILITY};
use super::{draw, others};

/// Small, so that a few jobs make several batches.
const BATCH: usize = 3;

/// How long a batch waits for more. Jobs end within some of these.
const LINGER: Duration = Duration::from_secs(1);

/// Batches that may be under way at once.
const AT_ONCE: usize = 3;

/// Pauses of about a step, and an end to them that comes within the case.
const RETRY: Retry =
    Retry { attempts: 3, base: Duration::from_secs(1), cap: Duration::from_secs(4), deadline: Duration::from_secs(2) };

/// Ways for a job to end.
const ENDS: [Result<bool, ErrorKind>; 8] = [
    Ok(true),
    Ok(true),
    Ok(true),
    Ok(true),
    Ok(false),
    Err(ErrorKind::Failed),
    Err(ErrorKind::Stopped),
    Err(ErrorKind::Rejected),
];

pub(super) fn model() {
    block_on(async {
        // What is drawn by the code itself belongs to the schedule.
        fastrand::seed(draw(0..usize::MAX) as u64);
        let checked = Checked::new(LONGEST, if draw(0..2) == 0 { 0 } else { 4 });
        let meters = Arc::new(Meters::default());
        let queue = Arc::clone(&checked) as Arc<dyn JobQueue>;
        let leases = kept(queue, VISIBILITY, LONGEST, Arc::clone(&meters));
        let letters = (draw(0..2) == 0).then(|| Arc::new(MemoryQueue::new("letters")));
        let ledger = Arc::new(Ledger {
            queue: Arc::clone(&checked),
            letters: letters.clone(),
            fails: [0, 3, 6][draw(0..3)],
            pages: Mutex::default(),
        });
        let settling = Settling {
            queue: Arc::clone(&ledger) as Arc<dyn JobQueue>,
            dead_letters: letters.map(|letters| letters as Arc<dyn JobQueue>),
            max_receives: None,
            retry: RETRY,
            circuit: Arc::new(Circuit::new(Shutdown::default())),
            meters,
        };
        let done = Arc::new(AtomicBool::new(false));
        let clock = spawn(clock::run(checked.held_until(), Arc::clone(&done)));
        let (finished, all) = unbounded();
        let messages = draw(1..8);
        (0..messages).for_each(|number| drop(checked.real.push(number.to_string())));
        let mut jobs = Vec::new();
        let asked = tokio::time::Instant::now();
        for message in checked.receive(messages, Duration::ZERO, VISIBILITY).await.expect("messages") {
            let lease = leases.grant(&message, asked).expect("a lease on a message that nobody has");
            jobs.push(spawn(job(Arc::clone(&ledger), message, lease, finished.clone())));
        }
        drop(finished);
        if draw(0..4) == 0 {
            others(20).await;
            checked.meddle(true);
        }
        let settled = acknowledged(all, &settling, LINGER, AT_ONCE).await;
        // One that died may still be letting go of its lease.
        for job in jobs {
            job.await.unwrap();
        }
        done.store(true, SeqCst);
        clock.await.unwrap();
        ledger.balance(settled);
        assert_eq!(leases.health().held, 0, "a lease is held that nobody has");
    });
}

/// Works for a while, and ends in one way or another, or dies with its lease.
async fn job(ledger: Arc<Ledger>, message: Message, lease: Lease, finished: UnboundedSender<Finished>) {
    // Many at one moment.
    sleep(STEP * draw(0..4) as u32).await;
    others(3).await;
    if draw(0..16) == 0 {
        return;
    }
    let end = ENDS[draw(0..ENDS.len())];
    ledger.page(&message.receipt, |page| (page.id, page.end) = (message.id.clone(), Some(end)));
    let result = end.map_err(|kind| JobError::new(Stage::Process, kind, Code::ProgramFailed, "the model says so"));
    finished.unbounded_send(Finished::new(message, lease, result)).expect("somebody who settles");
}

/// The queue as whoever settles sees it, which writes down what is asked and what is said.
#[derive(Debug)]
struct Ledger {
    queue: Arc<Checked>,
    letters: Option<Arc<MemoryQueue>>,
    /// One call of so many, and one entry of so many, has trouble; 0 for none.
    fails: usize,
    pages: Mutex<BTreeMap<String, Page>>,
}

/// What is known of one receipt.
#[derive(Debug, Default)]
struct Page {
    id: String,
    end: Option<Result<bool, ErrorKind>>,
    /// Deletes that were sent, that did happen, and that the queue told of.
    sent: usize,
    gone: bool,
    told: bool,
    /// The queue said that somebody else has it.
    taken: bool,
    /// Calls that give it back, and those that said that they did.
    returning: usize,
    returned: usize,
}

fn failure(kind: ServiceErrorKind) -> ServiceError {
    ServiceError::new(kind, "503", "the model says so")
}

impl Ledger {
    fn page<T>(&self, receipt: &Receipt, note: impl FnOnce(&mut Page) -> T) -> T {
        note(self.pages.lock().expect("no check failed").entry(receipt.0.clone()).or_default())
    }

    fn trouble(&self) -> bool {
        self.fails > 0 && draw(0..self.fails) == 0
    }

    /// The way to the queue or back: short, or longer than anybody waits, or into nothing.
    async fn way(&self) -> Result<(), ServiceError> {
        others(2).await;
        let steps = if self.trouble() { draw(0..7) } else { draw(0..2) };
        sleep(STEP * steps as u32).await;
        if self.trouble() { Err(failure(ServiceErrorKind::Unavailable)) } else { Ok(()) }
    }

    /// Deletes one message of a batch, or not, and says so, or not.
    async fn delete_one(&self, receipt: &Receipt) -> Outcome {
        let (happens, kind) = match draw(0..4) {
            _ if !self.trouble() => (true, None),
            0 => (true, Some(ServiceErrorKind::Unavailable)),
            1 => (false, Some(ServiceErrorKind::Denied)),
            _ => (false, Some(ServiceErrorKind::Throttled)),
        };
        if happens {
            self.queue.real.delete(std::slice::from_ref(receipt)).await?.remove(0)?;
            self.page(receipt, |page| page.gone = true);
        }
        kind.map_or(Ok(()), |kind| Err(failure(kind)))
    }

    /// What was counted is what happened.
    fn balance(&self, settled: Settled) {
        let mut expected = Settled::default();
        let pages = self.pages.lock().expect("no check failed");
        for (receipt, page) in &*pages {
            let Some(end) = page.end else { continue };
            let what = format!("{receipt}: {page:?}");
            assert!(!page.told || page.gone, "told and not gone, {what}");
            assert!(page.sent == 0 || page.returning == 0, "deleted and given back, {what}");
            let number = match end {
                Ok(done) => {
                    assert!(page.sent > 0 && page.returning == 0, "{what}");
                    match done {
                        _ if page.taken => &mut expected.abandoned,
                        _ if !page.told => &mut expected.retried,
                        true => &mut expected.done,
                        false => &mut expected.skipped,
                    }
                }
                // Its lease was lost by then.
                Err(_) if page.sent + page.returning == 0 => &mut expected.abandoned,
                Err(kind) => {
                    assert!(page.returned <= 1, "given back twice, {what}");
                    match JobError::new(Stage::Process, kind, Code::ProgramFailed, "").disposition() {
                        Disposition::Reject => &mut expected.rejected,
                        Disposition::Release => &mut expected.released,
                        _ => &mut expected.retried,
                    }
                }
            };
            *number += 1;
        }
        assert_eq!(settled, expected, "{pages:?}");
    }
}

// Each method stands here, also those that only pass on: a new one of the trait must be looked at.
impl JobQueue for Ledger {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn max_batch(&self) -> usize {
        BATCH
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.queue.send(messages)
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        self.queue.receive(max, wait, visibility)
    }

    /// Only to give back.
    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            for receipt in receipts {
                let id = self.page(receipt, |page| {
                    page.returning += 1;
                    assert!(page.sent == 0, "given back after its delete was sent, {page:?}");
                    page.id.clone()
                });
                self.queue.settling(&id);
            }
            self.way().await?;
            let outcomes = self.queue.real.extend(receipts, timeout).await?;
            self.way().await?;
            receipts.iter().for_each(|receipt| self.page(receipt, |page| page.returned += 1));
            Ok(outcomes)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            assert!(receipts.len() <= BATCH, "a batch of {}", receipts.len());
            for receipt in receipts {
                let id = self.page(receipt, |page| {
                    page.sent += 1;
                    assert!(!page.told, "deleted again, {page:?}");
                    assert!(page.returning == 0, "deleted after it was given back, {page:?}");
                    if matches!(page.end, Some(Err(_))) {
                        let letters = self.letters.iter().flat_map(|letters| letters.peek());
                        let sent = letters.filter(|letter| letter.attributes.get(MESSAGE_ID) == Some(&page.id)).count();
                        assert!(sent > 0, "deleted without a letter, {page:?}");
                    }
                    page.id.clone()
                });
                self.queue.settling(&id);
            }
            self.way().await?;
            let mut outcomes = Vec::new();
            for receipt in receipts {
                outcomes.push(self.delete_one(receipt).await);
            }
            self.way().await?;
            for (receipt, outcome) in receipts.iter().zip(&outcomes) {
                self.page(receipt, |page| match outcome {
                    Ok(()) => page.told = true,
                    Err(error) => page.taken = error.kind == ServiceErrorKind::LeaseLost,
                });
            }
            Ok(outcomes)
        }
        .boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        self.queue.counts()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.queue.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.queue.dead_letters()
    }
}
