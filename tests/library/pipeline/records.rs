//! Messages with several records: each is worked, and settled apart from the others.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchpipe::error::{
    Code,
    ServiceErrorKind::{Denied, Unavailable},
};
use batchpipe::processor::Work;
use batchpipe::record::Ended;
use batchpipe::services::queue::{Message, Receipt};
use batchpipe::stages::Settled;
use batchpipe::stages::acknowledge::dead_letter::redriven;
use batchpipe::testing::{Fault, On, Operation, Rig};
use batchpipe::{Job, ProcessError, Processor};

/// One record of an S3 event, with a field that no reader here knows.
fn record(key: &str) -> String {
    format!(
        r#"{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventVersion":"2.1","odd":1.50,
            "s3":{{"bucket":{{"name":"input"}},"object":{{"key":"{key}"}}}}}}"#
    )
}

fn event(records: &[String]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

/// What becomes of an input at this attempt.
type Fate = dyn Fn(&Job) -> Result<(), ProcessError> + Send + Sync;

/// Copies what its fate lets it, notes how often it did, and has a name: its outputs have marks.
struct Copying {
    fate: Box<Fate>,
    runs: Arc<Mutex<BTreeMap<String, usize>>>,
    id: Option<String>,
}

impl Processor for Copying {
    fn process(&self, job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        *self.runs.lock().unwrap().entry(job.input.key().to_owned()).or_default() += 1;
        (self.fate)(job)?;
        std::io::copy(input, output)?;
        Ok(())
    }

    fn id(&self) -> Option<String> {
        self.id.clone()
    }
}

/// A rig with one message for these inputs, and what works it.
struct Case {
    rig: Rig,
    id: String,
    runs: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Case {
    fn of(rig: Rig, names: &[&str]) -> Self {
        let mut rig = rig;
        rig.rules.output = Some(Rig::output(""));
        names.iter().for_each(|name| rig.store.insert_pattern(Rig::input(name), 1000));
        let records: Vec<String> = names.iter().map(|name| record(name)).collect();
        let id = match rig.queue.name_is_fifo() {
            true => rig.body_in("group", event(&records), &[]),
            false => rig.body(event(&records), &[]),
        };
        Self { rig, id, runs: Arc::default() }
    }

    fn new(names: &[&str]) -> Self {
        Self::of(Rig::new(), names)
    }

    fn work(&self, id: Option<&str>, fate: impl Fn(&Job) -> Result<(), ProcessError> + Send + Sync + 'static) -> Work {
        let id = id.map(str::to_owned);
        Work::Filter(Arc::new(Copying { fate: Box::new(fate), runs: Arc::clone(&self.runs), id }))
    }

    fn runs(&self, name: &str) -> usize {
        self.runs.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// The bodies of the dead letters.
    fn letters(&self) -> Vec<String> {
        self.rig.dead_letters.peek().into_iter().map(|letter| letter.body).collect()
    }
}

trait IsFifo {
    fn name_is_fifo(&self) -> bool;
}

impl IsFifo for batchpipe::testing::MemoryQueue {
    fn name_is_fifo(&self) -> bool {
        batchpipe::services::queue::JobQueue::is_fifo(self)
    }
}

/// Rejects these inputs.
fn rejecting(names: &'static [&'static str]) -> impl Fn(&Job) -> Result<(), ProcessError> + Send + Sync {
    move |job| match names.contains(&job.input.key()) {
        true => Err(ProcessError::Reject { code: Code::DataDamaged, reason: format!("not {}", job.input.key()) }),
        false => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_rejected_does_not_keep_those_behind_it_from_being_worked() {
    let case = Case::new(&["a", "b", "c", "d"]);
    let settled = case.rig.run(case.work(None, rejecting(&["b", "d"]))).await;
    assert_eq!(settled, Settled { done: 2, rejected: 2, ..Settled::default() });
    assert!(case.rig.is_copied("a") && case.rig.is_copied("c") && case.rig.queue.is_empty());
    assert_eq!(case.letters(), [event(&[record("b"), record("d")])], "one letter, of those that failed, as they were");
    let facts = &case.rig.dead_letters.peek()[0].attributes;
    assert_eq!(facts["batchpipe-code"], "BP303");
    assert_eq!(facts["batchpipe-reason"], "not b; 1 more record failed; BP303 of s3://input/d: not d");
    assert_eq!((&*facts["batchpipe-input"], &*facts["batchpipe-output"]), ("s3://input/b", "s3://output/b"));
    assert_eq!(facts["batchpipe-message-id"], case.id);
    let counted = [Ended::Ok, Ended::Failed].map(|how| case.rig.meters.jobs(how));
    assert_eq!((counted, case.rig.meters.jobs_received.load(Relaxed)), ([2, 2], 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_works_only_the_records_that_failed() {
    let case = Case::new(&["a", "b", "c"]);
    assert_eq!(case.rig.run(case.work(None, rejecting(&["b"]))).await.done, 2);
    let sent = case.rig.dead_letters.peek().remove(0);
    let mut letter = Message::new("letter", sent.body, Receipt(String::new()), 1);
    letter.attributes = sent.attributes;
    case.rig.body(redriven(&letter, &*case.rig.queue).body, &["b"]);
    // A rig is over with its run.
    let mut again = case.rig.clone();
    (again.shutdown, again.meters) = (batchpipe::stop::shutdown::Shutdown::default(), Arc::default());
    assert_eq!(again.run(case.work(None, |_| Ok(()))).await, Settled { done: 1, ..Settled::default() });
    assert!(again.is_copied("b"));
    assert_eq!(["a", "b", "c"].map(|name| case.runs(name)), [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stays_while_a_record_is_to_be_tried_again_and_what_is_done_is_not_done_again() {
    let case = Case::new(&["a", "b", "c"]);
    let work = case.work(Some("copying"), |job| match (job.input.key(), job.attempt) {
        ("a", _) => Err(ProcessError::reject("never")),
        ("b", ..=2) => Err(ProcessError::retry("not yet")),
        _ => Ok(()),
    });
    let settled = case.rig.run(work).await;
    // Twice a and b come again, and c is skipped the second and the third time.
    assert_eq!(settled, Settled { done: 2, skipped: 2, retried: 4, rejected: 1, ..Settled::default() });
    assert_eq!(["a", "b", "c"].map(|name| case.runs(name)), [3, 3, 1]);
    assert_eq!(case.letters(), [event(&[record("a")])], "and no letter before all is settled");
    let sends = |operation: &Operation| matches!(operation, Operation::Send { letters, .. } if !letters.is_empty());
    assert_eq!(case.rig.log.count(sends), 1);
    assert!(case.rig.is_copied("b") && case.rig.is_copied("c") && case.rig.queue.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_cannot_be_recognised_are_made_again() {
    let case = Case::new(&["a", "b"]);
    let settled = case.rig.run(case.work(None, |job| match (job.input.key(), job.attempt) {
        ("b", 1) => Err(ProcessError::retry("not yet")),
        _ => Ok(()),
    }));
    assert_eq!(settled.await, Settled { done: 3, retried: 1, ..Settled::default() });
    assert_eq!((case.runs("a"), case.runs("b")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_changed_since_is_worked_again_with_its_message() {
    let case = Case::new(&["a", "b"]);
    let store = case.rig.store.clone();
    let settled = case.rig.run(case.work(Some("copying"), move |job| match (job.input.key(), job.attempt) {
        ("b", 1) => {
            store.insert_pattern(Rig::input("a"), 2000);
            Err(ProcessError::retry("not yet"))
        }
        _ => Ok(()),
    }));
    assert_eq!(settled.await, Settled { done: 3, retried: 1, ..Settled::default() });
    assert!(case.rig.is_copied("a"), "the output is of the newer version");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_last_receive_the_letter_holds_what_failed_and_nothing_that_was_done() {
    let mut case = Case::new(&["a", "b", "c"]);
    case.rig.max_receives = Some(2);
    let settled = case.rig.run(case.work(Some("copying"), |job| match job.input.key() {
        "b" => Err(ProcessError::retry("never again")),
        _ => Ok(()),
    }));
    assert_eq!(settled.await, Settled { done: 2, skipped: 2, retried: 1, rejected: 1, ..Settled::default() });
    assert_eq!(case.letters(), [event(&[record("b")])]);
    assert_eq!(case.rig.dead_letters.peek()[0].attributes["batchpipe-attempt"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letters_the_message_is_kept_and_what_is_done_stays_done() {
    let mut case = Case::new(&["a", "b"]);
    case.rig.has_dead_letters = false;
    let settled = case.rig.run(case.work(Some("copying"), rejecting(&["b"]))).await;
    assert!(settled.rejected >= 1 && settled.done == 1, "{settled:?}");
    assert_eq!((case.runs("a"), case.rig.queue.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_message_that_is_not_ours_any_more_nothing_is_said() {
    let mut case = Case::new(&["a", "b", "c"]);
    case.rig.receive.until_empty = false;
    case.rig.receive.max_messages = Some(1);
    let (queue, hidden) = (Arc::clone(&case.rig.queue), case.rig.visibility * 2);
    let settled = case.rig.run(case.work(None, move |job| match job.input.key() {
        "b" => {
            assert_eq!(queue.steal(Duration::from_secs(60)), 1);
            std::thread::sleep(hidden);
            Ok(())
        }
        key => rejecting(&["a"])(job).map_err(|error| ProcessError::reject(format!("{key}: {error}"))),
    }));
    assert_eq!(settled.await, Settled { abandoned: 3, ..Settled::default() });
    assert!(case.rig.dead_letters.is_empty(), "whoever has the message now rejects a as well");
    assert_eq!((case.runs("c"), case.rig.queue.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_read_go_into_the_letter_and_known_kinds_are_skipped() {
    let mut rig = Rig::new();
    rig.rules.output = Some(Rig::output(""));
    rig.store.insert_pattern(Rig::input("a"), 10);
    let renamed = record("x").replace("ObjectCreated:Put", "ObjectRenamed:Put");
    let removed = record("y").replace("ObjectCreated:Put", "ObjectRemoved:Delete");
    let broken = record("z").replace("\"key\":\"z\"", "\"key\":7");
    rig.body(event(&[renamed.clone(), removed, record("a"), broken.clone()]), &["a"]);
    let settled = rig.run(Work::Copy).await;
    assert_eq!(settled, Settled { done: 1, skipped: 1, rejected: 2, ..Settled::default() });
    let letter = rig.dead_letters.peek().remove(0);
    assert_eq!(letter.body, event(&[renamed, broken]));
    assert_eq!(letter.attributes["batchpipe-code"], "BP212");
    let reason = &letter.attributes["batchpipe-reason"];
    assert!(reason.contains("\"ObjectRenamed:Put\"") && reason.contains("BP204 of record 4: "), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_sent_twice_rather_than_lost_and_holds_the_same() {
    let case = Case::new(&["a", "b"]);
    case.rig.faults.next(On::Delete, Fault::Pretended, 1);
    let settled = case.rig.run(case.work(Some("copying"), rejecting(&["b"]))).await;
    assert_eq!(settled, Settled { done: 1, skipped: 1, rejected: 2, ..Settled::default() });
    assert_eq!(case.letters(), [event(&[record("b")]), event(&[record("b")])]);
    assert_eq!(case.runs("a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_sent_keeps_the_whole_message() {
    let case = Case::new(&["a", "b"]);
    case.rig.faults.next(On::Send, Fault::Fail(Unavailable), 5);
    let settled = case.rig.run(case.work(Some("copying"), rejecting(&["b"]))).await;
    assert_eq!((settled.done, settled.skipped, settled.rejected), (1, 1, 2), "the second time it could be moved");
    assert_eq!(case.letters(), [event(&[record("b")])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_one_record_after_the_other_is_not_asked_for_all_of_them() {
    let names: Vec<String> = (0..20).map(|nth| nth.to_string()).collect();
    let case = Case::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    case.rig.faults.always(On::Get, Fault::Fail(Denied));
    let running = case.rig.start(case.work(None, |_| Ok(())));
    let circuit = Arc::clone(&running.circuit);
    let settled = running.end().await;
    assert!(circuit.tripped().is_some(), "three messages in a row, each received with nothing done between");
    assert_eq!(settled, Settled { released: 60, ..Settled::default() });
    assert!(case.rig.faults.calls(On::Get) <= 9, "{} calls", case.rig.faults.calls(On::Get));
    assert_eq!((case.rig.queue.len(), case.rig.dead_letters.len()), (1, 0), "nothing is burned");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_has_the_time_of_a_job_for_itself() {
    let mut case = Case::new(&["a", "b"]);
    case.rig.job_timeout = Some(Duration::from_millis(300));
    case.rig.max_receives = Some(1);
    case.rig.faults.next(On::Get, Fault::Delay(Duration::from_millis(450)), 1);
    let settled = case.rig.run(case.work(None, |_| Ok(()))).await;
    assert_eq!(settled, Settled { done: 1, rejected: 1, ..Settled::default() });
    assert!(case.rig.is_copied("b"));
    assert_eq!(case.letters(), [event(&[record("a")])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_group_the_next_message_begins_when_all_records_are_settled() {
    let case = Case::of(Rig::fifo(), &["a", "b", "c"]);
    case.rig.store.insert_pattern(Rig::input("later"), 10);
    case.rig.body_in("group", event(&[record("later")]), &["later"]);
    let settled = case.rig.run(case.work(None, rejecting(&["b"]))).await;
    assert_eq!(settled, Settled { done: 3, rejected: 1, ..Settled::default() });
    let letter = case.rig.dead_letters.peek().remove(0);
    assert_eq!((letter.body, letter.group.as_deref()), (event(&[record("b")]), Some("group")));
    let name = letter.deduplication.unwrap();
    assert!(name.starts_with(&case.id) && name.len() > case.id.len() && name.len() <= 128, "{name}");
}
