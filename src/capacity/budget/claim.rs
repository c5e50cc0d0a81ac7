//! The right to hold the bytes of one part, and the bytes that hold it.
//!
//! A claim lives in the bytes themselves, so room comes back when the last slice of them has been dropped, wherever
//! that is, and nobody has to say so. The buffer goes back with it, to be used again.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::room::Shared;
use super::{Budget, Buffer};

/// The right to hold the bytes of one part. Give it to the bytes with [`hold`](Claim::hold).
#[derive(Debug)]
pub struct Claim {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The job's own room; the room lives as long as any bytes in it.
    Own(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit, Arc<Shared>),
    /// Room that was free.
    Extra(Extra),
}

/// Room that was free, and is given back with the bytes in it.
#[derive(Debug)]
pub(super) struct Extra {
    budget: Arc<Budget>,
    bytes: u64,
    /// An empty buffer in this room.
    buffer: Option<Buffer>,
}

impl Claim {
    /// A claim on a job's own room, for as long as `permit` lives.
    pub(super) fn own(permit: OwnedSemaphorePermit, room: &Arc<Shared>) -> Self {
        Self { source: Source::Own(permit, Arc::clone(room)) }
    }

    pub(super) fn extra(extra: Extra) -> Self {
        Self { source: Source::Extra(extra) }
    }

    /// An empty buffer for `bytes` of them: one that was used before, if there is one.
    pub fn buffer(&mut self, bytes: usize) -> Buffer {
        let (budget, used) = match &mut self.source {
            Source::Own(_, shared) => (&shared.budget, shared.lock().spare.pop()),
            Source::Extra(extra) => (&extra.budget, extra.buffer.take()),
        };
        let length = budget.length(bytes as u64);
        // One that does not fit goes with what else was in the room.
        let used =
            used.filter(|buffer| buffer.capacity() as u64 == length).or_else(|| budget.lock().spare.take(length));
        used.unwrap_or_else(|| Buffer::new(length as usize))
    }

    /// Keeps a buffer that has been used up for the next claim, of this job if it may have one of a part, or else of
    /// any.
    fn keep(&mut self, mut buffer: Buffer) {
        buffer.clear();
        match &mut self.source {
            Source::Own(_, shared) => {
                let mut held = shared.lock();
                if shared.budget.is_usual(&buffer) && held.spare.len() < shared.budget.parts(held.read, held.write) {
                    held.spare.push(buffer);
                } else {
                    shared.budget.lock().keep(buffer);
                }
            }
            // In room that is given back with it.
            Source::Extra(extra) => extra.buffer = Some(buffer),
        }
    }

    /// What is in the buffer, holding this claim for as long as any clone or slice of it lives.
    pub fn hold_buffer(self, buffer: Buffer) -> Bytes {
        Bytes::from_owner(Filled { buffer, claim: self })
    }

    /// The same for bytes that somebody else made.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _claim: self })
    }
}

struct Filled {
    buffer: Buffer,
    claim: Claim,
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.claim.keep(std::mem::take(&mut self.buffer));
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

struct Counted {
    bytes: Bytes,
    _claim: Claim,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Extra {
    pub(super) fn new(budget: Arc<Budget>, bytes: u64, buffer: Option<Buffer>) -> Self {
        Self { budget, bytes, buffer }
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        self.budget.lock().extra -= self.bytes;
        self.budget.release(self.bytes, self.buffer.take());
    }
}
