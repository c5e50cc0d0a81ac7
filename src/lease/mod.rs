//! Leases keep received messages ours for as long as we work on them.
//!
//! Owning a [`Lease`] is owning the message. Its visibility timeout is extended in the background, in batches,
//! from the moment of the receive *request* until it is settled or dropped: through waiting, work, a delete that is
//! not flushed yet, and the drain. A job that dies drops its lease, and the message comes back by itself.
//!
//! The keeper (`keeper.rs`) runs on a thread and runtime of its own, and should be given connections of its own: with
//! four blocking jobs on the runtime of the work, the worst gap between two heartbeats was 6 s instead of 0.1 s
//! (measured). Only simulated time needs it on the runtime of the work, which has the one clock there is
//! ([`Leases::here`]).
//!
//! A message that is delivered again while we hold it (normal on SQS) never runs twice here at once: its newest
//! receipt takes the place of the old one, which may no longer work. Which is the newest tells the queue's count of
//! receives: with several receivers an earlier delivery's answer may be the later one, and a long poll that was asked
//! first the last.
//!
//! Bounded by the messages in flight. Time is monotonic; a wall clock that jumps costs no lease.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::keeper::{Keeper, keep_on};
use crate::error::{Code, ErrorKind, JobError, ServiceError, Stage};
use crate::record::Meters;
use crate::runtime::heartbeat;
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::services::queue::{JobQueue, Message, Receipt};

mod keeper;

/// The longest a message can be held, counted from its receive; extending beyond is an error, not a clamp
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>).
pub const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The queue says that the receipt is no longer good: somebody else may have the message.
    Taken,
    /// The message has been held as long as the queue allows.
    TooLong,
}

impl Loss {
    fn error(self) -> JobError {
        let (code, cause) = match self {
            Self::Taken => (Code::LeaseLost, "the message is no longer ours; another worker may have the job"),
            Self::TooLong => (Code::HeldTooLong, "the message was held for 12 hours, the longest a queue allows"),
        };
        JobError::new(Stage::Receive, ErrorKind::LeaseLost, code, cause)
    }
}

/// Grants leases and keeps them.
#[derive(Debug)]
pub struct Leases {
    held: Held,
    queue: Arc<dyn JobQueue>,
    visibility: Duration,
    meters: Arc<Meters>,
    refused: Refused,
    /// Counted up each second by the keeper's runtime, while it lives.
    beats: Arc<AtomicU64>,
    /// Dropping it ends the keeper.
    _keeper: oneshot::Sender<()>,
}

/// In order, so that what is extended together does not depend on chance: a failure in simulated time can be repeated.
type Held = Arc<Mutex<BTreeMap<String, Entry>>>;

/// What the queue said when it would not let us extend at all.
type Refused = Arc<OnceLock<ServiceError>>;

#[derive(Debug)]
struct Entry {
    receipt: Receipt,
    /// The receive that the receipt is of.
    attempt: u32,
    received: Instant,
    deadline: Instant,
    /// A delete is under way: no extension may follow it.
    settling: bool,
    lost: watch::Sender<Option<Loss>>,
}

/// The right to work on one message.
#[derive(Debug)]
pub struct Lease {
    id: String,
    leases: Arc<Leases>,
    lost: watch::Receiver<Option<Loss>>,
}

/// How the leases are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Messages held.
    pub held: usize,
    /// The least time that is left on one of them.
    pub shortest: Option<Duration>,
}

impl Leases {
    /// Keeps leases on messages of `queue`, each hidden for `visibility` at a time. The queue is best one with
    /// connections of its own.
    pub fn new(queue: Arc<dyn JobQueue>, visibility: Duration, meters: Arc<Meters>) -> std::io::Result<Arc<Self>> {
        Self::limited(queue, visibility, LONGEST, meters)
    }

    /// Like [`new`](Self::new), for queues that let a message be held for `longest`.
    pub fn limited(
        queue: Arc<dyn JobQueue>,
        visibility: Duration,
        longest: Duration,
        meters: Arc<Meters>,
    ) -> std::io::Result<Arc<Self>> {
        let (leases, keeping) = Self::kept(queue, visibility, longest, meters);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("leases".into()).spawn(move || runtime.block_on(keeping))?;
        Ok(leases)
    }

    /// Like [`limited`](Self::limited), with the keeper on the runtime that this is called on: for simulated time.
    pub fn here(queue: Arc<dyn JobQueue>, visibility: Duration, longest: Duration, meters: Arc<Meters>) -> Arc<Self> {
        let (leases, keeping) = Self::kept(queue, visibility, longest, meters);
        tokio::spawn(keeping);
        leases
    }

    /// Leases, and the work of keeping them, which ends when they are gone.
    pub(crate) fn kept(
        queue: Arc<dyn JobQueue>,
        visibility: Duration,
        longest: Duration,
        meters: Arc<Meters>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let held = Held::default();
        let (keeper, gone) = oneshot::channel();
        let refused = Refused::default();
        let kept = Keeper {
            queue: Arc::clone(&queue),
            held: Arc::clone(&held),
            meters: Arc::clone(&meters),
            refused: Arc::clone(&refused),
            visibility,
        };
        let beats = Arc::new(AtomicU64::new(0));
        let beating = heartbeat::beat(Arc::clone(&beats));
        let keeping = async move {
            tokio::select! {
                biased;
                _ = gone => {}
                () = keep_on(kept, longest) => {}
                () = beating => {}
            }
        };
        (Arc::new(Self { held, queue, visibility, meters, refused, beats, _keeper: keeper }), keeping)
    }

