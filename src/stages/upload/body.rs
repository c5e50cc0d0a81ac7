//! The output of one job, cut into parts.
//!
//! Bytes are not copied where a chunk already is what is to be sent: a small object's only chunk, or a range that is as
//! long as a part and holds its room. A processor's chunk as long as a part is copied: it holds no room, and the memory it
//! lies in may be longer than what is sent of it. That takes parts of no more than 256 KiB, which is a choice.
//!
//! Bounded by the job's room: what is on its way to the store holds a claim, but for an only chunk, which has the room to
//! itself. Beside it at most two chunks are in hand: the next, and one that was looked at. What the processor was lent is
//! given back when the last of them is in room of its own.

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
}

/// Some of the output. Never empty.
struct Chunk {
    bytes: Bytes,
    /// It holds its room. Another lies in the link's, which is not for bytes on their way.
    counted: bool,
}

impl Body {
    pub(super) fn new(input: Inlet) -> Self {
        Self { input, rest: VecDeque::new(), ended: false, begun: false }
    }

    /// Resolves when there will be no whole output; to be asked once.
    pub(super) fn broken(&mut self) -> impl Future<Output = JobError> + Send + use<> {
        self.input.broken().map(|gone| gone.at(UPLOAD))
    }

    /// The turn of the stage that uploads.
    pub(super) fn turn(&self) -> &Arc<Turn> {
        self.input.turn()
    }

    /// The next part of `size` bytes; fewer only at the end, and `None` if there was nothing left. `ended` tells whether
    /// the first part was the last, unless that can't be known yet; further parts go out without looking ahead.
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

    /// Sees whether there is more. What we hold may be in the room that the next chunk is waiting for: then there is, and
    /// it won't come before we go on.
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
mod tests {
    use super::*;
    use crate::capacity::budget::{Budget, LINK_BYTES};
    use crate::error::Stage;
    use crate::link::{Kept, Outlet, WRITE_CHUNK, link};
    use crate::record::Meters;

    const CHUNK: u64 = WRITE_CHUNK as u64;
    const SMALL: u64 = 64 * 1024;

    fn joined() -> (Outlet, Body) {
        let meters = Arc::new(Meters::default());
        let (outlet, inlet) = link(&meters.turn(Stage::Process), &meters.turn(Stage::Upload));
        (outlet, Body::new(inlet))
    }

    fn chunk(length: u64) -> Bytes {
        Bytes::from(vec![7; length as usize])
    }

    /// A processor that ends when its upload has taken these, at its first chance.
    async fn sends(outlet: Outlet, chunks: Vec<Bytes>) {
        tokio::spawn(async move {
            for chunk in chunks {
                outlet.send(chunk).await.unwrap();
            }
            outlet.finish().await.unwrap();
        });
        tokio::task::yield_now().await;
    }

    /// The next part, if it is there without waiting.
    fn next(body: &mut Body, room: &Room) -> Option<Option<Bytes>> {
        body.part(room, room.part()).now_or_never().map(Result::unwrap)
    }

    /// A job beside others that have all the rest of the budget: nothing is free for it.
    fn all_but(budget: &Arc<Budget>, size: u64) -> (Room, impl Sized) {
        let (room, other) = (budget.try_admit(Some(size)).unwrap(), budget.try_admit(None).unwrap());
        let mut more = Vec::new();
        for bytes in [SMALL, 1024, 1] {
            more.extend(std::iter::from_fn(|| other.try_more(bytes)));
        }
        assert_eq!(budget.reserved(), budget.total());
        (room, (other, more))
    }

    #[tokio::test]
    async fn a_processors_chunks_as_long_as_parts_are_on_their_way_only_in_room_of_their_own() {
        let budget = Budget::new(2 * SMALL, SMALL);
        let room = budget.admit(None).await;
        let (outlet, mut body) = joined();
        sends(outlet, vec![chunk(CHUNK), chunk(SMALL), chunk(10)]).await;
        let mut part = next(&mut body, &room).unwrap().unwrap();
        let mut written = part.len() as u64;
        while !body.ended {
            body.begun = true;
            let mut coming = Box::pin(body.part(&room, SMALL));
            assert!((&mut coming).now_or_never().is_none(), "two parts are on their way in room for one");
            drop(part);
            part = coming.await.unwrap().unwrap();
            written += part.len() as u64;
        }
        assert_eq!(written, CHUNK + SMALL + 10);
    }

