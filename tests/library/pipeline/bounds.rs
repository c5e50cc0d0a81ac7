//! What is held at once never passes its bound, and no setting stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use batchpipe::capacity::limit::{Lane, Limit};
use batchpipe::processor::Work;
use batchpipe::testing::{Fault, MemoryStore, On, Operation, Rig};

use super::work::{copying, filter};

const PART: u64 = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_the_budget_while_one_huge_object_passes() {
    for work in [Work::Copy, copying()] {
        let mut rig = Rig::new();
        rig.store = MemoryStore::sink().with_log(rig.log.clone());
        rig.transfer.part = 1 << 20;
        rig.memory = 12 << 20;
        rig.job("huge", 512 << 20);
        let running = rig.start(work);
        let budget = Arc::clone(&running.budget);
        let peak = Arc::new(AtomicU64::new(0));
        let sampling = tokio::spawn({
            let peak = Arc::clone(&peak);
            async move {
                loop {
                    peak.fetch_max(budget.reserved(), SeqCst);
                    assert!(budget.reserved() <= budget.total());
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        });
        assert_eq!(running.end().await.done, 1);
        assert!(!sampling.is_finished(), "the budget was passed");
        sampling.abort();
        assert_eq!(rig.store.size(&Rig::output("huge")), Some(512 << 20));
        assert!(peak.load(SeqCst) > 4 << 20, "and it was used: {} bytes", peak.load(SeqCst));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_budget_and_the_smallest_concurrency_finish_everything() {
    for (memory, concurrency, processors) in [(2 * PART, 1, 1), (2 * PART, 8, 2), (3 * PART, 3, 1), (64 << 20, 1, 4)] {
        for work in [Work::Copy, copying()] {
            let mut rig = Rig::new();
            (rig.memory, rig.concurrency, rig.processors) = (memory, concurrency, processors);
            let sizes = [0, 1, PART, 5 * PART + 1, 40 * PART, 100];
            sizes.iter().for_each(|size| drop(rig.job(&size.to_string(), *size)));
            assert_eq!(rig.run(work).await.done, 6, "{memory} bytes, {concurrency} jobs");
            sizes.iter().for_each(|size| assert!(rig.is_copied(&size.to_string()), "{size} bytes"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_outgrow_their_inputs_finish_in_the_smallest_budget() {
    for memory in [2 * PART, 3 * PART, 2 << 20, 5 << 20] {
        let mut rig = Rig::new();
        rig.memory = memory;
        (0..20).for_each(|name| drop(rig.job(&name.to_string(), 10)));
        let settled = rig.run(filter(|_, input, output| {
            std::io::copy(input, &mut std::io::sink())?;
            (0..30).try_for_each(|_| output.write_all(&[7; 40_000]))?;
            Ok(())
        }));
        assert_eq!(settled.await.done, 20);
        assert_eq!(rig.store.size(&Rig::output("0")), Some(1_200_000));
    }
}

/// Large objects that wait for the only processor hold all the room that the small one at work needs for its output.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_at_work_never_waits_for_room_of_jobs_that_wait_for_its_processor() {
    let mut rig = Rig::new();
    (rig.concurrency, rig.processors) = (3, 1);
    // The rooms of two large objects and of a tiny one, and not a byte to grow into.
    let part = 1 << 20;
    rig.transfer.part = part;
    rig.memory = 2 * (2 * part + batchpipe::capacity::budget::LINK_BYTES) + PART + 100;
    (rig.receive.until_empty, rig.receive.max_messages) = (false, Some(3));
    rig.patience = Duration::from_secs(10);
    rig.job("small", 10);
    let (begun, waiting) = (Arc::new(AtomicU64::new(0)), rig.faults.clone());
    let seen = Arc::clone(&begun);
    let running = rig.start(filter(move |job, input, output| {
        if job.input.key() != "small" {
            std::io::copy(input, output)?;
            return Ok(());
        }
        std::io::copy(input, &mut std::io::sink())?;
        seen.store(1, SeqCst);
        // Both of the others have read what they can.
        while waiting.calls(On::Get) < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        (0..100).try_for_each(|_| output.write_all(&[7; 40_000]))?;
        Ok(())
    }));
    while begun.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.job("large", 8 * part);
    rig.job("larger", 9 * part);
    assert_eq!(running.end().await.done, 3);
}

/// A receiver that waits for messages holds room for them: a job that needs more than it began with must not wait
/// for as long.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_receiver_never_stalls_a_job_that_grows() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.receive.wait = Duration::from_secs(20);
    rig.receive.receivers = Some(2);
    rig.transfer.part = 1 << 20;
    rig.memory = 8 << 20;
    rig.job("a", 10);
    let running = rig.start(filter(|_, input, output| {
        std::io::copy(input, &mut std::io::sink())?;
        // Long enough for the receivers to ask again.
        std::thread::sleep(Duration::from_millis(200));
        (0..60).try_for_each(|_| output.write_all(&[7; 40_000]))?;
        Ok(())
    }));
    let begun = Instant::now();
    while rig.store.size(&Rig::output("a")).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the job waits for the receiver's long poll");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.shutdown.advance(batchpipe::stop::shutdown::Phase::Draining);
    assert_eq!(running.end().await.done, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_object_of_a_message_has_room_however_small_the_first() {
    let mut rig = Rig::new();
    rig.rules.output = Some(Rig::output(""));
    rig.store.insert_pattern(Rig::input("small"), 1);
    rig.store.insert_pattern(Rig::input("large"), PART);
    let record = |key: &str| {
        format!(
            r#"{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventVersion":"2.1",
                "s3":{{"bucket":{{"name":"input"}},"object":{{"key":"{key}"}}}}}}"#
        )
    };
    rig.body(format!(r#"{{"Records":[{},{}]}}"#, record("small"), record("large")), &["small", "large"]);
    rig.concurrency = 1;
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(1);
    let least = Arc::new(AtomicU64::new(u64::MAX));
    let budget: Arc<std::sync::OnceLock<Arc<batchpipe::capacity::budget::Budget>>> = Arc::default();
    let (seen, of) = (Arc::clone(&least), Arc::clone(&budget));
    let running = rig.start(filter(move |job, input, output| {
        while of.get().is_none() {
            std::thread::yield_now();
        }
        if job.input.key() == "large" {
            input.fill_buf()?;
            seen.fetch_min(of.get().map_or(0, |budget| budget.reserved()), SeqCst);
        }
        std::io::copy(input, output)?;
        Ok(())
    }));
    budget.set(Arc::clone(&running.budget)).unwrap();
    assert_eq!(running.end().await.done, 2);
    assert!(least.load(SeqCst) >= 2 * PART, "{} bytes were reserved for parts of {PART}", least.load(SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_messages_are_asked_for_than_there_are_slots_and_as_many_ahead() {
    // Nothing is ahead where the first receive is the last.
    for (max_receives, bound) in [(Some(1), 3), (None, 6)] {
        let mut rig = Rig::new();
        (rig.concurrency, rig.receive.receivers, rig.max_receives) = (3, Some(2), max_receives);
        (0..40).for_each(|name| drop(rig.job(&name.to_string(), PART + 1)));
        rig.faults.always(On::Get, Fault::Delay(Duration::from_millis(2)));
        assert_eq!(rig.run(Work::Copy).await.done, 40);
        // In the order of the log.
        let (mut open, mut most) = (0i64, 0i64);
        for operation in rig.log.operations() {
            match operation {
                Operation::Receive { asked, ids } => {
                    assert!(asked as i64 <= bound - open, "{asked} asked for beside {open}, of {bound}");
                    open += ids.len() as i64;
                    most = most.max(open);
                }
                Operation::Complete { .. } => open -= 1,
                _ => {}
            }
        }
        assert!(open == 0 && most >= 3, "{most} at once, {open} at the end");
    }
}

/// A read of 20 ms is nearly all of such a job: while it holds room for a part of any object, three fit.
#[tokio::test(start_paused = true)]
async fn jobs_whose_messages_tell_their_size_hold_no_more_while_they_read() {
    let jobs = 200;
    let mut took = Vec::new();
    for size in ["", r#","size":100"#] {
        let mut rig = Rig::new();
        // The keeper of leases lives on a real clock, and has nothing to do here.
        rig.visibility = Duration::from_secs(12 * 60 * 60);
        (rig.concurrency, rig.memory) = (64, 3 * (2 * PART + batchpipe::capacity::budget::LINK_BYTES));
        rig.faults.pace(On::Get, Duration::from_millis(20), 1_000_000);
        for number in 0..jobs {
            let name = number.to_string();
            rig.store.insert_pattern(Rig::input(&name), 100);
            let body = format!(r#"{{"v":1,"input":"s3://input/{name}","output":"s3://output/{name}"{size}}}"#);
            rig.body(body, &[&name]);
        }
        let began = tokio::time::Instant::now();
        assert_eq!(rig.run(Work::Copy).await.done, jobs);
        took.push(began.elapsed());
    }
    assert!(took[1] * 2 < took[0], "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_larger_than_its_message_tells_is_not_read_into_the_room_of_what_was_told() {
    let mut rig = Rig::new();
    let reads = Limit::fixed(8);
    rig.transfer.reads = Lane::through(&reads);
    rig.store.insert_pattern(Rig::input("a"), PART);
    for told in [0, 10] {
        let body = format!(r#"{{"v":1,"input":"s3://input/a","output":"s3://output/a","size":{told}}}"#);
        rig.body(body, &["a"]);
    }
    assert_eq!(rig.run(Work::Copy).await.rejected, 2);
    assert_eq!((reads.seen().answered, reads.seen().bytes), (2, 11));
}
