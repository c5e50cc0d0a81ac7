//! Only a processor's `Ok` publishes, and its failure is one job's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use batchpipe::ProcessError;
use batchpipe::processor::Work;
use batchpipe::stages::Settled;
use batchpipe::testing::{Fault, On, Outcome, Rig, pattern, run_one};

use super::work::{after, copying, filter};

const PART: u64 = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_fails_after_writing_half_publishes_nothing() {
    for half in [10, 5 * PART, 20 * PART] {
        let mut rig = Rig::new();
        rig.max_receives = Some(1);
        rig.job("a", 40 * PART);
        let settled = rig.run(after(half, || Err(ProcessError::retry("half way")))).await;
        assert_eq!(settled, Settled { rejected: 1, ..Settled::default() });
        assert!(rig.store.contents(&Rig::output("a")).is_none());
        let letter = rig.dead_letters.peek().remove(0);
        assert_eq!(letter.attributes["batchpipe-reason"], "half way");
        assert_eq!(letter.attributes["batchpipe-stage"], "process");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_waits_for_its_parts_notices_that_its_processor_failed() {
    let mut rig = Rig::new();
    (rig.max_receives, rig.transfer.parallel) = (Some(1), 1);
    // Nobody answers to the part for longer than this test waits.
    rig.transfer.retry.deadline = Duration::from_secs(300);
    rig.patience = Duration::from_secs(20);
    rig.faults.always(On::Part, Fault::Silence);
    rig.job("a", 10);
    let faults = rig.faults.clone();
    let settled = rig.run(filter(move |_, input, output| {
        std::io::copy(input, &mut std::io::sink())?;
        (0..20).try_for_each(|_| output.write_all(&[7; 20_000]))?;
        while faults.calls(On::Part) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(ProcessError::retry("half way"))
    }));
    assert_eq!(settled.await, Settled { rejected: 1, ..Settled::default() });
    assert_eq!(rig.dead_letters.peek()[0].attributes["batchpipe-reason"], "half way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_stops_reading_early_succeeds() {
    for size in [100, 200 * PART] {
        let rig = Rig::new();
        rig.job("a", size);
        assert_eq!(rig.run(after(10, || Ok(()))).await.done, 1);
        assert_eq!(rig.store.contents(&Rig::output("a")).unwrap(), pattern(0..10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_one_jobs_failure() {
    let mut rig = Rig::new();
    rig.max_receives = Some(1);
    (0..10).for_each(|name| drop(rig.job(&name.to_string(), 3 * PART)));
    let settled = rig.run(filter(|job, input, output| {
        std::io::copy(input, output)?;
        assert!(job.input.key() != "7", "a panic on purpose");
        Ok(())
    }));
    assert_eq!(settled.await, Settled { done: 9, rejected: 1, ..Settled::default() });
    assert!(rig.store.contents(&Rig::output("7")).is_none());
    assert_eq!(rig.dead_letters.peek()[0].attributes["batchpipe-code"], "BP403");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_failed_may_succeed_another_time() {
    let rig = Rig::new();
    rig.job("a", 10);
    let runs = AtomicU32::new(0);
    let settled = rig.run(filter(move |job, input, output| {
        assert_eq!(job.attempt, runs.fetch_add(1, SeqCst) + 1);
        if job.attempt < 3 {
            return Err(ProcessError::retry("not yet"));
        }
        std::io::copy(input, output)?;
        Ok(())
    }));
    assert_eq!(settled.await, Settled { done: 1, retried: 2, ..Settled::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_processors_run_at_once_than_there_are_to_be() {
    let mut rig = Rig::new();
    rig.processors = 2;
    (0..30).for_each(|name| drop(rig.job(&name.to_string(), 100)));
    let (running, most) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let peak = Arc::clone(&most);
    let settled = rig.run(filter(move |_, input, output| {
        peak.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(Duration::from_millis(3));
        std::io::copy(input, output)?;
        running.fetch_sub(1, SeqCst);
        Ok(())
    }));
    assert_eq!(settled.await.done, 30);
    assert_eq!(most.load(SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_take_for_ever() {
    let mut rig = Rig::new();
    rig.patience = Duration::from_secs(10);
    rig.job_timeout = Some(Duration::MAX);
    rig.job("a", 10);
    assert_eq!(rig.run(Work::Copy).await, Settled { done: 1, ..Settled::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_is_cut_and_tried_again() {
    let mut rig = Rig::new();
    rig.job_timeout = Some(Duration::from_millis(100));
    rig.job("a", 10);
    let settled = rig.run(filter(|job, input, output| {
        std::io::copy(input, output)?;
        if job.attempt == 1 {
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }));
    assert_eq!(settled.await, Settled { done: 1, retried: 1, ..Settled::default() });
    assert!(rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_is_tested_as_it_will_run() {
    let fails = |_: &batchpipe::Job, input: &mut dyn std::io::BufRead, output: &mut dyn std::io::Write| {
        std::io::copy(input, output)?;
        Err(ProcessError::Retry { reason: "later".into(), after: Some(Duration::from_secs(9)) })
    };
    let report = run_one(fails, "bytes");
    assert_eq!(report.outcome, Outcome::Retry { reason: "later".into(), after: Some(Duration::from_secs(9)) });
    assert_eq!(report.output, None);
    let report = run_one(
        |_: &batchpipe::Job, _: &mut dyn std::io::BufRead, _: &mut dyn std::io::Write| panic!("a panic on purpose"),
        "bytes",
    );
    assert_eq!((report.outcome, report.output), (Outcome::Panicked, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn copying_on_a_thread_and_off_it_are_the_same() {
    for work in [Work::Copy, copying()] {
        let rig = Rig::new();
        rig.job("a", 7 * PART + 3);
        assert_eq!(rig.run(work).await.done, 1);
        assert!(rig.is_copied("a"));
    }
}
