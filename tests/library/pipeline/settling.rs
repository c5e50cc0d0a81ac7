//! What becomes of messages: deleted, moved, given back, each when it may be.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchpipe::ProcessError;
use batchpipe::error::ServiceErrorKind::{Denied, Invalid, NoSpace, Unavailable};
use batchpipe::error::{Code, Stage};
use batchpipe::lease::LONGEST;
use batchpipe::processor::Work;
use batchpipe::record::Ended;
use batchpipe::stages::Settled;
use batchpipe::testing::{Fault, On, Operation, Rig};

use super::work::filter;

/// The deletes that deleted something, as lists of ids.
fn deletes(rig: &Rig) -> Vec<Vec<String>> {
    let deleted = |operation| match operation {
        Operation::Delete { ids } if !ids.is_empty() => Some(ids),
        _ => None,
    };
    rig.log.operations().into_iter().filter_map(deleted).collect()
}

/// The timeouts with which messages were given back.
fn given_back(rig: &Rig) -> Vec<Duration> {
    let given = |operation| match operation {
        Operation::Extend { ids, timeout } if !ids.is_empty() && timeout != rig.visibility => Some(timeout),
        _ => None,
    };
    rig.log.operations().into_iter().filter_map(given).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_job_goes_to_the_dead_letters_with_its_reason() {
    let rig = Rig::new();
    let id = rig.job("a", 10);
    let settled = rig.run(filter(|_, _, _| {
        Err(ProcessError::Reject { code: Code::DataDamaged, reason: "bad\u{1b}[31m data".into() })
    }));
    assert_eq!(settled.await, Settled { rejected: 1, ..Settled::default() });
    assert!(rig.queue.is_empty());
    let [letter] = &rig.dead_letters.peek()[..] else { panic!("one dead letter") };
    assert!(letter.body.contains("s3://input/a"), "the body is as it was: {:?}", letter.body);
    assert_eq!(letter.attributes["batchpipe-reason"], "bad\u{FFFD}[31m data", "what a queue takes");
    assert_eq!(letter.attributes["batchpipe-stage"], "process");
    assert_eq!(letter.attributes["batchpipe-message-id"], id);
    assert_eq!(letter.attributes["batchpipe-attempt"], "1");
    assert_eq!(letter.attributes["batchpipe-input"], "s3://input/a");
    assert_eq!(letter.attributes["batchpipe-output"], "s3://output/a");
    assert!(letter.attributes["batchpipe-worker"].ends_with(&format!(":{}", std::process::id())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_as_long_as_a_queue_takes_is_moved_to_the_dead_letters_all_the_same() {
    for room in [0, 30, 500] {
        let rig = Rig::new();
        let body = "x".repeat(batchpipe::services::queue::MAX_MESSAGE - room);
        rig.body(body.clone(), &[]);
        assert_eq!(rig.run(Work::Copy).await, Settled { rejected: 1, ..Settled::default() }, "{room}");
        let letter = rig.dead_letters.peek().remove(0);
        assert!(letter.body == body, "{room}: the body is whole");
        assert_eq!(letter.attributes.get("batchpipe-code").map(String::as_str), (room > 0).then_some("BP201"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_refused_goes_with_its_code_alone_or_with_nothing() {
    // The batch, the letter alone, and the letter with its code alone.
    for (refusals, left) in [(1, 6), (2, 1), (3, 0)] {
        let rig = Rig::new();
        rig.body("not a job", &[]);
        rig.faults.next(On::Send, Fault::Fail(Invalid), refusals);
        assert_eq!(rig.run(Work::Copy).await, Settled { rejected: 1, ..Settled::default() }, "{refusals}");
        let letter = rig.dead_letters.peek().remove(0);
        assert_eq!((letter.body.as_str(), letter.attributes.len()), ("not a job", left), "{:?}", letter.attributes);
        assert_eq!(letter.attributes.contains_key("batchpipe-code"), left > 0);
        assert!(rig.queue.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letters_a_rejected_job_is_kept_and_reported() {
    let mut rig = Rig::new();
    rig.has_dead_letters = false;
    rig.job("a", 10);
    let settled = rig.run(filter(|_, _, _| Err(ProcessError::reject("never"))));
    // It ends although the message is still there: what is kept would come for ever.
    assert!(settled.await.rejected >= 1);
    assert_eq!(rig.queue.len(), 1);
    assert!(rig.meters.kept.load(Relaxed) >= 1);
    assert!(rig.dead_letters.is_empty());
    assert!(given_back(&rig)[0] >= Duration::from_secs(600), "it waits for a person: {:?}", given_back(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letters_a_rejected_job_holds_up_its_group_and_the_run_ends_all_the_same() {
    let mut rig = Rig::fifo();
    rig.has_dead_letters = false;
    // As on SQS: long after the run.
    rig.longest_back_off = Duration::from_secs(60 * 60);
    for name in ["a0", "a1", "a2", "b0", "b1"] {
        rig.job_in(&name[..1], name, 10);
    }
    let settled = rig
        .run(filter(|job, input, output| {
            if job.input.key() == "a0" {
                return Err(ProcessError::reject("never"));
            }
            std::io::copy(input, output)?;
            Ok(())
        }))
        .await;
    assert_eq!((settled.rejected, settled.done), (1, 2), "the other group goes on");
    assert!(rig.is_copied("b0") && rig.is_copied("b1") && !rig.is_copied("a1"), "and none goes before a0");
    assert_eq!((rig.queue.len(), rig.queue.visible()), (3, 2), "nothing is lost");
    assert_eq!((rig.meters.kept.load(Relaxed), rig.meters.holding_up.load(Relaxed)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_moved_is_kept() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.next(On::Send, Fault::Fail(Unavailable), 5);
    let settled = rig.run(filter(|_, _, _| Err(ProcessError::reject("never"))));
    assert_eq!(settled.await.rejected, 2, "the second time it could be moved");
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_is_deleted_and_counted_as_skipped() {
    let rig = Rig::new();
    rig.body(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"input"}"#, &[]);
    assert_eq!(rig.run(Work::Copy).await, Settled { skipped: 1, ..Settled::default() });
    assert!(rig.queue.is_empty());
    assert_eq!(rig.meters.jobs(Ended::Skipped), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_job_goes_to_the_dead_letters_with_its_code() {
    let rig = Rig::new();
    let bodies = ["", "hello", "{", r#"{"v":99,"input":"s3://input/a"}"#, "[1,2,3]"];
    bodies.iter().for_each(|body| drop(rig.body(*body, &[])));
    assert_eq!(rig.run(Work::Copy).await, Settled { rejected: 5, ..Settled::default() });
    for letter in rig.dead_letters.peek() {
        assert!(bodies.contains(&letter.body.as_str()));
        assert!(letter.attributes["batchpipe-code"].starts_with("BP2"), "{letter:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_match_its_checksum_is_not_processed() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.next(On::Receive, Fault::Damaged, 1);
    let settled = rig.run(Work::Copy).await;
    assert_eq!(settled, Settled { done: 1, retried: 1, ..Settled::default() });
    assert!(rig.dead_letters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_go_in_batches() {
    let rig = Rig::new();
    (0..60).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    assert_eq!(rig.run(Work::Copy).await.done, 60);
    let deletes = deletes(&rig);
    assert_eq!(deletes.iter().map(Vec::len).sum::<usize>(), 60);
    assert!(deletes.len() <= 20, "{} calls", deletes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_fails_is_repeated_and_one_that_lies_is_done_again() {
    let rig = Rig::new();
    (0..3).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.next(On::Delete, Fault::Fail(Unavailable), 2);
    rig.faults.next(On::Delete, Fault::Lost, 1);
    assert_eq!(rig.run(Work::Copy).await.done, 3);
    assert!(rig.queue.is_empty());

    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.next(On::Delete, Fault::Pretended, 1);
    assert_eq!(rig.run(Work::Copy).await.done, 2, "it came again and was done again");
    assert!(rig.queue.is_empty() && rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_message_stays_in_the_queue_is_not_counted_as_done() {
    // A failure that may pass is tried five times, one that can't only once.
    for (fault, calls) in [(Unavailable, 5), (Invalid, 1)] {
        let rig = Rig::new();
        rig.job("a", 10);
        rig.faults.next(On::Delete, Fault::Fail(fault), calls);
        assert_eq!(rig.run(Work::Copy).await, Settled { done: 1, retried: 1, ..Settled::default() }, "{fault:?}");
        assert_eq!((rig.meters.jobs(Ended::Ok), rig.meters.jobs(Ended::Failed)), (1, 1));
        assert!(rig.queue.is_empty() && rig.is_copied("a"), "it came again, and was done again");
        assert_eq!(rig.faults.calls(On::Delete), u64::from(calls) + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_delete_stops_and_counts_nothing_as_done() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.always(On::Delete, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    assert_eq!(running.end().await, Settled { retried: 1, ..Settled::default() });
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::QueueDenied));
    assert_eq!((rig.faults.calls(On::Delete), rig.meters.jobs(Ended::Ok), rig.queue.len()), (1, 0, 1));
    assert!(given_back(&rig).is_empty(), "no change of visibility follows a delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_went_to_another_before_its_delete_is_left_to_it() {
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(1);
    rig.job("a", 10);
    rig.faults.next(On::Delete, Fault::Delay(Duration::from_millis(100)), 1);
    let running = rig.start(Work::Copy);
    while rig.faults.calls(On::Delete) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rig.queue.steal(Duration::from_secs(60)), 1);
    assert_eq!(running.end().await, Settled { abandoned: 1, ..Settled::default() });
    assert_eq!(rig.meters.jobs(Ended::LeaseLost), 1);
    assert!(rig.is_copied("a"), "the other will find the output there");
}

/// On one thread, so that the log of the test's own subscriber has everything.
#[tokio::test]
async fn a_dead_letter_whose_message_stays_is_sent_again_and_that_is_said() {
    let (said, _listening) = Said::listen();
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.next(On::Delete, Fault::Fail(Unavailable), 5);
    let settled = rig.run(filter(|_, _, _| Err(ProcessError::reject("never")))).await;
    assert_eq!(settled, Settled { rejected: 2, ..Settled::default() });
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (0, 2));
    let said = said.text();
    let line = said.lines().find(|line| line.contains("code=BP606")).unwrap_or_else(|| panic!("not told: {said}"));
    assert!(line.contains("moved to the dead letters") && line.contains("a fault for a test"), "{line}");
}

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// What is logged on this thread from now on, for as long as the guard is held.
    pub(super) fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let said = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(said.clone()).with_ansi(false).finish();
        (said, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Said {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_before_another_attempt_grows() {
    let mut rig = Rig::new();
    rig.max_receives = Some(6);
    rig.job("a", 10);
    assert_eq!(rig.run(filter(|_, _, _| Err(ProcessError::retry("no")))).await.retried, 5);
    let delays = given_back(&rig);
    assert_eq!(delays.len(), 5);
    // 2 s, doubled each time, of which jitter takes half at the most.
    for (delay, longest) in delays.iter().zip([2, 4, 8, 16, 32]) {
        let longest = Duration::from_secs(longest);
        assert!(*delay <= longest && *delay >= longest / 2, "{delays:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_says_when_to_try_again() {
    let rig = Rig::new();
    rig.job("a", 10);
    let settled = rig.run(filter(|job, input, output| {
        if job.attempt == 1 {
            return Err(ProcessError::Retry { reason: "busy".into(), after: Some(Duration::from_secs(77)) });
        }
        std::io::copy(input, output)?;
        Ok(())
    }));
    assert_eq!(settled.await.done, 1);
    assert_eq!(given_back(&rig), [Duration::from_secs(77)]);
}

/// SQS refuses what adds up to more than twelve hours since the receive, and then the message comes back within a
/// minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_wants_to_try_again_later_than_can_be_gets_the_latest_that_can_be() {
    for after in [Duration::from_secs(24 * 60 * 60), LONGEST, Duration::MAX] {
        let rig = Rig::new();
        rig.job("a", 10);
        let settled = rig.run(filter(move |job, input, output| {
            if job.attempt == 1 {
                return Err(ProcessError::Retry { reason: "tomorrow".into(), after: Some(after) });
            }
            std::io::copy(input, output)?;
            Ok(())
        }));
        assert_eq!(settled.await.done, 1);
        let (latest, minute) = (LONGEST - Duration::from_secs(30), Duration::from_secs(60));
        assert!(
            matches!(given_back(&rig)[..], [delay] if delay < latest && delay > latest - minute),
            "{:?}",
            given_back(&rig)
        );
    }
}

/// The message comes back while its old lease is still being settled, and must not be taken for a duplicate.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_to_be_tried_at_once_is_tried_at_once() {
    for _ in 0..5 {
        let mut rig = Rig::new();
        rig.receive.receivers = Some(2);
        rig.job("a", 10);
        rig.faults.always(On::Extend, Fault::Late(Duration::from_millis(20)));
        let last = Arc::new(AtomicU32::new(0));
        let attempt = Arc::clone(&last);
        let settled = rig.run(filter(move |job, input, output| {
            attempt.store(job.attempt, SeqCst);
            if job.attempt == 1 {
                return Err(ProcessError::Retry { reason: "now".into(), after: Some(Duration::ZERO) });
            }
            std::io::copy(input, output)?;
            Ok(())
        }));
        assert_eq!(settled.await, Settled { done: 1, retried: 1, ..Settled::default() });
        assert_eq!(last.load(SeqCst), 2, "no delivery was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_refusals_in_a_row_stop_the_worker_which_gives_back() {
    let mut rig = Rig::new();
    rig.concurrency = 2;
    (0..20).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.always(On::Get, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    let settled = running.end().await;
    assert!((3..10).contains(&settled.released), "{settled:?}");
    assert_eq!(settled, Settled { released: settled.released, ..Settled::default() });
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::AccessDenied));
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (20, 0), "nothing was burned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_output_stops_the_run_that_minds_and_no_other() {
    for minds in [true, false] {
        let mut rig = Rig::new();
        rig.concurrency = 1;
        (0..6).for_each(|name| drop(rig.job(&name.to_string(), 10)));
        // A success between two failures shows that there is room.
        rig.faults.next(On::Put, Fault::Fail(NoSpace), 2);
        rig.faults.next(On::Put, Fault::Delay(Duration::ZERO), 1);
        rig.faults.next(On::Put, Fault::Fail(NoSpace), 3);
        let running = rig.start(Work::Copy);
        let circuit = Arc::clone(&running.circuit);
        if minds {
            circuit.stop_rather_than_wait();
        }
        let settled = running.end().await;
        let full = minds.then_some(Code::NoSpace);
        assert_eq!(circuit.tripped().map(|tripped| tripped.code), full);
        assert_eq!((settled.done, rig.queue.len()), if minds { (1, 5) } else { (6, 0) }, "{settled:?}");
        assert!(settled.released >= 5 && settled.rejected == 0, "{settled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_stops_the_run_that_minds_and_no_other() {
    for minds in [true, false] {
        let rig = Rig::new();
        rig.job("a", 10);
        rig.faults.next(On::Receive, Fault::Fail(NoSpace), 5);
        let running = rig.start(Work::Copy);
        let circuit = Arc::clone(&running.circuit);
        if minds {
            circuit.stop_rather_than_wait();
        }
        let settled = running.end().await;
        let full = minds.then_some((Code::NoSpace, Stage::Receive));
        assert_eq!(circuit.tripped().map(|tripped| (tripped.code, tripped.stage)), full);
        assert_eq!((settled.done, rig.queue.len()), if minds { (0, 1) } else { (1, 0) }, "{settled:?}");
        assert_eq!(rig.faults.calls(On::Receive) > 5, !minds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_refusals_with_a_success_between_them_stop_nobody() {
    let mut rig = Rig::new();
    rig.concurrency = 1;
    // In folders of their own: beside an object that can be read a refusal does not count.
    (0..5).for_each(|name| drop(rig.job(&format!("{name}/a"), 10)));
    for _ in 0..3 {
        rig.faults.next(On::Get, Fault::Fail(Denied), 1);
        rig.faults.next(On::Get, Fault::Delay(Duration::ZERO), 1);
    }
    let settled = rig.run(Work::Copy).await;
    assert_eq!((settled.done, settled.released), (5, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_nobodys_failure_and_is_not_asked_again_at_once() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.next(On::Put, Fault::Fail(NoSpace), 1);
    let settled = rig.run(Work::Copy).await;
    assert_eq!((settled.done, settled.released), (1, 1));
    assert!(given_back(&rig)[0] >= Duration::from_secs(1), "{:?}", given_back(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_refuses_stops_the_worker() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.always(On::Receive, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    assert_eq!(running.end().await, Settled::default());
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::QueueDenied));
    assert_eq!(rig.faults.calls(On::Receive), 1, "and is not asked again");
}

/// Its emptiness can't be seen without the right to ask; a run that waits for it must not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_refuses_to_be_counted_stops_a_run_until_empty() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.always(On::Counts, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    assert_eq!(running.end().await.done, 1);
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::QueueDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_fails_for_a_while_is_asked_again() {
    let rig = Rig::new();
    rig.job("a", 10);
    rig.faults.next(On::Receive, Fault::Fail(Unavailable), 3);
    rig.faults.next(On::Counts, Fault::Fail(Unavailable), 2);
    assert_eq!(rig.run(Work::Copy).await.done, 1);
}

/// What is given up while it is written is written all the same: asked once more, a letter would be there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_on_a_slow_disk_is_asked_once_to_delete_and_once_to_keep_a_letter() {
    for rejects in [false, true] {
        let mut rig = Rig::new();
        (rig.disk, rig.visibility) = (Duration::from_secs(20), Duration::from_secs(5));
        rig.transfer.retry.deadline = Duration::from_millis(100);
        for on in [On::Delete, On::Send] {
            rig.faults.always(on, Fault::Late(Duration::from_millis(500)));
        }
        rig.job("a", 10);
        let work = if rejects {
            filter(|_, _, _| Err(ProcessError::Reject { code: Code::DataDamaged, reason: "bad".into() }))
        } else {
            Work::Copy
        };
        let settled = rig.run(work).await;
        assert_eq!((settled.done, settled.rejected), (u64::from(!rejects), u64::from(rejects)));
        assert_eq!((rig.faults.calls(On::Delete), rig.faults.calls(On::Send)), (1, u64::from(rejects)));
        assert_eq!(rig.dead_letters.peek().len(), usize::from(rejects));
    }
}
