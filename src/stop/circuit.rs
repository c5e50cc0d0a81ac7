//! Stops receiving when going on would only burn jobs.
//!
//! One refused job may be a message that names the wrong bucket. Several in a row, with no success between them,
//! mean that this worker lacks a right or its credentials have expired: the queue's whole content would fail the
//! same way and end in the dead letters. Then the worker drains, gives back what it holds and says why.
//!
//! A store that is away or full is waited for, since a fleet has nothing better to do; but not by a `map`, at whose end
//! somebody looks on, nor by a `submit`. What counts there as away is found out by `stop/refusal.rs`. A `submit` does
//! not wait for its queue either.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Code, ErrorKind, JobError, ServiceError, ServiceErrorKind, Source, Stage, Subject, UserError};
use crate::stop::shutdown::{Phase, Shutdown};

/// Refusals in a row that stop the worker: enough that one wrong message can't, few enough that nothing is burned.
const REFUSALS: u32 = 3;

/// Failures of the store in a row that make an outage: a few jobs may meet one bad second.
const OUTAGE: u32 = 4;

/// Failures in a row for want of space where outputs go that stop a run which minds: jobs in flight at once may have
/// filled what each alone would fit into, but of what is written there nothing goes away again.
const FULL: u32 = 3;

/// Jobs in a row whose store could not even be asked about their object that stop a run which minds: as many as the
/// other two. Each was tried for some seconds, and one more call found nobody there.
const AWAY: u32 = 3;

/// Batches of jobs in a row that no queue answered to, or had room for, which stop a submit: as many as the others.
/// Each was sent five times (but to a full disk), and unlike a store a queue has no part that answers while another
/// does not.
const UNSENT: u32 = 3;

/// Watches how jobs and receives end.
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

/// How receiving ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The queue was empty.
    Empty,
    /// Nothing came for as long as `idle_exit`.
    Idle,
    /// As many messages came as were wanted.
    Enough,
}

/// Why the worker stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// The number of the last failure.
    pub code: Code,
    /// What it said.
    pub cause: String,
    /// Where it happened.
    pub stage: Stage,
    /// What caused it.
    pub source: Source,
}

impl Tripped {
    /// What a person reads of it; `subject` is what the run did in that stage.
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

    /// Stops when there is no room for outputs, or no store any more, rather than wait until there is: for a run whose
    /// end somebody waits for.
    pub fn stop_rather_than_wait(&self) {
        self.minds.store(true, SeqCst);
    }

    /// Whether it does.
    pub fn stops_rather_than_waits(&self) -> bool {
        self.minds.load(SeqCst)
    }

    /// Notes how a job ended.
    pub fn note<T>(&self, result: &Result<T, JobError>) {
        match result {
            Ok(_) => {
                self.refused.store(0, SeqCst);
                self.unavailable.store(0, SeqCst);
                self.full.store(0, SeqCst);
                self.away.store(0, SeqCst);
            }
            // Scratch space is another thing: that of other jobs is given back.
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

    /// Whether the store seems to be away: job after job could not reach it, and none succeeded since.
    pub fn is_outage(&self) -> bool {
        self.unavailable.load(SeqCst) >= OUTAGE
    }

    /// Notes a job, or a file to submit, that failed because nobody answered, and nobody answers now; the run minds.
    pub fn unanswered(&self, error: &JobError) {
        if self.away.fetch_add(1, SeqCst) + 1 >= AWAY {
            self.trip(error);
        }
    }

    /// Notes how the queue took a batch of jobs, all or none of which it may have taken.
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

    /// Notes how often in a row the queue had no room to hand out a message; true if the run stops for that.
    pub fn queue_is_full(&self, failures: u32, error: &ServiceError) -> bool {
        let stops = error.kind == ServiceErrorKind::NoSpace && failures >= FULL && self.stops_rather_than_waits();
        if stops {
            self.trip(&error.clone().at(Stage::Receive));
        }
        stops
    }

    /// Whether the queue was found to be away or full, so that what is not sent yet need not be tried.
    pub fn queue_is_away(&self) -> bool {
        self.unsent.load(SeqCst) >= UNSENT
    }

    /// Whether the run was stopped because nobody answers: what failed for that alone has had no chance.
    pub fn stopped_unanswered(&self) -> bool {
        self.away.load(SeqCst) >= AWAY && self.tripped().is_some()
    }

    /// Stops the worker, or the submit: every further job would fail like this.
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

    /// Notes that receiving ended because there was no more to do.
    pub fn ended(&self, why: Why) {
        self.ended.get_or_init(|| why);
    }

    /// Why receiving ended with no more to do, if it did.
    pub fn why(&self) -> Option<Why> {
        self.ended.get().copied()
    }

    /// Why the worker stopped by itself, if it did.
    pub fn tripped(&self) -> Option<Tripped> {
        self.tripped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
