//! The queue in a SQLite file: the suite, and what is its own: processes that share a file, kills, groups, bad files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchpipe::error::ServiceErrorKind;
use batchpipe::queue::local::LocalQueue;
use batchpipe::queue::{JobQueue, Message, Outgoing};

use super::queue_conformance::conforms;

const LONG: Duration = Duration::from_secs(60);

fn plain(body: impl Into<String>) -> Outgoing {
    Outgoing { body: body.into(), ..Outgoing::default() }
}

fn grouped(body: &str, group: &str) -> Outgoing {
    Outgoing { group: Some(group.to_owned()), ..plain(body) }
}

async fn send(queue: &LocalQueue, messages: &[Outgoing]) {
    for outcome in queue.send(messages).await.unwrap() {
        outcome.unwrap();
    }
}

async fn receive(queue: &LocalQueue, max: usize) -> Vec<Message> {
    queue.receive(max, Duration::ZERO, LONG).await.unwrap()
}

async fn delete(queue: &LocalQueue, messages: &[Message]) {
    let receipts: Vec<_> = messages.iter().map(|message| message.receipt.clone()).collect();
    for outcome in queue.delete(&receipts).await.unwrap() {
        outcome.unwrap();
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_queue_keeps_every_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    conforms("sqlite", move || {
        let path = path.join(format!("{:016x}.queue", fastrand::u64(..)));
        Box::pin(async move { Arc::new(LocalQueue::open(&path).unwrap()) as Arc<dyn JobQueue> })
    })
    .await;
}
