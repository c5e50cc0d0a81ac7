//! The process stage from outside: links on both sides, work in the middle.

mod codecs;
mod filters;
mod groups;
mod programs;

use std::sync::Arc;
use std::time::Duration;

use batchpipe::error::{JobError, Stage};
use batchpipe::link::{Disconnected, Inlet, Outlet, link};
use batchpipe::processor::Work;
use batchpipe::record::Meters;
use batchpipe::stages::process;
use batchpipe::{Job, Location};
use bytes::Bytes;
use tokio::sync::Semaphore;

fn job(key: &str) -> Job {
    let output = Location::s3("out-bucket", format!("done/{key}"));
    let mut job = Job::new("job-1", Location::s3("in-bucket", key), output);
    job.attempt = 2;
    job
}

/// Bytes that compress, but not to nothing: every second 32 are those before.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut data: Vec<u8> = Vec::with_capacity(length);
    while data.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = data.len();
        data.push(if (at / 32) % 2 == 1 { data[at - 32] } else { (state >> 28) as u8 + b'a' });
    }
    data
}

struct Joined {
    meters: Arc<Meters>,
    to_process: Outlet,
    input: Inlet,
    output: Outlet,
    from_process: Inlet,
}

fn joined() -> Joined {
    let meters = Arc::new(Meters::default());
    let turn = meters.turn(Stage::Process);
    let (to_process, input) = link(&meters.turn(Stage::Download), &turn);
    let (output, from_process) = link(&turn, &meters.turn(Stage::Upload));
    Joined { meters, to_process, input, output, from_process }
}

async fn feed(outlet: Outlet, data: Vec<u8>) {
    for chunk in data.chunks(100_000) {
        if outlet.send(Bytes::copy_from_slice(chunk)).await.is_err() {
            return;
        }
    }
    // A stage that stopped reading early is gone by now.
    outlet.finish().await.unwrap_or_default();
}

async fn collect(mut inlet: Inlet) -> Result<Vec<u8>, Disconnected> {
    let mut all = Vec::new();
    while let Some(chunk) = inlet.recv().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// What the stage said, and what the next stage saw.
async fn run(work: &Work, job: &Job, data: Vec<u8>) -> (Result<(), JobError>, Result<Vec<u8>, Disconnected>) {
    let ends = joined();
    let slots = Arc::new(Semaphore::new(1));
    let stage = process(work, Arc::clone(&slots).into(), job, ends.input, ends.output);
    let all = async { tokio::join!(stage, collect(ends.from_process), feed(ends.to_process, data)) };
    let (said, seen, ()) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("the stage hangs");
    assert_eq!(slots.available_permits(), 1, "a slot was not given back");
    assert_eq!(ends.meters.temp_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
    (said, seen)
}
