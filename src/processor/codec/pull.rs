//! Joins the steps of a chain: async codecs driven from a blocking thread, and the buffers between steps.
//!
//! A chain is pulled from its end: each step reads the step before it. async-compression's types are asynchronous,
//! but their sources here are always ready, so a poll always completes and no executor is needed. There are at most
//! [`FULL`] bytes between two steps.

use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::io::{AllowStdIo, AsyncRead};

/// The source of a step.
pub(super) type Source<'a> = Box<dyn BufRead + 'a>;

/// The size of a reader's buffer once its stream has proved to be long: a chunk of a link, because the writer at the
/// end makes such chunks anyway.
pub(super) const FULL: usize = crate::link::WRITE_CHUNK;

/// The size of a reader's first buffer: a small object should not pay for a large buffer (1000 bytes take zstd:1 11 µs
/// with this size, and 22 µs with a whole chunk: measured).
pub(super) const FIRST: usize = 16 * 1024;

/// Reads from an async codec whose source is always ready.
#[derive(Debug)]
pub(super) struct Ready<C>(pub(super) C);

impl<C: AsyncRead + Unpin> Read for Ready<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll_read(&mut context, buffer) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::Error::other("a codec waits though its input is there")),
        }
    }
}

/// Turns a step's source into the type that the codecs read.
pub(super) fn always_ready(source: Source<'_>) -> AllowStdIo<Source<'_>> {
    AllowStdIo::new(source)
}

/// Buffers a step for the next one. Unlike std's buffer, it grows with the stream.
pub(super) struct Buffered<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Buffered<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::new(), start: 0, end: 0 }
    }
}

impl<R: Read> BufRead for Buffered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            if self.end == self.buffer.len() && self.end < FULL {
                let larger = if self.buffer.is_empty() { FIRST } else { FULL };
                self.buffer = vec![0; larger];
            }
            self.start = 0;
            self.end = 0;
            // Codecs stop at every boundary of their input; filling the buffer makes full chunks later on.
            while self.end < self.buffer.len() {
                match self.inner.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(amount) => self.end += amount,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
    }
}

impl<R: Read> Read for Buffered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}
