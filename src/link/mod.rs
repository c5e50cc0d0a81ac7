//! Bounded links between the stages of one job.
//!
//! A link is a Unix pipe for [`Bytes`]. It makes its writer wait when it is full: that wait *is* the
//! pipeline's backpressure. It ends only when the writer calls [`finish`](Outlet::finish), so a stage
//! that fails or is dropped midway can never be mistaken for the end of the data: its reader sees
//! [`Disconnected`] instead. And when the reader goes away first, the writer sees the same. Failure
//! therefore spreads along a job exactly as end-of-file does, and no stage needs to know the others.
//!
//! Links count the bytes and the waiting of the stages they join, so stages need no counters of their own.
//! A link holds at most [`DEPTH`] chunks, of at most [`WRITE_CHUNK`] bytes where a blocking writer (`blocking.rs`)
//! makes them. Chunks that hold no room of their own lie in the room that their writer was given, and the link
//! [keeps](Outlet::keep) that until they are used up.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::error::{JobError, Stage};
use crate::record::{State, Turn};

mod blocking;

pub use blocking::{Reader, Writer};

/// The size of the chunks a blocking writer sends: 64 KiB costs twice the CPU of 256 KiB, 1 MiB is no better
/// than noise (measured, bridging a copy).
pub const WRITE_CHUNK: usize = 256 * 1024;

/// Chunks a link holds. Depths of 1 to 8 measured alike; this decouples two stages and no more, prefetching is the
/// download's business. Each costs every job a chunk of its memory.
pub const DEPTH: usize = 2;

/// What lives as long as a chunk that is in it: the writer's room.
pub type Kept = Arc<dyn Any + Send + Sync>;

/// The other end of a link went away before the stream was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl Disconnected {
    /// The echo this is in `stage`.
    pub fn at(self, stage: Stage) -> JobError {
        JobError::disconnected(stage)
    }
}

impl From<Disconnected> for io::Error {
    fn from(_: Disconnected) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, "the neighbouring stage went away")
    }
}

#[derive(Debug)]
enum Frame {
    /// How many bytes there will be in all; comes first, if it comes.
    Total(u64),
    Keep(Kept),
    Data(Chunk),
    End,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// The bytes hold their room in the budget themselves.
    counted: bool,
}

/// The writing end of a link.
#[derive(Debug)]
pub struct Outlet {
    frames: mpsc::Sender<Frame>,
    /// Told when the stream is finished; dropped before, the link is broken.
    whole: oneshot::Sender<()>,
    turn: Arc<Turn>,
}

/// The reading end of a link.
#[derive(Debug)]
pub struct Inlet {
    frames: mpsc::Receiver<Frame>,
    whole: Option<oneshot::Receiver<()>>,
    /// A chunk looked at by [`ready`](Inlet::ready) and not yet taken.
    peeked: Option<Bytes>,
    total: Option<u64>,
    /// What the chunks lie in.
    kept: Option<Kept>,
    /// The chunk received last holds its room.
    counted: bool,
    ended: bool,
    turn: Arc<Turn>,
}

/// Joins the stages of two turns.
pub fn link(from: &Arc<Turn>, to: &Arc<Turn>) -> (Outlet, Inlet) {
    let (tx, rx) = mpsc::channel(DEPTH);
    let (finished, whole) = oneshot::channel();
    let inlet = Inlet {
        frames: rx,
        whole: Some(whole),
        peeked: None,
        total: None,
        kept: None,
        counted: false,
        ended: false,
        turn: Arc::clone(to),
    };
    (Outlet { frames: tx, whole: finished, turn: Arc::clone(from) }, inlet)
}

impl Outlet {
    /// Says, before the first chunk, how many bytes there will be.
    pub async fn announce(&self, total: u64) -> Result<(), Disconnected> {
        self.frames.send(Frame::Total(total)).await.map_err(|_| Disconnected)
    }

    /// Keeps what the chunks that follow lie in until the reader has [used them up](Inlet::used_up), or is gone: the
    /// writer may end long before.
    pub async fn keep(&self, kept: Kept) -> Result<(), Disconnected> {
        self.frames.send(Frame::Keep(kept)).await.map_err(|_| Disconnected)
    }

