//! The output of one job, cut into parts.
//!
//! Bytes are not copied where a chunk already is what is to be sent: a small object's only chunk, or a range that is as
//! long as a part and holds its room. A processor's chunk as long as a part is copied: it holds no room, and the memory
//! it lies in may be longer than what is sent of it. That takes parts of no more than 256 KiB, which is a choice.
//!
//! Bounded by the job's room: what is on its way to the store holds a claim, but for an only chunk, which has the room
//! to itself. Beside it at most two chunks are in hand: the next, and one that was looked at. What the processor was
//! lent is given back when the last of them is in room of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;

use crate::capacity::budget::Room;
use crate::error::JobError;
use crate::error::Stage::Upload as UPLOAD;
use crate::link::Inlet;
use crate::record::Turn;

/// The output, cut into parts.
pub(super) struct Body {
    input: Inlet,
    /// What belongs to the next part: the end of a chunk, and one that was looked at.
    rest: VecDeque<Chunk>,
    pub(super) ended: bool,
    /// The first part is out.
    pub(super) begun: bool,
    /// The first part, from when it is read until it is sent: what it is sent by depends on whether more follows.
    pub(super) first: Bytes,
}

/// Some of the output. Never empty.
struct Chunk {
    bytes: Bytes,
    /// It holds its room. Another lies in the link's, which is not for bytes on their way.
    counted: bool,
}

impl Body {
    pub(super) fn new(input: Inlet) -> Self {
        Self { input, rest: VecDeque::new(), ended: false, begun: false, first: Bytes::new() }
    }

    /// Resolves when there will be no whole output; to be asked once.
    pub(super) fn broken(&mut self) -> impl Future<Output = JobError> + Send + use<> {
        self.input.broken().map(|gone| gone.at(UPLOAD))
    }

    /// The turn of the stage that uploads.
    pub(super) fn turn(&self) -> &Arc<Turn> {
        self.input.turn()
    }

    /// The next part of `size` bytes; fewer only at the end, and `None` if there was nothing left. `ended` tells
    /// whether the first part was the last, unless that can't be known yet; further parts go out without looking ahead.
    pub(super) async fn part(&mut self, room: &Room, size: u64) -> Result<Option<Bytes>, JobError> {
        let part = self.cut(room, size).await;
        if self.ended && self.rest.is_empty() {
            self.input.used_up();
        }
        part
    }

    async fn cut(&mut self, room: &Room, size: u64) -> Result<Option<Bytes>, JobError> {
        let whole = size as usize;
        let Some(mut first) = self.take().await? else { return Ok(None) };
        if first.counted && first.bytes.len() >= whole {
            let part = first.bytes.split_to(whole);
            self.put_back(first);
            if !self.begun {
                self.look_ahead(room).await?;
            }
            return Ok(Some(part));
        }
        if first.bytes.len() < whole {
            self.look_ahead(room).await?;
            if self.ended {
                return Ok(Some(self.last(room, first).await));
            }
        }
        self.gather(room, first, whole).await.map(Some)
    }

    /// Sees whether there is more. What we hold may be in the room that the next chunk is waiting for: then there is,
    /// and it won't come before we go on.
    async fn look_ahead(&mut self, room: &Room) -> Result<(), JobError> {
        if self.rest.is_empty() {
            tokio::select! {
                biased;
                next = self.take() => self.rest.extend(next?),
                () = room.starved() => {}
            }
        }
        Ok(())
    }

    /// The last chunk, as it is. The link is empty now, so one that is all there is has the whole write room.
    async fn last(&self, room: &Room, chunk: Chunk) -> Bytes {
        let Chunk { bytes, counted } = chunk;
        if counted {
            return bytes;
        }
        let length = bytes.len() as u64;
        if !room.has(length) {
            // A tiny input's. A whole part of room for it would keep many others out.
            match room.try_more(length) {
                Some(claim) => return claim.hold(bytes),
                None => room.grow().await,
            }
        }
        // Other parts may still be on their way.
        if self.begun { room.write(length).await.hold(bytes) } else { bytes }
    }

    /// Copies chunks together until they are `whole` bytes long, or the stream has ended.
    async fn gather(&mut self, room: &Room, first: Chunk, whole: usize) -> Result<Bytes, JobError> {
        let usual = room.part() as usize;
        // A part that is longer than usual needs room that nobody else wants; else it stays as long as it was.
        let (mut claim, whole) = match (whole > usual).then(|| room.try_more(whole as u64)).flatten() {
            Some(claim) => (claim, whole),
            None => (room.write(usual as u64).await, usual),
        };
        let mut fits = if whole > usual { whole } else { whole.min(room.write_size() as usize) };
        let mut buffer = claim.buffer(fits);
        self.rest.push_front(first);
        while buffer.len() < whole {
            let Some(mut chunk) = self.take().await? else { break };
            let length = chunk.bytes.len().min(whole - buffer.len());
            if buffer.len() + length > fits {
                room.grow().await;
                fits = whole;
                let mut longer = claim.buffer(whole);
                longer.extend_from_slice(buffer.as_ref());
                buffer = longer;
            }
            buffer.extend_from_slice(&chunk.bytes.split_to(length));
            self.put_back(chunk);
        }
        if !self.begun {
            self.look_ahead(room).await?;
        }
        Ok(claim.hold_buffer(buffer))
    }

    async fn take(&mut self) -> Result<Option<Chunk>, JobError> {
        if let Some(chunk) = self.rest.pop_front() {
            return Ok(Some(chunk));
        }
        let bytes = self.input.recv().await.map_err(|gone| gone.at(UPLOAD))?;
        self.ended = bytes.is_none();
        Ok(bytes.map(|bytes| Chunk { bytes, counted: self.input.counted() }))
    }

    /// Keeps what is left of a chunk, if anything is. An empty one would keep its room.
    fn put_back(&mut self, chunk: Chunk) {
        if !chunk.bytes.is_empty() {
            self.rest.push_front(chunk);
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
