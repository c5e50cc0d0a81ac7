//! The queue for the code that settles messages, with a back-off short enough for a test.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::MemoryQueue;
use crate::services::ServiceFuture;
use crate::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};

/// A queue whose back-off is short.
#[derive(Debug)]
pub(super) struct Hasty {
    pub(super) queue: Arc<MemoryQueue>,
    pub(super) longest: Duration,
}

impl JobQueue for Hasty {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn max_batch(&self) -> usize {
        self.queue.max_batch()
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.queue.send(messages)
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        self.queue.receive(max, wait, visibility)
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        let until = Instant::now() + timeout.min(self.longest);
        async move { Ok(self.queue.hide(receipts, timeout, until)) }.boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.queue.delete(receipts)
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        self.queue.counts()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.queue.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.queue.dead_letters()
    }
}
