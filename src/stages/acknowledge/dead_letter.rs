//! Dead letters: messages that failed for good, with all that is known of the failure in their attributes.
//!
//! `stages/acknowledge` writes them and `dlq` reads them. The message comes first: a queue takes ten attributes and
//! 1 MiB in all, and a body may leave little room or none. So the facts are put in by their worth as far as they fit:
//! the last words of a program, which are long, give way first, and the code last. The message's own attributes follow
//! where there is room left. A queue that takes even less (its own limit may be lower) is offered [`slimmer`] letters.
//!
//! Of a message with several records only those that failed go into the letter, so that a redrive works on no other:
//! the facts are those of the first, and the reason tells of the others.
//!
//! Attributes come from whoever can send to the dead letters: they are shown escaped, and nothing is decided by them
//! but what a person sees, and in which group a redriven message waits.

use std::collections::BTreeMap;

use crate::error::JobError;
use crate::job::Location;
use crate::job::message;
use crate::runtime::digest::digest;
use crate::runtime::words::things;
use crate::services::queue::{JobQueue, MAX_ATTRIBUTES, MAX_MESSAGE, Message, Outgoing, attribute_size};

/// What the names of our attributes begin with. None of them outlives a redrive.
pub const PREFIX: &str = "batchpipe-";

/// The code of the failure, such as `BP303`.
pub const CODE: &str = "batchpipe-code";

/// The message's id in the queue it came from.
pub const MESSAGE_ID: &str = "batchpipe-message-id";

/// The group the message was in, where the dead letters keep no groups.
pub const GROUP: &str = "batchpipe-group";

/// Why it failed, in one line.
pub const REASON: &str = "batchpipe-reason";

/// How often the message had been received.
pub const ATTEMPT: &str = "batchpipe-attempt";

/// The input of the job that failed. A message may have several.
pub const INPUT: &str = "batchpipe-input";

/// The output that job would have had on this worker.
pub const OUTPUT: &str = "batchpipe-output";

/// The stage that failed.
pub const STAGE: &str = "batchpipe-stage";

/// The worker, as host and process id.
pub const WORKER: &str = "batchpipe-worker";

/// The last of what the program wrote to stderr.
pub const STDERR: &str = "batchpipe-stderr";

/// The most bytes of one fact: what is kept of stderr, and four of the longest keys.
const LONGEST: usize = 4096;

/// Which end of a text is kept when it is too long.
#[derive(Clone, Copy)]
enum Keep {
    Head,
    Tail,
    /// Half a name is another name.
    All,
}

/// The attributes of a letter, and the bytes that are left for more.
struct Attributes {
    taken: BTreeMap<String, String>,
    room: usize,
}

impl Attributes {
    /// Takes one more, unless there is no room for it or nothing in it.
    fn put(&mut self, name: &str, value: String) {
        let size = attribute_size(name, &value);
        if !value.is_empty() && size <= self.room && self.taken.len() < MAX_ATTRIBUTES {
            self.room -= size;
            self.taken.insert(name.to_owned(), value);
        }
    }
}

/// The letter of a message whose records ended so: of the message as it was, or of those records alone that failed.
/// `None` if none did.
pub fn letter_of(message: &Message, records: &[Result<bool, JobError>], to: &dyn JobQueue) -> Option<Outgoing> {
    let failed: Vec<(usize, &JobError)> =
        records.iter().enumerate().filter_map(|(place, record)| Some((place, record.as_ref().err()?))).collect();
    let [(_, first), others @ ..] = &failed[..] else { return None };
    if records.len() == 1 {
        return Some(letter(message, first, to));
    }
    let error = together(first, others);
    if failed.len() == records.len() {
        return Some(letter(message, &error, to));
    }
    let places: Vec<usize> = failed.iter().map(|(place, _)| *place).collect();
    // What can't be parted goes whole, and what was done of it is done again: too much rather than too little.
    let body = message::only(&message.body, &places).unwrap_or_else(|| message.body.clone());
    let mut letter = letter(&Message { body, ..message.clone() }, &error, to);
    if let Some(name) = &mut letter.deduplication {
        // Other records of the same message are no repeat.
        *name = format!("{name}-{}", digest(&letter.body));
    }
    Some(letter)
}

/// One failure for several records of a message: the first, and what there is to say of the others.
fn together(first: &JobError, others: &[(usize, &JobError)]) -> JobError {
    let mut cause = first.cause.clone();
    if let [_, ..] = others {
        cause.push_str(&format!("; {} failed", things(others.len() as u64, "more record")));
    }
    for (place, error) in others {
        // More is cut off.
        if cause.len() > LONGEST {
            break;
        }
        let which = error.job.as_ref().map_or_else(|| format!("record {}", place + 1), |job| writable(&job.input));
        cause.push_str(&format!("; {} of {which}: {}", error.code, error.cause));
    }
    let stderr = first.stderr.clone().or_else(|| others.iter().find_map(|(_, error)| error.stderr.clone()));
    JobError { cause, stderr, ..first.clone() }
}

