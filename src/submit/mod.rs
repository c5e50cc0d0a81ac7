//! The other flow: (read → upload) × N → send.
//!
//! A job is announced only after its object is complete in the store. Work that the journal records as done is not
//! repeated. If one file fails, the others continue; the failure is counted and named, and the same command tries
//! the file again.

pub mod discover;
pub mod journal;
pub mod names;
pub mod own_places;
pub mod prefix;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::{Stream, StreamExt};

use crate::capacity::budget::Budget;
use crate::error::{Code, JobError, ServiceError, ServiceErrorKind, Stage};
use crate::job::Location;
use crate::link::link;
use crate::pipeline::{LINGER, Pipeline, Shared, root_cause};
use crate::record::Meters;
use crate::runtime::batched::Batched;
use crate::runtime::task;
use crate::services::queue::{JobQueue, Outgoing};
use crate::services::store::{ObjectStore, Writing};
use crate::stages::upload::orphans::Leftovers;
use crate::stages::{Target, Transfer, read, send, upload};
use crate::stop::cancel::Cut;
use crate::stop::circuit::Circuit;
use crate::stop::refusal::is_away;
use crate::stop::shutdown::{Phase, Shutdown};
use crate::submit::journal::Journal;

/// Something to submit.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name below the source, as people know it.
    pub name: String,
    /// The file to upload; none if the object is in the store already.
    pub file: Option<PathBuf>,
    /// The object.
    pub input: Location,
    /// Its size in bytes.
    pub size: u64,
    /// The name with the version, as the journal records it.
    pub version: String,
    /// The message that announces it.
    pub message: Outgoing,
    /// Whether its message is in the queue already, regardless of the journal.
    pub queued: bool,
}

/// What submitting needs.
#[derive(Clone, Debug)]
pub struct Submit {
    /// The store for files.
    pub store: Arc<dyn ObjectStore>,
    /// The queue for jobs.
    pub queue: Arc<dyn JobQueue>,
    /// The record of finished work.
    pub journal: Option<Arc<Journal>>,
    /// The limit on bytes in memory.
    pub budget: Arc<Budget>,
    /// The counters.
    pub meters: Arc<Meters>,
    /// Takes over uploads that can't be aborted.
    pub leftovers: Arc<Leftovers>,
    /// The stop that this submit obeys.
    pub shutdown: Shutdown,
    /// Stops this submit if a service refuses its requests.
    pub circuit: Arc<Circuit>,
    /// How objects are transferred.
    pub transfer: Transfer,
    /// Files in flight.
    pub concurrency: usize,
    /// How long an uploaded file waits for others that can be announced in the same batch.
    pub linger: Duration,
}

/// The name in failures that concern no file.
const SOURCE: &str = "the source";

/// How much was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    /// Jobs in the queue now, including those of an earlier run.
    pub sent: u64,
    /// Of these, the jobs sent by an earlier run.
    pub before: u64,
    /// Bytes uploaded by this run.
    pub bytes: u64,
    /// Names and reasons of the first [`Submitted::NAMED`] failures.
    pub failures: Vec<(String, String)>,
    /// How many failed.
    pub failed: u64,
}

impl Submitted {
    /// Failures that are named; more would scroll the first ones off the screen.
    pub const NAMED: usize = 20;

    fn failure(name: String, reason: String) -> Self {
        Self { failures: vec![(name, reason)], failed: 1, ..Self::default() }
    }

    fn add(mut self, other: Self) -> Self {
        self.sent += other.sent;
        self.before += other.before;
        self.bytes += other.bytes;
        self.failed += other.failed;
        let room = Self::NAMED.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
        self
    }
}

/// An item on its way: either its message must still be sent, or it is finished.
enum Staged {
    /// `uploaded` tells whether this run has uploaded it.
    Ready {
        item: Item,
        uploaded: bool,
    },
    Over(Submitted),
}

impl Submit {
    /// A submit of its own, of one file at a time and without a journal. `memory` bounds the bytes in flight.
    pub fn new(
        shared: Shared,
        queue: Arc<dyn JobQueue>,
        store: Arc<dyn ObjectStore>,
        memory: u64,
        transfer: Transfer,
    ) -> Self {
        let Shared { meters, circuit, shutdown, retry } = shared;
        Self {
            leftovers: Arc::new(Leftovers::new(Arc::clone(&store), retry, Arc::clone(&meters))),
            budget: Budget::new(memory, transfer.part),
            store,
            queue,
            journal: None,
            meters,
            shutdown,
            circuit,
            transfer,
            concurrency: 1,
            linger: LINGER,
        }
    }

    /// A submit to the queue of a pipeline in this process, with which it shares all that bounds, counts and stops.
    pub fn beside(pipeline: &Pipeline) -> Self {
        let intake = pipeline.intake.clone();
        Self {
            store: Arc::clone(&pipeline.store),
            queue: intake.queue,
            journal: None,
            budget: intake.budget,
            meters: intake.meters,
            leftovers: Arc::clone(&pipeline.leftovers),
            shutdown: intake.shutdown,
            circuit: intake.circuit,
            transfer: pipeline.plan.transfer.clone(),
            concurrency: 1,
            linger: LINGER,
        }
    }

    /// Uploads every item and announces it, until the items end or a stop is asked for.
    pub async fn run(&self, items: impl Stream<Item = io::Result<Item>>) -> Submitted {
        let flow = items
            .take_until(self.shutdown.reached(Phase::Draining))
            .map(|item| {
                let name = item.as_ref().map_or_else(|_| SOURCE.to_owned(), |item| item.name.clone());
                let staged = task::spawn(self.clone().stage(item));
                async { staged.await.unwrap_or_else(|panic| Staged::Over(Submitted::failure(name, panic.to_string()))) }
            })
            .buffer_unordered(self.concurrency.max(1))
            .batched(self.queue.max_batch(), self.linger)
            .map(|batch| self.announce(batch))
            .buffer_unordered(self.concurrency.max(1))
            .fold(Submitted::default(), |sum, more| async move { sum.add(more) });
        self.leftovers.while_running(flow).await
    }