    /// What the queue said, if it has refused to extend: no right to, or no credentials any more.
    pub fn refused(&self) -> Option<ServiceError> {
        self.refused.get().cloned()
    }

    /// A number that changes each second while the keeper lives.
    pub fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// How many messages are held, without ever waiting: `None` if somebody is at the list.
    pub fn held(&self) -> Option<usize> {
        match self.held.try_lock() {
            Ok(held) => Some(held.len()),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner().len()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// How long a message is hidden at a time.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// A lease on a message asked for at `asked`; `None` if it is held here already, by the newer receipt then.
    pub fn grant(self: &Arc<Self>, message: &Message, asked: Instant) -> Option<Lease> {
        let deadline = asked + self.visibility;
        let mut held = lock(&self.held);
        if let Some(entry) = held.get_mut(&message.id) {
            self.meters.duplicates.fetch_add(1, Relaxed);
            // The count is approximate on SQS: where it does not tell them apart, the answer that came last is taken.
            if message.attempt >= entry.attempt {
                (entry.receipt, entry.attempt) = (message.receipt.clone(), message.attempt);
                entry.deadline = deadline;
            }
            return None;
        }
        let (tx, lost) = watch::channel(None);
        let (receipt, attempt) = (message.receipt.clone(), message.attempt);
        held.insert(
            message.id.clone(),
            Entry { receipt, attempt, received: asked, deadline, settling: false, lost: tx },
        );
        Some(Lease { id: message.id.clone(), leases: Arc::clone(self), lost })
    }

    /// How the leases are doing.
    pub fn health(&self) -> Health {
        let now = Instant::now();
        let held = lock(&self.held);
        let shortest = held.values().map(|entry| entry.deadline.saturating_duration_since(now)).min();
        Health { held: held.len(), shortest }
    }
}

impl Lease {
    /// The newest receipt, to settle with.
    pub fn receipt(&self) -> Option<Receipt> {
        lock(&self.leases.held).get(&self.id).map(|entry| entry.receipt.clone())
    }

    /// For how long from now the queue lets the message be hidden at the most.
    pub fn hidable(&self) -> Duration {
        let held = lock(&self.leases.held).get(&self.id).map_or(Duration::ZERO, |entry| entry.received.elapsed());
        LONGEST.saturating_sub(held + keeper::MARGIN)
    }

    /// Whether the message is known to be somebody else's.
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Resolves when the message is no longer ours, with the error that is for its job.
    pub async fn lost(&self) -> JobError {
        let mut lost = self.lost.clone();
        let loss = lost.wait_for(Option::is_some).await.map_or(None, |loss| *loss);
        loss.unwrap_or(Loss::Taken).error()
    }

    /// Makes sure that the message is ours right now, the last thing before its output is published: a worker that
    /// was stopped for a minute must not overwrite what another has done meanwhile.
    pub async fn confirm(&self) -> Result<(), JobError> {
        if let Some(loss) = *self.lost.borrow() {
            return Err(loss.error());
        }
        let asked = Instant::now();
        let Some((receipt, deadline)) =
            lock(&self.leases.held).get(&self.id).map(|entry| (entry.receipt.clone(), entry.deadline))
        else {
            return Err(Loss::Taken.error());
        };
        if deadline > asked {
            return Ok(());
        }
        // A queue that does not answer can't say that the message is ours.
        let visibility = self.leases.visibility;
        let call = self.leases.queue.extend(std::slice::from_ref(&receipt), visibility);
        match tokio::time::timeout(visibility, call).await.map(|answer| answer.map(|mut outcomes| outcomes.pop())) {
            Ok(Ok(Some(Ok(())))) => {
                if let Some(entry) = lock(&self.leases.held).get_mut(&self.id) {
                    entry.deadline = asked + visibility;
                }
                Ok(())
            }
            _ => Err(Loss::Taken.error()),
        }
    }

    /// Ends the lease and yields the newest receipt to give the message back with. The message may be delivered to us
    /// again in the same moment, and that is a new lease.
    pub fn release(&self) -> Option<Receipt> {
        let mut held = lock(&self.leases.held);
        let entry = held.remove(&self.id)?;
        if entry.lost.subscribe().same_channel(&self.lost) {
            return Some(entry.receipt);
        }
        held.insert(self.id.clone(), entry);
        None
    }

    /// From now on the lease is not extended, because a delete is about to be sent; `false` goes back.
    pub fn settle(&self, settling: bool) {
        if let Some(entry) = lock(&self.leases.held).get_mut(&self.id) {
            entry.settling = settling;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

fn lock(held: &Held) -> MutexGuard<'_, BTreeMap<String, Entry>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
