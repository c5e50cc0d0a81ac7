//! Filters and the copy: who is told what, and when a slot is taken.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use batchpipe::error::{Code, Disposition, ErrorKind};
use batchpipe::link::{Disconnected, WRITE_CHUNK};
use batchpipe::processor::codec::Chain;
use batchpipe::processor::{Work, work_from_steps};
use batchpipe::stages::process;
use batchpipe::{Job, ProcessError};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{feed, job, joined, run, sample};

fn filter<F>(work: F) -> Work
where
    F: Fn(&Job, &mut dyn BufRead, &mut dyn Write) -> Result<(), ProcessError> + Send + Sync + 'static,
{
    Work::Filter(Arc::new(work))
}

#[tokio::test]
async fn a_chain_crosses_the_stage_in_whole_chunks() {
    let data = sample(3 * WRITE_CHUNK);
    let (said, seen) = run(&work_from_steps("copy").unwrap(), &job("x"), data.clone()).await;
    said.unwrap();
    assert_eq!(seen.unwrap(), data);
    let mut ends = joined();
    let work = work_from_steps("zstd:1,decompress").unwrap();
    let job = job("x");
    let stage = process(&work, Arc::new(Semaphore::new(1)).into(), &job, ends.input, ends.output);
    let sizes = async {
        let mut sizes = Vec::new();
        while let Some(chunk) = ends.from_process.recv().await.unwrap() {
            sizes.push(chunk.len());
        }
        sizes
    };
    let (said, sizes, ()) = tokio::join!(stage, sizes, feed(ends.to_process, data));
    said.unwrap();
    assert_eq!(sizes, [WRITE_CHUNK; 3]);
}

#[tokio::test]
async fn a_filter_may_stop_reading_early_and_still_succeed() {
    let head = filter(|_, input, output| {
        let mut first = [0; 10];
        input.read_exact(&mut first)?;
        Ok(output.write_all(&first)?)
    });
    let (said, seen) = run(&head, &job("x"), sample(5_000_000)).await;
    said.unwrap();
    assert_eq!(seen.unwrap(), &sample(10)[..]);
}

#[tokio::test]
async fn only_success_publishes_and_each_failure_says_what_it_means() {
    let reject = filter(|_, _, output| {
        output.write_all(&[1; 1_000_000])?;
        Err(ProcessError::reject("not an image"))
    });
    let (said, seen) = run(&reject, &job("x"), sample(10)).await;
    let error = said.unwrap_err();
    assert_eq!(
        (error.kind, error.code, error.cause.as_str()),
        (ErrorKind::Rejected, Code::ProcessorFailed, "not an image")
    );
    assert_eq!(seen, Err(Disconnected));

    let wait = Some(Duration::from_secs(9));
    let retry = filter(move |_, _, _| Err(ProcessError::Retry { reason: "busy".into(), after: wait }));
    let error = run(&retry, &job("x"), sample(10)).await.0.unwrap_err();
    assert_eq!((error.disposition(), error.retry_after), (Disposition::Retry, wait));

    let (said, seen) = run(&work_from_steps("decompress").unwrap(), &job("x"), b"plain text".to_vec()).await;
    assert_eq!((said.unwrap_err().code, seen), (Code::NotCompressed, Err(Disconnected)));
}

#[tokio::test]
async fn a_panic_fails_its_job_with_its_words_and_nothing_else() {
    let panics = filter(|job, _, _| panic!("no frame in {}", job.id));
    let (said, seen) = run(&panics, &job("x"), sample(10)).await;
    let error = said.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Panicked, Code::ProcessorPanicked));
    assert!(error.cause.contains("no frame in job-1 at ") && error.cause.contains("filters.rs:"), "{}", error.cause);
    assert_eq!(seen, Err(Disconnected));
}

#[tokio::test]
async fn a_broken_download_is_never_the_end_of_the_input_whatever_the_filter_makes_of_it() {
    let careless = filter(|_, input, output| {
        let mut all = Vec::new();
        drop(input.read_to_end(&mut all));
        Ok(output.write_all(&all)?)
    });
    for work in [careless, work_from_steps("gzip").unwrap(), work_from_steps("copy").unwrap()] {
        let ends = joined();
        ends.to_process.send(Bytes::from_static(b"half")).await.unwrap();
        drop(ends.to_process);
        let said = process(&work, Arc::new(Semaphore::new(1)).into(), &job("x"), ends.input, ends.output).await;
        assert_eq!(said.unwrap_err().kind, ErrorKind::Disconnected);
        assert_eq!(super::collect(ends.from_process).await, Err(Disconnected));
    }
}

#[tokio::test]
async fn a_slot_is_taken_with_the_first_chunk_and_stays_with_the_thread() {
    let slots = Arc::new(Semaphore::new(1));
    let (began, wait_until_it_began) = std::sync::mpsc::channel();
    let (release, until_released) = std::sync::mpsc::channel::<()>();
    let until_released = std::sync::Mutex::new(until_released);
    let stuck = filter(move |_, _, _| {
        began.send(()).unwrap();
        until_released.lock().unwrap().recv().unwrap();
        Ok(())
    });
    let ends = joined();
    let task = {
        let slots = Arc::clone(&slots);
        tokio::spawn(async move { process(&stuck, slots.into(), &job("x"), ends.input, ends.output).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(slots.available_permits(), 1, "a slot was taken before there was anything to do");
    ends.to_process.send(Bytes::from_static(b"x")).await.unwrap();
    tokio::task::spawn_blocking(move || wait_until_it_began.recv().unwrap()).await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(slots.available_permits(), 0, "the thread still runs");
    release.send(()).unwrap();
    drop(tokio::time::timeout(Duration::from_secs(5), slots.acquire()).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_filter_whose_job_is_cut_ends_by_itself_and_frees_its_slot() {
    let slots = Arc::new(Semaphore::new(1));
    let ends = joined();
    ends.to_process.send(Bytes::from_static(b"first")).await.unwrap();
    let task = {
        let (slots, work) = (Arc::clone(&slots), work_from_steps("sha256").unwrap());
        tokio::spawn(async move { process(&work, slots.into(), &job("x"), ends.input, ends.output).await })
    };
    while slots.available_permits() == 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(slots.available_permits(), 0);
    drop((ends.to_process, ends.from_process));
    drop(tokio::time::timeout(Duration::from_secs(5), slots.acquire()).await.unwrap().unwrap());
}

#[test]
fn a_processor_is_told_how_long_its_input_is_though_no_message_told() {
    fn told(job: &Job, _: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        Ok(write!(output, "{:?}", job.size)?)
    }
    for (input, length) in [("", "Some(0)"), ("twelve bytes", "Some(12)")] {
        let report = batchpipe::testing::run_one(told, input);
        assert_eq!(report.output.as_deref(), Some(length.as_bytes()));
    }
}

#[test]
fn zstd_writes_the_length_of_its_input_into_the_frame() {
    let report = batchpipe::testing::run_one(Chain::parse("copy,zstd:19").unwrap(), sample(5_000));
    let frame = report.output.unwrap();
    assert_eq!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap(), Some(5_000));
    assert_eq!(zstd::decode_all(&frame[..]).unwrap(), sample(5_000));
    // What a step makes of its input has another length, which nobody knows beforehand.
    let report = batchpipe::testing::run_one(Chain::parse("gzip,zstd").unwrap(), sample(5_000));
    assert_eq!(zstd::zstd_safe::get_frame_content_size(&report.output.unwrap()).unwrap(), None);
}
