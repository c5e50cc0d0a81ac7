//! Streams an object out, in one request or in parts, several at a time.
//!
//! The object appears only if the input link was finished, and only if the message is still ours at that moment. An
//! upload that does not complete is aborted, on every path. What fits in one part is written with one request.
//!
//! Bounded by the job's room: one part always, more while more is free, at most `parallel` parts.

mod body;
pub mod orphans;
mod publish;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::transfer::Transfer;
use crate::capacity::budget::Room;
use crate::error::Stage::Upload as UPLOAD;
use crate::error::{Code, ErrorKind, JobError, ServiceError};
use crate::job::Location;
use crate::job::origin::Origin;
use crate::link::Inlet;
use crate::record::Meters;
use crate::runtime::failpoint;
use crate::runtime::task;
use crate::services::retry::{self, Call, Retry};
use crate::services::store::{ObjectStore, Part, Upload, Writing};
use crate::stages::upload::orphans::Leftovers;
use crate::stop::cancel::Cut;

use body::Body;
use publish::{complete, put};

/// Parts after which the next may be twice as long, so that an output of unknown length does not run out of part
/// numbers: 10,000 parts of 8 MiB end at 78 GiB, doubled each thousand they pass 8 TiB.
const DOUBLE_AFTER: u32 = 1_000;

/// How long a job that was cut waits for the name of the upload it has just begun, and one that ends without its output
/// for the answers to its last parts: ten times S3's usual, and short beside what a stopping worker is given.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a job that failed waits for the abort of its upload: some tries at a service that has a bad second. It
/// holds its slot and its room meanwhile, and a worker that stops waits for it.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Bytes in a second of an upload that becomes complete, at the least: a server that copies the parts together for it
/// does so at the rate of a slow disk.
const ASSEMBLED: u64 = 4 << 20;

/// The longest that a completion may take beyond the usual, and any write to a disk: all that was written before may
/// still be in the memory of its machine, a part of that in size. S3 says "several minutes" of a completion
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
const SLOWEST: Duration = Duration::from_secs(15 * 60);

/// Where an output goes, and with what.
#[derive(Clone, Debug)]
pub struct Target {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// How bytes move.
    pub transfer: Transfer,
    /// What counts them.
    pub meters: Arc<Meters>,
    /// The object.
    pub to: Location,
    /// How it is to be written.
    pub how: Writing,
    /// What takes charge of an upload that can't be aborted.
    pub leftovers: Arc<Leftovers>,
    /// What it is made from, where it is to be marked with that. Known when its first bytes are there.
    pub origin: Option<Arc<Origin>>,
}

impl Target {
    /// The patience for a write that carries `bytes`. A disk that has much else to write answers late, and asked once
    /// more it has even more to write: it can't be given up as a connection can.
    fn patience(&self, bytes: usize) -> Retry {
        let retry = self.transfer.retry.carrying(bytes);
        match self.to {
            Location::S3 { .. } => retry,
            Location::File { .. } => retry.longer(SLOWEST),
        }
    }

    /// The patience for making an object of `written` bytes visible.
    fn completing(&self, written: u64) -> Retry {
        self.patience(0).longer(Duration::from_secs(written / ASSEMBLED).min(SLOWEST))
    }
}

/// Writes what `input` yields to the target; returns the number of bytes. `cut` is asked before anything appears.
pub async fn upload(mut target: Target, room: &Room, cut: &Cut<'_>, input: Inlet) -> Result<u64, JobError> {
    let mut body = Body::new(input);
    let size = target.transfer.part;
    // A part that waits for its turn, or for room, would not see that there is no more to come of this.
    let mut broken = std::pin::pin!(body.broken());
    body.first = cut.or(unless(broken.as_mut(), body.part(room, size))).await?.unwrap_or_default();
    body.begun = true;
    if let Some(origin) = target.origin.take() {
        target.how.metadata.extend(origin.marks());
    }
    if body.ended {
        cut.confirm().await?;
        failpoint::point("CP7");
        let first = std::mem::take(&mut body.first);
        let written = first.len() as u64;
        cut.or(failpoint::during("CP8", put(&target, cut, first))).await?;
        count(&body, written);
        return Ok(written);
    }

    Box::pin(in_parts(&target, room, cut, body, broken)).await
}

/// Writes the object in parts.
async fn in_parts(
    target: &Target,
    room: &Room,
    cut: &Cut<'_>,
    mut body: Body,
    mut broken: Pin<&mut impl Future<Output = JobError>>,
) -> Result<u64, JobError> {
    let begun = begin_or_discard(target, cut).await?;
    failpoint::point("CP5");
    let upload = Arc::clone(&begun.upload);
    let mut sending = Sending::new();
    let sent = async {
        let sent = send_parts(target, &upload, room, &mut body, &mut sending);
        let (parts, written) = cut.or(unless(broken.as_mut(), sent)).await?;
        cut.confirm().await?;
        failpoint::point("CP7");
        failpoint::during("CP8", complete(target, cut, &*upload, &parts, written)).await?;
        Ok(written)
    };
    let sent = sent.await;
    match sent {
        Ok(written) => {
            count(&body, written);
            Ok(written)
        }
        Err(error) => {
            let settled = settle(sending).await;
            abort(target, &*upload).await;
            if !settled {
                target.leftovers.once_more(upload.unfinished());
            }
            Err(error)
        }
    }
}