    /// Sends one chunk, waiting while the link is full. It lies in the link's own room, and in none beyond it.
    pub async fn send(&self, chunk: Bytes) -> Result<(), Disconnected> {
        self.transmit(Chunk { bytes: chunk, counted: false }).await
    }

    /// The same for a chunk that [holds](crate::capacity::budget::Claim::hold) its room wherever it goes.
    pub async fn send_counted(&self, chunk: Bytes) -> Result<(), Disconnected> {
        self.transmit(Chunk { bytes: chunk, counted: true }).await
    }

    async fn transmit(&self, chunk: Chunk) -> Result<(), Disconnected> {
        let length = chunk.bytes.len() as u64;
        match self.frames.try_send(Frame::Data(chunk)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Disconnected),
            Err(mpsc::error::TrySendError::Full(frame)) => {
                let _waiting = self.turn.waits(State::WaitDownstream);
                self.frames.send(frame).await.map_err(|_| Disconnected)?;
            }
        }
        self.turn.meter().bytes_out.fetch_add(length, Relaxed);
        Ok(())
    }

    /// Declares the stream complete. An outlet dropped without this breaks the link.
    pub async fn finish(self) -> Result<(), Disconnected> {
        self.frames.send(Frame::End).await.map_err(|_| Disconnected)?;
        // A reader that is gone by now has taken the end, or wants none.
        self.whole.send(()).unwrap_or_default();
        Ok(())
    }

    /// Resolves when the reader has gone away.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }

    /// The turn of the stage that writes.
    pub fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }
}

impl Inlet {
    /// The next chunk, never empty, or `None` once the writer has finished.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, Disconnected> {
        if let Some(chunk) = self.peeked.take() {
            return Ok(Some(chunk));
        }
        while !self.ended {
            let frame = match self.frames.try_recv() {
                Ok(frame) => Some(frame),
                Err(_) => {
                    let _waiting = self.turn.waits(State::WaitUpstream);
                    self.frames.recv().await
                }
            };
            if let Some(chunk) = self.accept(frame)? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// Whether the chunk that came last holds its room wherever it goes; another is in the link's own, for as long as
    /// it takes to use it up.
    pub fn counted(&self) -> bool {
        self.counted
    }

    /// How many bytes there will be in all, if the writer has said it before what was received so far.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Resolves when the writer has gone without finishing, also while what it sent before lies in the link: for a
    /// reader that waits for something else. Never if the stream was finished. To be asked once.
    pub fn broken(&mut self) -> impl Future<Output = Disconnected> + Send + use<> {
        let whole = self.whole.take();
        async move {
            let is_whole = match whole {
                Some(whole) => whole.await.is_ok(),
                None => true,
            };
            if is_whole { std::future::pending().await } else { Disconnected }
        }
    }

    /// The stream has ended and nothing of its chunks is left: what they lay in goes.
    pub fn used_up(&mut self) {
        self.kept = None;
    }

    /// Waits until there is a chunk to take, or the stream has ended.
    pub async fn ready(&mut self) -> Result<(), Disconnected> {
        self.peeked = self.recv().await?;
        Ok(())
    }

    /// The same, and whether there is a chunk.
    pub async fn has_some(&mut self) -> Result<bool, Disconnected> {
        self.ready().await?;
        Ok(self.peeked.is_some())
    }

    /// The turn of the stage that reads.
    pub fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// `None` for an empty chunk, the total or the end; `ended` tells the last.
    fn accept(&mut self, frame: Option<Frame>) -> Result<Option<Bytes>, Disconnected> {
        match frame {
            Some(Frame::Data(Chunk { bytes, counted })) => {
                self.turn.meter().bytes_in.fetch_add(bytes.len() as u64, Relaxed);
                self.counted = counted;
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            Some(Frame::Total(total)) => {
                self.total = Some(total);
                Ok(None)
            }
            Some(Frame::Keep(kept)) => {
                self.kept = Some(kept);
                Ok(None)
            }
            Some(Frame::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(Disconnected),
        }
    }
}

#[cfg(test)]
mod tests;
