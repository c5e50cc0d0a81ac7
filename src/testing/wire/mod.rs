//! The network between a worker and its services, for simulated time: calls take a while, and go on even if the caller
//! no longer waits.
//!
//! A server executes a request even if the client has died, has given up, or has sent the request again in the
//! meantime. So each call is its own task, which a killed worker or a deadline does not end: a part may arrive after
//! its second attempt, a delete after its sender's death, and the response to a begin after its reader is gone. A wire
//! that is cut carries neither requests nor responses.
//!
//! It also knows what a server's log can't show: which uploads a worker knows of, what the worker sent in which order,
//! which reads it requested twice at a time, and which messages it has in hand.

mod in_hand;
mod queue;
mod reads;
mod store;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use in_hand::Hand;
use queue::FarQueue;
use reads::Asked;
pub use reads::Reads;
use store::{FarStore, Fate};

use crate::services::queue::{JobQueue, Receipt};
use crate::services::store::ObjectStore;

/// The wire of one worker to its services. Clones share one wire.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    dice: fastrand::Rng,
    /// The share of all transmissions that take long.
    long: f64,
    /// The share of all reads whose response begins late.
    late: f64,
    reads: Asked,
    cut: Option<Instant>,
    hand: Hand,
    /// Receipts whose delete was sent.
    deleted: HashSet<Receipt>,
    /// Receipts whose message is gone according to the queue, and when the queue said so.
    gone: Vec<(Instant, Receipt)>,
    /// Receipts that were extended after their delete was sent.
    extended_after: Vec<Receipt>,
    uploads: Vec<Arc<Fate>>,
}

impl State {
    fn sends_extend(&mut self, receipts: &[Receipt], timeout: Duration) {
        self.hand.extend(receipts, timeout);
        if !timeout.is_zero() {
            let after = receipts.iter().filter(|receipt| self.deleted.contains(receipt));
            self.extended_after.extend(after.cloned());
        }
    }

    fn sends_delete(&mut self, receipts: &[Receipt]) {
        self.hand.put_down(receipts);
        self.deleted.extend(receipts.iter().cloned());
    }
}

/// The usual time of one transmission, in milliseconds: half of a request to a service in the same region.
const USUAL: Range<u64> = 1..25;

/// The time of a long transmission, in milliseconds: up to twice the deadline of a call, so that some responses arrive
/// after the caller has stopped waiting.
const LONG: Range<u64> = 500..20_000;

/// The extra delay of a late read, in milliseconds: from a delay that may still be usual to a delay after which a call
/// is given up.
const LATE: Range<u64> = 200..6_000;

impl Wire {
    /// A wire on which the share `long` (0.02 is 2 %) of all transmissions takes long, chosen by `seed`.
    pub fn new(seed: u64, long: f64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: fastrand::Rng::with_seed(seed),
            long,
            late: 0.0,
            reads: Asked::default(),
            cut: None,
            hand: Hand::default(),
            deleted: HashSet::new(),
            gone: Vec::new(),
            extended_after: Vec::new(),
            uploads: Vec::new(),
        })))
    }

    /// The same wire, on which the share `late` of all reads begins late.
    #[must_use]
    pub fn with_late_reads(self, late: f64) -> Self {
        self.lock().late = late;
        self
    }

    /// Carries nothing for `time`.
    pub fn cut(&self, time: Duration) {
        self.lock().cut = Some(Instant::now() + time);
    }

    /// From now on no transmission takes long and nothing is cut.
    pub fn calm(&self) {
        let mut state = self.lock();
        (state.long, state.late) = (0.0, 0.0);
        state.cut = None;
    }

    /// Uploads that the worker knows of, and neither completed nor began to abort.
    pub fn forgotten_uploads(&self) -> usize {
        let state = self.lock();
        state.uploads.iter().filter(|fate| !fate.completed.load(SeqCst) && !fate.aborted.load(SeqCst)).count()
    }

    /// Uploads that the worker knows of and whose end the store has not confirmed: these may still be open.
    pub fn loose_uploads(&self) -> usize {
        let state = self.lock();
        state.uploads.iter().filter(|fate| !fate.completed.load(SeqCst) && !fate.discarded.load(SeqCst)).count()
    }

    /// Uploads that the worker knows of.
    pub fn told_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Receipts that the worker extended after it had sent their delete.
    pub fn extended_after_delete(&self) -> Vec<Receipt> {
        self.lock().extended_after.clone()
    }

    /// Receipts whose message is gone according to the queue, and when the queue said so. A faulty queue may say this
    /// wrongly.
    pub fn said_gone(&self) -> Vec<(Instant, Receipt)> {
        self.lock().gone.clone()
    }

    /// How many messages the worker received while it already had a message of the same group in hand.
    pub fn came_behind(&self) -> usize {
        self.lock().hand.came_behind()
    }

    /// The reads that the worker requested.
    pub fn reads(&self) -> Reads {
        self.lock().reads.so_far()
    }

    /// `queue` at the end of this wire.
    pub fn queue(&self, queue: Arc<dyn JobQueue>) -> Arc<dyn JobQueue> {
        Arc::new(FarQueue { queue, wire: self.clone() })
    }

    /// `store` at the end of this wire.
    pub fn store(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(FarStore { store, wire: self.clone() })
    }

    fn way(&self) -> Duration {
        let State { dice, long, .. } = &mut *self.lock();
        Duration::from_millis(if dice.f64() < *long { dice.u64(LONG) } else { dice.u64(USUAL) })
    }

    /// The extra delay of a response to a read.
    fn lateness(&self) -> Duration {
        let State { dice, late, .. } = &mut *self.lock();
        // Without late reads no random number is drawn, so the meaning of existing seeds does not change.
        let is_late = *late > 0.0 && dice.f64() < *late;
        if is_late { Duration::from_millis(dice.u64(LATE)) } else { Duration::ZERO }
    }

    fn is_cut(&self) -> bool {
        self.lock().cut.is_some_and(|until| Instant::now() < until)
    }

    /// Makes a call at the other end; never ends if the call or its response got lost.
    async fn carry<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> T {
        let (there, back) = (self.way(), self.way());
        let (answer, answered) = oneshot::channel();
        let wire = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(there).await;
            if wire.is_cut() {
                return;
            }
            let said = call.await;
            tokio::time::sleep(back).await;
            if !wire.is_cut() {
                // The caller may have stopped waiting.
                answer.send(said).ok();
            }
        });
        match answered.await {
            Ok(said) => said,
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
