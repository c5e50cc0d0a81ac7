//! The two ends of a link for async code that wants to read and write them like a file: what an async processor works
//! with.
//!
//! They count the same waits and break in the same way as the blocking ends. A read or a write that has to wait is a
//! future that owns its end of the link, because the channel of a link has no `poll` functions. One allocation per
//! chunk is small beside the chunk. A writer gathers what is written in chunks of [`WRITE_CHUNK`] bytes, and holds no
//! more than two: one on its way into the link, and one that is filled.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{Disconnected, Inlet, Outlet, WRITE_CHUNK};

/// The next chunk, and the end of the link that it came from.
type Received = (Inlet, Result<Option<Bytes>, Disconnected>);

enum End {
    Idle(Inlet),
    Waiting(BoxFuture<'static, Received>),
    Gone,
}

/// The input of an async processor. Read it as an [`AsyncBufRead`], or chunk by chunk.
pub struct AsyncInput {
    end: End,
    chunk: Bytes,
    broken: bool,
}

impl fmt::Debug for AsyncInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncInput").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl AsyncInput {
    /// The input that a link brings.
    #[doc(hidden)]
    pub fn new(inlet: Inlet) -> Self {
        Self { end: End::Idle(inlet), chunk: Bytes::new(), broken: false }
    }

    /// The next bytes of the object, without a copy. `None` at the end of the object.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|context| self.poll_chunk(context)).await?;
        let chunk = std::mem::take(&mut self.chunk);
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Whether the link broke, as opposed to ending.
    #[doc(hidden)]
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Fills `chunk`, unless it holds bytes. It stays empty at the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match std::mem::replace(&mut self.end, End::Gone) {
                End::Idle(mut inlet) => {
                    self.end = End::Waiting(Box::pin(async move {
                        let received = inlet.recv().await;
                        (inlet, received)
                    }));
                }
                End::Waiting(mut future) => {
                    let Poll::Ready((inlet, received)) = future.as_mut().poll(context) else {
                        self.end = End::Waiting(future);
                        return Poll::Pending;
                    };
                    self.end = End::Idle(inlet);
                    match received {
                        Ok(Some(chunk)) => self.chunk = chunk,
                        Ok(None) => break,
                        Err(gone) => {
                            self.broken = true;
                            return Poll::Ready(Err(gone.into()));
                        }
                    }
                }
                End::Gone => return Poll::Ready(Err(Disconnected.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for AsyncInput {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_chunk(context))?;
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.chunk.advance(amount);
        if self.chunk.is_empty() {
            // An empty slice would keep its memory, for which the next chunk may wait.
            self.chunk = Bytes::new();
        }
    }
}

impl AsyncRead for AsyncInput {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let available = ready!(self.as_mut().poll_fill_buf(context))?;
        let amount = available.len().min(into.remaining());
        into.put_slice(&available[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

/// The output of an async processor. Write it as an [`AsyncWrite`], or chunk by chunk. Only a processor that returns
/// `Ok` publishes what it has written.
pub struct AsyncOutput {
    outlet: Arc<Outlet>,
    buffer: BytesMut,
    sending: Option<BoxFuture<'static, Result<(), Disconnected>>>,
    broken: bool,
}

impl fmt::Debug for AsyncOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncOutput").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl AsyncOutput {
    /// The output that a link takes.
    #[doc(hidden)]
    pub fn new(outlet: Outlet) -> Self {
        Self { outlet: Arc::new(outlet), buffer: BytesMut::new(), sending: None, broken: false }
    }

    /// Writes `chunk` without a copy, after all that was written before. Chunks far above 256 KiB are cut, because
    /// their memory is not part of the worker's budget.
    pub async fn send_chunk(&mut self, mut chunk: Bytes) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_sent(context)).await?;
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(WRITE_CHUNK));
            self.begin(part);
            std::future::poll_fn(|context| self.poll_idle(context)).await?;
        }
        Ok(())
    }

    /// Whether the reader went away.
    #[doc(hidden)]
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Sends what is left and declares the stream complete.
    #[doc(hidden)]
    pub async fn finish(mut self) -> Result<(), Disconnected> {
        std::future::poll_fn(|context| self.poll_sent(context)).await.map_err(|_| Disconnected)?;
        let Self { outlet, sending, .. } = self;
        drop(sending);
        // Nothing else holds the outlet: the future that did has ended.
        Arc::try_unwrap(outlet).map_err(|_| Disconnected)?.finish().await
    }

    fn begin(&mut self, chunk: Bytes) {
        let outlet = Arc::clone(&self.outlet);
        self.sending = Some(Box::pin(async move { outlet.send(chunk).await }));
    }

    /// Ready when no chunk is on its way into the link.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(Disconnected.into()));
        }
        if let Some(sending) = &mut self.sending {
            let sent = ready!(sending.as_mut().poll(context));
            self.sending = None;
            self.broken = sent.is_err();
            return Poll::Ready(sent.map_err(Into::into));
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when everything written is in the link.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_idle(context))?;
        if !self.buffer.is_empty() {
            let chunk = std::mem::take(&mut self.buffer).freeze();
            self.begin(chunk);
            return self.poll_idle(context);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AsyncOutput {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() == WRITE_CHUNK {
            ready!(self.poll_sent(context))?;
        } else if self.broken {
            return Poll::Ready(Err(Disconnected.into()));
        }
        let amount = data.len().min(WRITE_CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&data[..amount]);
        Poll::Ready(Ok(amount))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::error::Stage;
    use crate::link::link;
    use crate::record::Meters;

    fn joined() -> (Outlet, Inlet) {
        let meters = Arc::new(Meters::default());
        link(&meters.turn(Stage::Download), &meters.turn(Stage::Upload))
    }

    #[tokio::test]
    async fn bytes_cross_from_an_async_writer_to_an_async_reader_in_order_whatever_their_number() {
        for length in [0, 1, WRITE_CHUNK, WRITE_CHUNK + 1, 5 * WRITE_CHUNK + 7] {
            let (outlet, inlet) = joined();
            let data: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let expected = data.clone();
            let writing = tokio::spawn(async move {
                let mut output = AsyncOutput::new(outlet);
                let half = data.len() / 2;
                output.write_all(&data[..half]).await.unwrap();
                output.send_chunk(Bytes::copy_from_slice(&data[half..])).await.unwrap();
                output.finish().await.unwrap();
            });
            let mut all = Vec::new();
            AsyncInput::new(inlet).read_to_end(&mut all).await.unwrap();
            writing.await.unwrap();
            assert_eq!(all, expected);
        }
    }

    #[tokio::test]
    async fn an_async_reader_sees_a_broken_link_as_an_error_and_never_as_the_end() {
        let (outlet, inlet) = joined();
        outlet.send(Bytes::from_static(b"half")).await.unwrap();
        drop(outlet);
        let mut input = AsyncInput::new(inlet);
        let mut all = Vec::new();
        let error = input.read_to_end(&mut all).await.unwrap_err();
        assert_eq!((error.kind(), &all[..], input.broken()), (io::ErrorKind::BrokenPipe, &b"half"[..], true));
    }

    #[tokio::test]
    async fn an_async_writer_whose_reader_is_gone_fails_and_never_finishes() {
        let (outlet, inlet) = joined();
        drop(inlet);
        let mut output = AsyncOutput::new(outlet);
        output.write_all(b"lost").await.unwrap();
        assert_eq!(output.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(output.broken());
        assert_eq!(output.finish().await, Err(Disconnected));
    }
}
