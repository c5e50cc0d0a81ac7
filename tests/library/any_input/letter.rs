//! What holds of any dead letter: a queue takes it, the message in it is whole, and no word of its death is anybody
//! else's.

use std::collections::BTreeMap;

use batchpipe::error::{Code, ErrorKind, JobError, Stage};
use batchpipe::job::{Job, Location};
use batchpipe::services::queue::{Message, Outgoing, Receipt};
use batchpipe::stages::acknowledge::dead_letter::{self, letter, redriven, slimmer};
use batchpipe::testing::MemoryQueue;

/// What SQS takes: a message with its attributes, and attributes
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const MOST_BYTES: usize = 1_048_576;
const MOST_ATTRIBUTES: usize = 10;

/// `text` is `ROOM`, `KEY`, `CAUSE`, `STDERR` and the message's own attributes as `NAME=VALUE`, each ended by `;`. The
/// body leaves so much room.
pub(crate) fn check(text: &str) {
    let mut fields = text.split(';');
    let mut field = || fields.next().unwrap_or_default().to_owned();
    let room = field().parse::<usize>().map_or(MOST_BYTES, |room| room % (MOST_BYTES + 1));
    let (key, cause, stderr) = (field(), field(), field());
    // A queue hands out no other attributes than it took.
    let own: BTreeMap<String, String> = fields
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, value)| is_name(name) && !value.is_empty() && value.chars().all(is_taken))
        .take(MOST_ATTRIBUTES)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let (id, body) = ("5f3c2a6e-1b2c-4d5e-8f90-a1b2c3d4e5f6", "x".repeat(MOST_BYTES - room));
    let mut message = Message::new(id, body, Receipt(String::new()), 3);
    message.attributes = own;
    let error = JobError::new(Stage::Process, ErrorKind::Rejected, Code::ProgramFailed, cause);
    let error = JobError { stderr: Some(stderr), ..error };
    let mut job = Job::new("1", Location::s3("input", key.clone()), Location::s3("output", key));
    job.attempt = 3;
    let dead = MemoryQueue::new("dead");
    for error in [error.clone(), error.of(job)] {
        let whole = letter(&message, &error, &dead);
        let [code, bare] = slimmer(&whole);
        for letter in [&whole, &code, &bare] {
            takes(letter);
            assert_eq!(letter.body, message.body, "the message is whole");
        }
        // Its name, `String` and BP401.
        assert_eq!(whole.attributes.get(dead_letter::CODE).map(String::as_str), (room >= 25).then_some("BP401"));
        assert!(code.size() <= whole.size() && bare.attributes.is_empty());
        for (name, value) in whole.attributes.iter().filter(|(name, _)| !name.starts_with(dead_letter::PREFIX)) {
            assert_eq!(message.attributes.get(name), Some(value), "the message's own are as they were");
        }
        let mut dead_one = message.clone();
        dead_one.attributes = whole.attributes.clone();
        let back = redriven(&dead_one, &dead);
        takes(&back);
        assert!(
            back.attributes.keys().all(|name| !name.starts_with(dead_letter::PREFIX)),
            "a new life has no old reason"
        );
    }
}

/// What a queue would say to it.
fn takes(letter: &Outgoing) {
    let attributes: usize =
        letter.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum();
    assert!(letter.body.len() + attributes <= MOST_BYTES, "{attributes} bytes beside {}", letter.body.len());
    assert!(letter.attributes.len() <= MOST_ATTRIBUTES);
    for (name, value) in &letter.attributes {
        assert!(is_name(name) && !value.is_empty(), "{name}={value:?}");
        assert!(value.chars().all(is_taken), "{name}={value:?}");
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    (1..=256).contains(&name.len()) && name.bytes().all(plain) && !dots
}

/// The characters of XML 1.0, which are those that SQS takes.
fn is_taken(character: char) -> bool {
    matches!(character as u32, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x1_0000..=0x10_FFFF)
}
