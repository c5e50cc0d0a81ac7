//! The bytes of every object: a ring of text that a compressor halves, read from its start.

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;

/// The ring's length. No part size divides it, so that parts in the wrong order have another sum.
const LENGTH: usize = 16 * 1024 * 1024 - 1009;

/// Makes the ring: hex digits from a fixed seed (splitmix64), so that every run has the same.
pub(crate) fn make() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(LENGTH + 16);
    while bytes.len() < LENGTH {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        bytes.extend((0..16).map(|digit| b"0123456789abcdef"[(word >> (4 * digit)) as usize & 15]));
    }
    bytes.truncate(LENGTH);
    Bytes::from(bytes)
}

/// The bytes `start..end` of an object, as slices of the ring.
pub(crate) fn slices(ring: &Bytes, mut start: u64, end: u64) -> Vec<Bytes> {
    let mut slices = Vec::new();
    while start < end {
        let at = (start % ring.len() as u64) as usize;
        let length = ((end - start) as usize).min(ring.len() - at);
        slices.push(ring.slice(at..at + length));
        start += length as u64;
    }
    slices
}

/// The sum of an object of `size` bytes.
pub(crate) fn sum(ring: &Bytes, size: u64) -> u64 {
    let mut digest = crc_fast::Digest::new(Crc64Nvme);
    slices(ring, 0, size).iter().for_each(|slice| digest.update(slice));
    digest.finalize()
}
