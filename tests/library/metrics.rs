//! Every metric is in the one list, well named, described and bounded; the reference page is made from that list.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use batchpipe::error::{Code, Stage};
use batchpipe::observe::{About, Leases, Memory, Sources, export};
use batchpipe::record::metrics::{self, ALL, Kind};
use batchpipe::record::{Ended, Meters};
use batchpipe::services::queue::Counts;
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

fn sources() -> Sources {
    let mut sources = Sources::new(Arc::new(Meters::default()), About { command: "run", ..About::default() });
    sources.slots = 4;
    sources.memory = Arc::new(|| Memory { reserved: 10, budget: 100, ..Memory::default() });
    sources.leases = Arc::new(|| Leases { held: 2, shortest_remaining: Some(Duration::from_secs(40)) });
    sources.queue.set(Counts { visible: 7, in_flight: 2, delayed: 1 });
    sources
}

/// Records one of everything.
fn record_all(sources: &Sources) {
    sources.meters.received(Some(SystemTime::now()), 1, 1);
    sources.meters.turn(Stage::Download).ended(true);
    sources.meters.ended(Ended::Ok);
    metrics::stage_duration(Stage::Upload, Duration::from_millis(3));
    metrics::message_age(Duration::from_secs(90));
    metrics::receive_count(2);
    metrics::ack_batch(10);
    metrics::ack_failure("throttled");
    metrics::renewal_lag(Duration::from_millis(1));
    metrics::lease_lost();
    metrics::input_size(4096);
    metrics::output_size(1024);
    metrics::http_request("store", "get", "ok");
    metrics::retry("s3", "GetObject", "throttled");
    metrics::hedge("won");
    metrics::throttle("s3");
    metrics::concurrency_changed("jobs", "gain");
    metrics::bad_input(Code(303));
    export::export(sources);
}

#[tokio::test(flavor = "current_thread")]
async fn every_metric_that_is_recorded_is_listed_and_described_and_the_other_way_round() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    {
        let _guard = ::metrics::set_default_local_recorder(&recorder);
        export::describe();
        record_all(&sources());
    }
    let mut recorded = BTreeSet::new();
    for (key, unit, description, _) in snapshotter.snapshot().into_vec() {
        let name = key.key().name();
        let metric = ALL.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} is not listed"));
        let kind = match metric.kind {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge => MetricKind::Gauge,
            Kind::Histogram => MetricKind::Histogram,
        };
        assert_eq!(key.kind(), kind, "{name}");
        assert_eq!(unit, Some(metric.unit), "{name}");
        assert_eq!(description.as_deref(), Some(metric.help), "{name}");
        let labels: BTreeSet<&str> = key.key().labels().map(|label| label.key()).collect();
        assert_eq!(labels, metric.labels.iter().copied().collect(), "labels of {name}");
        recorded.insert(name.to_string());
    }
    let linux = cfg!(target_os = "linux");
    let missing: Vec<_> =
        ALL.iter().filter(|metric| linux && !recorded.contains(metric.name)).map(|metric| metric.name).collect();
    assert!(missing.is_empty(), "listed but never recorded: {missing:?}");
}

