//! The one list of every metric: name, kind, unit, help and labels. `docs/metrics.md` is made from it. A test runs
//! everything that records a metric and requires that the list and the recorded metrics agree.
//!
//! Bounded: every label has a small fixed set of values. A key, a bucket or a message id is never a label.

use std::fmt::Write;

use ::metrics::Unit;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name. It starts with `batchpipe_`, except for the process metrics, whose names are a Prometheus convention.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit, always a base unit.
    pub unit: Unit,
    /// What it means, in one line.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

const fn counter(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit, help, labels }
}

const fn gauge(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help, labels }
}

const fn histogram(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit, help, labels }
}

use Unit::{Bytes, Count, Seconds};

/// All metrics.
pub const ALL: &[Metric] = &[
    counter(
        "batchpipe_stage_time_seconds_total",
        Seconds,
        &["stage", "state"],
        "Time by stage and state (busy, wait_upstream, wait_downstream, wait_permit), in whole seconds. The states add \
         up to slots x time; in receive, to receivers x time.",
    ),
    counter(
        "batchpipe_stage_items_total",
        Count,
        &["stage", "dir"],
        "Items that a stage took (in) and passed on (out). Items are jobs; calls to the queue in receive; batches in \
         delete and send.",
    ),
    counter("batchpipe_stage_failures_total", Count, &["stage"], "Items that failed in a stage."),
    counter(
        "batchpipe_stage_dropped_total",
        Count,
        &["stage"],
        "Items dropped because another stage of their job failed, or because they are no longer needed. in = out + \
         failures + dropped + in progress.",
    ),
    gauge("batchpipe_stage_in_progress", Count, &["stage"], "Items that are in the stage, worked on or waiting."),
    counter(
        "batchpipe_stage_bytes_total",
        Bytes,
        &["stage", "dir"],
        "Bytes that a stage took in (in) and passed on (out).",
    ),
    histogram(
        "batchpipe_stage_duration_seconds",
        Seconds,
        &["stage"],
        "Time that a stage spent on one item, including waits. In receive: time of one call that returned messages or \
         failed.",
    ),
    gauge(
        "batchpipe_stage_last_success_timestamp_seconds",
        Seconds,
        &["stage"],
        "When a stage last completed an item, in seconds since 1970; 0 before the first item.",
    ),
    counter(
        "batchpipe_jobs_total",
        Count,
        &["outcome"],
        "Jobs by outcome: ok, failed (each attempt), released, lease_lost, skipped.",
    ),
    counter(
        "batchpipe_jobs_received_total",
        Count,
        &[],
        "Jobs in the received messages; each record of an event is one job.",
    ),
    counter("batchpipe_messages_received_total", Count, &[], "Messages received."),
    counter(
        "batchpipe_messages_duplicate_total",
        Count,
        &[],
        "Messages received again while this worker still processed an earlier delivery.",
    ),
    histogram("batchpipe_message_age_seconds", Seconds, &[], "Age of messages when they are received."),
    histogram("batchpipe_receive_count", Count, &[], "How often a message has been received, including this time."),
    gauge("batchpipe_queue_messages", Count, &["state"], "Messages in the queue: visible, in_flight, delayed."),
    histogram("batchpipe_ack_batch_size", Count, &[], "Messages settled by one call to the queue."),
    counter("batchpipe_ack_failures_total", Count, &["fault"], "Entries of batch deletes that failed, by fault."),
    gauge(
        "batchpipe_lease_remaining_seconds",
        Seconds,
        &[],
        "Time until the first of the held leases ends; absent while no lease is held.",
    ),
    gauge("batchpipe_leases_held", Count, &[], "Leases held."),
    gauge(
        "batchpipe_messages_ahead",
        Count,
        &[],
        "Prefetched messages that wait for a slot, without those that wait for an earlier message of their FIFO group.",
    ),
    counter("batchpipe_lease_renewals_total", Count, &[], "Lease extensions."),
    histogram(
        "batchpipe_lease_renewal_lag_seconds",
        Seconds,
        &[],
        "How late a lease was extended, after its due time.",
    ),
    gauge(
        "batchpipe_stalled_seconds",
        Seconds,
        &[],
        "Time without progress while there is work. When it exceeds --stuck-timeout beyond every deadline, the worker \
         ends.",
    ),
    counter("batchpipe_lease_lost_total", Count, &[], "Lost leases: another worker has the message or can receive it."),
    gauge("batchpipe_memory_reserved_bytes", Bytes, &[], "Bytes that jobs have reserved."),
    gauge(
        "batchpipe_memory_budget_bytes",
        Bytes,
        &[],
        "Bytes that jobs may reserve (--memory minus the memory that the steps of all processors need).",
    ),
    gauge("batchpipe_temp_bytes", Bytes, &[], "Bytes in the work directory."),
    histogram("batchpipe_object_size_bytes", Bytes, &["dir"], "Size of input (in) and output (out) objects."),
    counter(
        "batchpipe_http_requests_total",
        Count,
        &["service", "op", "code"],
        "Calls to a service by operation and outcome: ok, the kind of failure, or dropped (a second call won, or the \
         job was stopped).",
    ),
    counter("batchpipe_retries_total", Count, &["service", "op", "reason"], "Calls to a service that were retried."),
    counter(
        "batchpipe_hedges_total",
        Count,
        &["outcome"],
        "Second requests for late reads (at most 5 % of all reads), by outcome: the second response won, lost or \
         failed.",
    ),
    counter("batchpipe_throttles_total", Count, &["service"], "Calls that a service throttled."),
    gauge(
        "batchpipe_concurrency_limit",
        Count,
        &["stage"],
        "Requests that a stage may have in flight; changes with --concurrency auto.",
    ),
    gauge("batchpipe_slots", Count, &[], "Jobs that may be in flight; changes with --concurrency auto."),
    counter(
        "batchpipe_concurrency_changes_total",
        Count,
        &["limit", "reason"],
        "Changes of a limit (jobs, reads or writes) by --concurrency auto, by reason (trial, gain, no_gain, throttled, \
         recovery, latency, fewer, loss).",
    ),
    gauge(
        "batchpipe_multipart_open",
        Count,
        &[],
        "Multipart uploads that are begun and neither completed nor aborted.",
    ),
    counter(
        "batchpipe_multipart_abort_failures_total",
        Count,
        &[],
        "Multipart uploads that could not be aborted when their job failed.",
    ),
    gauge(
        "batchpipe_multipart_unaborted",
        Count,
        &[],
        "Multipart uploads of failed jobs that are still not aborted. Aborts are retried; batchpipe gc removes the \
         uploads that are left at the end.",
    ),
    counter("batchpipe_bad_inputs_total", Count, &["code"], "Messages and objects rejected, by error code."),
    gauge("batchpipe_build_info", Count, &["version", "arch"], "Always 1; the labels name the build."),
    gauge(
        "batchpipe_config_info",
        Count,
        &["command", "slots", "processors"],
        "Always 1; the labels hold the configuration of this process.",
    ),
    gauge("batchpipe_runtime_workers", Count, &[], "Threads of the async runtime."),
    gauge("batchpipe_runtime_tasks", Count, &[], "Live tasks of the async runtime."),
    gauge("batchpipe_runtime_queue_depth", Count, &[], "Tasks that wait for a thread of the async runtime."),
    counter(
        "process_cpu_seconds_total",
        Seconds,
        &[],
        "CPU time of this process, in whole seconds, without the programs that it runs.",
    ),
    gauge("process_resident_memory_bytes", Bytes, &[], "Resident memory of this process."),
    gauge("process_open_fds", Count, &[], "Open file descriptors."),
    gauge("process_start_time_seconds", Seconds, &[], "When this process started, in seconds since 1970."),
];

/// The reference page, `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `batchpipe run` serves these metrics at `http://127.0.0.1:9464/metrics` (`--metrics-addr`). This page is\n\
         generated from `src/record/metrics/list.rs`, and a test checks it:\n\
         `UPDATE=1 cargo test --test library metrics::` writes the page again.\n\n\
         | name | kind | unit | labels | meaning |\n|--|--|--|--|--|\n",
    );
    for Metric { name, kind, unit, help, labels } in ALL {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let written = writeln!(page, "| `{name}` | {kind} | {} | {labels} | {help} |", unit.as_str());
        debug_assert!(written.is_ok(), "a String takes every write");
    }
    page.push_str(
        "\nCounters of seconds hold whole seconds, because counters of the `metrics` crate are integers. In one\n\
         scrape interval a series is at most one second off, and the errors do not add up. The status page and the\n\
         panel show exact times.\n\n\
         Look first at the share of time that each stage is busy:\n\n\
         ```promql\n\
         sum by (stage, state) (rate(batchpipe_stage_time_seconds_total[1m]))\n\
         / ignoring (state) group_left sum by (stage) (rate(batchpipe_stage_time_seconds_total[1m]))\n\
         ```\n",
    );
    page
}
