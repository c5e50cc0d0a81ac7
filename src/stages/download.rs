//! Streams an object in by concurrent ranged reads, delivered in order.
//!
//! The first range doubles as discovery: it tells the size and the version, and is all there is of a small object.
//! All later ranges are pinned to that version. Each range is read by a task of its own, because a future that
//! nobody polls makes no progress; a body that breaks or crawls is taken up again at the byte it reached.
//!
//! Bounded by the job's room: one part always, more while more is free, at most `parallel` ranges. A message that tells
//! the size shrinks the room before the first read, not after it; no more is asked for than it tells, and an object of
//! another size is not the one that is meant.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::Instant;

use super::transfer::Transfer;
use crate::capacity::budget::{Buffer, Claim, Room};
use crate::error::Stage::Download;
use crate::error::{Code, ErrorKind, JobError, ServiceError, ServiceErrorKind};
use crate::job::origin::Origin;
use crate::job::{Job, Location};
use crate::link::Outlet;
use crate::record::{Meters, State};
use crate::runtime::failpoint;
use crate::runtime::task;
use crate::services::retry::{self, Call, SLOWEST};
use crate::services::store::{ObjectStore, Version};

/// Reading time after which a body slower than [`SLOWEST`] is given up. Long enough for a pause of S3's, short
/// enough that the object is still on its way before the first lease has been extended twice.
const SLOW_AFTER: Duration = Duration::from_secs(20);

/// The longest silence within a body.
const SILENCE: Duration = Duration::from_secs(6);

/// The call, as counted.
const GET: Call = Call::store("get");

/// Where an input comes from: what the ranges of one object share.
#[derive(Clone, Debug)]
pub struct Source {
    store: Arc<dyn ObjectStore>,
    transfer: Transfer,
    meters: Arc<Meters>,
    from: Location,
}

/// Sends the input of `job` to `output`, and tells `origin` which version it is before the first byte goes out; returns
/// its size in bytes.
pub async fn download(
    source: Source,
    room: &Room,
    job: &Job,
    origin: &Origin,
    output: Outlet,
) -> Result<u64, JobError> {
    let (part, parallel) = (source.transfer.part, source.transfer.parallel);
    let pin = Version { etag: job.etag.clone(), version_id: job.version_id.clone() };

    // An empty range can't be asked for.
    let first = job.size.map_or(part, |told| told.clamp(1, part));
    if let Some(told) = job.size {
        room.fit(told);
    }
    let claim = room.read(first).await;
    let first = source.clone().fetch(0..first, pin, claim).await.map_err(|error| replaced(job, error.at(Download)))?;
    let (size, version) = (first.size, first.version);
    if job.size.is_some_and(|expected| expected != size) {
        return Err(changed(job, size));
    }
    room.fit(size);
    origin.found(version.etag.as_deref(), size);
    output.announce(size).await.map_err(|gone| gone.at(Download))?;
    send(&output, first.bytes).await?;

    let mut window = VecDeque::new();
    let mut next = part.min(size);
    loop {
        let mut cramped = None;
        while next < size && window.len() < parallel {
            let range = next..size.min(next + part);
            let length = range.end - range.start;
            // Only a download that holds nothing ahead waits for its room.
            let claim = if window.is_empty() { Some(own(room, &output, length).await) } else { room.try_read(length) };
            let Some(claim) = claim else {
                cramped = Some(room.cramped());
                break;
            };
            next = range.end;
            window.push_back(task::spawn(source.clone().fetch(range, version.clone(), claim)));
        }
        let Some(oldest) = window.pop_front() else { break };
        let fetched = oldest.await;
        drop(cramped);
        let fetched = fetched
            .map_err(|panic| JobError::new(Download, ErrorKind::Panicked, Code::ProcessorPanicked, panic.to_string()))?
            .map_err(|error| replaced(job, error.at(Download)))?;
        if fetched.size != size || !version.agrees(&fetched.version) {
            return Err(replaced(job, mixed().at(Download)));
        }
        send(&output, fetched.bytes).await?;
    }
    failpoint::point("CP3");
    output.finish().await.map_err(|gone| gone.at(Download))?;
    Ok(size)
}

/// Room for the next read. Where that is only the job's own, the bytes in it must be used up first, by the stages after
/// this one.
async fn own(room: &Room, output: &Outlet, length: u64) -> Claim {
    match room.try_read(length) {
        Some(claim) => claim,
        None => {
            let _waiting = output.turn().waits(State::WaitDownstream);
            room.read(length).await
        }
    }
}

async fn send(output: &Outlet, bytes: Bytes) -> Result<(), JobError> {
    output.send_counted(bytes).await.map_err(|gone| gone.at(Download))
}

