//! Progress for logs: one line of stable `key=value` pairs, without colours and carriage returns. An unknown number is
//! `-`, so every line has the same keys.

use std::time::{Duration, SystemTime};

use super::Snapshot;
use super::words::{about, bytes, count, rate, whole_span};

fn at(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(time)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// Seconds as a span; a time too long for a `Duration` counts as unknown.
fn eta(seconds: Option<f64>) -> Option<String> {
    Some(whole_span(Duration::try_from_secs_f64(seconds?).ok()?))
}

/// A progress line.
pub fn progress(now: &Snapshot, time: SystemTime) -> String {
    if let (Some(progress), "submit") = (&now.progress, now.command) {
        return format!(
            "{} progress files={}/{} bytes={}/{} rate={}/s eta={}",
            at(time),
            progress.files,
            progress.files_total,
            bytes(progress.bytes as f64, ""),
            bytes(progress.bytes_total as f64, ""),
            bytes(now.bytes_out_per_second, ""),
            or_dash(eta(progress.eta)),
        );
    }
    let queue = now.queue.as_ref();
    format!(
        "{} progress done={} failed={} rate={}/s in={}/s out={}/s waiting={} in_flight={} oldest={} bottleneck={} \
        eta={}",
        at(time),
        now.jobs.done,
        now.jobs.failed,
        rate(now.jobs_per_second),
        bytes(now.bytes_in_per_second, ""),
        bytes(now.bytes_out_per_second, ""),
        or_dash(queue.map(|queue| queue.waiting.to_string())),
        or_dash(queue.map(|queue| queue.in_flight.to_string())),
        or_dash(queue.and_then(|queue| queue.oldest).map(|oldest| format!("{oldest}s"))),
        now.bottleneck.as_ref().map_or("-", |bottleneck| bottleneck.stage),
        or_dash(queue.and_then(|queue| eta(queue.eta))),
    )
}

/// The last line.
pub fn summary(end: &Snapshot, time: SystemTime, exit: u8) -> String {
    let elapsed = whole_span(Duration::try_from_secs_f64(end.elapsed).unwrap_or_default());
    if let (Some(progress), "submit") = (&end.progress, end.command) {
        return format!(
            "{} summary files={} bytes={} elapsed={elapsed} exit={exit}",
            at(time),
            progress.files,
            bytes(progress.bytes as f64, ""),
        );
    }
    format!(
        "{} summary done={} failed={} duplicates={} lost={} bytes_in={} elapsed={elapsed} exit={exit} skipped={}",
        at(time),
        end.jobs.done,
        end.jobs.failed,
        end.jobs.duplicates,
        end.jobs.lost,
        bytes(end.bytes_in as f64, ""),
        // After the keys of older releases, for scripts that read by position.
        end.jobs.skipped,
    )
}

/// What to do about failed jobs.
pub fn next_step(end: &Snapshot) -> Option<String> {
    let failed = end.jobs.failed;
    let jobs = if failed == 1 { "job" } else { "jobs" };
    (failed > 0).then(|| match end.command {
        "run" => {
            // The shown name may be followed by the region; the command needs the name alone.
            let queue = end.queue_name.split(" (").next().unwrap_or_default();
            format!("{} {jobs} failed. See them: batchpipe dlq list --queue {queue}", count(failed))
        }
        _ => format!("{} {jobs} failed. The log above says why.", count(failed)),
    })
}

/// The line printed when a worker begins to drain. `told` is true if a signal stopped the worker, false if it stopped
/// by itself.
pub fn draining(jobs: usize, limit: Duration, told: bool) -> String {
    let noun = if jobs == 1 { "job" } else { "jobs" };
    let again = if told { "again " } else { "" };
    format!("Draining {jobs} {noun} (up to {}). Press Ctrl-C {again}to stop now; nothing will be lost.", about(limit))
}
