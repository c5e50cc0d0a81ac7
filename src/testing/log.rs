//! What succeeded, in one order over all queues and stores that share the log.
//!
//! The order is what proofs need: a delete after its output's completion, no extension after a delete, deletes in
//! batches. Only what happened is written down, whatever was answered. Bounded by the run of a test; a twin without a
//! log keeps none.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::job::Location;

/// One call that did something. Lists of message ids hold those that it succeeded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Messages were sent to the queue `to`.
    Send {
        /// The queue's name.
        to: String,
        /// The new messages.
        ids: Vec<String>,
        /// The `batchpipe-message-id` of each, where it is a dead letter.
        letters: Vec<String>,
    },
    /// A receive answered, perhaps with nothing.
    Receive {
        /// How many messages were asked for.
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
    /// A range was asked for and there is such an object.
    Get {
        /// The object.
        at: Location,
        /// The range as asked for.
        range: Range<u64>,
        /// The ETag it was pinned to.
        pinned: Option<String>,
    },
    /// An object was written whole.
    Put {
        /// The object.
        at: Location,
    },
    /// An upload was begun.
    Begin {
        /// The object it will be.
        at: Location,
    },
    /// A part was written.
    Part {
        /// The object it will belong to.
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
        /// The object it would have been.
        at: Location,
    },
}

/// The operations of a test, in order. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<(Instant, Operation)>>>);

impl Log {
    /// Adds what has just happened. Call it while holding the lock of what it happened to.
    pub(super) fn note(&self, operation: Operation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), operation));
    }

    /// Everything so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.timed().into_iter().map(|(_, operation)| operation).collect()
    }

    /// Everything so far, and when.
    pub fn timed(&self) -> Vec<(Instant, Operation)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many operations are so.
    pub fn count(&self, so: impl Fn(&Operation) -> bool) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|(_, operation)| so(operation)).count()
    }
}
