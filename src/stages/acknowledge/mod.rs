//! Settles finished jobs with the queue, a batch at a time.
//!
//! This is the only place where a message is deleted, given back or moved to the dead letters. A lease is kept until
//! its message is settled, and not a moment longer: no extension follows a delete. What can't be settled comes again
//! after its visibility timeout, which is harmless: outputs have fixed keys and appear whole, so every job may simply
//! be done again. But it is told as what it is: a job whose message could not be deleted is not done, and is counted
//! with those that will be tried again.
//!
//! A message with several records is settled once, by all of them. It stays in the queue as long as one of them is to
//! be tried again, and nothing is sent to the dead letters before that; then one letter takes the records that failed,
//! and no other. Each record is counted by itself: one that is done is done, though its message may stay for another's
//! sake.

pub mod dead_letter;
mod decide;
mod reject;
mod settled;

pub use settled::Settled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::error::{Code, Disposition, ErrorKind, JobError, ServiceError, ServiceErrorKind, Stage};
use crate::lease::Lease;
use crate::record::{Ended, Meters};
use crate::runtime::failpoint;
use crate::services::queue::{JobQueue, Message, Receipt};
use crate::services::retry::{Call, Retry};
use crate::stages::acknowledge::decide::fate_of;
use crate::stop::circuit::Circuit;

/// The call, as counted.
const DELETE: Call = Call::queue("delete");

/// A message at its end.
#[derive(Debug)]
pub struct Finished {
    /// The message.
    pub message: Message,
    /// Our right to the message.
    pub lease: Lease,
    /// How each of its records ended, in their order, at least one; `false` where there was nothing to do.
    pub records: Vec<Result<bool, JobError>>,
    /// What became of those before it in its line, settled already.
    pub before: Settled,
}

impl Finished {
    /// The end of a message with one record, that had nobody before it.
    pub fn new(message: Message, lease: Lease, result: Result<bool, JobError>) -> Self {
        Self { message, lease, records: vec![result], before: Settled::default() }
    }

    fn failures(&self) -> impl Iterator<Item = &JobError> {
        self.records.iter().filter_map(|record| record.as_ref().err())
    }

    fn is_done(&self) -> bool {
        self.failures().next().is_none()
    }
}

/// How to settle.
#[derive(Clone, Debug)]
pub struct Settling {
    /// Where the messages came from.
    pub queue: Arc<dyn JobQueue>,
    /// Where rejected messages go, if there is such a place.
    pub dead_letters: Option<Arc<dyn JobQueue>>,
    /// The receive after which a failing message is rejected.
    pub max_receives: Option<u32>,
    /// How patient we are with a failing queue.
    pub retry: Retry,
    /// What we stop when the queue refuses us.
    pub circuit: Arc<Circuit>,
    /// What counts.
    pub meters: Arc<Meters>,
}

impl Settling {
    /// The most messages one call carries.
    pub fn max_batch(&self) -> usize {
        self.queue.max_batch()
    }

    /// Deletes what succeeded, moves what was rejected, gives back the rest.
    pub async fn acknowledge(&self, batch: Vec<Finished>) -> Settled {
        self.settle(batch).await.0
    }

    /// Settles one message at once, since others of its group wait for it. Whether it has left the queue, so that the
    /// next may begin.
    pub async fn acknowledge_in_turn(&self, finished: Finished) -> (Settled, bool) {
        let (settled, gone) = self.settle(vec![finished]).await;
        (settled, gone == 1)
    }

    /// Settles a batch. Returns how many messages have left the queue, too.
    async fn settle(&self, batch: Vec<Finished>) -> (Settled, usize) {
        let turn = self.meters.turn(Stage::Acknowledge);
        let mut groups: BTreeMap<(Disposition, Duration), Vec<Finished>> = BTreeMap::new();
        for finished in batch {
            let decision = self.decide(&finished);
            groups.entry(decision).or_default().push(finished);
        }
        let (mut settled, mut gone, mut well) = (Settled::default(), 0, true);
        for ((disposition, delay), group) in groups {
            let mut left = Left::new();
            match disposition {
                Disposition::Done => {
                    left = self.delete(&group).await;
                    well &= left.is_empty();
                    gone += group.len() - left.len();
                }
                Disposition::Reject => gone += self.reject(&group).await,
                Disposition::Retry | Disposition::Release => self.give_back(&group, delay).await,
                Disposition::Abandon => {}
            }
            for (place, finished) in group.iter().enumerate() {
                let fate = left.get(&place).map_or(disposition, undeleted);
                settled = settled + finished.before + self.count(finished, fate);
            }
        }
        turn.ended(well);
        (settled, gone)
    }

    /// Counts the records of a message, and tells of their failures.
    fn count(&self, finished: &Finished, fate: Disposition) -> Settled {
        finished.records.iter().fold(Settled::default(), |sum, record| {
            let fate = if finished.is_done() { fate } else { fate_of(record, fate) };
            sum + self.count_one(&finished.message, record, fate)
        })
    }

