//! One sample of the meters: the values of the growing counters at one moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::{Ledger, Memory, Sources};
use crate::error::Stage;
use crate::record::{Ended, State};
use crate::runtime::cpu::CpuTime;

/// The values of the growing counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) stages: Vec<StageSample>,
    pub(super) ended: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) unheld: u64,
    pub(super) cpu: Option<CpuTime>,
    pub(super) slot_time: Duration,
    pub(super) at_work: Duration,
    pub(super) on_call: Duration,
    pub(super) processors: Duration,
    pub(super) short_of_processors: Duration,
    pub(super) memory: Memory,
    pub(super) asked: u64,
    pub(super) brought: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct StageSample {
    pub(super) time: [Duration; State::ALL.len()],
    pub(super) offered: Duration,
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) throttled: Duration,
}

pub(super) fn get(number: &AtomicU64) -> u64 {
    number.load(Relaxed)
}

pub(super) fn sample(sources: &Sources) -> Sample {
    let meters = &sources.meters;
    let bytes = |stage| {
        let meter = meters.stage(stage);
        // A source counts the bytes that it passes on; the other stages count the bytes that they take in.
        if matches!(stage, Stage::Read | Stage::Download) { get(&meter.bytes_out) } else { get(&meter.bytes_in) }
    };
    let first = if sources.about.command == "submit" { Stage::Read } else { Stage::Download };
    let at = Instant::now();
    let limits = sources.limits_now();
    let stages = sources.stages().iter().map(|stage| StageSample {
        time: meters.stage(*stage).time(),
        offered: sources.offered(*stage, &limits),
        items: get(&meters.stage(*stage).items_out),
        bytes: bytes(*stage),
        throttled: meters.stage(*stage).throttled.sum(),
    });
    let ledger = ledger(sources);
    Sample {
        at,
        stages: stages.collect(),
        ended: ledger.done + ledger.failed + ledger.skipped,
        bytes_in: bytes(first),
        bytes_out: bytes(Stage::Upload),
        unheld: if (sources.leases)().held == 0 { ledger.in_progress } else { 0 },
        cpu: (sources.cpu)(),
        slot_time: limits.slot_time,
        at_work: meters.at_work.sum(),
        on_call: meters.on_call.sum(),
        processors: meters.processors.sum(),
        short_of_processors: meters.short_of_processors.sum(),
        memory: (sources.memory)(),
        asked: get(&meters.asked_for),
        brought: get(&meters.brought),
    }
}

pub(super) fn ledger(sources: &Sources) -> Ledger {
    let meters = &sources.meters;
    // Ended jobs are read before begun jobs, so that a job that ends between the two reads counts as in progress.
    let retried = get(&meters.retried);
    let [done, attempts, released, lease_lost, skipped] = Ended::ALL.map(|how| meters.jobs(how));
    let received = get(&meters.jobs_received);
    let failed = attempts.saturating_sub(retried);
    let ended = done + attempts + released + lease_lost + skipped;
    let in_progress = received.saturating_sub(ended);
    let duplicates = get(&meters.duplicates);
    Ledger { received, done, failed, retried, released, lease_lost, skipped, in_progress, lost: 0, duplicates }
}

/// How the time of a stage's slots was spent, as shares that sum to 1, in the order of [`State::ALL`].
pub(super) fn shares(then: &StageSample, now: &StageSample) -> [f64; 4] {
    let mut times: [Duration; 4] = std::array::from_fn(|state| now.time[state].saturating_sub(then.time[state]));
    // Time of an empty slot counts as waiting for the stage before.
    let spent = times.iter().sum();
    times[State::WaitUpstream as usize] += now.offered.saturating_sub(then.offered).saturating_sub(spent);
    let total: Duration = times.iter().sum();
    if total.is_zero() {
        return [0.0, 1.0, 0.0, 0.0];
    }
    times.map(|time| time.as_secs_f64() / total.as_secs_f64())
}
