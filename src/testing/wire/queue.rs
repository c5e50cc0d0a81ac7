//! The queue at the end of a wire.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::Wire;
use crate::services::ServiceFuture;
use crate::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};

#[derive(Debug)]
pub(super) struct FarQueue {
    pub(super) queue: Arc<dyn JobQueue>,
    pub(super) wire: Wire,
}

impl JobQueue for FarQueue {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn max_batch(&self) -> usize {
        self.queue.max_batch()
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        let (queue, messages) = (Arc::clone(&self.queue), messages.to_vec());
        self.wire.carry(async move { queue.send(&messages).await }).boxed()
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        let queue = Arc::clone(&self.queue);
        async move {
            let answer = self.wire.carry(async move { queue.receive(max, wait, visibility).await }).await;
            if let Ok(messages) = &answer {
                self.wire.lock().hand.take(messages, visibility);
            }
            answer
        }
        .boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        let (queue, receipts) = (Arc::clone(&self.queue), receipts.to_vec());
        async move {
            self.wire.lock().sends_extend(&receipts, timeout);
            self.wire.carry(async move { queue.extend(&receipts, timeout).await }).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        let (queue, receipts) = (Arc::clone(&self.queue), receipts.to_vec());
        async move {
            self.wire.lock().sends_delete(&receipts);
            let wire = self.wire.clone();
            let call = async move {
                let outcomes = queue.delete(&receipts).await?;
                let gone = receipts.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
                wire.lock().gone.extend(gone.map(|(receipt, _)| (Instant::now(), receipt)));
                Ok(outcomes)
            };
            self.wire.carry(call).await
        }
        .boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        let queue = Arc::clone(&self.queue);
        self.wire.carry(async move { queue.counts().await }).boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.queue.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.queue.dead_letters()
    }
}