#[test]
fn every_name_has_our_prefix_a_base_unit_and_the_ending_of_its_kind() {
    let mut names = BTreeSet::new();
    for metric in ALL {
        let name = metric.name;
        assert!(names.insert(name), "{name} is listed twice");
        assert!(name.starts_with("batchpipe_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let stem = name.trim_end_matches("_total");
        match metric.unit {
            ::metrics::Unit::Seconds => assert!(stem.ends_with("_seconds"), "{name}"),
            ::metrics::Unit::Bytes => assert!(stem.ends_with("_bytes"), "{name}"),
            ::metrics::Unit::Count => assert!(!stem.ends_with("_seconds") && !stem.ends_with("_bytes"), "{name}"),
            other => panic!("{name} has {other:?}, which is no base unit"),
        }
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        let bounded = [
            "stage",
            "state",
            "dir",
            "outcome",
            "fault",
            "service",
            "op",
            "code",
            "reason",
            "limit",
            "version",
            "arch",
            "command",
            "slots",
            "processors",
        ];
        assert!(metric.labels.iter().all(|label| bounded.contains(label)), "{name}: {:?}", metric.labels);
    }
}

#[test]
fn plain_numbers_are_copied_not_added_up() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    ::metrics::with_local_recorder(&recorder, || {
        let sources = sources();
        sources.meters.ended(Ended::Ok);
        sources.meters.ended(Ended::Ok);
        export::export(&sources);
        export::export(&sources);
    });
    let done = snapshotter.snapshot().into_vec().into_iter().find(|(key, ..)| {
        key.key().name() == "batchpipe_jobs_total" && key.key().labels().any(|label| label.value() == "ok")
    });
    assert!(matches!(done, Some((_, _, _, DebugValue::Counter(2)))), "{done:?}");
}

/// The value of one line of the exposition.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}

#[test]
fn durations_land_in_buckets_that_machines_can_add_up() {
    let recorder = export::recorder().unwrap();
    let handle = recorder.handle();
    ::metrics::with_local_recorder(&recorder, || record_all(&sources()));
    let page = handle.render();
    assert!(!page.contains("quantile="), "a summary");
    let bucket =
        |le: &str| value(&page, &format!("batchpipe_stage_duration_seconds_bucket{{stage=\"upload\",le=\"{le}\"}}"));
    assert_eq!(bucket("0.0025"), 0.0);
    assert_eq!(bucket("0.00625"), 1.0);
    assert_eq!(bucket("3600"), 1.0);
    assert_eq!(value(&page, "batchpipe_object_size_bytes_bucket{dir=\"in\",le=\"1024\"}"), 0.0);
    assert_eq!(value(&page, "batchpipe_object_size_bytes_bucket{dir=\"in\",le=\"8192\"}"), 1.0);
    assert_eq!(value(&page, "batchpipe_object_size_bytes_bucket{dir=\"in\",le=\"17179869184\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_stage_sums_to_slots_times_elapsed() {
    let recorder = export::recorder().unwrap();
    let handle = recorder.handle();
    let sources = sources();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    ::metrics::with_local_recorder(&recorder, || export::export(&sources));
    let page = handle.render();
    let time = |state: &str| {
        value(&page, &format!("batchpipe_stage_time_seconds_total{{stage=\"download\",state=\"{state}\"}}"))
    };
    let sum = time("busy") + time("wait_upstream") + time("wait_downstream") + time("wait_permit");
    assert_eq!(sum, 4000.0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_described_as_it_is() {
    let recorder = export::recorder().unwrap();
    let handle = recorder.handle();
    ::metrics::with_local_recorder(&recorder, || export::export(&sources()));
    let page = handle.render();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - value(&page, "process_start_time_seconds");
    assert!((-2.0..600.0).contains(&age), "started {age} s ago");
    assert!(value(&page, "process_resident_memory_bytes") > 1e6);
    assert!(value(&page, "process_open_fds") >= 3.0);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn numbers_are_exported_each_second_while_somebody_keeps_it_going() {
    let recorder = export::recorder().unwrap();
    let handle = recorder.handle();
    let _guard = ::metrics::set_default_local_recorder(&recorder);
    let sources = sources();
    let exporting = export::export_each_second(sources.clone(), Some(handle.clone()));
    let done = || value(&handle.render(), "batchpipe_jobs_total{outcome=\"ok\"}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(done(), 0.0);
    sources.meters.ended(Ended::Ok);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(done(), 1.0);
    drop(exporting);
    sources.meters.ended(Ended::Ok);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(done(), 1.0);
}

#[test]
fn the_reference_page_is_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let made = metrics::reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == made,
        "docs/metrics.md is out of date; write it anew with  UPDATE=1 cargo test --test library metrics::"
    );
}
