//! Uploads that can't be aborted when their jobs fail.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use batchpipe::ProcessError;
use batchpipe::error::ServiceErrorKind::Unavailable;
use batchpipe::processor::Work;
use batchpipe::stages::Settled;
use batchpipe::testing::{Fault, On, Operation, Rig};

use super::work::filter;

const PART: u64 = 64 * 1024;

/// Fails when so many parts are on their way: an upload that is told sooner has not begun, and leaves nothing to abort.
fn fails_with_parts_on_their_way(rig: &Rig, parts: u64) -> Work {
    let faults = rig.faults.clone();
    filter(move |_, input, output| {
        std::io::copy(&mut std::io::Read::take(input, 6 * PART), output)?;
        let begun = Instant::now();
        while faults.calls(On::Part) < parts && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(ProcessError::reject("never"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_could_not_be_aborted_for_a_while_are_discarded_while_the_worker_runs() {
    let rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.job(name, 10 * PART);
    }
    rig.faults.always(On::Complete, Fault::Fail(Unavailable));
    rig.faults.always(On::Abort, Fault::Fail(Unavailable));
    let (store, faults, meters) = (rig.store.clone(), rig.faults.clone(), std::sync::Arc::clone(&rig.meters));
    // The last job is at work until nothing is left of the others.
    rig.job("last", 10);
    let settled = rig.run(filter(move |job, input, output| {
        let begun = Instant::now();
        let mut left = 0;
        while job.input.key() == "last"
            && (left < 3 || store.uploads() > 0)
            && begun.elapsed() < Duration::from_secs(20)
        {
            left = left.max(meters.unaborted.load(Relaxed));
            if left >= 3 {
                faults.clear();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if job.input.key() == "last" && store.uploads() > 0 {
            return Err(ProcessError::reject("some were left"));
        }
        std::io::copy(input, output)?;
        Ok(())
    }));
    let settled = settled.await;
    assert_eq!((settled.done, settled.rejected), (4, 0), "{settled:?}");
    let (failures, left) = (rig.meters.abort_failures.load(Relaxed), rig.meters.unaborted.load(Relaxed));
    assert!(failures >= 3 && left == 0, "{failures} could not be aborted, {left} are left");
    assert_eq!(rig.log.count(|operation| matches!(operation, Operation::Abort { .. })) as u64, failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_tries_once_more_and_ends_in_bounded_time() {
    let mut rig = Rig::new();
    rig.may_leave_uploads = true;
    rig.max_receives = Some(1);
    rig.job("a", 10 * PART);
    rig.faults.always(On::Complete, Fault::Fail(Unavailable));
    rig.faults.always(On::Abort, Fault::Silence);
    let begun = Instant::now();
    assert_eq!(
        rig.run(filter(|_, input, output| Ok(std::io::copy(input, output).map(drop)?))).await,
        Settled { rejected: 1, ..Settled::default() }
    );
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!((rig.store.uploads(), rig.meters.unaborted.load(Relaxed)), (1, 1), "left, and counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_aborted_after_its_last_part_has_arrived() {
    let mut rig = Rig::new();
    (rig.max_receives, rig.transfer.parallel) = (Some(1), 8);
    rig.job("a", 10 * PART);
    rig.faults.always(On::Part, Fault::Delay(Duration::from_millis(300)));
    let processor = fails_with_parts_on_their_way(&rig, 3);
    let settled = rig.run(processor);
    assert_eq!(settled.await.rejected, 1);
    let operations = rig.log.operations();
    let abort = operations.iter().position(|operation| matches!(operation, Operation::Abort { .. })).unwrap();
    assert!(rig.faults.calls(On::Part) > 2);
    let parts = |all: &[Operation]| all.iter().filter(|one| matches!(one, Operation::Part { .. })).count() as u64;
    assert_eq!(parts(&operations[abort..]), 0);
    assert_eq!(parts(&operations[..abort]), rig.faults.calls(On::Part), "what was sent has arrived");
    assert_eq!(rig.faults.calls(On::Abort), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_aborted_again_if_a_part_was_cut_on_its_way() {
    let mut rig = Rig::new();
    // As many as the chunk that comes before the failure: none waits for another.
    (rig.max_receives, rig.transfer.parallel) = (Some(1), 8);
    rig.transfer.retry.deadline = Duration::from_secs(20);
    rig.job("a", 10 * PART);
    rig.faults.always(On::Part, Fault::Silence);
    let processor = fails_with_parts_on_their_way(&rig, 3);
    let settled = rig.run(processor);
    assert_eq!(settled.await.rejected, 1);
    assert_eq!((rig.faults.calls(On::Abort), rig.store.uploads()), (2, 0), "at once, and at the end");
    assert_eq!((rig.meters.abort_failures.load(Relaxed), rig.meters.unaborted.load(Relaxed)), (0, 0), "no failure");
}
