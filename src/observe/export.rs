//! Copies the plain numbers of a run into the metrics of the process, once a second.
//!
//! The pipeline counts in plain numbers ([`Meters`](crate::record::Meters)), and nothing in it waits for a recorder. A
//! library worker records in whatever recorder the process has installed, or in one of its own. The program installs
//! the Prometheus recorder (`prometheus.rs`).
//!
//! Bounded: labels have small fixed sets of values, and observations are folded into buckets each second.
#![expect(clippy::disallowed_macros, reason = "this is the place where the plain numbers become metrics")]

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};

use super::{Running, Sources};
use crate::error::Stage;
use crate::record::metrics::{ALL, Kind};
use crate::record::{Ended, State};
use crate::runtime::cpu::cpu_seconds;
use crate::runtime::{process, task};

#[cfg(feature = "cli")]
pub use super::prometheus::{export_each_second, install, recorder};

/// How often the plain numbers are copied and observations folded: each second, the finest step of any picture,
/// and often enough that a fast pipeline holds few unfolded observations.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// Gives the recorder the description of every metric.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// [`export`]s each second until dropped.
pub fn each_second(sources: Sources) -> Running {
    each_second_and(sources, || {})
}

/// [`export`]s each second until dropped, and does `also` what the recorder needs.
pub(super) fn each_second_and(sources: Sources, also: impl Fn() + Send + Sync + 'static) -> Running {
    Running(task::spawn(async move {
        let mut ticks = tokio::time::interval(EXPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            export(&sources);
            also();
        }
    }))
}

/// Copies the plain numbers into counters and gauges, where the metrics of the worker go.
pub fn export(sources: &Sources) {
    sources.meters.recording(|| copy(sources));
}

fn copy(sources: &Sources) {
    let limits = sources.limits_now();
    for stage in Stage::ALL {
        export_stage(sources, stage, sources.offered(stage, &limits));
    }
    let meters = &sources.meters;
    for how in Ended::ALL {
        counter!("batchpipe_jobs_total", "outcome" => how.as_str()).absolute(meters.jobs(how));
    }
    counter!("batchpipe_jobs_received_total").absolute(meters.jobs_received.load(Relaxed));
    counter!("batchpipe_messages_received_total").absolute(meters.messages.load(Relaxed));
    counter!("batchpipe_messages_duplicate_total").absolute(meters.duplicates.load(Relaxed));
    counter!("batchpipe_lease_renewals_total").absolute(meters.renewals.load(Relaxed));
    // Alerts compare this counter with its earlier value, so it must exist before the first loss.
    counter!("batchpipe_lease_lost_total").increment(0);
    counter!("batchpipe_multipart_abort_failures_total").absolute(meters.abort_failures.load(Relaxed));
    gauge!("batchpipe_multipart_unaborted").set(meters.unaborted.load(Relaxed) as f64);
    gauge!("batchpipe_multipart_open").set(meters.multipart_open.load(Relaxed) as f64);
    gauge!("batchpipe_temp_bytes").set(meters.temp_bytes.load(Relaxed) as f64);
    let memory = (sources.memory)();
    gauge!("batchpipe_memory_reserved_bytes").set(memory.reserved as f64);
    gauge!("batchpipe_memory_budget_bytes").set(memory.budget as f64);
    gauge!("batchpipe_stalled_seconds").set(sources.stall.quiet().as_secs() as f64);
    let leases = (sources.leases)();
    gauge!("batchpipe_leases_held").set(leases.held as f64);
    gauge!("batchpipe_messages_ahead").set(meters.ahead.load(Relaxed) as f64);
    // NaN means "no value now" in Prometheus; zero would look like a lease that is about to be lost.
    gauge!("batchpipe_lease_remaining_seconds")
        .set(leases.shortest_remaining.map_or(f64::NAN, |left| left.as_secs_f64()));
    if let Some(counts) = sources.queue.latest() {
        gauge!("batchpipe_queue_messages", "state" => "visible").set(counts.visible as f64);
        gauge!("batchpipe_queue_messages", "state" => "in_flight").set(counts.in_flight as f64);
        gauge!("batchpipe_queue_messages", "state" => "delayed").set(counts.delayed as f64);
    }
    let stages = [
        (Stage::Receive, limits.receivers),
        (Stage::Download, limits.reads),
        (Stage::Process, sources.processors),
        (Stage::Upload, limits.writes),
    ];
    for (stage, limit) in stages {
        gauge!("batchpipe_concurrency_limit", "stage" => stage.as_str()).set(limit as f64);
    }
    gauge!("batchpipe_slots").set(limits.jobs as f64);
    export_process(sources);
}

fn export_stage(sources: &Sources, stage: Stage, offered: Duration) {
    let meter = sources.meters.stage(stage);
    let name = stage.as_str();
    let mut times = meter.time();
    // Time of an empty slot counts as waiting for the stage before.
    times[State::WaitUpstream as usize] += offered.saturating_sub(times.iter().sum());
    for (state, time) in State::ALL.into_iter().zip(times) {
        counter!("batchpipe_stage_time_seconds_total", "stage" => name, "state" => state.as_str())
            .absolute(time.as_secs());
    }
    counter!("batchpipe_stage_items_total", "stage" => name, "dir" => "in").absolute(meter.items_in.load(Relaxed));
    counter!("batchpipe_stage_items_total", "stage" => name, "dir" => "out").absolute(meter.items_out.load(Relaxed));
    counter!("batchpipe_stage_failures_total", "stage" => name).absolute(meter.failed.load(Relaxed));
    counter!("batchpipe_stage_dropped_total", "stage" => name).absolute(meter.dropped.load(Relaxed));
    counter!("batchpipe_stage_bytes_total", "stage" => name, "dir" => "in").absolute(meter.bytes_in.load(Relaxed));
    counter!("batchpipe_stage_bytes_total", "stage" => name, "dir" => "out").absolute(meter.bytes_out.load(Relaxed));
    gauge!("batchpipe_stage_in_progress", "stage" => name).set(f64::from(meter.in_progress()));
    gauge!("batchpipe_stage_last_success_timestamp_seconds", "stage" => name)
        .set(meter.last_success.load(Relaxed) as f64);
}

fn export_process(sources: &Sources) {
    gauge!("batchpipe_build_info", "version" => env!("CARGO_PKG_VERSION"), "arch" => std::env::consts::ARCH).set(1.0);
    gauge!(
        "batchpipe_config_info",
        "command" => sources.about.command,
        "slots" => if sources.limits.is_some() { "auto".to_owned() } else { sources.slots.to_string() },
        "processors" => sources.processors.to_string(),
    )
    .set(1.0);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let runtime = runtime.metrics();
        gauge!("batchpipe_runtime_workers").set(runtime.num_workers() as f64);
        gauge!("batchpipe_runtime_tasks").set(runtime.num_alive_tasks() as f64);
        gauge!("batchpipe_runtime_queue_depth").set(runtime.global_queue_depth() as f64);
    }
    if let Some(seconds) = cpu_seconds() {
        counter!("process_cpu_seconds_total").absolute(seconds as u64);
    }
    if let Some(bytes) = process::resident_bytes() {
        gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Some(count) = process::open_fds() {
        gauge!("process_open_fds").set(count);
    }
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    if let Some(started) = STARTED.get_or_init(process::start_time) {
        gauge!("process_start_time_seconds").set(*started);
    }
}
