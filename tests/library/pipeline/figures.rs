//! What the metrics, the page and the panel say of runs whose truth is known: on the runtime's clock, with services
//! that take exactly so long. A duration is of one call or one item, what goes in comes out, shares add up, and what
//! goes up comes down.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use batchpipe::error::{ServiceErrorKind, Stage};
use batchpipe::observe::{Sampler, Snapshot, export};
use batchpipe::processor::Work;
use batchpipe::testing::{Fault, MemoryQueue, On, Rig, Running};

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// A service that throttles nobody.
const UNLIMITED: u32 = 1_000_000;

/// A rig with services that answer after 40 ms (receive), 30 (read), 50 (write) and 7 (delete), and so many small jobs.
fn rig(jobs: usize) -> Rig {
    let mut rig = Rig::new();
    // The keeper of leases lives on a real clock, and has nothing to do here.
    rig.queue = Arc::new(MemoryQueue::new("jobs").with_log(rig.log.clone()));
    rig.visibility = Duration::from_secs(12 * 60 * 60);
    rig.memory = 64 << 20;
    rig.patience = Duration::from_secs(60 * 60);
    for (on, millis) in [(On::Receive, 40), (On::Get, 30), (On::Put, 50), (On::Delete, 7)] {
        rig.faults.pace(on, MILLIS(millis), UNLIMITED);
    }
    (0..jobs).for_each(|number| drop(rig.job(&number.to_string(), 100)));
    rig
}

/// The value of one line of the exposition; 0 of a line that is not there.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |line| line.parse().unwrap())
}

/// Runs it to its end: the last snapshot, and what a scrape would say.
async fn run(rig: &Rig) -> (Snapshot, String) {
    let recorder = export::recorder().unwrap();
    let handle = recorder.handle();
    let _guard = ::metrics::set_default_local_recorder(&recorder);
    let running: Running = rig.start(Work::Copy);
    let sources = running.sources.clone();
    let mut sampler = Sampler::new(sources.clone(), Duration::from_secs(3600));
    running.end().await;
    export::export(&sources);
    (sampler.snapshot(), handle.render())
}

/// What must be so at the end of every run, whatever became of its jobs.
fn check(rig: &Rig, now: &Snapshot, page: &str) {
    for stage in [Stage::Receive, Stage::Download, Stage::Process, Stage::Upload, Stage::Acknowledge] {
        let name = stage.as_str();
        let meter = rig.meters.stage(stage);
        let [out, failed, dropped, here] = meter.left();
        assert_eq!(here, 0, "{name} has nothing in hand");
        assert_eq!(meter.items_in.load(Relaxed), out + failed + dropped, "what entered {name} has left it");
        let items = |dir: &str| value(page, &format!("batchpipe_stage_items_total{{stage=\"{name}\",dir=\"{dir}\"}}"));
        let failures = value(page, &format!("batchpipe_stage_failures_total{{stage=\"{name}\"}}"));
        let given_up = value(page, &format!("batchpipe_stage_dropped_total{{stage=\"{name}\"}}"));
        assert_eq!(items("in"), items("out") + failures + given_up, "the same of {name} in a scrape");
        assert_eq!(value(page, &format!("batchpipe_stage_in_progress{{stage=\"{name}\"}}")), 0.0, "{name}");
        let count = value(page, &format!("batchpipe_stage_duration_seconds_count{{stage=\"{name}\"}}"));
        if stage == Stage::Receive {
            assert!(count <= items("out") + failures, "receives that brought nothing have no duration");
        } else {
            assert_eq!(count, items("out") + failures, "one duration for each item of {name}");
        }
    }
    for stage in &now.stages {
        let shares = stage.busy + stage.wait_upstream + stage.wait_downstream + stage.wait_permit;
        assert!((shares - 1.0).abs() < 1e-9, "the shares of {}: {stage:?}", stage.stage);
        assert_eq!(stage.in_progress, 0, "{}", stage.stage);
    }
    let jobs = now.jobs;
    let ended = jobs.done + jobs.failed + jobs.retried + jobs.released + jobs.lease_lost + jobs.skipped;
    assert_eq!((jobs.received, jobs.in_progress, jobs.lost), (ended, 0, 0));
    let of = |outcome: &str| value(page, &format!("batchpipe_jobs_total{{outcome=\"{outcome}\"}}"));
    let outcomes = ["ok", "failed", "released", "lease_lost", "skipped"].map(of);
    assert_eq!(value(page, "batchpipe_jobs_received_total"), outcomes.iter().sum::<f64>());
    for gauge in ["memory_reserved_bytes", "leases_held", "messages_ahead", "multipart_open", "temp_bytes"] {
        assert!(page.contains(&format!("batchpipe_{gauge} 0\n")), "{gauge} comes back to 0:\n{page}");
    }
    let slots = now.slots as f64;
    for name in ["download", "process", "upload", "delete"] {
        let of = |state: &str| {
            value(page, &format!("batchpipe_stage_time_seconds_total{{stage=\"{name}\",state=\"{state}\"}}"))
        };
        let sum: f64 = ["busy", "wait_upstream", "wait_downstream", "wait_permit"].map(of).iter().sum();
        // Four whole seconds are told of what are four parts of some.
        assert!((sum - slots * now.elapsed).abs() <= 4.0, "{sum} s in {name} of {slots} slots in {} s", now.elapsed);
    }
}