/// The failure of bytes of two versions, whatever the store said to the condition that it was sent.
fn mixed() -> ServiceError {
    ServiceError::new(ServiceErrorKind::Changed, "Mixed", "the object changed while it was read")
}

/// An object that was replaced while it was read is read again, unless the message means the version that is gone.
fn replaced(job: &Job, error: JobError) -> JobError {
    let pinned = job.etag.is_some() || job.version_id.is_some() || job.size.is_some();
    match error.kind {
        ErrorKind::Changed if !pinned => {
            JobError { kind: ErrorKind::Failed, retry_after: Some(Duration::ZERO), ..error }
        }
        _ => error,
    }
}

fn changed(job: &Job, size: u64) -> JobError {
    let expected = job.size.unwrap_or_default();
    let cause = format!("the message means an object of {expected} bytes, there is one of {size}");
    JobError::new(Download, ErrorKind::Changed, Code::ObjectChanged, cause)
}

/// A range in memory, and what the store says of the whole.
struct Fetched {
    bytes: Bytes,
    size: u64,
    version: Version,
}

impl Source {
    /// The input of `job` in `store`.
    pub fn new(store: Arc<dyn ObjectStore>, transfer: Transfer, meters: Arc<Meters>, job: &Job) -> Self {
        Self { store, transfer, meters, from: job.input.clone() }
    }

    /// Reads one range whole, however often its body breaks.
    async fn fetch(self, range: Range<u64>, pin: Version, mut claim: Claim) -> Result<Fetched, ServiceError> {
        let Self { store, transfer, meters, from } = &self;
        let mut buffer = Buffer::default();
        let mut known: Option<(u64, Version)> = None;
        let (mut failures, mut checked) = (0, false);
        loop {
            let from_byte = range.start + buffer.len() as u64;
            let pin = known.as_ref().map_or_else(|| pin.clone(), |(_, version)| version.clone());
            let before = buffer.len();
            let passing = transfer.reads.enter().await;
            let attempt = async {
                let call = || transfer.retry.attempt(GET, store.get(from, from_byte..range.end, &pin));
                let reading = transfer.hedge.first(&transfer.reads, call).await?;
                checked = reading.checked;
                let told = reading.version;
                let (size, version) = known.get_or_insert((reading.size, told.clone()));
                if *size != reading.size || !version.agrees(&told) {
                    return Err(mixed());
                }
                let end = range.end.min(*size);
                let wanted = end.saturating_sub(range.start) as usize;
                if buffer.capacity() < wanted {
                    buffer = claim.buffer(wanted);
                }
                read_body(reading.body, &mut buffer, wanted).await?;
                Ok((*size, version.clone()))
            };
            let answer = attempt.await;
            let read = (buffer.len() - before) as u64;
            passing.ended(&answer, read);
            meters.stage(Download).bytes_in.fetch_add(read, Relaxed);
            let error = match answer {
                Ok((size, version)) => {
                    let bytes = claim.hold_buffer(buffer);
                    return Ok(Fetched { bytes, size, version });
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            if checked || error.kind == ServiceErrorKind::Corrupt {
                // Which of the bytes are wrong, or whether any are, is not known: a checksum that covers them was not
                // verified, and the one of the rest would not cover them.
                buffer.clear();
            }
            // A body that moved on has not failed: only attempts without progress count.
            failures = if buffer.len() > before { 1 } else { failures + 1 };
            transfer.retry.pause(meters, GET, failures, error).await?;
        }
    }
}

/// Adds `body` to `buffer` until that holds `wanted` bytes. Time counts only while the store is to deliver: nothing
/// here waits for the stages after it.
async fn read_body(
    mut body: futures::stream::BoxStream<'static, Result<Bytes, ServiceError>>,
    buffer: &mut Buffer,
    wanted: usize,
) -> Result<(), ServiceError> {
    let started = Instant::now();
    let mut received = 0;
    loop {
        let frame = tokio::time::timeout(SILENCE, body.next()).await.map_err(|_| retry::timed_out(SILENCE))?;
        let Some(frame) = frame else { break };
        let frame = frame?;
        received += frame.len() as u64;
        if buffer.len() + frame.len() > wanted {
            return Err(ServiceError::new(
                ServiceErrorKind::Corrupt,
                "TooLong",
                "more bytes arrived than were announced",
            ));
        }
        buffer.extend_from_slice(&frame);
        failpoint::point("CP2");
        let elapsed = started.elapsed();
        if elapsed > SLOW_AFTER && received < SLOWEST * elapsed.as_secs() {
            return Err(ServiceError::new(
                ServiceErrorKind::Unavailable,
                "SlowBody",
                "the body came slower than 64 KiB/s",
            ));
        }
    }
    if buffer.len() < wanted {
        return Err(ServiceError::new(ServiceErrorKind::Unavailable, "ShortBody", "the body ended early"));
    }
    Ok(())
}
