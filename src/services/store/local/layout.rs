//! Where the parts of an upload are, so that most parts are written where they will end up.
//!
//! A part's position is the sum of the sizes before it, but parts are written out of order and their sizes may grow.
//! So the position is guessed: the parts in between are assumed to be as large as the last known part before them. A
//! wrong guess costs a copy of that part when the upload completes, but never corrupts a byte: no two parts share a
//! position, and a part that finds its position taken, or is written again, gets a file of its own.

use std::collections::BTreeMap;

/// How far ahead of the known parts a position is guessed. Far fewer parts are in flight. A number beyond this means
/// that numbers were left out, and a guess would make a needlessly huge, mostly empty file.
const AHEAD: u32 = 64;

/// Where a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the data file, from this byte on.
    At(u64),
    /// In a file of its own.
    Apart,
}

/// A part that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) size: u64,
    pub(super) place: Place,
    /// The serial number of this write among all part writes of the upload.
    pub(super) writing: u64,
}

/// The parts of one upload.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Reserved positions: the first and the last byte (exclusive), by the part's number.
    by_number: BTreeMap<u32, (u64, u64)>,
    /// The same positions, by the first byte.
    by_start: BTreeMap<u64, u64>,
    /// The last successful write of each number.
    pub(super) written: BTreeMap<u32, Written>,
    writings: u64,
}

impl Layout {
    /// Finds a position for `size` bytes of part `number`. The part counts once it is in [`written`](Self::written).
    pub(super) fn place(&mut self, number: u32, size: u64) -> Written {
        self.writings += 1;
        let place = match self.guess(number, size) {
            Some(start) if !self.by_number.contains_key(&number) && self.is_free(start, start + size) => {
                self.by_number.insert(number, (start, start + size));
                // An empty part takes no space, and must not hide a part that begins at the same byte.
                if size > 0 {
                    self.by_start.insert(start, start + size);
                }
                Place::At(start)
            }
            _ => Place::Apart,
        };
        Written { size, place, writing: self.writings }
    }

    fn guess(&self, number: u32, size: u64) -> Option<u64> {
        let (before, end, usual) = match self.by_number.range(..number).next_back() {
            Some((&before, &(start, end))) => (before, end, end - start),
            None => (0, 0, size),
        };
        let between = number - before - 1;
        (between <= AHEAD).then(|| end + u64::from(between) * usual)
    }

    fn is_free(&self, start: u64, end: u64) -> bool {
        self.by_start.range(..end).next_back().is_none_or(|(_, &before)| before <= start)
    }

    /// The positions where the parts `numbers` belong, in a row; `None` if one of them was never written.
    pub(super) fn destinations(&self, numbers: impl Iterator<Item = u32>) -> Option<Vec<(u32, Written, u64)>> {
        let mut end = 0;
        numbers
            .map(|number| {
                let written = *self.written.get(&number)?;
                let start = end;
                end += written.size;
                Some((number, written, start))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(order: &[(u32, u64)]) -> Vec<Place> {
        let mut layout = Layout::default();
        order.iter().map(|&(number, size)| layout.place(number, size).place).collect()
    }

    #[test]
    fn equal_parts_in_any_order_are_written_where_they_belong() {
        assert_eq!(places(&[(3, 10), (1, 10), (4, 10), (2, 10)]), [20, 0, 30, 10].map(Place::At));
        assert_eq!(places(&[(1, 10), (3, 4), (2, 10)]), [0, 20, 10].map(Place::At), "the last one is shorter");
    }

    #[test]
    fn a_part_that_is_written_again_or_finds_its_place_taken_is_kept_apart() {
        assert_eq!(places(&[(1, 10), (1, 10)]), [Place::At(0), Place::Apart]);
        assert_eq!(places(&[(2, 4), (1, 10)]), [Place::At(4), Place::Apart]);
        assert_eq!(places(&[(1, 10), (9_000, 10)]), [Place::At(0), Place::Apart]);
    }

    proptest! {
        #[test]
        fn no_two_parts_ever_share_a_byte(order in proptest::collection::vec((1_u32..80, 0_u64..9), 1..60)) {
            let mut layout = Layout::default();
            let mut owner = BTreeMap::new();
            for (number, size) in order {
                if let Place::At(start) = layout.place(number, size).place {
                    for byte in start..start + size {
                        prop_assert_eq!(owner.insert(byte, number), None);
                    }
                }
            }
        }
    }
}
