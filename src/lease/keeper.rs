//! The keeper extends held leases, in batches, in the second half of each visibility timeout.
//!
//! The keeper's only state is the list of held messages, so it can restart after a panic. It first asks when half a
//! timeout is left. A call that fails or is slow is repeated at a later look, and a timeout has eight looks.
//! Messages that are being settled are left alone, and an answer about a receipt that has been replaced by a newer
//! one changes nothing. The last extension before the queue's limit asks for only the time that is left, so a
//! message can be held equally long with a timeout of hours and with a timeout of a minute.
//!
//! Bounded by the messages in flight and by the number of concurrent calls; each call is bounded by a quarter of the
//! timeout.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Entry, Held, Loss, Refused, lock};
use crate::error::ServiceErrorKind;
use crate::record::Meters;
use crate::runtime::{failpoint, task};
use crate::services::queue::{JobQueue, Receipt};

/// How long before the queue's limit we stop, so that giving the message back still works.
pub(super) const MARGIN: Duration = Duration::from_secs(30);

/// Concurrent batches of extensions: 32 × 10 extensions per round trip keep 120,000 messages in flight.
const CALLS: usize = 32;

/// Pause after a panic of the keeper: far below an eighth of any visibility timeout, but no hot loop.
const AFTER_PANIC: Duration = Duration::from_millis(100);

/// The longest time between two looks, however long the timeout is. The last extension may come this long before a
/// message can no longer be held.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// A lease to extend, and for how long from now.
type Due = (String, Receipt, Duration);

/// What the keeper needs for its work.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) queue: Arc<dyn JobQueue>,
    pub(super) held: Held,
    pub(super) meters: Arc<Meters>,
    pub(super) refused: Refused,
    pub(super) visibility: Duration,
}

/// Keeps leases whatever happens. If the keeper ended after a panic, other workers would repeat every job in hand, so
/// it restarts. All its state is in the list of held messages.
pub(super) async fn keep_on(keeper: Keeper, longest: Duration) {
    loop {
        let Err(panic) = task::spawn(keep(keeper.clone(), longest)).await else { return };
        tracing::error!(cause = ?panic.to_string(), "the keeper of the leases panicked, and begins anew");
        tokio::time::sleep(AFTER_PANIC).await;
    }
}

/// Extends every lease in the second half of its life, in batches.
async fn keep(keeper: Keeper, longest: Duration) {
    let visibility = keeper.visibility;
    // At least eight looks in each visibility timeout: a lease that is due at half time is extended before 5/8 of it.
    let look = (visibility / 8).clamp(Duration::from_millis(20), LONGEST_LOOK);
    let mut ticks = tokio::time::interval(look);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        failpoint::point("leases");
        let due = due(&keeper.held, visibility, longest, look);
        // One call extends all its messages by the same time. The time left until the limit differs, so those messages
        // get a call each.
        let (usual, last): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|(.., timeout)| *timeout == visibility);
        let batches: Vec<Vec<Due>> =
            usual.chunks(keeper.queue.max_batch().max(1)).chain(last.chunks(1)).map(<[_]>::to_vec).collect();
        let calls = batches.into_iter().map(|batch| extend(keeper.clone(), batch));
        stream::iter(calls).buffer_unordered(CALLS).collect::<Vec<()>>().await;
    }
}

/// Extends leases, all by the same time.
async fn extend(keeper: Keeper, batch: Vec<Due>) {
    let Keeper { queue, held, meters, refused, visibility } = keeper;
    // This batch may have waited for its turn; meanwhile some of its messages may have been settled or delivered again.
    let batch: Vec<_> = {
        let held = lock(&held);
        let stands = |entry: &Entry, receipt: &Receipt| !entry.settling && entry.receipt == *receipt;
        batch.into_iter().filter(|(id, receipt, _)| held.get(id).is_some_and(|entry| stands(entry, receipt))).collect()
    };
    let Some(timeout) = batch.first().map(|(.., timeout)| *timeout) else { return };
    let receipts: Vec<Receipt> = batch.iter().map(|(_, receipt, _)| receipt.clone()).collect();
    let asked = Instant::now();
    // A call that fails or is slow is repeated at a later tick, with time to spare.
    let call = tokio::time::timeout(visibility / 4, queue.extend(&receipts, timeout));
    let outcomes = match call.await {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(error)) => {
            tracing::warn!(code = ?error.code, cause = ?error.message, "leases could not be extended");
            if error.is_fatal() {
                refused.get_or_init(|| error);
            }
            return;
        }
        Err(_) => {
            tracing::warn!("the queue did not answer in time when leases were to be extended");
            return;
        }
    };
    let mut held = lock(&held);
    for ((id, receipt, _), outcome) in batch.iter().zip(outcomes) {
        // If the receipt has changed, this answer is about an earlier delivery.
        let Some(entry) = held.get_mut(id).filter(|entry| entry.receipt == *receipt) else { continue };
        match outcome {
            Ok(()) => {
                let due = entry.deadline - visibility / 2;
                meters.renewed(asked.saturating_duration_since(due));
                entry.deadline = asked + timeout;
            }
            Err(error) if error.kind == ServiceErrorKind::LeaseLost => {
                entry.lost.send_replace(Some(Loss::Taken));
            }
            Err(error) => tracing::debug!(code = ?error.code, "a lease could not be extended"),
        }
    }
}

/// Lists the leases to extend now; the next look comes after `look`. Marks leases that can't be held until then as
/// lost.
fn due(held: &Held, visibility: Duration, longest: Duration, look: Duration) -> Vec<Due> {
    let now = Instant::now();
    let mut due = Vec::new();
    for (id, entry) in lock(held).iter() {
        if entry.settling || entry.lost.borrow().is_some() {
            continue;
        }
        let last = entry.received + longest - MARGIN.min(longest / 10);
        if now + look >= last {
            entry.lost.send_replace(Some(Loss::TooLong));
        } else if entry.deadline <= now + visibility / 2 && entry.deadline < last {
            due.push((id.clone(), entry.receipt.clone(), visibility.min(last - now)));
        }
    }
    due
}
