//! Bounded links between the stages of one job.
//!
//! A link is a Unix pipe for [`Bytes`]. It makes its writer wait when it is full: that wait *is* the pipeline's
//! backpressure. It ends only when the writer calls [`finish`](Outlet::finish), so a stage that fails or is dropped
//! midway can never be mistaken for the end of the data: its reader sees [`Disconnected`] instead. If the reader
//! goes away first, the writer sees the same error. So a failure spreads along a job just as end-of-file does, and
//! no stage needs to know the others.
//!
//! Links count the bytes and the waiting of the stages they join, so stages need no counters of their own. A link
//! holds at most [`DEPTH`] chunks, each of at most [`WRITE_CHUNK`] bytes if a blocking writer (`blocking.rs`) made
//! it. Chunks without a claim of their own use the memory that was given to their writer, and the link
//! [keeps](Outlet::keep) that claim until the chunks are used up.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::error::{JobError, Stage};
use crate::record::{State, Turn};

mod blocking;
mod waiting;

pub use blocking::{Reader, Writer};
pub use waiting::{AsyncInput, AsyncOutput};

/// The size of the chunks that a blocking writer sends. 64 KiB costs twice the CPU of 256 KiB, and 1 MiB is not
/// measurably better (measured by bridging a copy).
pub const WRITE_CHUNK: usize = 256 * 1024;

/// Chunks that a link holds. Depths of 1 to 8 measured alike. The link only decouples two stages; prefetching is up to
/// the download. Each chunk of depth costs every job a chunk of memory.
pub const DEPTH: usize = 2;

/// What lives as long as any chunk in the link: the writer's claim on memory.
pub type Kept = Arc<dyn Any + Send + Sync>;

/// The other end of a link went away before the stream was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl Disconnected {
    /// The echo that this error is in `stage`.
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
    /// How many bytes there will be in all, and what else is known of the object; comes first, if it comes.
    Total(u64, Option<Arc<Announced>>),
    Keep(Kept),
    Data(Chunk),
    End,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Whether the bytes hold their own claim on the budget.
    counted: bool,
}

/// What is known of the object whose bytes cross a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The ETag, without its quotes.
    pub etag: Option<String>,
    /// The version, in a versioned bucket.
    pub version_id: Option<String>,
    /// The metadata of the object.
    pub metadata: BTreeMap<String, String>,
}

/// The writing end of a link.
#[derive(Debug)]
pub struct Outlet {
    frames: mpsc::Sender<Frame>,
    /// Signals that the stream is finished. If this is dropped before, the link is broken.
    whole: oneshot::Sender<()>,
    turn: Arc<Turn>,
}

/// The reading end of a link.
#[derive(Debug)]
pub struct Inlet {
    frames: mpsc::Receiver<Frame>,
    whole: Option<oneshot::Receiver<()>>,
    /// A chunk that [`ready`](Inlet::ready) has received and nobody has taken yet.
    peeked: Option<Bytes>,
    total: Option<u64>,
    object: Option<Arc<Announced>>,
    /// What the chunks lie in.
    kept: Option<Kept>,
    /// Whether the chunk received last holds its own claim.
    counted: bool,
    ended: bool,
    turn: Arc<Turn>,
}

/// Joins the stages of two turns with a link.
pub fn link(from: &Arc<Turn>, to: &Arc<Turn>) -> (Outlet, Inlet) {
    let (tx, rx) = mpsc::channel(DEPTH);
    let (finished, whole) = oneshot::channel();
    let inlet = Inlet {
        frames: rx,
        whole: Some(whole),
        peeked: None,
        total: None,
        object: None,
        kept: None,
        counted: false,
        ended: false,
        turn: Arc::clone(to),
    };
    (Outlet { frames: tx, whole: finished, turn: Arc::clone(from) }, inlet)
}

impl Outlet {
    /// Announces, before the first chunk, how many bytes will follow.
    pub async fn announce(&self, total: u64) -> Result<(), Disconnected> {
        self.frames.send(Frame::Total(total, None)).await.map_err(|_| Disconnected)
    }

    /// The same, with what else is known of the object.
    pub async fn announce_object(&self, total: u64, object: Announced) -> Result<(), Disconnected> {
        self.frames.send(Frame::Total(total, Some(Arc::new(object)))).await.map_err(|_| Disconnected)
    }

    /// Keeps the claim on the memory of the chunks that follow until the reader has [used them up](Inlet::used_up) or
    /// is gone, because the writer may end long before.
    pub async fn keep(&self, kept: Kept) -> Result<(), Disconnected> {
        self.frames.send(Frame::Keep(kept)).await.map_err(|_| Disconnected)
    }

    /// Sends one chunk, and waits while the link is full. The chunk has no claim of its own: it uses the link's memory.
    pub async fn send(&self, chunk: Bytes) -> Result<(), Disconnected> {
        self.transmit(Chunk { bytes: chunk, counted: false }).await
    }

    /// Sends a chunk that [holds](crate::capacity::budget::Claim::hold) its own claim wherever it goes.
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
        // If the reader is gone by now, it has received the end or no longer needs it.
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
    /// Returns the next chunk, which is never empty, or `None` once the writer has finished.
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

    /// Whether the chunk received last holds its own claim wherever it goes. Otherwise the chunk uses the link's memory
    /// until it is used up.
    pub fn counted(&self) -> bool {
        self.counted
    }

    /// The total number of bytes, if the writer announced it before what was received so far.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// What is known of the object, if the writer has said it before what was received so far.
    pub fn object(&self) -> Option<&Announced> {
        self.object.as_deref()
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

    /// Drops the claim on the memory of the chunks: the stream has ended and all chunks are used up.
    pub fn used_up(&mut self) {
        self.kept = None;
    }

    /// Waits until there is a chunk to take, or the stream has ended.
    pub async fn ready(&mut self) -> Result<(), Disconnected> {
        self.peeked = self.recv().await?;
        Ok(())
    }

    /// Waits like [`ready`](Inlet::ready), and returns whether there is a chunk.
    pub async fn has_some(&mut self) -> Result<bool, Disconnected> {
        self.ready().await?;
        Ok(self.peeked.is_some())
    }

    /// The turn of the stage that reads.
    pub fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// `None` for an empty chunk, the total, a claim, or the end; only the end sets `ended`.
    fn accept(&mut self, frame: Option<Frame>) -> Result<Option<Bytes>, Disconnected> {
        match frame {
            Some(Frame::Data(Chunk { bytes, counted })) => {
                self.turn.meter().bytes_in.fetch_add(bytes.len() as u64, Relaxed);
                self.counted = counted;
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            Some(Frame::Total(total, object)) => {
                (self.total, self.object) = (Some(total), object);
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
