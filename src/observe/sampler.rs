//! Makes snapshots: the difference between two samples of the meters.
//!
//! The time of a stage's slots is divided into four shares that sum to 1: busy, waiting for the stage before (which
//! includes empty slots), waiting for the stage after, and waiting for a permit.
//!
//! Bounded: a [`Sampler`] keeps only the samples of its window.

use std::collections::VecDeque;
use std::time::Duration;

use super::bottleneck::bottleneck;
use super::load::{CpuLoad, Load, StageLoad};
use super::sample::{Sample, StageSample, get, ledger, sample, shares};
use super::{Errors, Ledger, Progress, QueueNow, Snapshot, Sources, StageNow};
use crate::error::Stage;
use crate::record::State;
use crate::services::queue::Counts;

/// A shorter period, less than one redraw of the panel, does not show where the time goes.
const SHORTEST: Duration = Duration::from_millis(100);

/// Makes snapshots whose rates cover the last `window`.
#[derive(Debug)]
pub struct Sampler {
    sources: Sources,
    window: Duration,
    samples: VecDeque<Sample>,
    load: Option<Load>,
}

impl Sampler {
    /// A sampler that begins now.
    pub fn new(sources: Sources, window: Duration) -> Self {
        let first = sample(&sources);
        Self { sources, window, samples: VecDeque::from([first]), load: None }
    }

    /// What is shown.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What the pipeline has been doing over the window, or since the start if that is shorter.
    pub fn snapshot(&mut self) -> Snapshot {
        let now = sample(&self.sources);
        let old = |sample: &Sample| now.at.saturating_duration_since(sample.at) >= self.window;
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(old) {
            self.samples.pop_front();
        }
        let then = self.samples.front().unwrap_or(&now);
        let load = load(&self.sources, then, &now);
        let snapshot = between(&self.sources, &load, then, self.samples.back().unwrap_or(&now), &now);
        self.load = Some(load);
        self.samples.push_back(now);
        snapshot
    }

    /// The load from which the bottleneck of the last snapshot was determined.
    pub fn load(&self) -> Option<&Load> {
        self.load.as_ref()
    }
}

fn between(sources: &Sources, load: &Load, then: &Sample, last: &Sample, now: &Sample) -> Snapshot {
    let interval = now.at.saturating_duration_since(then.at);
    let per_second = |before: u64, after: u64| {
        let seconds = interval.as_secs_f64();
        if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
    };
    let stages = sources.stages().iter().zip(then.stages.iter().zip(&now.stages));
    let stages = stages.map(|(stage, (then, now))| stage_now(sources, *stage, then, now, &per_second)).collect();
    let meters = &sources.meters;
    let (memory, leases) = (now.memory, (sources.leases)());
    let jobs_per_second = per_second(then.ended, now.ended);
    let bytes_out_per_second = per_second(then.bytes_out, now.bytes_out);
    let queue = queue_now(sources, jobs_per_second);
    let bytes_out = written(sources, now);
    let limits = sources.limits_now();
    Snapshot {
        command: sources.about.command,
        queue_name: sources.about.queue.clone(),
        elapsed: sources.started.elapsed().as_secs_f64(),
        interval: interval.as_secs_f64(),
        slots: limits.jobs,
        reads_limit: limits.reads,
        writes_limit: limits.writes,
        bottleneck: (interval >= SHORTEST).then(|| bottleneck(load)).flatten(),
        // Between the queue's response and its lease, a message is unheld for a moment: count it as lost only if two
        // consecutive samples agree.
        jobs: Ledger { lost: now.unheld.min(last.unheld), ..ledger(sources) },
        jobs_per_second,
        bytes_in: now.bytes_in,
        bytes_out,
        bytes_in_per_second: per_second(then.bytes_in, now.bytes_in),
        bytes_out_per_second,
        queue,
        cpu: load.cpu.map(|cpu| cpu.share()),
        processors_taken: load.processors,
        memory_reserved: memory.reserved,
        memory_budget: memory.budget,
        leases_held: leases.held,
        lease_remaining: leases.shortest_remaining.map(|left| left.as_secs_f64()),
        temp_bytes: get(&meters.temp_bytes),
        temp_budget: sources.temp_budget,
        errors: Errors {
            retries: get(&meters.retries),
            throttles: get(&meters.throttles),
            abort_failures: get(&meters.abort_failures),
            ack_failures: get(&meters.ack_failures),
        },
        progress: progress(sources, now, bytes_out, jobs_per_second, bytes_out_per_second),
        stages,
    }
}

fn stage_now(
    sources: &Sources,
    stage: Stage,
    then: &StageSample,
    now: &StageSample,
    per_second: &impl Fn(u64, u64) -> f64,
) -> StageNow {
    let [busy, wait_upstream, wait_downstream, wait_permit] = shares(then, now);
    let meter = sources.meters.stage(stage);
    let counts_bytes = !matches!(stage, Stage::Receive | Stage::Acknowledge | Stage::Send);
    StageNow {
        stage: stage.as_str(),
        busy,
        wait_upstream,
        wait_downstream,
        wait_permit,
        in_progress: meter.in_progress(),
        items: now.items,
        items_per_second: per_second(then.items, now.items),
        bytes_per_second: counts_bytes.then(|| per_second(then.bytes, now.bytes)),
        p50: meter.durations.quantile(0.50).map(|time| time.as_secs_f64()),
        p99: meter.durations.quantile(0.99).map(|time| time.as_secs_f64()),
        failed: get(&meter.failed),
    }
}

