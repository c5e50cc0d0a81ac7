//! What every queue must do, in sentences. A backend's test hands [`conforms`] a way to make empty queues that have
//! dead letters and allow at least five receives; each sentence gets one of its own, all run at once, and a failure
//! names the backend and the sentence.
//!
//! Written for the weakest queue there is: timeouts of whole seconds, receives that may return less than there is.
//! The whole suite takes about as long as its slowest sentence (some 5 s).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchpipe::error::{Code, ErrorKind, JobError, ServiceErrorKind, Stage};
use batchpipe::job::{Job, Location};
use batchpipe::services::queue::{JobQueue, MAX_ATTRIBUTES, MAX_MESSAGE, Message, Outgoing, Receipt};
use batchpipe::stages::acknowledge::dead_letter;
use futures::future::BoxFuture;

/// Long enough that nothing comes back during a sentence.
const LONG: Duration = Duration::from_secs(30);
/// The shortest visibility timeout that SQS has.
const SHORT: Duration = Duration::from_secs(1);
/// How long a sentence waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

type Sentence = (&'static str, fn(Arc<dyn JobQueue>) -> BoxFuture<'static, ()>);

/// Every sentence.
const SENTENCES: &[Sentence] = &[
    ("hides what it hands out", |queue| Box::pin(hides_what_it_hands_out(queue))),
    ("redelivers after the timeout", |queue| Box::pin(redelivers_after_the_timeout(queue))),
    ("counts receives", |queue| Box::pin(counts_receives(queue))),
    ("keeps what is extended", |queue| Box::pin(keeps_what_is_extended(queue))),
    ("gives back at once on extend zero", |queue| Box::pin(gives_back_at_once_on_extend_zero(queue))),
    ("does not delete for an old receipt", |queue| Box::pin(does_not_delete_for_an_old_receipt(queue))),
    ("takes a second delete as done", |queue| Box::pin(takes_a_second_delete_as_done(queue))),
    ("reports a batch entry by entry", |queue| Box::pin(reports_a_batch_entry_by_entry(queue))),
    ("wakes a long poll on send", |queue| Box::pin(wakes_a_long_poll_on_send(queue))),
    ("returns from a long poll on time", |queue| Box::pin(returns_from_a_long_poll_on_time(queue))),
    ("never hands out more than asked", |queue| Box::pin(never_hands_out_more_than_asked(queue))),
    ("keeps bodies and attributes as they are", |queue| Box::pin(keeps_bodies_and_attributes_as_they_are(queue))),
    ("tells what it holds", |queue| Box::pin(tells_what_it_holds(queue))),
    ("keeps dead letters apart", |queue| Box::pin(keeps_dead_letters_apart(queue))),
    ("takes as much as it says and no more", |queue| Box::pin(takes_as_much_as_it_says_and_no_more(queue))),
    ("keeps every fact of a dead letter", |queue| Box::pin(keeps_every_fact_of_a_dead_letter(queue))),
];

/// What a queue that keeps groups in order does besides.
const OF_GROUPS: &[Sentence] = &[
    ("hands out a group in order", |queue| Box::pin(hands_out_a_group_in_order(queue))),
    ("holds a group while one of it is in flight", |queue| Box::pin(holds_a_group_while_one_of_it_is_in_flight(queue))),
    ("hands out other groups meanwhile", |queue| Box::pin(hands_out_other_groups_meanwhile(queue))),
    ("drops a repeat", |queue| Box::pin(drops_a_repeat(queue))),
];

/// Runs every sentence, each on a queue of its own, and panics with the list of those that failed.
pub(crate) async fn conforms(backend: &str, fresh: impl Fn() -> BoxFuture<'static, Arc<dyn JobQueue>>) {
    all(backend, SENTENCES, fresh).await;
}

/// The same for the sentences of groups.
pub(crate) async fn keeps_groups(backend: &str, fresh: impl Fn() -> BoxFuture<'static, Arc<dyn JobQueue>>) {
    all(backend, OF_GROUPS, fresh).await;
}