/// The mean of a stage's durations.
fn mean(page: &str, stage: &str) -> f64 {
    let of = |what: &str| value(page, &format!("batchpipe_stage_duration_seconds_{what}{{stage=\"{stage}\"}}"));
    of("sum") / of("count")
}

#[tokio::test(start_paused = true)]
async fn a_duration_is_of_one_call_or_one_item_however_long_the_worker_has_run() {
    let rig = rig(4000);
    let (now, page) = run(&rig).await;
    check(&rig, &now, &page);
    assert_eq!(now.jobs.done, 4000);
    assert!(now.elapsed > 20.0, "long enough to tell a call from a life: {} s", now.elapsed);
    // A read is told from the write behind it, and a delete from the wait for its batch.
    for (stage, seconds) in [("receive", 0.040), ("download", 0.030), ("upload", 0.080), ("delete", 0.007)] {
        let told = mean(&page, stage);
        assert!((told / seconds - 1.0).abs() < 0.1, "a mean of {told} s in {stage} of {seconds}");
        let row = now.stages.iter().find(|row| row.stage == stage).unwrap();
        // As exact as the quantiles are: never too low, a quarter too high at the most.
        for (name, quantile) in [("p50", row.p50.unwrap()), ("p99", row.p99.unwrap())] {
            assert!(quantile >= 0.99 * seconds && quantile <= 1.3 * seconds, "{stage} {name}: {quantile} of {seconds}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rates_are_what_was_done_over_the_time_it_took() {
    let rig = rig(2000);
    let (now, _) = run(&rig).await;
    assert!((now.jobs_per_second * now.interval - 2000.0).abs() < 1e-6, "{} jobs/s", now.jobs_per_second);
    assert!((now.bytes_in_per_second * now.interval - 200_000.0).abs() < 1e-3);
    assert!((now.bytes_out_per_second * now.interval - 200_000.0).abs() < 1e-3);
    let upload = &now.stages[3];
    assert!((upload.items_per_second * now.interval - 2000.0).abs() < 1e-6);
    // 2,000 jobs that each spend 50 ms in their write, of eight slots.
    let busy = 2000.0 * 0.050 / (8.0 * now.interval);
    assert!((upload.busy / busy - 1.0).abs() < 0.02, "{} busy of {busy}", upload.busy);
}

#[tokio::test(start_paused = true)]
async fn counters_balance_whatever_becomes_of_the_jobs() {
    for seed in 0..8 {
        let mut rig = rig(60);
        rig.max_receives = Some(3);
        rig.may_leave_uploads = true;
        for name in ["gone", "also gone"] {
            rig.message(name);
        }
        rig.job("large", 5 * 64 * 1024);
        for (on, kind, times) in [
            (On::Get, ServiceErrorKind::Unavailable, 9),
            (On::Put, ServiceErrorKind::Throttled, 7),
            (On::Put, ServiceErrorKind::Invalid, 1 + seed as u32),
            (On::Receive, ServiceErrorKind::Throttled, 3),
            (On::Delete, ServiceErrorKind::Unavailable, 3),
            (On::Part, ServiceErrorKind::Invalid, 1),
        ] {
            rig.faults.next(on, Fault::Fail(kind), times);
        }
        let (now, page) = run(&rig).await;
        check(&rig, &now, &page);
        assert!(rig.meters.stage(Stage::Upload).dropped.load(Relaxed) > 0, "a failed read ends the write behind it");
        let throttled = |service: &str| value(&page, &format!("batchpipe_throttles_total{{service=\"{service}\"}}"));
        assert_eq!((throttled("store"), throttled("queue")), (7.0, 3.0), "each once, those of receives among them");
        assert_eq!(now.errors.throttles, 10);
        let again = "batchpipe_retries_total{service=\"queue\",op=\"receive\",reason=\"throttled\"}";
        assert_eq!(value(&page, again), 3.0);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_read_again_are_taken_twice_and_passed_on_once() {
    let rig = rig(0);
    rig.job("a", 1000);
    rig.faults.next(On::Get, Fault::Break(600), 1);
    let (now, page) = run(&rig).await;
    check(&rig, &now, &page);
    let bytes = |dir: &str| value(&page, &format!("batchpipe_stage_bytes_total{{stage=\"download\",dir=\"{dir}\"}}"));
    assert!(bytes("in") >= 1000.0, "{} bytes taken from the store", bytes("in"));
    assert_eq!((bytes("out"), now.bytes_out), (1000.0, 1000));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_waits_for_slots_is_not_a_slow_queue() {
    let mut rig = rig(200);
    rig.concurrency = 1;
    rig.faults.pace(On::Put, MILLIS(400), UNLIMITED);
    let (now, page) = run(&rig).await;
    check(&rig, &now, &page);
    assert!((mean(&page, "receive") - 0.040).abs() < 0.004, "{} s", mean(&page, "receive"));
    assert!(now.stages[0].wait_downstream > 0.8, "{:?}", now.stages[0]);
}
