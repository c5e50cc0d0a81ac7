//! What a dead letter says of its job, and how it is kept short enough for the queue.

use super::*;
use crate::error::{Code, ErrorKind, Stage};
use crate::job::Job;
use crate::services::queue::Receipt;
use crate::testing::MemoryQueue;

fn message(body: usize, own: &[(&str, usize)]) -> Message {
    Message {
        id: "5f3c2a6e-1b2c-4d5e-8f90-a1b2c3d4e5f6".to_owned(),
        body: "x".repeat(body),
        receipt: Receipt(String::new()),
        attempt: 3,
        sent: None,
        group: Some("group".to_owned()),
        intact: true,
        attributes: own.iter().map(|(name, size)| ((*name).to_owned(), "o".repeat(*size))).collect(),
    }
}

fn failure() -> JobError {
    let job = Job { attempt: 3, ..Job::new("1", Location::s3("input", "a"), Location::s3("output", "a")) };
    let stderr = Some(format!("{}the end", "e".repeat(4089)));
    let error = JobError::new(Stage::Process, ErrorKind::Rejected, Code::ProgramFailed, "no\u{1b}[31m good".to_owned());
    JobError { stderr, ..error }.of(job)
}

#[test]
fn a_letter_says_all_there_is_to_know() {
    let message = Message { group: None, ..message(100, &[("tenant", 5)]) };
    let letter = letter(&message, &failure(), &MemoryQueue::new("dead"));
    let fact = |name: &str| letter.attributes[name].as_str();
    assert_eq!((fact(CODE), fact(STAGE), fact(ATTEMPT)), ("BP401", "process", "3"));
    assert_eq!((fact(INPUT), fact(OUTPUT)), ("s3://input/a", "s3://output/a"));
    assert_eq!(fact(REASON), "no\u{FFFD}[31m good", "what a queue takes");
    assert_eq!(fact(MESSAGE_ID), "5f3c2a6e-1b2c-4d5e-8f90-a1b2c3d4e5f6");
    assert!(fact(WORKER).ends_with(&format!(":{}", std::process::id())), "{}", fact(WORKER));
    assert!(fact(STDERR).len() == 4096 && fact(STDERR).ends_with("the end"));
    assert_eq!((fact("tenant"), letter.attributes.len()), ("ooooo", 10));
    assert_eq!((&letter.group, &letter.deduplication), (&None, &None), "a standard queue may refuse either");
}

#[test]
fn of_a_long_fact_a_letter_keeps_the_end_that_tells_most() {
    let cause = format!("at first{}", "é".repeat(5000));
    let stderr = Some(format!("{}the end", "é".repeat(5000)));
    let letter = letter(&message(100, &[]), &JobError { cause, stderr, ..failure() }, &MemoryQueue::new("dead"));
    let (reason, stderr) = (&letter.attributes[REASON], &letter.attributes[STDERR]);
    assert!(reason.len() == LONGEST && reason.starts_with("at first"), "{} bytes", reason.len());
    assert!(stderr.len() == LONGEST - 1 && stderr.ends_with("the end"), "{} bytes, no half character", stderr.len());
}

#[test]
fn a_sender_cannot_write_our_part_of_a_letter() {
    let own = [("batchpipe-code", 5), ("batchpipe-later", 5), ("tenant", 5)];
    let message = Message { group: None, ..message(100, &own) };
    let letter = letter(&message, &failure(), &MemoryQueue::new("dead"));
    assert_eq!(letter.attributes[CODE], "BP401");
    assert!(!letter.attributes.contains_key("batchpipe-later") && letter.attributes.contains_key("tenant"));
}

#[test]
fn no_body_and_no_attributes_make_a_letter_larger_than_a_queue_takes() {
    let own: Vec<(String, usize)> = (0..10).map(|nth| (format!("own-{nth}"), 100)).collect();
    let own: Vec<(&str, usize)> = own.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    let mut facts = usize::MAX;
    for room in [100_000, 6000, 4000, 400, 200, 120, 60, 30, 25, 24, 10, 0] {
        let letter = letter(&message(MAX_MESSAGE - room, &own), &failure(), &MemoryQueue::new("dead"));
        assert!(letter.size() <= MAX_MESSAGE && letter.attributes.len() <= MAX_ATTRIBUTES, "{room}");
        assert_eq!(letter.body.len(), MAX_MESSAGE - room, "the body is whole");
        let ours = letter.attributes.keys().filter(|name| name.starts_with(PREFIX)).count();
        assert!(ours <= facts, "{room}: {:?}", letter.attributes);
        facts = ours;
        // The name, `String`, and BP401.
        assert_eq!(letter.attributes.contains_key(CODE), room >= 25, "{room}: {:?}", letter.attributes);
        if let Some(stderr) = letter.attributes.get(STDERR) {
            assert!(stderr.ends_with('d'), "what is kept of stderr is its end: {stderr:?}");
        }
        assert!(letter.attributes.contains_key(INPUT) || !letter.attributes.contains_key(STDERR), "{room}");
    }
    assert_eq!(facts, 0);
}

#[test]
fn a_group_outlives_dead_letters_that_keep_none_apart() {
    let message = message(10, &[]);
    let folder = tempfile::tempdir().unwrap();
    let local = crate::services::queue::local::LocalQueue::open(&folder.path().join("q")).unwrap();
    let sent = letter(&message, &failure(), &local);
    assert_eq!(
        (sent.group.as_deref(), sent.attributes[GROUP].as_str()),
        (None, "group"),
        "each letter can be looked at"
    );
    let dead = Message { group: sent.group, attributes: sent.attributes, ..message };
    let back = redriven(&dead, &local);
    assert_eq!((back.group.as_deref(), back.deduplication, back.attributes.len()), (Some("group"), None, 0));
    assert_eq!(redriven(&dead, &MemoryQueue::new("jobs.fifo")).group.as_deref(), Some("group"));
    assert_eq!(redriven(&dead, &MemoryQueue::new("jobs")).group, None);
}

#[test]
fn a_slimmer_letter_is_the_same_message() {
    let whole = letter(&message(10, &[("own", 1)]), &failure(), &MemoryQueue::new("dead"));
    let [code, bare] = slimmer(&whole);
    assert_eq!(code.attributes.into_iter().collect::<Vec<_>>(), [(CODE.to_owned(), "BP401".to_owned())]);
    assert_eq!((bare.attributes.len(), &bare.body), (0, &whole.body));
}

#[test]
fn a_fifo_queue_gets_a_group_and_a_name_that_drops_repeats() {
    let fifo = MemoryQueue::new("dead.fifo");
    let mut message = message(10, &[("own", 1), ("batchpipe-code", 5), ("batchpipe-later", 5)]);
    let letter = letter(&message, &failure(), &fifo);
    assert_eq!((letter.group.as_deref(), letter.deduplication.as_ref()), (Some("group"), Some(&message.id)));
    let back = redriven(&message, &fifo);
    assert_eq!((back.group.as_deref(), back.deduplication.as_ref()), (Some("group"), Some(&message.id)));
    assert_eq!(back.attributes.keys().collect::<Vec<_>>(), ["own"], "a new life has no old reason");
    message.group = None;
    assert_eq!(redriven(&message, &fifo).group.as_ref(), Some(&message.id), "a group of its own");
}
