//! Records which reads of one worker were in progress at the same time: the effect of hedging, seen from outside.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Wire;
use crate::job::Location;

/// The reads that a worker requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// All calls, except repeated ones.
    pub first: usize,
    /// Calls for a range that the worker was already waiting for.
    pub again: usize,
    /// The repeated calls that answered first.
    pub overtook: usize,
    /// Bodies that the worker began to read while it kept another call for the same range: their bytes may be used
    /// twice.
    pub beside_another: usize,
}

/// The counts, and the current calls.
#[derive(Debug, Default)]
pub(super) struct Asked {
    so_far: Reads,
    next: u64,
    /// Calls that the worker has not dropped, by number, and whether each is a repeated call.
    kept: BTreeMap<u64, (Location, Range<u64>, bool)>,
}

impl Asked {
    pub(super) fn so_far(&self) -> Reads {
        self.so_far
    }

    /// Whether another call for the same range is kept. A call for zero bytes is not a job's read but checks whether an
    /// object can be read (`stop/refusal.rs`), and two jobs may make the same check.
    fn twice(&self, number: u64) -> bool {
        let Some((at, range, _)) = self.kept.get(&number).filter(|(_, range, _)| !range.is_empty()) else {
            return false;
        };
        self.kept.iter().any(|(other, (there, ranged, _))| *other != number && (there, ranged) == (at, range))
    }
}

/// One call for a range, for as long as the worker keeps it or its body.
pub(super) struct Ask {
    wire: Wire,
    number: u64,
}

impl Wire {
    /// Records the start of a call.
    pub(super) fn ask(&self, at: &Location, range: &Range<u64>) -> Ask {
        let reads = &mut self.lock().reads;
        let number = reads.next;
        reads.next += 1;
        reads.kept.insert(number, (at.clone(), range.clone(), false));
        let again = reads.twice(number);
        reads.kept.insert(number, (at.clone(), range.clone(), again));
        *(if again { &mut reads.so_far.again } else { &mut reads.so_far.first }) += 1;
        Ask { wire: self.clone(), number }
    }
}

impl Ask {
    /// The worker has received the response.
    pub(super) fn answered(&self) {
        let reads = &mut self.wire.lock().reads;
        let again = reads.kept.get(&self.number).is_some_and(|(.., again)| *again);
        reads.so_far.overtook += usize::from(again && reads.twice(self.number));
    }

    /// The worker has received a frame of the body.
    pub(super) fn read(&self) {
        let reads = &mut self.wire.lock().reads;
        reads.so_far.beside_another += usize::from(reads.twice(self.number));
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.wire.lock().reads.kept.remove(&self.number);
    }
}