    /// Processes one item up to the moment when it may be announced.
    async fn stage(self, item: io::Result<Item>) -> Staged {
        let item = match item {
            Ok(item) => item,
            Err(error) => return Staged::Over(Submitted::failure(SOURCE.into(), error.to_string())),
        };
        let is_sent = self.journal.as_ref().is_some_and(|journal| journal.is_sent(&item.version));
        if item.queued && !is_sent {
            self.note(|journal| journal.note_sent(&item.version));
        }
        if item.queued || is_sent {
            return Staged::Over(Submitted { sent: 1, before: 1, ..Submitted::default() });
        }
        let at_work = self.meters.at_work.enter();
        let put = self.put(&item).await;
        drop(at_work);
        self.circuit.note(&put);
        match put {
            Ok(uploaded) => Staged::Ready { item, uploaded },
            Err(error) => {
                // With nobody there every further file would be tried as long, and fail.
                let (store, retry) = (&self.store, &self.transfer.retry);
                if error.code == Code::Unreachable && is_away(store, retry, &self.meters, &item.input).await {
                    self.circuit.unanswered(&error);
                }
                Staged::Over(Submitted::failure(item.name, error.to_string()))
            }
        }
    }

    /// Uploads one file with two stages joined by a link; does nothing for an existing object. Returns whether there
    /// was something to upload.
    async fn put(&self, item: &Item) -> Result<bool, JobError> {
        let Some(file) = item.file.clone() else { return Ok(false) };
        if self.journal.as_ref().is_some_and(|journal| journal.is_uploaded(&item.version)) {
            return Ok(false);
        }
        let room = self.budget.admit(Some(item.size)).await;
        let cut = Cut { lease: None, shutdown: &self.shutdown, deadline: None };
        let (reads, writes) = (self.meters.turn(Stage::Read), self.meters.turn(Stage::Upload));
        let (file_out, file_in) = link(&reads, &writes);
        let target = Target {
            store: Arc::clone(&self.store),
            transfer: self.transfer.clone(),
            meters: Arc::clone(&self.meters),
            to: item.input.clone(),
            how: Writing { input: Some(Location::file(file.to_string_lossy())), ..Writing::default() },
            leftovers: Arc::clone(&self.leftovers),
            origin: None,
        };
        let (read, uploaded) = tokio::join!(
            reads.through(cut.or(read(file, item.size, self.transfer.part, &room, file_out))),
            writes.through(upload(target, &room, &cut, file_in)),
        );
        match (read, uploaded) {
            (Ok(_), Ok(_)) => {}
            (Err(read), Ok(_)) => return Err(read),
            // Report what broke the link, not the echo at the other end.
            (read, Err(uploaded)) => return Err(root_cause(read.err(), None, uploaded)),
        }
        self.note(|journal| journal.note_uploaded(&item.version));
        Ok(true)
    }

    async fn announce(&self, batch: Vec<Staged>) -> Submitted {
        let mut sum = Submitted::default();
        let mut ready = Vec::with_capacity(batch.len());
        for staged in batch {
            match staged {
                Staged::Ready { item, uploaded } => ready.push((item, uploaded)),
                Staged::Over(over) => sum = sum.add(over),
            }
        }
        if ready.is_empty() {
            return sum;
        }
        let messages: Vec<Outgoing> = ready.iter().map(|(item, _)| item.message.clone()).collect();
        let outcomes = self.send(&messages).await;
        for ((item, uploaded), outcome) in ready.into_iter().zip(outcomes) {
            if outcome.is_ok() && !uploaded {
                self.meters.there.fetch_add(1, Relaxed);
                self.meters.bytes_there.fetch_add(item.size, Relaxed);
            }
            sum = sum.add(self.sent(item, outcome));
        }
        sum
    }

    /// Sends a batch, unless the queue is known not to answer. The end of a drain drops batches without an answer. Such
    /// a batch may have arrived, and the next run sends it again, which is better than waiting a minute for a queue
    /// that does not answer.
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<(), ServiceError>> {
        let unsent = || ServiceError::new(ServiceErrorKind::Unavailable, "NotSent", "the queue does not answer");
        if !self.circuit.queue_is_away() {
            tokio::select! {
                biased;
                outcomes = send(&*self.queue, self.transfer.retry, &self.meters, messages) => {
                    self.circuit.sent(&outcomes);
                    return outcomes;
                }
                () = self.shutdown.reached(Phase::Cutting) => {}
            }
        }
        messages.iter().map(|_| Err(unsent())).collect()
    }

    fn sent(&self, item: Item, outcome: Result<(), ServiceError>) -> Submitted {
        match outcome {
            Ok(()) => {
                self.note(|journal| journal.note_sent(&item.version));
                let bytes = if item.file.is_some() { item.size } else { 0 };
                Submitted { sent: 1, bytes, ..Submitted::default() }
            }
            Err(error) => {
                if error.is_fatal() || error.kind == ServiceErrorKind::Missing {
                    self.circuit.trip(&error.clone().at(Stage::Send));
                }
                Submitted::failure(item.name, error.to_string())
            }
        }
    }

    /// If the journal can't be written, work may be repeated after a kill, but the submit continues.
    fn note(&self, write: impl FnOnce(&Journal) -> io::Result<()>) {
        if let Some(Err(error)) = self.journal.as_deref().map(write) {
            tracing::warn!(cause = ?error, "the journal could not be written");
        }
    }
}
