//! The two ends of a link for threads that may block: a processor reads from one and writes to the other.
//!
//! Waits are counted as on the async side, and a broken link is an error here too, of kind `BrokenPipe`. A writer
//! gathers its data in chunks of [`WRITE_CHUNK`] bytes, and holds at most one chunk.

use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{Chunk, Disconnected, Frame, Inlet, Outlet, WRITE_CHUNK};
use crate::record::State;

impl Outlet {
    /// A blocking writer, for use off the async runtime.
    pub fn into_writer(self) -> Writer {
        Writer { outlet: self, buffer: BytesMut::new(), broken: false }
    }

    fn blocking_send(&self, chunk: Bytes) -> Result<(), Disconnected> {
        let length = chunk.len() as u64;
        match self.frames.try_send(Frame::Data(Chunk { bytes: chunk, counted: false })) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Disconnected),
            Err(mpsc::error::TrySendError::Full(frame)) => {
                let _waiting = self.turn.waits(State::WaitDownstream);
                self.frames.blocking_send(frame).map_err(|_| Disconnected)?;
            }
        }
        self.turn.meter().bytes_out.fetch_add(length, Relaxed);
        Ok(())
    }
}

impl Inlet {
    /// A blocking reader, for use off the async runtime.
    pub fn into_reader(self) -> Reader {
        Reader { inlet: self, chunk: Bytes::new(), broken: false }
    }

    fn blocking_recv(&mut self) -> Result<Option<Bytes>, Disconnected> {
        if let Some(chunk) = self.peeked.take() {
            return Ok(Some(chunk));
        }
        while !self.ended {
            let frame = match self.frames.try_recv() {
                Ok(frame) => Some(frame),
                Err(_) => {
                    let _waiting = self.turn.waits(State::WaitUpstream);
                    self.frames.blocking_recv()
                }
            };
            if let Some(chunk) = self.accept(frame)? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}

/// Reads a link from a blocking thread.
#[derive(Debug)]
pub struct Reader {
    inlet: Inlet,
    chunk: Bytes,
    broken: bool,
}

impl Reader {
    /// Whether the link broke, as opposed to ending.
    pub fn broken(&self) -> bool {
        self.broken
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            match self.inlet.blocking_recv() {
                Ok(chunk) => self.chunk = chunk.unwrap_or_default(),
                Err(gone) => {
                    self.broken = true;
                    return Err(gone.into());
                }
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
        if self.chunk.is_empty() {
            // Even an empty slice keeps its bytes alive, and they may occupy the memory that the next chunk is waiting
            // for.
            self.chunk = Bytes::new();
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let amount = available.len().min(buffer.len());
        buffer[..amount].copy_from_slice(&available[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

/// Writes a link from a blocking thread, in chunks of [`WRITE_CHUNK`] bytes.
#[derive(Debug)]
pub struct Writer {
    outlet: Outlet,
    buffer: BytesMut,
    broken: bool,
}

impl Writer {
    /// Whether the reader has gone away.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Flushes and declares the stream complete.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let Outlet { frames, whole, .. } = self.outlet;
        frames.blocking_send(Frame::End).map_err(|_| Disconnected)?;
        // If the reader is gone by now, it has received the end or no longer needs it.
        whole.send(()).unwrap_or_default();
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let amount = data.len().min(WRITE_CHUNK - self.buffer.len());
        let needed = self.buffer.len() + amount;
        if needed > self.buffer.capacity() {
            // Doubles like any growing buffer, but never beyond a chunk, because the budget counts no more than that.
            let mut longer = BytesMut::with_capacity((2 * self.buffer.capacity()).clamp(needed, WRITE_CHUNK));
            longer.extend_from_slice(&self.buffer);
            self.buffer = longer;
        }
        self.buffer.extend_from_slice(&data[..amount]);
        if self.buffer.len() == WRITE_CHUNK {
            self.flush()?;
        }
        Ok(amount)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = self.buffer.len() == WRITE_CHUNK;
        let chunk = std::mem::take(&mut self.buffer).freeze();
        if full {
            // A stream that filled one chunk will fill the next; a small output never allocates a whole chunk.
            self.buffer.reserve(WRITE_CHUNK);
        }
        let sent = self.outlet.blocking_send(chunk);
        self.broken |= sent.is_err();
        sent.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Stage;
    use crate::link::link;
    use crate::record::Meters;

    fn joined() -> (Outlet, Inlet) {
        let meters = Arc::new(Meters::default());
        link(&meters.turn(Stage::Download), &meters.turn(Stage::Upload))
    }

    #[test]
    fn a_writers_buffer_is_never_longer_than_a_chunk() {
        let (outlet, _inlet) = joined();
        let mut writer = outlet.into_writer();
        for length in [200_000, 40_000, 40_000, 1] {
            writer.write_all(&vec![7; length]).unwrap();
            assert!(writer.buffer.capacity() <= WRITE_CHUNK, "{} bytes", writer.buffer.capacity());
        }
    }

    #[tokio::test]
    async fn bytes_cross_from_a_blocking_writer_to_a_blocking_reader_in_order() {
        let (outlet, inlet) = joined();
        let data: Vec<u8> = (0..3 * WRITE_CHUNK + 7).map(|i| (i % 251) as u8).collect();
        let expected = data.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut writer = outlet.into_writer();
            writer.write_all(&data).unwrap();
            writer.finish().unwrap();
        });
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            inlet.into_reader().read_to_end(&mut all).unwrap();
            all
        });
        writing.await.unwrap();
        assert_eq!(read.await.unwrap(), expected);
    }
}
