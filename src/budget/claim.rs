//! The right to hold the bytes of one part, and the bytes that hold it.
//!
//! A claim lives in the bytes themselves, so room comes back when the last slice of them has been dropped, wherever that
//! is, and nobody has to say so. The buffer goes back with it, to be used again.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::room::Shared;
use super::{Budget, spare};

/// The right to hold the bytes of one part. Give it to the bytes with [`hold`](Claim::hold).
#[derive(Debug)]
pub struct Claim {
    source: Source,
    /// How long the [buffer](Claim::buffer) is that it gave.
    gave: usize,
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
    buffer: Option<BytesMut>,
}

impl Claim {
    /// A claim on a job's own room, for as long as `permit` lives.
    pub(super) fn own(permit: OwnedSemaphorePermit, room: &Arc<Shared>) -> Self {
        Self { source: Source::Own(permit, Arc::clone(room)), gave: 0 }
    }

    pub(super) fn extra(extra: Extra) -> Self {
        Self { source: Source::Extra(extra), gave: 0 }
    }

    /// An empty buffer for the bytes, with room for at least `capacity` of them: one that was used before, if there is one.
    pub fn buffer(&mut self, capacity: usize) -> BytesMut {
        let (budget, used) = match &mut self.source {
            Source::Own(_, shared) => (&shared.budget, shared.lock().spare.pop()),
            Source::Extra(extra) => (&extra.budget, extra.buffer.take()),
        };
        let bytes = capacity as u64;
        // For most of a part one of a whole part: those are at hand.
        let length = if (budget.part / 2 + 1..=budget.part).contains(&bytes) { budget.part } else { bytes };
        if length < spare::LEAST {
            return BytesMut::with_capacity(capacity);
        }
        // One that does not fit goes with what else was in the room.
        let used = used.filter(|buffer| spare::fits(buffer, length)).or_else(|| budget.lock().spare.take(length));
        let buffer = used.unwrap_or_else(|| BytesMut::with_capacity(length as usize));
        self.gave = buffer.capacity();
        buffer
    }

    /// Keeps a buffer that has been used up for the next claim.
    fn keep(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        // Of what others made, and this claim only held, hardly anything fits what will be asked for.
        let is_own = buffer.capacity() == self.gave;
        match &mut self.source {
            Source::Own(_, shared) if shared.budget.is_usual(&buffer) => {
                let mut held = shared.lock();
                if held.spare.len() < shared.budget.parts(held.read, held.write) {
                    held.spare.push(buffer);
                }
            }
            Source::Own(_, shared) if is_own => shared.budget.lock().keep(buffer),
            // In room that is given back with it.
            Source::Extra(extra) if is_own || extra.budget.is_usual(&buffer) => extra.buffer = Some(buffer),
            _ => {}
        }
    }

    /// The bytes, holding their claim for as long as any clone or slice of them lives.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, claim: self })
    }
}

struct Counted {
    bytes: Bytes,
    claim: Claim,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Ok(buffer) = std::mem::take(&mut self.bytes).try_into_mut() {
            self.claim.keep(buffer);
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Extra {
    pub(super) fn new(budget: Arc<Budget>, bytes: u64, buffer: Option<BytesMut>) -> Self {
        Self { budget, bytes, buffer }
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        self.budget.lock().extra -= self.bytes;
        self.budget.release(self.bytes, self.buffer.take());
    }
}
