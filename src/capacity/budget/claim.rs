//! The right to hold the bytes of one part, and the bytes that carry this right.
//!
//! A claim lives in the bytes themselves, so its memory returns to the budget when the last slice of them is
//! dropped, wherever that happens, and nobody has to release it. The buffer returns with it for reuse.

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
    /// The job's own room, which lives as long as any bytes in it.
    Own(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit, Arc<Shared>),
    /// Memory that was free.
    Extra(Extra),
}

/// Memory that was free, and returns to the budget with its bytes.
#[derive(Debug)]
pub(super) struct Extra {
    budget: Arc<Budget>,
    bytes: u64,
    /// An empty buffer that uses this memory.
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

    /// An empty buffer for `bytes` bytes, reused if possible.
    pub fn buffer(&mut self, bytes: usize) -> Buffer {
        let (budget, used) = match &mut self.source {
            Source::Own(_, shared) => (&shared.budget, shared.lock().spare.pop()),
            Source::Extra(extra) => (&extra.budget, extra.buffer.take()),
        };
        let length = budget.length(bytes as u64);
        // A spare buffer of another length is dropped.
        let used =
            used.filter(|buffer| buffer.capacity() as u64 == length).or_else(|| budget.lock().spare.take(length));
        used.unwrap_or_else(|| Buffer::new(length as usize))
    }

    /// Keeps a used buffer for the next claim: of the same job if the buffer is a whole part and fits, otherwise of any
    /// job.
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
            // The memory and its buffer return to the budget together.
            Source::Extra(extra) => extra.buffer = Some(buffer),
        }
    }

    /// Returns the bytes in the buffer, which hold this claim for as long as any clone or slice of them lives.
    pub fn hold_buffer(self, buffer: Buffer) -> Bytes {
        Bytes::from_owner(Filled { buffer, claim: self })
    }

    /// Like [`hold_buffer`](Claim::hold_buffer), for bytes that were made elsewhere.
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
