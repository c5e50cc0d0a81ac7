//! Everything may fail, before or after it happened, and still no output is wrong and no job is lost.
//!
//! One case is a seed: it decides the jobs, the settings and which calls fail. `BATCHPIPE_FAULT_CASES=500` runs more,
//! `BATCHPIPE_FAULT_SEED=7` one again. A failure names its seed; the order of calls differs from run to run, so a seed
//! may have to be run a few times.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchpipe::processor::Work;
use batchpipe::testing::{Faults, Operation, Rig};
use batchpipe::{Job, ProcessError};
use futures::FutureExt;

/// Cases of a usual run, a few seconds of them.
const CASES: u64 = 24;

/// The longest that a case may take: it usually takes one second.
const BOUND: Duration = Duration::from_secs(45);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn process(_: &Job, input: &mut dyn std::io::BufRead, output: &mut dyn std::io::Write) -> Result<(), ProcessError> {
    std::io::copy(input, output)?;
    Ok(())
}

/// One run with up to 8 % of all calls failing, until the queue is empty.
async fn case(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut rig = Rig::new();
    rig.faults = Faults::dice(seed, dice.f64() * 0.08);
    // The answer to a begin may be lost, and an abort fail five times: that is what `gc` is for.
    rig.may_leave_uploads = true;
    rig.concurrency = dice.usize(1..=8);
    rig.receive.receivers = Some(dice.usize(1..=3));
    rig.transfer.parallel = dice.usize(1..=4);
    rig.memory = rig.transfer.part * dice.u64(2..=60);
    rig.processors = dice.usize(1..=4);
    // With few attempts a failure reaches the job, with many it is overcome below.
    rig.transfer.retry.attempts = dice.u32(1..=5);
    let names: Vec<String> = (0..dice.usize(1..=30)).map(|name| name.to_string()).collect();
    for name in &names {
        let part = rig.transfer.part;
        let size = match dice.u8(..4) {
            0 => dice.u64(..100),
            1 => part - 1 + dice.u64(..3),
            _ => dice.u64(..12 * part),
        };
        rig.job(name, size);
    }
    rig.body("this is not a job", &[]);
    let work = if dice.bool() { Work::Copy } else { Work::Filter(Arc::new(process)) };

    let begun = Instant::now();
    let running = rig.start(work);
    // Messages come twice, and some are somebody else's for a while.
    let meddling = tokio::spawn({
        let queue = Arc::clone(&rig.queue);
        async move {
            for _ in 0..dice.u8(..4) {
                tokio::time::sleep(Duration::from_millis(dice.u64(1..60))).await;
                if dice.bool() {
                    queue.forget()
                } else {
                    queue.steal(Duration::from_millis(100))
                };
            }
        }
    });
    let settled = running.end().await;
    assert!(meddling.await.is_ok());
    assert!(begun.elapsed() < BOUND, "it took {:?}", begun.elapsed());

    // No job is lost, and none ended but by its output or, being no job, with the dead letters.
    assert!(rig.queue.is_empty(), "{} messages are left: {settled:?}", rig.queue.len());
    for name in &names {
        assert!(rig.is_copied(name), "the output of {name} is missing or wrong: {settled:?}");
    }
    assert_eq!(rig.store.locations().len(), 2 * names.len(), "inputs and outputs, and nothing else");
    // A send whose answer was lost is sent again.
    assert!(!rig.dead_letters.is_empty());
    assert!(rig.dead_letters.peek().iter().all(|letter| letter.body == "this is not a job"));
    // Outputs appear whole: what was completed was never of another size.
    let begins = rig.log.count(|operation| matches!(operation, Operation::Begin { .. }));
    let ends = rig.log.count(|operation| matches!(operation, Operation::Complete { .. } | Operation::Abort { .. }));
    assert_eq!(begins - ends, rig.store.uploads());
}

#[test]
fn outputs_are_whole_and_no_job_is_lost_whatever_fails() {
    let first = number("BATCHPIPE_FAULT_SEED");
    let cases = if first.is_some() { 1 } else { number("BATCHPIPE_FAULT_CASES").unwrap_or(CASES) };
    let seeds = (0..cases).map(|case| first.unwrap_or(case));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Four at a time: a case waits more than it works.
    let failed: Vec<u64> = runtime.block_on(async {
        use futures::StreamExt;
        futures::stream::iter(seeds)
            .map(|seed| async move {
                let ended = tokio::spawn(AssertUnwindSafe(case(seed)).catch_unwind()).await;
                (!matches!(ended, Ok(Ok(())))).then_some(seed)
            })
            .buffer_unordered(4)
            .filter_map(std::future::ready)
            .collect()
            .await
    });
    assert!(failed.is_empty(), "seeds that failed (BATCHPIPE_FAULT_SEED=n runs one again): {failed:?}");
}