async fn all(backend: &str, sentences: &'static [Sentence], fresh: impl Fn() -> BoxFuture<'static, Arc<dyn JobQueue>>) {
    let mut running = Vec::new();
    for (sentence, check) in sentences {
        let queue = fresh().await;
        running.push((sentence, tokio::spawn(check(queue))));
    }
    let mut failed = Vec::new();
    for (sentence, check) in running {
        if let Err(error) = check.await {
            failed.push(format!("{backend}: a queue {sentence}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Sends, and insists that every message was taken.
async fn send(queue: &Arc<dyn JobQueue>, bodies: &[&str]) {
    for batch in bodies.chunks(queue.max_batch()) {
        let messages: Vec<Outgoing> =
            batch.iter().map(|&body| Outgoing { body: body.to_owned(), ..Outgoing::default() }).collect();
        for outcome in queue.send(&messages).await.expect("send") {
            outcome.expect("send of one message");
        }
    }
}

/// Receives until there are `count` messages, however few come at a time.
async fn receive(queue: &Arc<dyn JobQueue>, count: usize, visibility: Duration) -> Vec<Message> {
    let begun = Instant::now();
    let mut messages = Vec::new();
    while messages.len() < count && begun.elapsed() < PATIENCE {
        let room = (count - messages.len()).min(queue.max_batch());
        messages.extend(queue.receive(room, SHORT, visibility).await.expect("receive"));
    }
    assert_eq!(messages.len(), count, "messages received");
    messages
}

async fn receive_one(queue: &Arc<dyn JobQueue>, visibility: Duration) -> Message {
    receive(queue, 1, visibility).await.remove(0)
}

/// Insists that nothing can be received now.
async fn nothing_visible(queue: &Arc<dyn JobQueue>) {
    let got = queue.receive(1, Duration::ZERO, LONG).await.expect("receive");
    assert!(got.is_empty(), "received {:?}, which should be hidden or gone", got[0].body);
}

async fn delete(queue: &Arc<dyn JobQueue>, message: &Message) {
    let outcomes = queue.delete(std::slice::from_ref(&message.receipt)).await.expect("delete");
    assert!(matches!(outcomes[..], [Ok(())]), "{outcomes:?}");
}

/// A received message is hidden from every other receive.
async fn hides_what_it_hands_out(queue: Arc<dyn JobQueue>) {
    send(&queue, &["a", "b", "c"]).await;
    let got = receive(&queue, 3, LONG).await;
    let bodies: BTreeSet<&str> = got.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, BTreeSet::from(["a", "b", "c"]), "each message once");
    let receipts: BTreeSet<&str> = got.iter().map(|message| message.receipt.0.as_str()).collect();
    assert_eq!(receipts.len(), 3, "a receipt for each");
    nothing_visible(&queue).await;
}

/// A message that is not settled comes back, the same one.
async fn redelivers_after_the_timeout(queue: Arc<dyn JobQueue>) {
    send(&queue, &["again"]).await;
    let asked = Instant::now();
    let first = receive_one(&queue, SHORT).await;
    let second = receive_one(&queue, LONG).await;
    // A server may round its clock down to the second; half the timeout still tells hiding from not hiding.
    assert!(asked.elapsed() >= SHORT / 2, "came back after {:?}", asked.elapsed());
    assert_eq!((&first.body, &first.id), (&second.body, &second.id));
    assert_ne!(first.receipt, second.receipt, "every delivery has a receipt of its own");
}

/// The attempt counts deliveries from one.
async fn counts_receives(queue: Arc<dyn JobQueue>) {
    send(&queue, &["count"]).await;
    for expected in 1..=3 {
        let message = receive_one(&queue, LONG).await;
        assert_eq!(message.attempt, expected);
        let outcomes = queue.extend(&[message.receipt], Duration::ZERO).await.expect("extend");
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
}

/// Extending hides a message beyond its first timeout.
async fn keeps_what_is_extended(queue: Arc<dyn JobQueue>) {
    send(&queue, &["kept"]).await;
    // Two seconds, so that a slow machine still extends in time.
    let message = receive_one(&queue, 2 * SHORT).await;
    let outcomes = queue.extend(std::slice::from_ref(&message.receipt), LONG).await.expect("extend");
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    tokio::time::sleep(2 * SHORT + SHORT / 2).await;
    nothing_visible(&queue).await;
    delete(&queue, &message).await;
}

/// A timeout of zero makes a message visible at once, to a receive that waits already, too.
async fn gives_back_at_once_on_extend_zero(queue: Arc<dyn JobQueue>) {
    send(&queue, &["back"]).await;
    let first = receive_one(&queue, LONG).await;
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { receive_one(&queue, LONG).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let outcomes = queue.extend(&[first.receipt], Duration::ZERO).await.expect("extend");
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    let second = waiting.await.expect("the waiting receive");
    assert_eq!(second.body, "back");
    assert!(begun.elapsed() < Duration::from_secs(3), "came back after {:?}", begun.elapsed());
}

/// After a redelivery the old receipt neither extends nor deletes.
///
/// SQS says of a standard queue that an old receipt *might* not delete, so a success is not an error here; what
/// counts is that the message is still there for whoever holds the newest receipt.
async fn does_not_delete_for_an_old_receipt(queue: Arc<dyn JobQueue>) {
    send(&queue, &["mine"]).await;
    let old = receive_one(&queue, SHORT).await;
    let new = receive_one(&queue, 3 * SHORT).await;
    for outcome in queue.delete(&[old.receipt]).await.expect("delete") {
        if let Err(error) = outcome {
            assert!(
                matches!(error.kind, ServiceErrorKind::LeaseLost | ServiceErrorKind::Invalid),
                "an old receipt is {error:?}"
            );
        }
    }
    let back = queue.extend(&[new.receipt], Duration::ZERO).await.expect("extend");
    assert!(back[0].is_ok(), "the newest receipt holds the message: {back:?}");
    let third = receive_one(&queue, LONG).await;
    assert_eq!((third.body.as_str(), third.attempt), ("mine", 3));
}

/// Deleting again is done already.
async fn takes_a_second_delete_as_done(queue: Arc<dyn JobQueue>) {
    send(&queue, &["twice"]).await;
    let message = receive_one(&queue, LONG).await;
    delete(&queue, &message).await;
    delete(&queue, &message).await;
    nothing_visible(&queue).await;
}

/// One bad receipt fails alone, in its place.
async fn reports_a_batch_entry_by_entry(queue: Arc<dyn JobQueue>) {
    send(&queue, &["one", "two"]).await;
    let got = receive(&queue, 2, LONG).await;
    let receipts =
        [got[0].receipt.clone(), Receipt("this is no receipt of any queue".to_owned()), got[1].receipt.clone()];
    let extended = queue.extend(&receipts, LONG).await.expect("a bad entry does not fail the batch");
    assert!(matches!(extended[..], [Ok(()), Err(_), Ok(())]), "{extended:?}");
    let deleted = queue.delete(&receipts).await.expect("a bad entry does not fail the batch");
    assert!(matches!(deleted[..], [Ok(()), Err(_), Ok(())]), "{deleted:?}");
    assert!(queue.delete(&[]).await.expect("an empty batch").is_empty());
    assert!(queue.send(&[]).await.expect("an empty batch").is_empty());
}

/// A waiting receive returns when a message arrives, not when its wait is over.
async fn wakes_a_long_poll_on_send(queue: Arc<dyn JobQueue>) {
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.receive(1, PATIENCE, LONG).await.expect("receive") }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    send(&queue, &["wake"]).await;
    let got = waiting.await.expect("the waiting receive");
    assert_eq!(got.len(), 1, "messages received");
    assert!(begun.elapsed() < Duration::from_secs(3), "woke after {:?}", begun.elapsed());
}

/// An empty queue answers with nothing when the wait is over.
async fn returns_from_a_long_poll_on_time(queue: Arc<dyn JobQueue>) {
    let begun = Instant::now();
    assert!(queue.receive(1, SHORT, LONG).await.expect("receive").is_empty());
    let took = begun.elapsed();
    assert!(took >= SHORT / 2 && took < 4 * SHORT, "an empty receive took {took:?}");
}

/// However much there is, a receive brings no more than was asked for.
async fn never_hands_out_more_than_asked(queue: Arc<dyn JobQueue>) {
    let bodies: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    send(&queue, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut seen = BTreeSet::new();
    let begun = Instant::now();
    for asked in [1, 3, queue.max_batch()].into_iter().cycle() {
        if seen.len() == bodies.len() || begun.elapsed() > PATIENCE {
            break;
        }
        let got = queue.receive(asked, SHORT, LONG).await.expect("receive");
        assert!(got.len() <= asked, "asked for {asked}, got {}", got.len());
        seen.extend(got.into_iter().map(|message| message.body));
    }
    assert_eq!(seen, bodies.into_iter().collect(), "every message came");
}

/// Unicode, line ends, markup, 200 KB and attributes arrive as they were sent.
async fn keeps_bodies_and_attributes_as_they_are(queue: Arc<dyn JobQueue>) {
    let attributes =
        BTreeMap::from([("Reason".to_owned(), "naïve \"quotes\" & <tags>".to_owned()), ("n".into(), "1".into())]);
    // SQS takes the characters of XML 1.0 only, so no NUL here.
    let bodies =
        ["{\"key\":\"a b+%41/ü.txt\"}".to_owned(), "𝄞 日本語 \u{202e} \r\n\ttab <&>'".into(), "x".repeat(200 * 1024)];
    for body in &bodies {
        let message = Outgoing { body: body.clone(), attributes: attributes.clone(), ..Outgoing::default() };
        queue.send(&[message]).await.expect("send")[0].as_ref().expect("send of one message");
    }
    let got = receive(&queue, bodies.len(), LONG).await;
    let received: BTreeSet<&String> = got.iter().map(|message| &message.body).collect();
    assert!(received == bodies.iter().collect(), "a body changed on its way");
    for message in &got {
        assert!(message.intact, "an intact message is said to be intact");
        assert_eq!(message.attributes, attributes);
    }
}

/// Counts follow the messages. They are estimates on SQS, so this waits for them to settle.
async fn tells_what_it_holds(queue: Arc<dyn JobQueue>) {
    send(&queue, &["a", "b", "c"]).await;
    let got = receive(&queue, 1, LONG).await;
    let begun = Instant::now();
    loop {
        let counts = queue.counts().await.expect("counts");
        if (counts.visible, counts.in_flight, counts.delayed) == (2, 1, 0) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{counts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    delete(&queue, &got[0]).await;
    let policy = queue.policy().await.expect("policy");
    assert!(policy.max_body >= 256 * 1024, "{policy:?}");
    assert!((1..=1000).contains(&queue.max_batch()));
}

/// The dead letters are a queue of their own: what is sent there is not seen here, and the other way round.
async fn keeps_dead_letters_apart(queue: Arc<dyn JobQueue>) {
    let dead = queue.dead_letters().await.expect("dead letters").expect("this queue has dead letters");
    send(&queue, &["alive"]).await;
    send(&dead, &["dead"]).await;
    let letter = receive_one(&dead, LONG).await;
    assert_eq!(letter.body, "dead");
    nothing_visible(&dead).await;
    let message = receive_one(&queue, LONG).await;
    assert_eq!(message.body, "alive");
    nothing_visible(&queue).await;
    delete(&dead, &letter).await;
    delete(&queue, &message).await;
}

/// A message may have ten attributes and 1 MiB, both counted together; one byte more is refused, alone.
async fn takes_as_much_as_it_says_and_no_more(queue: Arc<dyn JobQueue>) {
    let attributes = (0..MAX_ATTRIBUTES).map(|nth| (format!("name-{nth}"), "v".repeat(1000))).collect();
    let mut largest = Outgoing { attributes, ..Outgoing::default() };
    largest.body = "x".repeat(MAX_MESSAGE - largest.size());
    let larger = Outgoing { body: format!("{}x", largest.body), ..largest.clone() };
    let small = Outgoing { body: "small".to_owned(), ..Outgoing::default() };
    let outcomes = queue.send(&[larger, largest.clone(), small]).await.expect("send");
    assert!(matches!(&outcomes[..], [Err(error), Ok(()), Ok(())] if error.kind == ServiceErrorKind::Invalid));
    let got = receive(&queue, 2, LONG).await;
    let found = got.iter().find(|message| message.body.len() > 100).expect("the largest");
    assert!(found.body == largest.body && found.attributes == largest.attributes, "it arrived whole");
}

/// What is known of a failure arrives with the letter, and a redrive takes it off again.
async fn keeps_every_fact_of_a_dead_letter(queue: Arc<dyn JobQueue>) {
    let dead = queue.dead_letters().await.expect("dead letters").expect("this queue has dead letters");
    let own = BTreeMap::from([("tenant".to_owned(), "7".to_owned())]);
    let sent = Outgoing { body: "job".to_owned(), attributes: own.clone(), ..Outgoing::default() };
    queue.send(&[sent]).await.expect("send")[0].as_ref().expect("send of one message");
    let message = receive_one(&queue, LONG).await;
    let job = Job::new("1", Location::s3("input", "ä \u{202e}\r\n+%41.txt"), Location::s3("output", "a"));
    let cause = "\u{1b}[31m no \0 good \u{fffe}";
    let mut error = JobError::new(Stage::Process, ErrorKind::Rejected, Code::ProgramFailed, cause).of(job);
    error.stderr = Some("last\nwords\u{b}\n".repeat(400));
    let letter = dead_letter::letter(&message, &error, dead.as_ref());
    assert_eq!(letter.attributes.len(), MAX_ATTRIBUTES, "{:?}", letter.attributes);
    dead.send(std::slice::from_ref(&letter)).await.expect("send")[0].as_ref().expect("send of a letter");
    delete(&queue, &message).await;
    let received = receive_one(&dead, LONG).await;
    assert_eq!((&received.body, &received.attributes), (&message.body, &letter.attributes));
    let back = dead_letter::redriven(&received, queue.as_ref());
    assert_eq!((&back.body, &back.attributes), (&message.body, &own));
    delete(&dead, &received).await;
}

/// Sends messages named after their group and number.
async fn send_in(queue: &Arc<dyn JobQueue>, group: &str, count: usize) {
    let message = |nth| Outgoing {
        body: format!("{group}{nth}"),
        group: Some(group.to_owned()),
        deduplication: Some(format!("{group}-{nth}")),
        ..Outgoing::default()
    };
    let messages: Vec<Outgoing> = (0..count).map(message).collect();
    for outcome in queue.send(&messages).await.expect("send") {
        outcome.expect("send of one message");
    }
}

async fn take(queue: &Arc<dyn JobQueue>, visibility: Duration) -> Vec<Message> {
    queue.receive(queue.max_batch(), SHORT, visibility).await.expect("receive")
}

/// However many come at a time, they come in the order in which they were sent, with their group.
async fn hands_out_a_group_in_order(queue: Arc<dyn JobQueue>) {
    send_in(&queue, "g", 6).await;
    let (begun, mut bodies) = (Instant::now(), Vec::new());
    while bodies.len() < 6 && begun.elapsed() < PATIENCE {
        for message in take(&queue, LONG).await {
            assert_eq!(message.group.as_deref(), Some("g"));
            delete(&queue, &message).await;
            bodies.push(message.body);
        }
    }
    assert_eq!(bodies, ["g0", "g1", "g2", "g3", "g4", "g5"]);
}

/// Nothing of a group comes while one of it is in flight; what was given back comes first, and what failed holds the
/// rest.
async fn holds_a_group_while_one_of_it_is_in_flight(queue: Arc<dyn JobQueue>) {
    send_in(&queue, "g", 3).await;
    let first = take(&queue, LONG).await;
    assert_eq!(first[0].body, "g0");
    nothing_visible(&queue).await;
    // As a line ends whose first message failed: the rest is given back at once, the first later.
    let receipts: Vec<Receipt> = first.iter().map(|message| message.receipt.clone()).collect();
    queue.extend(&receipts[..1], 2 * SHORT).await.expect("extend")[0].as_ref().expect("extend of the first");
    for outcome in queue.extend(&receipts[1..], Duration::ZERO).await.expect("extend") {
        outcome.expect("extend of one message");
    }
    nothing_visible(&queue).await;
    let mut again = Vec::new();
    let begun = Instant::now();
    while again.is_empty() && begun.elapsed() < PATIENCE {
        again = take(&queue, LONG).await;
    }
    assert_eq!((again[0].body.as_str(), again[0].attempt), ("g0", 2), "in order again");
}

/// A group in flight keeps nobody else waiting.
async fn hands_out_other_groups_meanwhile(queue: Arc<dyn JobQueue>) {
    send_in(&queue, "a", 2).await;
    send_in(&queue, "b", 2).await;
    let (begun, mut seen) = (Instant::now(), BTreeSet::new());
    while !(seen.contains("a0") && seen.contains("b0")) && begun.elapsed() < PATIENCE {
        seen.extend(take(&queue, LONG).await.into_iter().map(|message| message.body));
    }
    assert!(seen.contains("a0") && seen.contains("b0"), "{seen:?}");
}

/// A message with the deduplication id of another of the last five minutes is taken as sent, and is not.
async fn drops_a_repeat(queue: Arc<dyn JobQueue>) {
    send_in(&queue, "g", 1).await;
    send_in(&queue, "g", 1).await;
    let message = receive_one(&queue, LONG).await;
    delete(&queue, &message).await;
    send_in(&queue, "g", 1).await;
    nothing_visible(&queue).await;
    assert_eq!(queue.counts().await.expect("counts").visible, 0);
}
