//! How many jobs ended how.

/// How many jobs ended how. A record that asks for nothing counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Their output is complete, and their message deleted, or kept for another record's sake alone.
    pub done: u64,
    /// There was nothing to do.
    pub skipped: u64,
    /// To be tried again later: given back, or done and not deleted.
    pub retried: u64,
    /// Moved to the dead letters, or kept for want of them.
    pub rejected: u64,
    /// Given back untried.
    pub released: u64,
    /// Left to whoever has them now.
    pub abandoned: u64,
}

impl std::ops::Add for Settled {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            skipped: self.skipped + other.skipped,
            retried: self.retried + other.retried,
            rejected: self.rejected + other.rejected,
            released: self.released + other.released,
            abandoned: self.abandoned + other.abandoned,
        }
    }
}
