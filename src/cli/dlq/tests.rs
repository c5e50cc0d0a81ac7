//! Dead letters are looked at without a trace, and moved without a loss.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::config::Layers;
use crate::error::{Code, ServiceError, ServiceErrorKind};
use crate::services::ServiceFuture;
use crate::services::queue::local::LocalQueue;
use crate::services::queue::{Counts, Message, Outcome, Outgoing, Policy, Receipt};
use crate::stages::acknowledge::dead_letter;
use std::time::{Duration, SystemTime};

fn letter(code: &str, key: &str) -> Outgoing {
    let body = format!("{{\"bucket\":\"photos\",\"key\":\"{key}\"}}");
    Outgoing { body, attributes: [(dead_letter::CODE.to_owned(), code.to_owned())].into(), ..Outgoing::default() }
}

/// A queue whose dead letters are 12 of BP303 and 3 of BP401, in a directory that goes with the guard.
async fn fifteen() -> (tempfile::TempDir, Queues) {
    let directory = tempfile::tempdir().unwrap();
    let jobs = LocalQueue::open(&directory.path().join("jobs.db")).unwrap();
    let dead = jobs.dead_letters().await.unwrap().unwrap();
    let letters: Vec<_> =
        (0..15).map(|nth| letter(if nth < 12 { "BP303" } else { "BP401" }, &nth.to_string())).collect();
    for letters in letters.chunks(5) {
        assert!(dead.send(letters).await.unwrap().iter().all(Result::is_ok));
    }
    (directory, Queues { jobs: Arc::new(jobs), dead })
}

async fn visible(queue: &dyn JobQueue) -> u64 {
    queue.counts().await.unwrap().visible
}

async fn dlq(words: &[&str], queues: &Queues) -> Result<Exit, UserError> {
    let words = ["batchpipe", "dlq"].iter().chain(words).map(std::ffi::OsString::from);
    let crate::cli::Parsed::Typing(typing) = crate::cli::parse(words)? else { panic!("not a command") };
    let crate::cli::Command::Dlq(args) = typing.command else { panic!("not dlq") };
    let global = Global { yes: true, ..Global::resolve(&Layers::default()).unwrap() };
    perform(args.command, queues, &global).await
}

#[tokio::test]
async fn letters_that_were_looked_at_are_there_again_at_once() {
    let (_guard, queues) = fifteen().await;
    for words in [&["list"][..], &["list", "--max", "2"], &["redrive", "--dry-run"], &["purge", "--dry-run"]] {
        assert_eq!(dlq(words, &queues).await.unwrap(), Exit::Done);
        assert_eq!(visible(queues.dead.as_ref()).await, 15, "{words:?}");
        assert_eq!(visible(queues.jobs.as_ref()).await, 0, "{words:?}");
    }
    assert_eq!(dlq(&["show", "no-such-id"], &queues).await.unwrap_err().exit, Exit::Access);
    assert_eq!(visible(queues.dead.as_ref()).await, 15);
}

#[tokio::test]
async fn the_beginning_of_several_ids_shows_none_of_them_and_a_whole_id_its_own() {
    let (_guard, queues) = fifteen().await;
    let error = dlq(&["show", ""], &queues).await.unwrap_err();
    assert_eq!((error.code, error.exit), (Code::CommandLine, Exit::Usage), "{error}");
    assert!(error.to_string().contains("more than one dead letter's id begins with \"\""), "{error}");
    assert_eq!(visible(queues.dead.as_ref()).await, 15);
    let letters = queues.dead.receive(10, Duration::ZERO, Duration::from_secs(5)).await.unwrap();
    let receipts: Vec<_> = letters.iter().map(|letter| letter.receipt.clone()).collect();
    queues.dead.extend(&receipts, Duration::ZERO).await.unwrap();
    for letter in &letters[..2] {
        assert_eq!(dlq(&["show", &letter.id], &queues).await.unwrap(), Exit::Done);
    }
    assert_eq!(visible(queues.dead.as_ref()).await, 15);
}

#[tokio::test]
async fn a_filter_and_a_maximum_move_no_more_than_they_say() {
    let (_guard, queues) = fifteen().await;
    dlq(&["redrive", "--filter", "code=BP401"], &queues).await.unwrap();
    assert_eq!((visible(queues.dead.as_ref()).await, visible(queues.jobs.as_ref()).await), (12, 3));
    dlq(&["redrive", "--max", "2"], &queues).await.unwrap();
    assert_eq!((visible(queues.dead.as_ref()).await, visible(queues.jobs.as_ref()).await), (10, 5));
    dlq(&["redrive", "--rate", "1000/s"], &queues).await.unwrap();
    assert_eq!((visible(queues.dead.as_ref()).await, visible(queues.jobs.as_ref()).await), (0, 15));
    let moved = queues.jobs.receive(10, Duration::ZERO, Duration::from_secs(5)).await.unwrap();
    assert!(moved.iter().all(|message| message.attributes.is_empty()), "a new life has no old reason");
}

