//! The way between a worker and its services, for simulated time: calls take a while, and go on when nobody waits for
//! them.
//!
//! What a client sends is done by the server whether the client still lives, has given up, or has sent it a second time
//! meanwhile. So each call is a task of its own, which a killed worker or a deadline does not end: a part may arrive
//! after its second try, a delete after its sender's death, the answer to a begin when nobody is there to read it. A
//! wire that is cut carries nothing, neither requests nor answers.
//!
//! It also knows what no log of the server can: which uploads a worker was told of, what it sent in which order, which
//! reads it asked for twice at a time, and which messages it has in hand.

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

/// The way of one worker to its services. Clones are one way.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    dice: fastrand::Rng,
    /// The part of all ways that take long.
    long: f64,
    /// The part of all reads whose answer begins late.
    late: f64,
    reads: Asked,
    cut: Option<Instant>,
    hand: Hand,
    /// Receipts whose delete was sent.
    deleted: HashSet<Receipt>,
    /// Receipts of which the queue said that their message is gone, and when.
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

/// A usual way: of a request to a service in the same region, one half of it.
const USUAL: Range<u64> = 1..25;

/// A long way, in milliseconds: up to twice the deadline of a call, so that some answers come when nobody waits any
/// more.
const LONG: Range<u64> = 500..20_000;

/// How much later than others a late read begins, in milliseconds: from where that may still be usual to where a call
/// is given up.
const LATE: Range<u64> = 200..6_000;

impl Wire {
    /// A wire on which `long` (0.02 is 2 %) of all ways take long, decided by `seed`.
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

    /// The same wire, on which `late` of all reads begin late.
    #[must_use]
    pub fn with_late_reads(self, late: f64) -> Self {
        self.lock().late = late;
        self
    }

    /// Carries nothing for `time`.
    pub fn cut(&self, time: Duration) {
        self.lock().cut = Some(Instant::now() + time);
    }

    /// From now on no way takes long and nothing is cut.
    pub fn calm(&self) {
        let mut state = self.lock();
        (state.long, state.late) = (0.0, 0.0);
        state.cut = None;
    }

    /// Uploads that the worker was told of, and neither completed nor began to abort.
    pub fn forgotten_uploads(&self) -> usize {
        let state = self.lock();
        state.uploads.iter().filter(|fate| !fate.completed.load(SeqCst) && !fate.aborted.load(SeqCst)).count()
    }

    /// Uploads that the worker was told of and the store has not confirmed the end of: these may be open still.
    pub fn loose_uploads(&self) -> usize {
        let state = self.lock();
        state.uploads.iter().filter(|fate| !fate.completed.load(SeqCst) && !fate.discarded.load(SeqCst)).count()
    }

    /// Uploads that the worker was told of.
    pub fn told_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Receipts that the worker extended after it had sent their delete.
    pub fn extended_after_delete(&self) -> Vec<Receipt> {
        self.lock().extended_after.clone()
    }

    /// Receipts of which the queue said that their message is gone, and when it did. A faulty one may say so of one
    /// that is not.
    pub fn said_gone(&self) -> Vec<(Instant, Receipt)> {
        self.lock().gone.clone()
    }

    /// How many messages came to the worker together with one of their group that it had in hand already.
    pub fn came_behind(&self) -> usize {
        self.lock().hand.came_behind()
    }

    /// What the worker asked for to read.
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

    /// How much later than others an answer to a read begins.
    fn lateness(&self) -> Duration {
        let State { dice, late, .. } = &mut *self.lock();
        // Without lateness no chance is used up, so what a seed was before it still is.
        let is_late = *late > 0.0 && dice.f64() < *late;
        if is_late { Duration::from_millis(dice.u64(LATE)) } else { Duration::ZERO }
    }

    fn is_cut(&self) -> bool {
        self.lock().cut.is_some_and(|until| Instant::now() < until)
    }

    /// Makes a call at the other end; never ends if the call or its answer got lost.
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
                // Nobody may wait for it any more.
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
