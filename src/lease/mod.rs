//! Leases keep received messages ours for as long as we work on them.
//!
//! Whoever owns the [`Lease`] owns the message. Its visibility timeout is extended in the background, in batches,
//! from the moment of the receive *request* until the message is settled or its lease is dropped: while it waits,
//! while it is worked on, until its delete is flushed, and during the drain. A job that dies drops its lease, and then
//! the message becomes visible again by itself.
//!
//! The keeper (`keeper.rs`) has its own thread and runtime, and should get its own connections: with four blocking
//! jobs on the runtime that does the work, the worst gap between two heartbeats was 6 s instead of 0.1 s (measured).
//! Only simulated time needs the keeper on the runtime that does the work, which has the only clock ([`Leases::here`]).
//!
//! A message that is delivered again while we hold it (normal on SQS) never runs twice here at the same time: its
//! newest receipt replaces the old one, which may no longer work. The queue's receive count tells which receipt is
//! newest, because answers can arrive in another order than the deliveries: a long poll sent first may answer last.
//!
//! Bounded by the messages in flight. Time is monotonic, so a jump of the wall clock loses no lease.

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

/// The longest time that a message can be held, counted from its receive. Extending beyond it is an error; SQS does not
/// clamp (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>).
pub const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The queue says that the receipt is no longer valid: another worker may have the message.
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
    /// Incremented each second by the keeper's runtime while it lives.
    beats: Arc<AtomicU64>,
    /// Dropping it ends the keeper.
    _keeper: oneshot::Sender<()>,
}

/// Sorted, so that the batches do not depend on chance and a failure in simulated time can be repeated.
type Held = Arc<Mutex<BTreeMap<String, Entry>>>;

/// The queue's error when it refused to let us extend at all.
type Refused = Arc<OnceLock<ServiceError>>;

#[derive(Debug)]
struct Entry {
    receipt: Receipt,
    /// The receive count of the delivery that the receipt belongs to.
    attempt: u32,
    received: Instant,
    deadline: Instant,
    /// A delete is under way, and no extension may follow it.
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

/// The state of the leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Messages held.
    pub held: usize,
    /// The shortest time left on any held message.
    pub shortest: Option<Duration>,
}

impl Leases {
    /// Keeps leases on messages of `queue`, each hidden for `visibility` at a time. Best with connections of its own.
    pub fn new(queue: Arc<dyn JobQueue>, visibility: Duration, meters: Arc<Meters>) -> std::io::Result<Arc<Self>> {
        Self::limited(queue, visibility, LONGEST, meters)
    }

    /// Like [`new`](Self::new), for queues that let a message be held for at most `longest`.
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

    /// Like [`limited`](Self::limited), with the keeper on the caller's runtime: for simulated time.
    pub fn here(queue: Arc<dyn JobQueue>, visibility: Duration, longest: Duration, meters: Arc<Meters>) -> Arc<Self> {
        let (leases, keeping) = Self::kept(queue, visibility, longest, meters);
        tokio::spawn(keeping);
        leases
    }

    /// The leases, and the future that keeps them, which ends when the leases are dropped.
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

    /// The queue's error if it refused to extend: missing permission, or credentials that are no longer valid.
    pub fn refused(&self) -> Option<ServiceError> {
        self.refused.get().cloned()
    }

    /// A number that changes each second while the keeper lives.
    pub fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// How many messages are held. Never waits: `None` if the list is locked.
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

    /// A lease on a message requested at `asked`. `None` if it is held here already: that lease gets the newer receipt.
    pub fn grant(self: &Arc<Self>, message: &Message, asked: Instant) -> Option<Lease> {
        let deadline = asked + self.visibility;
        let mut held = lock(&self.held);
        if let Some(entry) = held.get_mut(&message.id) {
            self.meters.duplicates.fetch_add(1, Relaxed);
            // The count is approximate on SQS: if it is the same for both, the answer that arrived last wins.
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

    /// The state of the leases.
    pub fn health(&self) -> Health {
        let now = Instant::now();
        let held = lock(&self.held);
        let shortest = held.values().map(|entry| entry.deadline.saturating_duration_since(now)).min();
        Health { held: held.len(), shortest }
    }
}

impl Lease {
    /// The newest receipt, needed to settle the message.
    pub fn receipt(&self) -> Option<Receipt> {
        lock(&self.leases.held).get(&self.id).map(|entry| entry.receipt.clone())
    }

    /// The longest time from now for which the queue can still hide the message.
    pub fn hidable(&self) -> Duration {
        let held = lock(&self.leases.held).get(&self.id).map_or(Duration::ZERO, |entry| entry.received.elapsed());
        LONGEST.saturating_sub(held + keeper::MARGIN)
    }

    /// Whether the message is known to be no longer ours.
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Resolves when the message is no longer ours, with the error for its job.
    pub async fn lost(&self) -> JobError {
        let mut lost = self.lost.clone();
        let loss = lost.wait_for(Option::is_some).await.map_or(None, |loss| *loss);
        loss.unwrap_or(Loss::Taken).error()
    }

    /// Makes sure that the message is ours right now. This is the last step before its output is published, because a
    /// worker that was stopped for a minute must not overwrite what another worker has written meanwhile.
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
        // If the queue does not answer, we don't know that the message is ours.
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

    /// Ends the lease and returns the newest receipt, with which to give the message back. If the same message was
    /// delivered to us again in the meantime, its new lease stays.
    pub fn release(&self) -> Option<Receipt> {
        let mut held = lock(&self.leases.held);
        let entry = held.remove(&self.id)?;
        if entry.lost.subscribe().same_channel(&self.lost) {
            return Some(entry.receipt);
        }
        held.insert(self.id.clone(), entry);
        None
    }

    /// `true` stops extending the lease, because a delete is about to be sent; `false` resumes it.
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
