//! Every metric has its name in the [list](ALL). Events that are recorded when they happen have a function in this
//! file.
//!
//! Most numbers are plain counters ([`Meters`](crate::record::Meters)), which `observe/export.rs` copies once a
//! second. Only numbers that need a histogram, or a label that no room above knows (an operation, a status), are
//! recorded here. All of them go through the `metrics` facade, so a program that uses this crate as a library may
//! install any recorder.
//!
//! Bounded: labels have small fixed sets of values.
#![expect(clippy::disallowed_macros, reason = "this is the place where metrics are recorded")]

use std::time::Duration;

use ::metrics::{counter, histogram};

use crate::error::{Code, Stage};

mod list;

pub use list::{ALL, Kind, Metric, reference};

/// A stage spent `took` on one item.
pub fn stage_duration(stage: Stage, took: Duration) {
    histogram!("batchpipe_stage_duration_seconds", "stage" => stage.as_str()).record(took.as_secs_f64());
}

/// A message was `age` old when it was received.
pub fn message_age(age: Duration) {
    histogram!("batchpipe_message_age_seconds").record(age.as_secs_f64());
}

/// A message was received for the `count`th time.
pub fn receive_count(count: u32) {
    histogram!("batchpipe_receive_count").record(f64::from(count));
}

/// One call settled `messages` messages.
pub fn ack_batch(messages: usize) {
    histogram!("batchpipe_ack_batch_size").record(messages as f64);
}

/// An entry of a batch delete failed; `fault` is one of a few fixed words (`lease_lost`, `throttled`, …).
pub fn ack_failure(fault: &'static str) {
    counter!("batchpipe_ack_failures_total", "fault" => fault).increment(1);
}

/// A lease was extended `lag` after it was due.
pub fn renewal_lag(lag: Duration) {
    histogram!("batchpipe_lease_renewal_lag_seconds").record(lag.as_secs_f64());
}

/// A lease was lost.
pub fn lease_lost() {
    counter!("batchpipe_lease_lost_total").increment(1);
}

/// An input object was `bytes` long.
pub fn input_size(bytes: u64) {
    histogram!("batchpipe_object_size_bytes", "dir" => "in").record(bytes as f64);
}

/// An output object was `bytes` long.
pub fn output_size(bytes: u64) {
    histogram!("batchpipe_object_size_bytes", "dir" => "out").record(bytes as f64);
}

/// A service answered `op`: `code` is `ok` or the kind of the failure.
pub fn http_request(service: &'static str, op: &'static str, code: &'static str) {
    counter!("batchpipe_http_requests_total", "service" => service, "op" => op, "code" => code).increment(1);
}

/// A call of `op` is retried because of `reason`, one of a few fixed words (`throttled`, `unavailable`, `stalled`, …).
pub fn retry(service: &'static str, op: &'static str, reason: &'static str) {
    counter!("batchpipe_retries_total", "service" => service, "op" => op, "reason" => reason).increment(1);
}

/// A late read was sent a second time: the second answer `won`, `lost` or `failed`.
pub fn hedge(outcome: &'static str) {
    counter!("batchpipe_hedges_total", "outcome" => outcome).increment(1);
}

/// A service throttled a call.
pub fn throttle(service: &'static str) {
    counter!("batchpipe_throttles_total", "service" => service).increment(1);
}

/// The tuner moved a concurrency limit, for one of a few fixed reasons (`gain`, `throttled`, …).
pub fn concurrency_changed(limit: &'static str, reason: &'static str) {
    counter!("batchpipe_concurrency_changes_total", "limit" => limit, "reason" => reason).increment(1);
}

/// A message or an object was rejected.
pub fn bad_input(code: Code) {
    counter!("batchpipe_bad_inputs_total", "code" => code.to_string()).increment(1);
}
