//! The way between a worker and its services, for simulated time: calls take a while, and go on when nobody waits for them.
//!
//! What a client sends is done by the server whether the client still lives, has given up, or has sent it a second time
//! meanwhile. So each call is a task of its own, which a killed worker or a deadline does not end: a part may arrive after
//! its second try, a delete after its sender's death, the answer to a begin when nobody is there to read it. A wire that
//! is cut carries nothing, neither requests nor answers.
//!
//! It also knows what no log of the server can: which uploads a worker was told of, and what it sent in which order.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt, ServiceFuture};
use crate::store::{ObjectInfo, ObjectStore, Part, Reading, Unfinished, Upload, Version, Writing};

/// The way of one worker to its services. Clones are one way.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    dice: fastrand::Rng,
    /// The part of all ways that take long.
    long: f64,
    cut: Option<Instant>,
    /// Receipts whose delete was sent.
    deleted: HashSet<Receipt>,
    /// Receipts that were extended after their delete was sent.
    extended_after: Vec<Receipt>,
    uploads: Vec<Arc<Fate>>,
}

/// What a worker did with an upload that it was told of.
#[derive(Debug, Default)]
struct Fate {
    /// The store's name for it.
    id: String,
    /// The store has said that it is an object, or no upload any more.
    completed: AtomicBool,
    /// An abort was sent.
    aborted: AtomicBool,
    /// The store has said that it is discarded.
    discarded: AtomicBool,
}

/// A usual way: of a request to a service in the same region, one half of it.
const USUAL: Range<u64> = 1..25;

/// A long way, in milliseconds: up to twice the deadline of a call, so that some answers come when nobody waits any more.
const LONG: Range<u64> = 500..20_000;

impl Wire {
    /// A wire on which `long` (0.02 is 2 %) of all ways take long, decided by `seed`.
    pub fn new(seed: u64, long: f64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: fastrand::Rng::with_seed(seed),
            long,
            cut: None,
            deleted: HashSet::new(),
            extended_after: Vec::new(),
            uploads: Vec::new(),
        })))
    }

    /// Carries nothing for `time`.
    pub fn cut(&self, time: Duration) {
        self.lock().cut = Some(Instant::now() + time);
    }

    /// From now on no way takes long and nothing is cut.
    pub fn calm(&self) {
        let mut state = self.lock();
        state.long = 0.0;
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

#[derive(Debug)]
struct FarQueue {
    queue: Arc<dyn JobQueue>,
    wire: Wire,
}

impl JobQueue for FarQueue {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn max_batch(&self) -> usize {
        self.queue.max_batch()
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        let (queue, messages) = (Arc::clone(&self.queue), messages.to_vec());
        self.wire.carry(async move { queue.send(&messages).await }).boxed()
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        let queue = Arc::clone(&self.queue);
        self.wire.carry(async move { queue.receive(max, wait, visibility).await }).boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        let (queue, receipts) = (Arc::clone(&self.queue), receipts.to_vec());
        async move {
            if !timeout.is_zero() {
                let mut state = self.wire.lock();
                let after: Vec<_> =
                    receipts.iter().filter(|receipt| state.deleted.contains(receipt)).cloned().collect();
                state.extended_after.extend(after);
            }
            self.wire.carry(async move { queue.extend(&receipts, timeout).await }).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        let (queue, receipts) = (Arc::clone(&self.queue), receipts.to_vec());
        async move {
            self.wire.lock().deleted.extend(receipts.iter().cloned());
            self.wire.carry(async move { queue.delete(&receipts).await }).await
        }
        .boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        let queue = Arc::clone(&self.queue);
        self.wire.carry(async move { queue.counts().await }).boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.queue.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.queue.dead_letters()
    }
}

#[derive(Debug)]
struct FarStore {
    store: Arc<dyn ObjectStore>,
    wire: Wire,
}

impl ObjectStore for FarStore {
    fn part_bounds(&self) -> (u64, u64) {
        self.store.part_bounds()
    }

    fn max_parts(&self) -> u32 {
        self.store.max_parts()
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        let (store, from, pin) = (Arc::clone(&self.store), from.clone(), pin.clone());
        async move {
            let reading = self.wire.carry(async move { store.get(&from, range, &pin).await }).await?;
            let wire = self.wire.clone();
            let body = reading.body.then(move |frame| {
                let way = wire.way();
                async move {
                    tokio::time::sleep(way).await;
                    frame
                }
            });
            Ok(Reading { body: body.boxed(), ..reading })
        }
        .boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        let (store, to, how) = (Arc::clone(&self.store), to.clone(), how.clone());
        let body = sent(&body);
        self.wire.carry(async move { store.put(&to, body, &how).await }).boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        let (store, to, how) = (Arc::clone(&self.store), to.clone(), how.clone());
        async move {
            let upload: Arc<dyn Upload> = self.wire.carry(async move { store.begin(&to, &how).await }).await?.into();
            let fate = Arc::new(Fate { id: upload.unfinished().id, ..Fate::default() });
            self.wire.lock().uploads.push(Arc::clone(&fate));
            Ok(Box::new(FarUpload { upload, wire: self.wire.clone(), fate }) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        let (store, at) = (Arc::clone(&self.store), at.clone());
        self.wire.carry(async move { store.head(&at).await }).boxed()
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        self.store.list(prefix)
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        self.store.unfinished(prefix)
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        let (store, upload) = (Arc::clone(&self.store), upload.clone());
        let fate = self.wire.lock().uploads.iter().find(|fate| fate.id == upload.id).cloned();
        let call = async move {
            let said = store.discard(&upload).await;
            if let (Ok(()), Some(fate)) = (&said, fate) {
                fate.discarded.store(true, SeqCst);
            }
            said
        };
        self.wire.carry(call).boxed()
    }
}

#[derive(Debug)]
struct FarUpload {
    upload: Arc<dyn Upload>,
    wire: Wire,
    fate: Arc<Fate>,
}

impl Upload for FarUpload {
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        let (upload, body) = (Arc::clone(&self.upload), sent(&body));
        self.wire.carry(async move { upload.part(number, body).await }).boxed()
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        let (upload, parts, fate) = (Arc::clone(&self.upload), parts.to_vec(), Arc::clone(&self.fate));
        self.wire
            .carry(async move {
                let said = upload.complete(&parts).await;
                // An upload that is gone was completed before, by a call whose answer was lost.
                let gone = said.as_ref().is_err_and(|error| error.kind == ServiceErrorKind::Missing);
                fate.completed.fetch_or(said.is_ok() || gone, SeqCst);
                said
            })
            .boxed()
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        let (upload, fate) = (Arc::clone(&self.upload), Arc::clone(&self.fate));
        async move {
            self.fate.aborted.store(true, SeqCst);
            let call = async move {
                let said = upload.abort().await;
                fate.discarded.fetch_or(said.is_ok(), SeqCst);
                said
            };
            self.wire.carry(call).await
        }
        .boxed()
    }

    fn unfinished(&self) -> Unfinished {
        self.upload.unfinished()
    }
}

/// The bytes as they travel: the sender's memory is the sender's, and what is on the way outlives it.
fn sent(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(body)
}
