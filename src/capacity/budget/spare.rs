//! Empty buffers in free memory, kept until that memory is granted to something else.
//!
//! A buffer is reused for contents of the same [length], and its claim covers the whole length, because a longer
//! buffer would hold more than was granted.
//!
//! Bounded by the free memory, and by [`MOST`].

use std::collections::VecDeque;

use super::buffer::{Buffer, LEAST};

/// If there are more buffers, those unused for longest are dropped. The list is searched linearly, which takes some
/// microseconds for this many. The number matches the jobs at once: 16 objects of 1 MiB used at most 20 buffers, and
/// for 256 at once 64 buffers were too few (1,078 us of CPU a job, 996 with this number; medians of five, alternating).
const MOST: usize = 1024;

/// The length of the buffer for `bytes`, at most an eighth more. There are eight lengths between a power of two and the
/// next, so that objects of all sizes can reuse each other's buffers.
pub(super) fn length(bytes: u64) -> u64 {
    if bytes < LEAST { bytes } else { bytes.next_multiple_of(bytes.next_power_of_two() / 16) }
}

/// The spare buffers; the last one was used most recently.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: VecDeque<Buffer>,
    /// The sum of their capacities.
    bytes: u64,
}

impl Spare {
    /// A buffer of this length: the most recently used one, because it may still be in the CPU caches.
    pub(super) fn take(&mut self, length: u64) -> Option<Buffer> {
        let at = self.buffers.iter().rposition(|buffer| buffer.capacity() as u64 == length)?;
        let buffer = self.buffers.remove(at)?;
        self.bytes -= buffer.capacity() as u64;
        Some(buffer)
    }

    /// Keeps `buffer` if it fits into `room`. Short buffers are not worth keeping.
    pub(super) fn keep(&mut self, buffer: Buffer, room: u64) {
        let length = buffer.capacity() as u64;
        if length < LEAST || self.bytes + length > room {
            return;
        }
        self.bytes += length;
        self.buffers.push_back(buffer);
        if self.buffers.len() > MOST
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes -= oldest.capacity() as u64;
        }
    }

    /// Removes the buffers that no longer fit into `room`.
    pub(super) fn shrink(&mut self, room: u64) -> Vec<Buffer> {
        let mut given = Vec::new();
        while self.bytes > room {
            let Some(buffer) = self.buffers.pop_back() else { break };
            self.bytes -= buffer.capacity() as u64;
            given.push(buffer);
        }
        given
    }

    /// How many bytes the buffers hold.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        assert_eq!(self.bytes, self.buffers.iter().map(|buffer| buffer.capacity() as u64).sum::<u64>());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: u64) -> Buffer {
        Buffer::new(bytes as usize)
    }

    #[test]
    fn a_buffer_serves_again_for_what_is_as_long_and_for_nothing_else() {
        let mut spare = Spare::default();
        spare.keep(buffer(16 * LEAST), 100 * LEAST);
        assert!(spare.take(16 * LEAST - 1).is_none() && spare.take(16 * LEAST + 1).is_none());
        assert!(spare.take(16 * LEAST).is_some());
        assert!(spare.take(16 * LEAST).is_none(), "it was taken twice");
    }

    #[test]
    fn lengths_are_few_and_hardly_more_than_was_wanted() {
        let mut lengths = std::collections::BTreeSet::new();
        for bytes in (LEAST..=16 * LEAST).step_by(509) {
            let length = length(bytes);
            assert!((bytes..=bytes + bytes / 8).contains(&length), "{bytes}: {length}");
            lengths.insert(length);
        }
        assert!(lengths.len() <= 4 * 8 + 1, "{lengths:?}");
        assert_eq!([LEAST, 8 * LEAST, LEAST - 1, 7].map(length), [LEAST, 8 * LEAST, LEAST - 1, 7]);
    }

    #[test]
    fn no_more_is_kept_than_fits_in_what_is_free() {
        let mut spare = Spare::default();
        for _ in 0..10 {
            spare.keep(buffer(LEAST), 5 * LEAST);
        }
        assert_eq!(spare.bytes(), 5 * LEAST);
        assert!(spare.shrink(5 * LEAST).is_empty(), "they fit");
        assert_eq!(spare.shrink(2 * LEAST + 1).len(), 3);
        spare.keep(buffer(LEAST - 1), 5 * LEAST);
        assert_eq!(spare.bytes(), 2 * LEAST);
    }

    #[test]
    fn buffers_that_nothing_fits_make_way_for_those_that_are_used() {
        let mut spare = Spare::default();
        for number in 1..=2 * MOST as u64 {
            spare.keep(buffer(LEAST + number), u64::MAX);
        }
        assert_eq!(spare.buffers.len(), MOST);
        assert!(spare.take(LEAST + 1).is_none(), "the oldest is gone");
        assert!(spare.take(LEAST + 2 * MOST as u64).is_some());
        assert!(spare.bytes() > 0);
    }
}