/// The message as it was, with what is known of its failure, for the queue `to`.
pub fn letter(message: &Message, error: &JobError, to: &dyn JobQueue) -> Outgoing {
    let job = error.job.as_deref();
    // Dead letters that are no FIFO queue hold it as a fact: there is no order among letters, and one that is looked at
    // should not hide the others of its group.
    let group = message.group.clone().filter(|_| !to.is_fifo());
    // By worth: what does not fit any more is what comes last.
    let facts = [
        (CODE, Keep::All, error.code.to_string()),
        (MESSAGE_ID, Keep::All, message.id.clone()),
        (REASON, Keep::Head, error.cause.clone()),
        (ATTEMPT, Keep::All, message.attempt.to_string()),
        (INPUT, Keep::All, job.map(|job| writable(&job.input)).unwrap_or_default()),
        (OUTPUT, Keep::All, job.map(|job| writable(&job.output)).unwrap_or_default()),
        (GROUP, Keep::All, group.unwrap_or_default()),
        (STAGE, Keep::All, error.stage.as_str().to_owned()),
        (WORKER, Keep::All, this_worker()),
        (STDERR, Keep::Tail, error.stderr.clone().unwrap_or_default()),
    ];
    let mut attributes = Attributes { taken: BTreeMap::new(), room: MAX_MESSAGE.saturating_sub(message.body.len()) };
    for (name, keep, value) in facts {
        let most = attributes.room.saturating_sub(attribute_size(name, "")).min(LONGEST);
        attributes.put(name, fitting(&value, keep, most));
    }
    for (name, value) in message.attributes.iter().filter(|(name, _)| !name.starts_with(PREFIX)) {
        attributes.put(name, value.clone());
    }
    let (group, deduplication) = match to.is_fifo() {
        true => in_fifo(message, message.group.as_ref()),
        false => (None, None),
    };
    Outgoing { body: message.body.clone(), attributes: attributes.taken, group, deduplication }
}

/// The same letter with its code alone, and with nothing.
pub fn slimmer(letter: &Outgoing) -> [Outgoing; 2] {
    let code = letter.attributes.get_key_value(CODE).map(|(name, value)| (name.clone(), value.clone()));
    [code.into_iter().collect(), BTreeMap::new()].map(|attributes| Outgoing { attributes, ..letter.clone() })
}

/// The message that a letter was, for the queue `to`: its own attributes, and nothing of its death.
pub fn redriven(letter: &Message, to: &dyn JobQueue) -> Outgoing {
    let mut attributes = letter.attributes.clone();
    attributes.retain(|name, _| !name.starts_with(PREFIX));
    let group = letter.group.as_ref().or(letter.attributes.get(GROUP));
    let (group, deduplication) = match (to.is_fifo(), to.keeps_groups()) {
        (true, _) => in_fifo(letter, group),
        (false, true) => (group.cloned(), None),
        // A standard queue of SQS may refuse either.
        (false, false) => (None, None),
    };
    Outgoing { body: letter.body.clone(), attributes, group, deduplication }
}

/// The group of a message on a FIFO queue, and the name by which that drops repeats: every message there has both. The
/// name is the id of the message or letter that is moved, so that a repeat of the move within five minutes is dropped.
fn in_fifo(message: &Message, group: Option<&String>) -> (Option<String>, Option<String>) {
    (Some(group.unwrap_or(&message.id).clone()), Some(message.id.clone()))
}

/// This worker among others: its host and its process.
fn this_worker() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("unknown"), std::process::id())
}

/// A place as a letter names it. What a queue would refuse is escaped, as a list prints it, so that no two places of a
/// message have one name.
pub fn named(place: &Location) -> String {
    writable(&place.to_string())
}

/// A text in which what a queue would refuse is escaped.
fn writable(text: &str) -> String {
    text.chars().fold(String::new(), |mut name, character| {
        if clean(character) == character {
            name.push(character)
        } else {
            name.extend(character.escape_debug())
        }
        name
    })
}

/// The character, or the one in the place of what a queue would refuse.
fn clean(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => character,
        _ => '\u{FFFD}',
    }
}

/// As much of a text as fits, with no character that a queue would refuse
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>).
fn fitting(text: &str, keep: Keep, most: usize) -> String {
    let mut bytes = 0;
    let mut fits = |character: &char| {
        bytes += character.len_utf8();
        bytes <= most
    };
    match keep {
        Keep::Head => text.chars().map(clean).take_while(&mut fits).collect(),
        Keep::Tail => {
            let tail: Vec<char> = text.chars().rev().map(clean).take_while(&mut fits).collect();
            tail.into_iter().rev().collect()
        }
        Keep::All => {
            let whole: String = text.chars().map(clean).collect();
            if whole.len() <= most { whole } else { String::new() }
        }
    }
}

#[cfg(test)]
#[path = "dead_letter_tests.rs"]
mod tests;