    #[tokio::test]
    async fn what_holds_its_room_and_what_is_all_there_is_passes_uncopied() {
        let budget = Budget::new(16 * CHUNK, SMALL);
        let room = budget.admit(Some(SMALL + 10)).await;
        let (outlet, mut body) = joined();
        let range = room.read(SMALL).await.hold(chunk(SMALL));
        outlet.send_counted(range.clone()).await.unwrap();
        outlet.send(chunk(10)).await.unwrap();
        assert_eq!(next(&mut body, &room).unwrap().unwrap().as_ptr(), range.as_ptr());

        let (outlet, mut body) = joined();
        let (only, before) = (chunk(SMALL - 1), budget.reserved());
        outlet.send(only.clone()).await.unwrap();
        outlet.finish().await.unwrap();
        assert_eq!(next(&mut body, &room).unwrap().unwrap().as_ptr(), only.as_ptr());
        assert_eq!(budget.reserved(), before);
    }

    #[tokio::test]
    async fn a_tiny_inputs_only_chunk_has_as_much_room_as_it_is_long() {
        let budget = Budget::new(16 * CHUNK, 4 * CHUNK);
        let send = async || {
            let (outlet, body) = joined();
            outlet.send(chunk(CHUNK)).await.unwrap();
            outlet.finish().await.unwrap();
            body
        };
        let room = budget.admit(Some(10)).await;
        let at_work = room.try_lend();
        let part = next(&mut send().await, &room).unwrap().unwrap();
        drop(at_work);
        assert!((CHUNK..2 * CHUNK).contains(&budget.reserved()), "{} bytes for {CHUNK}", budget.reserved());
        drop((part, room));
        assert_eq!(budget.reserved(), 0);

        let (room, others) = all_but(&budget, 10);
        let mut body = send().await;
        assert!(next(&mut body, &room).is_none(), "it was sent in room for {SMALL} bytes");
        drop(others);
    }

    #[tokio::test]
    async fn a_processor_is_ahead_of_its_upload_by_what_is_counted_for_it_and_no_more() {
        let budget = Budget::new(64 * CHUNK, 4 * CHUNK);
        let (room, _others) = all_but(&budget, 16 * CHUNK);
        let _on_its_way = room.write(CHUNK).await;
        let (outlet, mut body) = joined();
        let mut part = Box::pin(body.part(&room, room.part()));
        let mut made = CHUNK;
        while outlet.send(chunk(CHUNK)).now_or_never().is_some() {
            made += CHUNK;
            assert!((&mut part).now_or_never().is_none(), "two parts are on their way in room for one");
        }
        assert_eq!(made, LINK_BYTES);
    }

    #[tokio::test]
    async fn what_a_processor_was_lent_goes_when_its_output_is_used_up_and_not_when_it_ends() {
        for (size, is_small) in [(10, true), (CHUNK, false)] {
            let budget = Budget::new(24 * CHUNK, 4 * CHUNK);
            let room = budget.admit(Some(10)).await;
            let (small, lent) = (budget.reserved(), Arc::new(room.try_lend().unwrap()));
            let (outlet, mut body) = joined();
            outlet.keep(Arc::clone(&lent) as Kept).await.unwrap();
            outlet.send(chunk(size)).await.unwrap();
            let mut part = Box::pin(body.part(&room, room.part()));
            assert!((&mut part).now_or_never().is_none(), "there is no telling whether it is the last");
            if !is_small {
                outlet.send(chunk(CHUNK)).await.unwrap();
            }
            let before = budget.reserved();
            outlet.finish().await.unwrap();
            drop(lent);
            assert_eq!(budget.reserved(), before, "given back while its chunks are in the link");
            let part = part.now_or_never().expect("it has its room").unwrap().unwrap();
            assert_eq!(part.len() as u64, if is_small { size } else { 2 * CHUNK });
            assert_eq!(budget.reserved() == small, is_small, "{} bytes", budget.reserved());
        }
    }

    #[tokio::test]
    async fn a_first_chunk_that_is_too_long_is_not_copied_before_there_is_room_for_it() {
        let budget = Budget::new(24 * CHUNK, 4 * CHUNK);
        let (room, others) = all_but(&budget, 10);
        let (outlet, mut body) = joined();
        let first = chunk(CHUNK);
        sends(outlet, vec![first.clone(), chunk(CHUNK)]).await;
        {
            let mut part = Box::pin(body.part(&room, room.part()));
            assert!((&mut part).now_or_never().is_none());
            assert!(!first.is_unique(), "it was copied into room for {SMALL} bytes");
            drop(others);
            assert_eq!(part.await.unwrap().unwrap().len() as u64, 2 * CHUNK);
        }
        assert!(first.is_unique() && room.has(4 * CHUNK));
    }
}
