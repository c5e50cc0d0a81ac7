//! The bytes of an object: stored, or a pattern that takes no memory.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

/// The size of the frames of a body: about as much as one read of a socket returns.
const FRAME: u64 = 256 * 1024;

/// The length after which [`pattern`] repeats: a prime, so that no two parts or frames of a usual size are equal.
const PERIOD: usize = 1_000_003;

fn block() -> &'static Bytes {
    static BLOCK: OnceLock<Bytes> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut bytes = vec![0; PERIOD];
        fastrand::Rng::with_seed(2013).fill(&mut bytes);
        bytes.into()
    })
}

/// Bytes in which no two neighbouring sections are equal; a longer pattern begins with the shorter one.
pub fn pattern(range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    let mut at = range.start;
    while at < range.end {
        let piece = piece(at, range.end);
        bytes.extend_from_slice(&piece);
        at += piece.len() as u64;
    }
    bytes
}

/// The part of [`pattern`] from `at` that is contiguous in memory, at most up to `end`.
fn piece(at: u64, end: u64) -> Bytes {
    let from = (at % PERIOD as u64) as usize;
    let length = (PERIOD - from).min((end - at) as usize);
    block().slice(from..from + length)
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Kept(Bytes),
    /// [`pattern`], generated while it is read.
    Pattern,
}

impl Content {
    pub(super) fn slice(&self, range: Range<u64>) -> Bytes {
        match self {
            Self::Kept(bytes) => bytes.slice(range.start as usize..range.end as usize),
            Self::Pattern => pattern(range).into(),
        }
    }

    /// The next frame of a body that ends at `end`.
    pub(super) fn frame(&self, at: u64, end: u64) -> Bytes {
        let end = end.min(at + FRAME);
        match self {
            Self::Kept(bytes) => bytes.slice(at as usize..end as usize),
            Self::Pattern => piece(at, end),
        }
    }
}
