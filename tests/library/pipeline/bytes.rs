//! Objects arrive whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use batchpipe::error::ServiceErrorKind::{Changed, Throttled, Unavailable};
use batchpipe::job::Location;
use batchpipe::processor::Work;
use batchpipe::stages::Settled;
use batchpipe::testing::{Fault, On, Operation, Rig, pattern};

use super::work::{copying, filter};

const PART: u64 = 64 * 1024;

/// Bytes with ranges that a log can be asked for.
fn reads(rig: &Rig, name: &str) -> Vec<(std::ops::Range<u64>, Option<String>)> {
    let of = Rig::input(name);
    let read = |operation| match operation {
        Operation::Get { at, range, pinned } if at == of => Some((range, pinned)),
        _ => None,
    };
    rig.log.operations().into_iter().filter_map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_size_around_a_part_arrive_whole() {
    for work in [Work::Copy, copying()] {
        let rig = Rig::new();
        let sizes = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART - 1, 40 * PART + 17];
        sizes.iter().for_each(|size| drop(rig.job(&size.to_string(), *size)));
        let settled = rig.run(work).await;
        assert_eq!(settled, Settled { done: 8, ..Settled::default() });
        sizes.iter().for_each(|size| assert!(rig.is_copied(&size.to_string()), "{size} bytes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_may_be_larger_and_smaller_than_its_input() {
    let rig = Rig::new();
    rig.job("one", 1);
    rig.job("many", 50 * PART);
    let settled = rig.run(filter(|job, input, output| {
        if job.input.key() == "many" {
            std::io::copy(input, &mut std::io::sink())?;
            return Ok(output.write_all(b"x")?);
        }
        (0..50).try_for_each(|part| output.write_all(&pattern(part * PART..(part + 1) * PART)))?;
        Ok(())
    }));
    assert_eq!(settled.await.done, 2);
    assert_eq!(rig.store.contents(&Rig::output("many")).unwrap(), "x");
    assert_eq!(rig.store.contents(&Rig::output("one")).unwrap(), pattern(0..50 * PART));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_object_costs_one_read_and_one_write() {
    let rig = Rig::new();
    rig.job("small", 1000);
    rig.run(Work::Copy).await;
    assert_eq!((rig.faults.calls(On::Get), rig.faults.calls(On::Put)), (1, 1));
    assert_eq!((rig.faults.calls(On::Begin), rig.faults.calls(On::Head)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_download_never_becomes_a_short_object() {
    let mut rig = Rig::new();
    rig.max_receives = Some(2);
    rig.job("a", 10 * PART);
    rig.faults.always(On::Get, Fault::Break(5 * PART + 100));
    let settled = rig.run(copying()).await;
    assert_eq!((settled.done, settled.retried, settled.rejected), (0, 1, 1));
    assert!(rig.store.contents(&Rig::output("a")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_part_aborts_the_upload_and_the_job_is_tried_again() {
    let rig = Rig::new();
    rig.job("a", 10 * PART);
    // All five attempts at one part; by then, the other parts in flight have failed as well.
    rig.faults.next(On::Part, Fault::Fail(Unavailable), 5 * 4);
    let settled = rig.run(Work::Copy).await;
    assert_eq!((settled.retried, settled.done), (1, 1));
    assert_eq!(rig.log.count(|operation| matches!(operation, Operation::Abort { .. })), 1);
    assert!(rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_is_resumed_at_its_byte_with_the_version_pinned() {
    let rig = Rig::new();
    rig.job("a", PART);
    rig.faults.next(On::Get, Fault::Break(1000), 1);
    assert_eq!(rig.run(Work::Copy).await.done, 1);
    assert!(rig.is_copied("a"));
    let reads = reads(&rig, "a");
    assert_eq!(reads.iter().map(|(range, _)| range.clone()).collect::<Vec<_>>(), [0..PART, 1000..PART]);
    assert!(reads[1].1.is_some(), "the second read is pinned: {reads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_body_is_read_again_from_its_beginning() {
    let rig = Rig::new();
    rig.job("a", 3 * PART);
    rig.faults.next(On::Get, Fault::Corrupt, 2);
    assert_eq!(rig.run(Work::Copy).await.done, 1);
    assert!(rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_whose_checksum_never_came_are_read_again() {
    let rig = Rig::new();
    rig.job("a", 3 * PART);
    // One breaks in the middle, one after its last byte and before its end.
    rig.faults.next(On::Get, Fault::Garble(1000), 1);
    rig.faults.next(On::Get, Fault::Garble(3 * PART - 1), 1);
    assert_eq!(rig.run(Work::Copy).await.done, 1);
    assert!(rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_while_it_is_read_is_never_mixed() {
    let mut rig = Rig::new();
    rig.transfer.parallel = 1;
    rig.job("a", 30 * PART);
    rig.faults.always(On::Get, Fault::Delay(Duration::from_millis(5)));
    let running = rig.start(Work::Copy);
    while reads(&rig, "a").len() < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.store.insert(Rig::input("a"), vec![7; 30 * PART as usize]);
    let settled = running.end().await;
    assert_eq!((settled.done, settled.retried), (1, 1), "the message means no version: it is read again");
    assert!(rig.is_copied("a"), "one version, and the newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_the_version_asked_for_gives_no_mixture() {
    // Of the same size, and of another.
    for size in [60 * PART, 61 * PART] {
        let mut rig = Rig::new();
        rig.transfer.parallel = 1;
        rig.job("a", 60 * PART);
        rig.faults.always(On::Get, Fault::Unpinned);
        let (store, replaced) = (rig.store.clone(), AtomicBool::new(false));
        let replacing = filter(move |_, input, output| {
            std::io::copy(&mut std::io::Read::take(&mut *input, PART), output)?;
            if !replaced.swap(true, SeqCst) {
                store.insert(Rig::input("a"), vec![7; size as usize]);
            }
            std::io::copy(input, output)?;
            Ok(())
        });
        let settled = rig.run(replacing).await;
        assert_eq!((settled.done, settled.retried), (1, 1), "the message means no version: it is read again");
        assert!(rig.is_copied("a"), "one version, and the newest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_not_what_the_message_means_is_rejected() {
    let rig = Rig::new();
    rig.store.insert_pattern(Rig::input("a"), 100);
    rig.body(r#"{"v":1,"input":"s3://input/a","output":"s3://output/a","size":99}"#, &["a"]);
    rig.body(r#"{"v":1,"input":"s3://input/a","output":"s3://output/b","etag":"other"}"#, &["b"]);
    rig.body(r#"{"v":1,"input":"s3://input/nothing","output":"s3://output/c"}"#, &["c"]);
    assert_eq!(rig.run(Work::Copy).await, Settled { rejected: 3, ..Settled::default() });
    let mut codes: Vec<_> =
        rig.dead_letters.peek().into_iter().map(|mut letter| letter.attributes.remove("batchpipe-code")).collect();
    codes.sort();
    assert_eq!(codes, [Some("BP301".into()), Some("BP302".into()), Some("BP302".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_store_slows_and_loses_nothing() {
    let rig = Rig::new();
    (0..20).for_each(|name| drop(rig.job(&name.to_string(), PART + 1)));
    for on in [On::Get, On::Put, On::Begin, On::Part, On::Complete] {
        rig.faults.next(on, Fault::Fail(Throttled), 15);
    }
    let settled = rig.run(Work::Copy).await;
    assert_eq!(settled.done, 20);
    (0..20).for_each(|name| assert!(rig.is_copied(&name.to_string())));
    assert!(rig.meters.throttles.load(std::sync::atomic::Ordering::Relaxed) >= 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_is_given_up_at_the_deadline() {
    let mut rig = Rig::new();
    rig.transfer.retry.deadline = Duration::from_millis(50);
    rig.job("a", 3 * PART);
    for on in [On::Get, On::Begin, On::Part, On::Complete] {
        rig.faults.next(on, Fault::Silence, 2);
    }
    let begun = Instant::now();
    assert_eq!(rig.run(Work::Copy).await.done, 1);
    // Without a deadline it would be asked for ever.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_answer_is_lost_is_done_once() {
    let rig = Rig::new();
    rig.job("a", 5 * PART);
    rig.faults.next(On::Complete, Fault::Lost, 1);
    assert_eq!(rig.run(Work::Copy).await, Settled { done: 1, ..Settled::default() });
    assert!(rig.is_copied("a"));
    assert_eq!(rig.log.count(|operation| matches!(operation, Operation::Complete { .. })), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_vanished_is_done_again() {
    let rig = Rig::new();
    rig.job("a", 5 * PART);
    rig.faults.next(On::Complete, Fault::Fail(batchpipe::error::ServiceErrorKind::Missing), 1);
    let settled = rig.run(Work::Copy).await;
    assert_eq!((settled.retried, settled.done), (1, 1));
    assert!(rig.is_copied("a"));
}

/// The second answer would mean that the first call succeeded, if there were an object.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_vanished_after_a_failure_is_not_taken_for_complete() {
    let rig = Rig::new();
    rig.job("a", 5 * PART);
    rig.faults.next(On::Complete, Fault::Fail(Unavailable), 1);
    rig.faults.next(On::Complete, Fault::Fail(batchpipe::error::ServiceErrorKind::Missing), 1);
    let settled = rig.run(Work::Copy).await;
    assert_eq!((settled.retried, settled.done), (1, 1));
    assert!(rig.is_copied("a"));
}

/// Nor is one of the same length that was there before.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_output_of_the_same_size_is_not_taken_for_an_upload_that_vanished() {
    let rig = Rig::new();
    rig.job("a", 5 * PART);
    rig.store.insert(Rig::output("a"), vec![0; 5 * PART as usize]);
    rig.faults.next(On::Complete, Fault::Fail(Unavailable), 1);
    rig.faults.next(On::Complete, Fault::Fail(batchpipe::error::ServiceErrorKind::Missing), 1);
    let settled = rig.run(Work::Copy).await;
    assert!(rig.is_copied("a"), "{settled:?}");
    assert_eq!((settled.retried, settled.done), (1, 1));
}

/// A disk may still have all of it to write, and S3 says that it may take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_has_time_to_become_complete() {
    let mut rig = Rig::new();
    rig.transfer.part = 4 << 20;
    rig.memory = 16 * rig.transfer.part;
    rig.transfer.retry.deadline = Duration::from_millis(500);
    rig.visibility = Duration::from_secs(10);
    rig.job("a", 16 << 20);
    rig.faults.always(On::Complete, Fault::Delay(Duration::from_secs(2)));
    assert_eq!(rig.run(Work::Copy).await.done, 1);
    assert_eq!(rig.faults.calls(On::Complete), 1);
    assert!(rig.is_copied("a"));
}

/// A disk that has much else to write before is no server that has gone: asked once more, it has even more to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_file_is_asked_for_once_however_long_the_disk_takes() {
    for (size, on) in [(10, On::Put), (3 * PART, On::Begin), (3 * PART, On::Part), (3 * PART, On::Complete)] {
        let mut rig = Rig::new();
        let folder = Location::file("/out/");
        rig.rules.allow = vec![Location::s3("input", ""), folder.clone()];
        rig.transfer.retry.deadline = Duration::from_millis(100);
        rig.visibility = Duration::from_secs(10);
        rig.store.insert_pattern(Rig::input("a"), size);
        rig.body(r#"{"v":1,"input":"s3://input/a","output":"file:///out/a"}"#, &[]);
        rig.faults.next(on, Fault::Late(Duration::from_millis(500)), 1);
        let settled = rig.run(Work::Copy).await;
        assert_eq!((settled.done, settled.retried), (1, 0), "{on:?}");
        assert_eq!(rig.store.contents(&folder.join("a")), rig.store.contents(&Rig::input("a")));
        assert_eq!(rig.faults.calls(on), if on == On::Part { 3 } else { 1 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_a_changed_object_publishes_nothing() {
    let rig = Rig::new();
    rig.job("a", 5 * PART);
    rig.faults.next(On::Get, Fault::Delay(Duration::ZERO), 2);
    rig.faults.next(On::Get, Fault::Fail(Changed), 1);
    let settled = rig.run(Work::Copy).await;
    assert_eq!((settled.retried, settled.done), (1, 1));
    assert_eq!(rig.log.count(|operation| matches!(operation, Operation::Complete { .. })), 1);
    assert!(rig.is_copied("a"));
}
