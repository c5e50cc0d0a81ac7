//! A queue that obeys [`Faults`]: it fails whole batches or entries of them, loses answers, damages bodies.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::{Fault, Faults, On, injected, obey};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::services::ServiceFuture;
use crate::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};

/// A queue with injected faults.
#[derive(Clone, Debug)]
pub struct FaultyQueue {
    queue: Arc<dyn JobQueue>,
    faults: Faults,
    disk: Duration,
}

impl FaultyQueue {
    /// `queue`, failing as `faults` says.
    pub fn new(queue: Arc<dyn JobQueue>, faults: Faults) -> Self {
        Self { queue, faults, disk: Duration::ZERO }
    }

    /// The same on a disk, which may take this much longer than a service.
    #[must_use]
    pub fn on_disk(self, disk: Duration) -> Self {
        Self { disk, ..self }
    }

    /// Makes a call for all `entries`, for some of them, or not at all, as the faults decide.
    async fn batch<T, C>(&self, on: On, entries: &[T], call: C) -> Result<Vec<Outcome>, ServiceError>
    where
        T: Clone,
        C: for<'c> Fn(&'c dyn JobQueue, &'c [T]) -> ServiceFuture<'c, Vec<Outcome>>,
    {
        match self.faults.decide(on, None) {
            None => call(&*self.queue, entries).await,
            Some(Fault::Pretended) if on == On::Delete => Ok(entries.iter().map(|_| Ok(())).collect()),
            Some(Fault::Partial) => {
                let happen: Vec<T> = entries.iter().skip(1).step_by(2).cloned().collect();
                let mut happened =
                    if happen.is_empty() { Vec::new() } else { call(&*self.queue, &happen).await? }.into_iter();
                let fails = |at: usize| at.is_multiple_of(2);
                let failed = || Err(injected(ServiceErrorKind::Unavailable));
                Ok((0..entries.len())
                    .map(|at| if fails(at) { failed() } else { happened.next().unwrap_or_else(failed) })
                    .collect())
            }
            Some(fault) => obey(fault, call(&*self.queue, entries)).await,
        }
    }
}

impl JobQueue for FaultyQueue {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn max_batch(&self) -> usize {
        self.queue.max_batch()
    }

    fn patience(&self) -> Duration {
        self.queue.patience() + self.disk
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.batch(On::Send, messages, |queue, some| queue.send(some)).boxed()
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        async move {
            let call = self.queue.receive(max, wait, visibility);
            match self.faults.decide(On::Receive, None) {
                None => call.await,
                Some(Fault::Damaged) => {
                    let mut messages = call.await?;
                    messages.iter_mut().for_each(|message| {
                        message.body.insert(0, '?');
                        message.intact = false;
                    });
                    Ok(messages)
                }
                Some(fault) => obey(fault, call).await,
            }
        }
        .boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        self.batch(On::Extend, receipts, move |queue, some| queue.extend(some, timeout)).boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.batch(On::Delete, receipts, |queue, some| queue.delete(some)).boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        self.faults.call(On::Counts, self.queue.counts()).boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.queue.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.queue.dead_letters()
    }
}