    fn count_one(&self, message: &Message, record: &Result<bool, JobError>, fate: Disposition) -> Settled {
        let mut settled = Settled::default();
        let (number, ended) = match fate {
            Disposition::Done if matches!(record, Ok(false)) => (&mut settled.skipped, Ended::Skipped),
            Disposition::Done => (&mut settled.done, Ended::Ok),
            Disposition::Reject => (&mut settled.rejected, Ended::Failed),
            Disposition::Retry => (&mut settled.retried, Ended::Failed),
            Disposition::Release => (&mut settled.released, Ended::Released),
            Disposition::Abandon => (&mut settled.abandoned, Ended::LeaseLost),
        };
        *number = 1;
        self.meters.ended(ended);
        if fate == Disposition::Retry {
            self.meters.retried.fetch_add(1, Relaxed);
        }
        if let Err(error) = record {
            if fate == Disposition::Reject {
                self.meters.rejected(error.code);
            }
            let (id, attempt) = (&message.id, message.attempt);
            let (code, cause, stage) = (error.code, &error.cause, error.stage.as_str());
            let input = error.job.as_ref().map(|job| tracing::field::display(job.input.escape_debug()));
            if error.kind == ErrorKind::Stopped {
                tracing::info!(%code, ?id, attempt, input, ?cause, "job given back");
            } else {
                tracing::warn!(%code, stage, disposition = ?fate, ?id, attempt, input, ?cause, "job failed");
            }
        }
        settled
    }

    /// Deletes the messages. Returns those of which the queue did not say that they are gone, by their place in the
    /// group. They are not given back: no change of visibility follows a delete that was sent.
    async fn delete(&self, group: &[Finished]) -> Left {
        failpoint::point("CP10");
        group.iter().for_each(|finished| finished.lease.settle(true));
        let mut left = Left::new();
        let mut waiting: Vec<(usize, Receipt)> = Vec::with_capacity(group.len());
        for (place, finished) in group.iter().enumerate() {
            match finished.lease.receipt() {
                Some(receipt) => waiting.push((place, receipt)),
                None => drop(left.insert(place, no_lease())),
            }
        }
        let retry = self.retry.longer(self.queue.patience());
        self.meters.allowed(retry.deadline);
        let mut failures = 0;
        while !waiting.is_empty() {
            let (places, receipts): (Vec<usize>, Vec<Receipt>) = std::mem::take(&mut waiting).into_iter().unzip();
            self.meters.ack_batch(receipts.len());
            let answer = failpoint::during("CP11", retry.attempt(DELETE, self.queue.delete(&receipts))).await;
            let outcomes = match answer {
                Ok(outcomes) => {
                    let failed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
                    failed.for_each(|error| self.meters.ack_failed(error.kind.as_str()));
                    outcomes
                }
                Err(error) => vec![Err(error); receipts.len()],
            };
            let mut passing = None;
            for ((place, receipt), outcome) in places.into_iter().zip(receipts).zip(outcomes) {
                match outcome {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => {
                        waiting.push((place, receipt));
                        passing = Some(error);
                    }
                    Err(error) => drop(left.insert(place, error)),
                }
            }
            let Some(error) = passing else { break };
            failures += 1;
            if let Err(error) = retry.pause(&self.meters, DELETE, failures, error).await {
                left.extend(waiting.drain(..).map(|(place, _)| (place, error.clone())));
            }
        }
        if let Some(refused) = left.values().find(|error| error.is_fatal()) {
            // Going on would do every job again and again.
            self.circuit.trip(&refused.clone().at(Stage::Acknowledge));
        }
        for (place, error) in &left {
            let Message { id, attempt, .. } = &group[*place].message;
            let (code, refusal, cause) = (Code::DeleteFailed, &error.code, &error.message);
            let what = if group[*place].is_done() { "done" } else { "moved to the dead letters" };
            tracing::warn!(%code, what, ?id, attempt, ?refusal, ?cause, "a message could not be deleted: it may come \
                again");
        }
        left
    }

    /// Gives messages back after `delay`, or as late as the queue lets them be hidden: what is more, it refuses as a
    /// whole.
    async fn give_back(&self, group: &[Finished], delay: Duration) {
        let delay = group.iter().map(|finished| finished.lease.hidable()).fold(delay, Duration::min);
        let receipts: Vec<Receipt> = group.iter().filter_map(|finished| finished.lease.release()).collect();
        let call = self.retry.run(&self.meters, Call::queue("extend"), || self.queue.extend(&receipts, delay));
        if let Err(error) = call.await {
            tracing::debug!(code = ?error.code, cause = ?error.message, "messages come back by their visibility \
                timeout");
        }
    }
}

/// Messages that a delete left in the queue, by their place in the group, and why.
type Left = BTreeMap<usize, ServiceError>;

/// What becomes of a job that is done when its message could not be deleted.
fn undeleted(error: &ServiceError) -> Disposition {
    match error.kind {
        // Somebody else has it and will find the output there.
        ServiceErrorKind::LeaseLost => Disposition::Abandon,
        _ => Disposition::Retry,
    }
}

fn no_lease() -> ServiceError {
    ServiceError::new(ServiceErrorKind::LeaseLost, "NoLease", "the lease has ended already")
}
