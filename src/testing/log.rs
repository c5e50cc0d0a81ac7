//! The successful operations, in one order over all queues and stores that share the log.
//!
//! Tests check the order: a delete comes after the completion of its output, no extension comes after a delete, deletes
//! come in batches. The log records only what happened, whatever the response was. Bounded by the run of a test;
//! without a log, the in-memory services record nothing.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::job::Location;

/// One call that had an effect. Lists of message ids contain those for which it succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Messages were sent to the queue `to`.
    Send {
        /// The queue's name.
        to: String,
        /// The new messages.
        ids: Vec<String>,
        /// The `batchpipe-message-id` of each message that is a dead letter.
        letters: Vec<String>,
    },
    /// A receive returned, perhaps without messages.
    Receive {
        /// How many messages were requested.
        asked: usize,
        /// Those that came.
        ids: Vec<String>,
    },
    /// Messages were hidden for longer, or given back.
    Extend {
        /// Which.
        ids: Vec<String>,
        /// For how long; zero gives back.
        timeout: Duration,
    },
    /// Messages were deleted.
    Delete {
        /// Which.
        ids: Vec<String>,
    },
    /// A range of an existing object was requested.
    Get {
        /// The object.
        at: Location,
        /// The requested range.
        range: Range<u64>,
        /// The ETag in the request's condition.
        pinned: Option<String>,
    },
    /// An object was written in one request.
    Put {
        /// The object.
        at: Location,
    },
    /// An upload was begun.
    Begin {
        /// The object that the upload will create.
        at: Location,
    },
    /// A part was written.
    Part {
        /// The object that the part will belong to.
        at: Location,
        /// Its number.
        number: u32,
        /// Its size in bytes.
        size: u64,
    },
    /// An upload became an object.
    Complete {
        /// The object.
        at: Location,
    },
    /// An upload was discarded.
    Abort {
        /// The object that the upload would have created.
        at: Location,
    },
}

/// The operations of a test, in order. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<(Instant, Operation)>>>);

impl Log {
    /// Adds an operation that has just happened. Call it while holding the lock of the queue or store.
    pub(super) fn note(&self, operation: Operation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), operation));
    }

    /// All operations so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.timed().into_iter().map(|(_, operation)| operation).collect()
    }

    /// All operations so far, with their times.
    pub fn timed(&self) -> Vec<(Instant, Operation)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many operations satisfy the condition.
    pub fn count(&self, so: impl Fn(&Operation) -> bool) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|(_, operation)| so(operation)).count()
    }
}
