//! Moves the data of a running program's three pipes, and fills and reads its files.
//!
//! All three pipes must move at the same time: a program whose stderr is full stops reading its stdin. Bounded by
//! one chunk in each direction and by [`STDERR_KEPT`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;

use crate::error::{JobError, Stage};
use crate::link::{Disconnected, Inlet, Outlet, WRITE_CHUNK};
use crate::processor::scratch::{self, ScratchFile};

/// How much of the end of stderr is kept for the log and the dead letter.
pub(super) const STDERR_KEPT: usize = 4096;

/// The size of the first buffer for a program's output: many outputs are short, and each job would pay for a whole
/// chunk.
const FIRST_CHUNK: usize = 8 * 1024;

/// Feeds a program's stdin and closes it. If a program stops reading, that is not an error: the rest is not read.
///
/// If the link breaks, stdin stays open: closing it would look like the end of the data, and the program could act on
/// half an object before it is killed.
pub(super) async fn feed(input: &mut Inlet, stdin: &mut Option<ChildStdin>) -> Result<(), Disconnected> {
    if let Some(pipe) = stdin {
        while let Some(chunk) = input.recv().await? {
            if pipe.write_all(&chunk).await.is_err() {
                break;
            }
        }
    }
    *stdin = None;
    Ok(())
}

/// Why a program's output did not come to its end.
#[derive(Debug)]
pub(super) enum Cut {
    /// The upload went away.
    Disconnected,
    /// No more output came although the program has ended: a process that it started holds its stdout.
    HeldOpen,
    /// The pipe itself failed.
    Io(io::Error),
}

impl From<Disconnected> for Cut {
    fn from(_: Disconnected) -> Self {
        Self::Disconnected
    }
}

/// A program's stdout on its way to the upload, in chunks of [`WRITE_CHUNK`].
#[derive(Debug)]
pub(super) struct Drain<R> {
    stdout: R,
    buffer: BytesMut,
    /// A chunk that waits for room in the link.
    full: Bytes,
    /// How many bytes have been read.
    bytes: u64,
}

impl<R: AsyncRead + Unpin> Drain<R> {
    pub(super) fn new(stdout: R) -> Self {
        Self { stdout, buffer: BytesMut::with_capacity(FIRST_CHUNK), full: Bytes::new(), bytes: 0 }
    }

    /// Runs until the end of the output; with `patience`, only as long as data comes within that time. May be dropped
    /// at any point and called again: data that was read stays here until the link has taken it.
    pub(super) async fn run(&mut self, output: &Outlet, patience: Option<Duration>) -> Result<(), Cut> {
        loop {
            if !self.full.is_empty() {
                output.send(self.full.clone()).await?;
                self.full = Bytes::new();
            }
            self.make_room();
            let read = self.stdout.read_buf(&mut self.buffer);
            let read = match patience {
                None => read.await,
                Some(patience) => tokio::time::timeout(patience, read).await.map_err(|_| Cut::HeldOpen)?,
            };
            let read = read.map_err(Cut::Io)?;
            self.bytes += read as u64;
            let ended = read == 0;
            if ended && self.buffer.is_empty() {
                return Ok(());
            }
            if ended || self.buffer.len() >= WRITE_CHUNK {
                self.full = self.buffer.split().freeze();
            }
        }
    }

    /// How many bytes have been read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Doubles the buffer up to a whole chunk; a stream that has filled a whole chunk gets whole chunks from then on.
    fn make_room(&mut self) {
        if self.buffer.len() == self.buffer.capacity() {
            let more = if self.buffer.is_empty() { WRITE_CHUNK } else { self.buffer.len() };
            self.buffer.reserve(more.min(WRITE_CHUNK - self.buffer.len()).max(1));
        }
    }
}

/// Reads a program's stderr to its end and keeps the last part of it.
pub(super) async fn tail<R: AsyncRead + Unpin>(stderr: Option<R>, kept: &mut Vec<u8>, job: &str) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = vec![0; STDERR_KEPT];
    while let Ok(amount @ 1..) = stderr.read(&mut buffer).await {
        let said = &buffer[..amount];
        tracing::debug!(target: "batchpipe::program", job = ?job, stderr = ?String::from_utf8_lossy(said));
        kept.extend_from_slice(said);
        kept.drain(..kept.len().saturating_sub(STDERR_KEPT));
    }
}

/// Writes the whole object into the file for `{input}`; returns its size in bytes.
pub(super) async fn fill(file: &mut ScratchFile, input: &mut Inlet) -> Result<u64, JobError> {
    let mut target = file.create().map_err(|error| scratch::failed(&error))?;
    let mut size = 0;
    while let Some(chunk) = input.recv().await.map_err(|gone| gone.at(Stage::Process))? {
        file.count(chunk.len() as u64);
        size += chunk.len() as u64;
        let write = move || target.write_all(&chunk).map(|()| target);
        target = off_the_runtime(write).await.map_err(|error| scratch::failed(&error))?;
    }
    Ok(size)
}

/// Sends the file that a program wrote for `{output}`.
pub(super) async fn send_file(mut source: File, output: &Outlet) -> Result<(), JobError> {
    loop {
        let read = move || {
            let mut chunk = Vec::new();
            (&mut source).take(WRITE_CHUNK as u64).read_to_end(&mut chunk).map(|_| (source, chunk))
        };
        let (file, chunk) = off_the_runtime(read).await.map_err(|error| scratch::failed(&error))?;
        if chunk.is_empty() {
            return Ok(());
        }
        source = file;
        output.send(Bytes::from(chunk)).await.map_err(|gone| gone.at(Stage::Process))?;
    }
}

/// Runs blocking work, because disks can be slow, and a runtime thread serves many jobs.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
}
