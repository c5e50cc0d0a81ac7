//! Messages of groups, from the receive to the end: receivers, what comes ahead of its place, lines and what settles
//! them.
//!
//! The property: whatever is sent when, whichever jobs fail, whatever the queue forgets, gives to others or fails to
//! delete, and whenever the worker is told to stop,
//!
//! - every run ends, and the next does what the last one left, until the queue is empty;
//! - nothing that is in the queue is begun before all that were sent before it in its group have left it, nor beside
//!   another of its group;
//! - each of a line finds the whole room of a job, whatever those before it gave back or grew to;
//! - what is counted as done is what was, and what the queue said is gone;
//! - after a run nothing is held: no lease, no slot, no room.
//!
//! An answer may be so late that what it brought has been received again, done and deleted by the time. Such a message
//! is begun once more: only the queue knows that it is gone, and it is asked before an output appears if the time that
//! it promised is over. This queue forgets sooner than it promised, which SQS does not. So a job of a message that has
//! left the queue may begin here whenever it likes, and what is counted as done may differ by as many.
//!
//! Not in here: the bytes of a job (`budget.rs`), and leases that end while they are kept (`leases.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchpipe::error::{Code, ErrorKind, JobError, ServiceError, ServiceErrorKind, Stage};
use batchpipe::job::message::Rules;
use batchpipe::record::Meters;
use batchpipe::services::ServiceFuture;
use batchpipe::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};
use batchpipe::services::retry::Retry;
use batchpipe::stop::shutdown::{Phase, Shutdown};
use batchpipe::testing::{MemoryQueue, MemoryStore};
use batchpipe_schedules::capacity::budget::{LINK_BYTES, Room};
use batchpipe_schedules::lease::{LONGEST, Lease};
use batchpipe_schedules::pipeline::{Parts, Pipeline, Plan, Shared};
use batchpipe_schedules::processor::Work;
use batchpipe_schedules::stages::{Finished, IfExists, Receive, Settled, Transfer};
use batchpipe_schedules::{Jobs, kept, run_jobs};
use futures::FutureExt;
use futures::future::BoxFuture;
use shuttle::future::{block_on, spawn};
use tokio::time::sleep;

use super::clock::{self, STEP, VISIBILITY};
use super::{draw, others};

/// Some of each group in most cases, and several in a line.
const GROUPS: usize = 3;

/// The most messages: enough for a line, one behind it and another group.
const MESSAGES: usize = 8;

/// Receives of a message after which its job fails no more.
const PATIENT: u32 = 3;

const PART: u64 = 1024;

/// A whole write part, in the budgets below.
const FULL: u64 = PART + LINK_BYTES;

/// How long a finished message waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Pauses of about a step.
const RETRY: Retry =
    Retry { attempts: 3, base: Duration::from_secs(1), cap: Duration::from_secs(2), deadline: Duration::from_secs(4) };

pub(super) fn model() {
    block_on(async {
        // What is drawn by the code itself belongs to the schedule.
        fastrand::seed(draw(0..usize::MAX) as u64);
        let queue = Arc::new(Groups {
            real: MemoryQueue::new("jobs.fifo"),
            fails: [0, 4][draw(0..2)],
            sent: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
            ends: Mutex::default(),
        });
        (0..draw(1..MESSAGES)).for_each(|_| queue.push());
        let mut done = 0;
        let mut runs = 0;
        while !queue.real.is_empty() {
            done += work(&queue, runs == 0).await.done;
            runs += 1;
        }
        let ends = queue.ends.lock().unwrap();
        let (gone, again) = (ends.values().filter(|end| end.done && end.told).count(), queue.again.load(SeqCst));
        assert!(done.abs_diff(gone as u64) <= again as u64, "{done} in {runs} runs, {again} again: {ends:?}");
    });
}

/// One worker, from its start until it ends by itself or is told to. The first is not left in peace.
async fn work(queue: &Arc<Groups>, first: bool) -> Settled {
    let (meters, shutdown) = (Arc::new(Meters::default()), Shutdown::default());
    let leases = kept(Arc::clone(queue) as Arc<dyn JobQueue>, VISIBILITY, LONGEST, Arc::clone(&meters));
    let jobs = Arc::new(AtWork { queue: Arc::clone(queue), groups: Mutex::default() });
    let mut pipeline = Pipeline::assemble(Parts {
        shared: Shared::new(meters, shutdown.clone(), RETRY),
        queue: Arc::clone(queue) as Arc<dyn JobQueue>,
        dead_letters: Some(Arc::new(MemoryQueue::new("letters"))),
        max_receives: None,
        leases: Arc::clone(&leases),
        store: Arc::new(MemoryStore::new()),
        concurrency: draw(1..4),
        tuner: None,
        processors: 1,
        memory: (PART + FULL) * draw(1..4) as u64,
        plan: Plan {
            rules: Rules::default(),
            work: Work::Copy,
            transfer: Transfer::new(PART, 1, RETRY),
            if_exists: IfExists::Overwrite,
            job_timeout: None,
            linger: LINGER,
        },
    });
    pipeline.intake.ahead = draw(0..2) == 0;
    let (slots, budget) = (Arc::clone(&pipeline.intake.slots), Arc::clone(&pipeline.intake.budget));
    let how = Receive {
        receivers: (draw(0..2) == 0).then(|| draw(1..3)),
        wait: STEP * draw(0..3) as u32,
        until_empty: true,
        idle_exit: None,
        max_messages: (first && draw(0..4) == 0).then(|| draw(1..4) as u64),
    };
    let done = Arc::new(AtomicBool::new(false));
    let clock = spawn(clock::run(|_| {}, Arc::clone(&done)));
    let befalling = spawn(befall(Arc::clone(queue), shutdown, first));
    let settled = run_jobs(&pipeline, how, Arc::clone(&jobs) as Arc<dyn Jobs>).await;
    befalling.await.unwrap();
    done.store(true, SeqCst);
    clock.await.unwrap();
    assert!(jobs.groups.lock().unwrap().is_empty(), "a job is at work after the end");
    drop(pipeline);
    assert_eq!(leases.health().held, 0, "a lease is held that nobody has");
    assert_eq!((slots.in_use(), budget.reserved()), (0, 0), "slots or room are held that nobody has");
    settled
}

