//! Stops receiving if continuing would only use up the receives of jobs.
//!
//! One refused job may be a message that names the wrong bucket. Several in a row, with no success between them,
//! mean that this worker lacks a permission or its credentials have expired: all messages of the queue would fail
//! the same way and end in the dead-letter queue. So the worker drains, gives back its messages and says why.
//!
//! A worker normally waits for a store that is unreachable or full, because a fleet has nothing better to do. A
//! `map` does not wait, because a user watches it, nor does a `submit`. `stop/refusal.rs` decides when a store
//! counts as unreachable. A `submit` does not wait for its queue either.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Code, ErrorKind, JobError, ServiceError, ServiceErrorKind, Source, Stage, Subject, UserError};
use crate::stop::shutdown::{Phase, Shutdown};

/// Refusals in a row that stop the worker: more than one wrong message can cause, few enough that no message is lost to
/// the dead-letter queue.
const REFUSALS: u32 = 3;

/// Failures of the store in a row that count as an outage: a few jobs may fail in one bad second.
const OUTAGE: u32 = 4;

/// Failures in a row for lack of space for outputs that stop a run which stops on outages. Concurrent jobs may together
/// have filled space that would suffice for each alone, but outputs stay, so the space does not become free again.
const FULL: u32 = 3;

/// Jobs in a row whose store did not answer a question about their object that stop a run which stops on outages: as
/// many as for the other limits. Each job was tried for some seconds, and one more call got no answer.
const AWAY: u32 = 3;

/// Batches of jobs in a row that the queue did not answer, or had no room for, that stop a submit: as many as for the
/// other limits. Each batch was sent five times (once if the disk is full), and unlike a store, a queue has no parts
/// that answer independently.
const UNSENT: u32 = 3;

/// Counts how jobs and receives end.
#[derive(Debug)]
pub struct Circuit {
    shutdown: Shutdown,
    refused: AtomicU32,
    unavailable: AtomicU32,
    full: AtomicU32,
    away: AtomicU32,
    unsent: AtomicU32,
    minds: AtomicBool,
    tripped: Mutex<Option<Tripped>>,
    ended: OnceLock<Why>,
}

/// Why receiving ended normally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The queue was empty.
    Empty,
    /// No message came for as long as `idle_exit`.
    Idle,
    /// The requested number of messages came.
    Enough,
}

/// Why the worker stopped itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// The code of the last failure.
    pub code: Code,
    /// The cause of the last failure.
    pub cause: String,
    /// The stage in which it happened.
    pub stage: Stage,
    /// The error that caused it.
    pub source: Source,
}

impl Tripped {
    /// The error that the user reads; `subject` is what the run did in that stage.
    pub fn told(&self, subject: &Subject) -> UserError {
        subject.stopped(self.code, &self.cause, self.source.find())
    }
}

impl Circuit {
    /// A circuit that drains through `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            refused: AtomicU32::new(0),
            unavailable: AtomicU32::new(0),
            full: AtomicU32::new(0),
            away: AtomicU32::new(0),
            unsent: AtomicU32::new(0),
            minds: AtomicBool::new(false),
            tripped: Mutex::new(None),
            ended: OnceLock::new(),
        }
    }

    /// Makes this run stop on outages: it ends, instead of waiting, if outputs have no space or the store is
    /// unreachable. For a run whose end a user waits for.
    pub fn stop_rather_than_wait(&self) {
        self.minds.store(true, SeqCst);
    }

    /// Whether this run stops on outages.
    pub fn stops_rather_than_waits(&self) -> bool {
        self.minds.load(SeqCst)
    }

    /// Records how a job ended.
    pub fn note<T>(&self, result: &Result<T, JobError>) {
        match result {
            Ok(_) => {
                self.refused.store(0, SeqCst);
                self.unavailable.store(0, SeqCst);
                self.full.store(0, SeqCst);
                self.away.store(0, SeqCst);
            }
            // Scratch space is different: other jobs give theirs back.
            Err(error) if error.kind == ErrorKind::NoSpace && error.stage == Stage::Upload => {
                if self.full.fetch_add(1, SeqCst) + 1 >= FULL && self.stops_rather_than_waits() {
                    self.trip(error);
                }
            }
            Err(error) if error.kind == ErrorKind::Denied => {
                if self.refused.fetch_add(1, SeqCst) + 1 >= REFUSALS {
                    self.trip(error);
                }
            }
            Err(error) if error.kind == ErrorKind::Unavailable && error.stage != Stage::Receive => {
                self.unavailable.fetch_add(1, SeqCst);
            }
            Err(_) => {}
        }
    }

    /// Whether the store seems to be unreachable: job after job could not reach it, and none has succeeded since.
    pub fn is_outage(&self) -> bool {
        self.unavailable.load(SeqCst) >= OUTAGE
    }

    /// Records a job (or a file to submit) whose store is unreachable, in a run that stops on outages.
    pub fn unanswered(&self, error: &JobError) {
        if self.away.fetch_add(1, SeqCst) + 1 >= AWAY {
            self.trip(error);
        }
    }

    /// Records how the queue answered a batch of jobs, of which it may have accepted all, some or none.
    pub fn sent(&self, outcomes: &[Result<(), ServiceError>]) {
        if outcomes.iter().any(Result::is_ok) {
            self.unsent.store(0, SeqCst);
            return;
        }
        let mut failed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let unanswered =
            failed.rfind(|error| matches!(error.kind, ServiceErrorKind::Unavailable | ServiceErrorKind::NoSpace));
        let Some(error) = unanswered else { return };
        if self.unsent.fetch_add(1, SeqCst) + 1 >= UNSENT {
            self.trip(&error.clone().at(Stage::Send));
        }
    }

    /// Records how often in a row the queue had no room to deliver a message; returns whether the run stops for that.
    pub fn queue_is_full(&self, failures: u32, error: &ServiceError) -> bool {
        let stops = error.kind == ServiceErrorKind::NoSpace && failures >= FULL && self.stops_rather_than_waits();
        if stops {
            self.trip(&error.clone().at(Stage::Receive));
        }
        stops
    }

    /// Whether the queue was found to be unreachable or full, so that unsent batches need not be tried.
    pub fn queue_is_away(&self) -> bool {
        self.unsent.load(SeqCst) >= UNSENT
    }

    /// Whether the run was stopped because the store does not answer; jobs that failed only for this reason had no fair
    /// try.
    pub fn stopped_unanswered(&self) -> bool {
        self.away.load(SeqCst) >= AWAY && self.tripped().is_some()
    }

    /// Stops the worker, or the submit, because every further job would fail in the same way.
    pub fn trip(&self, error: &JobError) {
        let JobError { code, cause, stage, source, .. } = error;
        let mut tripped = self.tripped.lock().unwrap_or_else(PoisonError::into_inner);
        if tripped.is_none() {
            tracing::error!(
                target: "batchpipe::circuit",
                %code, ?cause, "stopped: every further job would fail the same way"
            );
            *tripped = Some(Tripped { code: *code, cause: cause.clone(), stage: *stage, source: source.clone() });
        }
        drop(tripped);
        self.shutdown.advance(Phase::Draining);
    }

    /// Records that receiving ended because there was nothing more to do.
    pub fn ended(&self, why: Why) {
        self.ended.get_or_init(|| why);
    }

    /// Why receiving ended with nothing more to do, if it did.
    pub fn why(&self) -> Option<Why> {
        self.ended.get().copied()
    }

    /// Why the worker stopped itself, if it did.
    pub fn tripped(&self) -> Option<Tripped> {
        self.tripped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
