//! Bodies that stop or crawl, on a clock that does not wait: the download by itself.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::Job;
use batchpipe::capacity::budget::Budget;
use batchpipe::capacity::limit::Lane;
use batchpipe::error::{JobError, Stage};
use batchpipe::job::origin::Origin;
use batchpipe::link::link;
use batchpipe::processor::Work;
use batchpipe::record::Meters;
use batchpipe::services::retry::Retry;
use batchpipe::stages::{Source, Transfer, download};
use batchpipe::testing::{Fault, Faults, Faulty, MemoryStore, On, Rig, pattern};
use tokio::time::Instant;

const PART: u64 = 64 * 1024;

/// The bytes that a download of `size` bytes yields.
async fn downloaded(size: u64, faults: &Faults) -> Result<Vec<u8>, JobError> {
    let store = MemoryStore::new();
    store.insert_pattern(Rig::input("a"), size);
    let job = Job::new("j", Rig::input("a"), Rig::output("a"));
    let meters = Arc::new(Meters::default());
    let transfer = Transfer {
        part: PART,
        parallel: 2,
        retry: Retry::default(),
        reads: Lane::default(),
        writes: Lane::default(),
        hedge: Arc::default(),
    };
    let room = Budget::new(64 << 20, PART).admit(None).await;
    let (outlet, mut inlet) = link(&meters.turn(Stage::Download), &meters.turn(Stage::Upload));
    let store = Arc::new(Faulty::new(Arc::new(store), faults.clone()));
    let reading = async {
        let mut all = Vec::new();
        while let Ok(Some(chunk)) = inlet.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    };
    let (source, origin) = (Source::new(store, transfer, meters, &job), Origin::new(&job, Work::Copy.id()));
    let (result, all) = tokio::join!(download(source, &room, &job, &origin, outlet), reading);
    result.map(|_| all)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_resumed() {
    let faults = Faults::none();
    faults.next(On::Get, Fault::Stall(1000), 1);
    faults.next(On::Get, Fault::Stall(2 * PART + 7), 1);
    let begun = Instant::now();
    assert!(downloaded(3 * PART, &faults).await.unwrap() == pattern(0..3 * PART));
    assert_eq!(faults.calls(On::Get), 5);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_is_resumed_and_never_a_short_object() {
    let faults = Faults::none();
    faults.next(On::Get, Fault::End(1000), 1);
    faults.next(On::Get, Fault::End(PART), 2);
    assert!(downloaded(3 * PART, &faults).await.unwrap() == pattern(0..3 * PART));
    faults.always(On::Get, Fault::End(2 * PART + 9));
    assert_eq!(downloaded(3 * PART, &faults).await.unwrap_err().stage, Stage::Download);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_is_late_is_asked_for_again_and_only_that_one() {
    let faults = Faults::none();
    faults.pace(On::Get, Duration::from_millis(20), 1_000_000);
    let one_late = async {
        // In the middle of a download of 60 ranges, two at a time.
        tokio::time::sleep(Duration::from_millis(500)).await;
        faults.next(On::Get, Fault::Late(Duration::from_secs(5)), 1);
    };
    let begun = Instant::now();
    let (bytes, ()) = tokio::join!(downloaded(60 * PART, &faults), one_late);
    assert!(bytes.unwrap() == pattern(0..60 * PART));
    assert_eq!(faults.calls(On::Get), 61);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_an_error_in_bounded_time() {
    let faults = Faults::none();
    faults.always(On::Get, Fault::Silence);
    let begun = Instant::now();
    assert_eq!(downloaded(10, &faults).await.unwrap_err().stage, Stage::Download);
    assert!(begun.elapsed() < Duration::from_secs(70), "{:?}", begun.elapsed());
}