/// How much of each resource was used between two samples.
fn load(sources: &Sources, then: &Sample, now: &Sample) -> Load {
    let seconds = now.at.saturating_duration_since(then.at).as_secs_f64().max(f64::MIN_POSITIVE);
    let average = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / seconds;
    let stages = sources.stages().iter().zip(then.stages.iter().zip(&now.stages)).map(|(stage, (then, now))| {
        let busy = average(then.time[State::Busy as usize], now.time[State::Busy as usize]);
        StageLoad { stage: *stage, busy, throttled: average(then.throttled, now.throttled) }
    });
    let receivers = sources.meters.stage(Stage::Receive);
    let answers_at = sources.stages().iter().position(|stage| *stage == Stage::Receive);
    let answers = answers_at.map_or(0, |at| now.stages[at].items.saturating_sub(then.stages[at].items));
    let (asked, brought) = (now.asked.saturating_sub(then.asked), now.brought.saturating_sub(then.brought));
    let limits = sources.limits_now();
    Load {
        stages: stages.collect(),
        cpu: then.cpu.zip(now.cpu).map(|(then, now)| CpuLoad {
            used: (now.used - then.used).max(0.0) / seconds,
            idle: then.idle.zip(now.idle).map(|(then, now)| (now - then).max(0.0) / seconds),
            cores: now.cores,
        }),
        processors: average(then.processors, now.processors) / sources.processors.max(1) as f64,
        processor_slots: sources.processors.max(1) as f64,
        short_of_processors: average(then.short_of_processors, now.short_of_processors),
        short_of_memory: average(then.memory.waited, now.memory.waited),
        cramped: average(then.memory.cramped, now.memory.cramped),
        memory: (now.memory.held - then.memory.held) / seconds / now.memory.budget.max(1) as f64,
        at_work: average(then.at_work, now.at_work),
        on_call: average(then.on_call, now.on_call),
        slots: average(then.slot_time, now.slot_time),
        concurrency: limits.concurrency,
        settling: limits.settling as f64,
        asked: if answers > 0 { asked as f64 / answers as f64 } else { 0.0 },
        brought: (asked > 0).then(|| brought as f64 / asked as f64),
        waiting: sources.queue.latest().map(|counts| counts.visible),
        calling: answers_at.map_or(0.0, |at| shares(&then.stages[at], &now.stages[at])[State::WaitUpstream as usize]),
        receivers: f64::from(receivers.in_progress()),
    }
}

fn queue_now(sources: &Sources, jobs_per_second: f64) -> Option<QueueNow> {
    let counts = sources.queue.latest()?;
    let drained = sources.queue.drain_rate();
    // Other workers drain the queue too, so this worker's rate is the minimum.
    let rate = drained.unwrap_or(0.0).max(jobs_per_second);
    Some(QueueNow {
        waiting: counts.visible,
        in_flight: counts.in_flight,
        delayed: counts.delayed,
        falling: drained.is_some(),
        oldest: (counts != Counts::default()).then(|| get(&sources.meters.message_age)),
        eta: (rate > 0.0 && counts.visible > 0).then(|| counts.visible as f64 / rate),
    })
}

/// Bytes written. Bytes of running uploads count at once, so that large uploads show progress; when no upload is
/// running, bytes of failed uploads no longer count.
fn written(sources: &Sources, now: &Sample) -> u64 {
    let uploads = sources.meters.stage(Stage::Upload);
    if uploads.in_progress() == 0 { get(&uploads.bytes_out) } else { now.bytes_out }
}

fn progress(
    sources: &Sources,
    now: &Sample,
    bytes_out: u64,
    jobs_per_second: f64,
    bytes_per_second: f64,
) -> Option<Progress> {
    let totals = sources.totals?;
    let submitting = sources.about.command == "submit";
    let (files, bytes, files_per_second) = if submitting {
        // Objects that exist in the store are not uploaded, but are part of the total.
        let there = [&sources.meters.there, &sources.meters.bytes_there].map(get);
        let files = get(&sources.meters.stage(Stage::Upload).items_out) + there[0];
        (files, bytes_out + there[1], files as f64 / sources.started.elapsed().as_secs_f64().max(0.001))
    } else {
        // Jobs that an earlier run has done are part of the total.
        let before = [&sources.meters.before, &sources.meters.bytes_before].map(get);
        (now.ended + before[0], now.bytes_in + before[1], jobs_per_second)
    };
    let left = |total: u64, done: u64, rate: f64| {
        let left = total.saturating_sub(done);
        if left == 0 { Some(0.0) } else { (rate > 0.0).then(|| left as f64 / rate) }
    };
    // Many small files are limited by their number, few large files by their bytes: take the longer estimate.
    let by_files = left(totals.files, files, files_per_second);
    let by_bytes = left(totals.bytes, bytes, bytes_per_second);
    let eta = by_files.zip(by_bytes).map(|(files, bytes)| files.max(bytes));
    Some(Progress { files, files_total: totals.files, bytes, bytes_total: totals.bytes, eta })
}
