//! Reads the dead letters one after the other, each once.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::cli::service::failed;
use crate::error::{Role, UserError};
use crate::job::message::{self, Request};
use crate::services::queue::{JobQueue, Message, Receipt};
use crate::stages::acknowledge::dead_letter;

/// How long a letter that was received stays hidden. It is given back when the look is over; only if we are killed
/// does it stay away so long.
const HIDDEN: Duration = Duration::from_secs(60);

/// How long a receive waits for a letter. With any wait SQS asks all of its servers, so that a receive that brings
/// nothing new is the end of the queue
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const WAIT: Duration = Duration::from_secs(1);

/// The letters of a queue as they come. Holds the receipts of those to be given back.
#[derive(Debug)]
pub(super) struct Letters<'a> {
    queue: &'a dyn JobQueue,
    seen: HashSet<String>,
    held: Vec<Receipt>,
    ready: VecDeque<Message>,
    ended: bool,
}

impl<'a> Letters<'a> {
    pub(super) fn of(queue: &'a dyn JobQueue) -> Self {
        Self { queue, seen: HashSet::new(), held: Vec::new(), ready: VecDeque::new(), ended: false }
    }

    /// The next letter that was not seen before. `None` at the end of the queue.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, UserError> {
        while self.ready.is_empty() && !self.ended {
            let received = self.queue.receive(self.queue.max_batch(), WAIT, HIDDEN).await;
            let received = match received {
                Ok(received) => received,
                Err(error) => {
                    self.give_back().await;
                    let what = format!("receive from queue {:?}", self.queue.name());
                    return Err(failed(Role::Receive, &what, &error));
                }
            };
            for letter in received {
                if self.seen.insert(letter.id.clone()) {
                    self.ready.push_back(letter);
                } else {
                    self.held.push(letter.receipt);
                }
            }
            self.ended = self.ready.is_empty();
        }
        Ok(self.ready.pop_front())
    }

    /// Keeps a letter for giving back.
    pub(super) fn keep(&mut self, letter: &Message) {
        self.held.push(letter.receipt.clone());
    }

    /// Gives back everything that was kept. A letter that can't be given back comes back by itself, a minute later.
    pub(super) async fn give_back(&mut self) {
        let mut receipts = std::mem::take(&mut self.held);
        receipts.extend(self.ready.drain(..).map(|letter| letter.receipt));
        for receipts in receipts.chunks(self.queue.max_batch().max(1)) {
            if let Err(error) = self.queue.extend(receipts, Duration::ZERO).await {
                tracing::warn!(error = ?error.message, "some letters come back only in {HIDDEN:?}");
            }
        }
    }
}

/// A fact that the letter tells of itself, if it does.
pub(super) fn fact<'a>(letter: &'a Message, name: &str) -> Option<&'a str> {
    letter.attributes.get(name).map(String::as_str)
}

/// The code of a letter's failure; the queue itself moves a message without saying why.
pub(super) fn code(letter: &Message) -> &str {
    fact(letter, dead_letter::CODE).unwrap_or("-")
}

/// Why the letter is dead, in one line.
pub(super) fn reason(letter: &Message) -> &str {
    match fact(letter, dead_letter::REASON) {
        Some(reason) => reason,
        None if letter.attributes.contains_key(dead_letter::CODE) => "",
        // A worker leaves at least the code on a letter, unless there is no room for that either.
        None if letter.body.len() < ROOMY => "moved by the queue: received too often",
        None => "no reason given: too large for one, or moved by the queue",
    }
}

/// A body that leaves room for a code in every queue that takes what SQS took by default until 2025, 256 KiB
/// (<https://aws.amazon.com/about-aws/whats-new/2025/08/amazon-sqs-max-payload-size-1mib/>).
const ROOMY: usize = (256 << 10) - 64;

/// How often the job was tried. How often the letter itself was received only tells how often somebody looked at it.
pub(super) fn attempts(letter: &Message) -> Option<u32> {
    fact(letter, dead_letter::ATTEMPT)?.parse().ok()
}

/// The request of the letter's body that failed, as far as the letter tells; else the first.
pub(super) fn request(letter: &Message) -> Option<Request> {
    let mut requests = message::jobs(message::parse(&letter.body).ok()?);
    let input = fact(letter, dead_letter::INPUT);
    let failed =
        requests.iter().position(|request| input.is_some_and(|input| dead_letter::named(&request.input) == input));
    (!requests.is_empty()).then(|| requests.swap_remove(failed.unwrap_or(0)))
}

/// What the letter is about: its input, else the beginning of its body.
pub(super) fn subject(letter: &Message) -> String {
    request(letter).map_or_else(|| letter.body.clone(), |request| request.input.to_string())
}