/// Drives `work` until the link breaks.
async fn unless<T>(
    broken: impl Future<Output = JobError>,
    work: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    tokio::select! {
        biased;
        error = broken => Err(error),
        result = work => result,
    }
}

/// Parts on their way.
type Sending = FuturesUnordered<task::Task<Result<Part, ServiceError>>>;

/// Waits for the answers to the parts that are on their way: one that arrives after the abort may stay for ever
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>). Whether all came; the others are
/// cut.
async fn settle(mut sending: Sending) -> bool {
    let answers = async { while sending.next().await.is_some() {} };
    tokio::time::timeout(LAST_WORDS, answers).await.is_ok()
}

fn count(body: &Body, written: u64) {
    body.turn().meter().bytes_out.fetch_add(written, Relaxed);
}

/// An upload begun, counted for as long as it is open.
struct Begun {
    upload: Arc<dyn Upload>,
    meters: Arc<Meters>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.meters.multipart_open.fetch_sub(1, Relaxed);
    }
}

async fn begin(target: &Target) -> Result<Begun, JobError> {
    let Target { store, meters, to, how, .. } = target;
    let upload = target
        .patience(0)
        .run(meters, Call::store("begin"), || store.begin(to, how))
        .await
        .map_err(|error| error.at(UPLOAD))?;
    meters.multipart_open.fetch_add(1, Relaxed);
    Ok(Begun { upload: Arc::from(upload), meters: Arc::clone(meters) })
}

/// Begins an upload; one that is cut while the store begins it is discarded as soon as the store tells its name.
async fn begin_or_discard(target: &Target, cut: &Cut<'_>) -> Result<Begun, JobError> {
    let mut beginning = std::pin::pin!(begin(target).fuse());
    let stopped = match cut.or(&mut beginning).await {
        Err(error) if matches!(error.kind, ErrorKind::LeaseLost | ErrorKind::Stopped | ErrorKind::TimedOut) => error,
        result => return result,
    };
    if let Ok(Ok(begun)) = tokio::time::timeout(LAST_WORDS, beginning).await {
        abort(target, &*begun.upload).await;
    }
    Err(stopped)
}

/// Sends the first part and what `body` still holds; returns the parts in order, and the sum of their sizes.
async fn send_parts(
    target: &Target,
    upload: &Arc<dyn Upload>,
    room: &Room,
    body: &mut Body,
    sending: &mut Sending,
) -> Result<(Vec<Part>, u64), JobError> {
    let mut parts = Vec::new();
    let mut next = Some(std::mem::take(&mut body.first));
    let mut number = 0;
    while let Some(bytes) = next.take() {
        number += 1;
        if number > target.store.max_parts() {
            return Err(too_many_parts(number - 1, target.transfer.part));
        }
        sending.push(task::spawn(send_part(target.clone(), Arc::clone(upload), number, bytes)));
        while sending.len() >= target.transfer.parallel {
            parts.extend(sent(sending.next().await)?);
        }
        let size = part_size(target.transfer.part, number, target.store.part_bounds().1);
        next = if body.ended { None } else { body.part(room, size).await? };
    }
    while !sending.is_empty() {
        parts.extend(sent(sending.next().await)?);
    }
    parts.sort_by_key(|part: &Part| part.number);
    let written = parts.iter().map(|part| part.size).sum();
    Ok((parts, written))
}

async fn send_part(target: Target, upload: Arc<dyn Upload>, number: u32, body: Bytes) -> Result<Part, ServiceError> {
    let retry = target.patience(body.len());
    let send = || upload.part(number, body.clone());
    let lane = &target.transfer.writes;
    let part = retry.run_in(lane, body.len(), &target.meters, Call::store("part"), send).await?;
    failpoint::point("CP6");
    Ok(part)
}

type Joined = Result<Result<Part, ServiceError>, task::JoinError>;

fn sent(joined: Option<Joined>) -> Result<Option<Part>, JobError> {
    match joined {
        None => Ok(None),
        Some(Ok(Ok(part))) => Ok(Some(part)),
        Some(Ok(Err(error))) => Err(error.at(UPLOAD)),
        Some(Err(panic)) => Err(JobError::new(UPLOAD, ErrorKind::Panicked, Code::ProcessorPanicked, panic.to_string())),
    }
}

/// The size of the part after part `number`, where the first had `first` bytes and none may have more than `most`.
pub fn part_size(first: u64, number: u32, most: u64) -> u64 {
    first.saturating_mul(1 << (number / DOUBLE_AFTER).min(20)).min(most)
}

fn too_many_parts(parts: u32, size: u64) -> JobError {
    let cause = format!("the output has more than {parts} parts; begin with a --part-size above {size} bytes");
    JobError::new(UPLOAD, ErrorKind::Rejected, Code::TooManyParts, cause)
}

/// Discards an upload, at once or later: the job does not wait for a service that is away.
async fn abort(target: &Target, upload: &dyn Upload) {
    failpoint::point("CP12");
    let Target { transfer, meters, leftovers, .. } = target;
    let aborting = transfer.retry.run(meters, Call::store("abort"), || upload.abort());
    let aborted = tokio::time::timeout(AT_ONCE, aborting).await;
    if let Err(error) = aborted.unwrap_or_else(|_| Err(retry::timed_out(AT_ONCE))) {
        meters.abort_failures.fetch_add(1, Relaxed);
        tracing::warn!(code = ?error.code, cause = ?error.message, "an unfinished upload could not be aborted; it is \
            tried again later");
        leftovers.remember(upload.unfinished());
    }
}