#[tokio::test]
async fn purge_deletes_every_letter_and_no_job() {
    let (_guard, queues) = fifteen().await;
    queues.jobs.send(&[letter("-", "job")]).await.unwrap();
    dlq(&["purge"], &queues).await.unwrap();
    assert_eq!((visible(queues.dead.as_ref()).await, visible(queues.jobs.as_ref()).await), (0, 1));
}

#[tokio::test]
async fn a_letter_whose_job_fails_again_at_once_is_moved_once_and_then_left() {
    let (_guard, mut queues) = fifteen().await;
    queues.jobs = Arc::new(Rejecting { dead: Arc::clone(&queues.dead), sends: AtomicUsize::new(0) });
    assert_eq!(dlq(&["redrive"], &queues).await.unwrap(), Exit::Done);
    assert_eq!(visible(queues.dead.as_ref()).await, 15, "each came back, and is there at once");
    assert_eq!(dlq(&["redrive", "--max", "4"], &queues).await.unwrap(), Exit::Done, "the next run moves them again");
    assert_eq!(visible(queues.dead.as_ref()).await, 15);
}

#[test]
fn a_message_that_was_dead_twice_long_ago_did_not_come_back() {
    let now = SystemTime::now();
    let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
    let letter = |body: &str, sent| Message {
        id: "id".to_owned(),
        body: body.to_owned(),
        receipt: Receipt(String::new()),
        attempt: 1,
        sent,
        group: None,
        intact: true,
        attributes: Default::default(),
    };
    let mut moved = redrive::Moved::default();
    moved.note(&letter("a", ago(7200)));
    for (body, sent, came_back) in [
        ("a", ago(3600), false),
        ("a", ago(7300), false),
        ("a", ago(0), true),
        ("a", ago(60), true),
        ("a", None, true),
        ("b", ago(0), false),
    ] {
        assert_eq!(moved.came_back(&letter(body, sent)), came_back, "{body} {sent:?}");
    }
}

/// A queue whose worker rejects each message at once: the message is in the dead letters again.
#[derive(Debug)]
struct Rejecting {
    dead: Arc<dyn JobQueue>,
    sends: AtomicUsize,
}

impl JobQueue for Rejecting {
    fn name(&self) -> &str {
        "jobs"
    }

    fn max_batch(&self) -> usize {
        self.dead.max_batch()
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        assert!(self.sends.fetch_add(1, SeqCst) < 50, "the same letters are moved for ever");
        self.dead.send(messages)
    }

    fn receive(&self, _: usize, _: Duration, _: Duration) -> ServiceFuture<'_, Vec<Message>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        self.dead.extend(receipts, timeout)
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.dead.delete(receipts)
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        self.dead.counts()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.dead.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::test]
async fn a_letter_that_could_not_be_sent_is_not_deleted() {
    let (_guard, mut queues) = fifteen().await;
    queues.jobs = Arc::new(Failing { sends: AtomicUsize::new(0), real: Arc::clone(&queues.jobs) });
    let error = dlq(&["redrive"], &queues).await.unwrap_err();
    assert_eq!(error.code, Code::Unreachable, "{error}");
    // Four of the five sends went well; the fifth letter and those after it are where they were.
    assert_eq!((visible(queues.dead.as_ref()).await, visible(queues.jobs.as_ref()).await), (11, 4));
}

/// A queue whose fifth send fails as an entry, the others as themselves.
#[derive(Debug)]
struct Failing {
    sends: AtomicUsize,
    real: Arc<dyn JobQueue>,
}

impl JobQueue for Failing {
    fn name(&self) -> &str {
        self.real.name()
    }

    fn max_batch(&self) -> usize {
        self.real.max_batch()
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        if self.sends.fetch_add(1, SeqCst) == 4 {
            let error = ServiceError::new(ServiceErrorKind::Unavailable, "ServiceUnavailable", "try later");
            return Box::pin(async move { Ok(messages.iter().map(|_| Err(error.clone())).collect()) });
        }
        self.real.send(messages)
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        self.real.receive(max, wait, visibility)
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        self.real.extend(receipts, timeout)
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.real.delete(receipts)
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        self.real.counts()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.real.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.real.dead_letters()
    }
}