/// More is sent, the queue forgets what is in flight or gives it to others, the worker is told to stop.
async fn befall(queue: Arc<Groups>, shutdown: Shutdown, first: bool) {
    if !first {
        return;
    }
    for _ in 0..draw(0..8) {
        sleep(STEP * draw(0..4) as u32).await;
        others(8).await;
        match draw(0..8) {
            0..=2 => queue.push(),
            3..=5 => drop(queue.real.forget()),
            6 => drop(queue.real.steal(VISIBILITY)),
            _ => shutdown.advance(if draw(0..2) == 0 { Phase::Draining } else { Phase::Cutting }),
        }
    }
}

/// The jobs: they take a while, use some room, and end well or not.
struct AtWork {
    queue: Arc<Groups>,
    groups: Mutex<BTreeSet<String>>,
}

impl Jobs for AtWork {
    fn finish<'a>(&'a self, message: Message, lease: Lease, room: &'a Room) -> BoxFuture<'a, Finished> {
        async move {
            let group = message.group.clone().expect("a group");
            let there = self.queue.of(&group);
            let left = !there.contains(&message.body);
            if left {
                self.queue.again.fetch_add(1, SeqCst);
            } else {
                assert_eq!(there[0], message.body, "begun before it");
                assert!(self.groups.lock().unwrap().insert(group.clone()), "two of {group} at work");
            }
            // A job of a small budget has what that leaves beside a part to read into.
            assert!(room.has(FULL), "less than the room of a job");
            others(3).await;
            room.fit(draw(0..3) as u64);
            sleep(STEP * draw(0..3) as u32).await;
            if draw(0..2) == 0 {
                room.grow().await;
            }
            others(3).await;
            if !left {
                self.groups.lock().unwrap().remove(&group);
            }
            let end = match draw(0..8) {
                0 => Err(ErrorKind::Rejected),
                1 if message.attempt < PATIENT => Err(ErrorKind::Failed),
                2 if message.attempt < PATIENT => Err(ErrorKind::Stopped),
                _ => Ok(true),
            };
            if !left {
                self.queue.end(&message.id, |noted| noted.done = end.is_ok());
            }
            let result = end.map_err(|kind| JobError {
                retry_after: Some(STEP * draw(0..4) as u32),
                ..JobError::new(Stage::Process, kind, Code::ProgramFailed, "the model says so")
            });
            Finished::new(message, lease, result)
        }
        .boxed()
    }
}

/// A FIFO queue in memory, at which every call takes its time and deletes may fail.
#[derive(Debug)]
struct Groups {
    real: MemoryQueue,
    /// One delete of so many has trouble; 0 for none.
    fails: usize,
    sent: AtomicUsize,
    /// Jobs of messages that had left the queue.
    again: AtomicUsize,
    /// What became of each message.
    ends: Mutex<BTreeMap<String, End>>,
}

/// What became of a message.
#[derive(Debug, Default)]
struct End {
    /// Its last job ended well.
    done: bool,
    /// The queue said that it is gone.
    told: bool,
}

fn failure() -> ServiceError {
    ServiceError::new(ServiceErrorKind::Unavailable, "503", "the model says so")
}

impl Groups {
    fn push(&self) {
        let number = self.sent.fetch_add(1, SeqCst);
        self.real.push_in(&format!("group-{}", draw(0..GROUPS)), number.to_string());
    }

    fn end(&self, id: &str, note: impl FnOnce(&mut End)) {
        note(self.ends.lock().unwrap().entry(id.to_owned()).or_default());
    }

    /// What there is of a group, the one whose turn it is first.
    fn of(&self, group: &str) -> Vec<String> {
        let all = self.real.peek().into_iter();
        all.filter(|message| message.group.as_deref() == Some(group)).map(|message| message.body).collect()
    }

    fn trouble(&self) -> bool {
        self.fails > 0 && draw(0..self.fails) == 0
    }

    /// The way to the queue, or back.
    async fn way(&self) {
        others(2).await;
        if draw(0..4) == 0 {
            sleep(STEP).await;
        }
    }
}

// Each method stands here, also those that only pass on: a new one of the trait must be looked at.
impl JobQueue for Groups {
    fn name(&self) -> &str {
        self.real.name()
    }

    fn max_batch(&self) -> usize {
        self.real.max_batch()
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.real.send(messages)
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        async move {
            self.way().await;
            let messages = self.real.receive(max, wait, visibility).await;
            self.way().await;
            messages
        }
        .boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            self.way().await;
            let outcomes = self.real.extend(receipts, timeout).await;
            self.way().await;
            outcomes
        }
        .boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            self.way().await;
            if self.trouble() {
                return Err(failure());
            }
            let outcomes = self.real.delete(receipts).await?;
            self.way().await;
            // It happened, and nobody hears of it.
            if self.trouble() {
                return Err(failure());
            }
            let gone = receipts.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            gone.for_each(|(receipt, _)| self.end(&self.real.id_of(receipt), |end| end.told = true));
            Ok(outcomes)
        }
        .boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        async move {
            self.way().await;
            self.real.counts().await
        }
        .boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.real.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.real.dead_letters()
    }
}
