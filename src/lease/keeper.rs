//! The keeper extends what is held, in batches, in the second half of each visibility timeout.
//!
//! It knows nothing but the list of what is held, so it can begin anew after a panic. Half a timeout is left when it first
//! asks: a call that fails or is slow is repeated at a later look, eight of which fit into one. What is being settled is left
//! alone, and an answer about a receipt that a newer one has replaced changes nothing.
//!
//! Bounded by the messages in flight and by calls under way at once; each call by a quarter of the timeout.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Entry, Held, Loss, Refused, lock};
use crate::error::ServiceErrorKind;
use crate::meter::Meters;
use crate::queue::{JobQueue, Receipt};
use crate::{crash, task};

/// How much earlier than the queue's longest we stop, so that giving back still works.
const MARGIN: Duration = Duration::from_secs(30);

/// Batches of extensions under way at once: 32 × 10 extensions in one round trip keep 120,000 messages in flight.
const CALLS: usize = 32;

/// Pause after a panic of the keeper: far below an eighth of any visibility timeout, and no hot loop.
const AFTER_PANIC: Duration = Duration::from_millis(100);

/// What the keeper works with.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) queue: Arc<dyn JobQueue>,
    pub(super) held: Held,
    pub(super) meters: Arc<Meters>,
    pub(super) refused: Refused,
    pub(super) visibility: Duration,
}

/// Keeps leases whatever happens: a panic here would let every job in hand be done by others as well, so it begins anew.
/// All it knows is in the list of what is held.
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
    // Eight looks a visibility timeout: a lease that is due at half time is extended before 5/8 of it.
    let mut ticks = tokio::time::interval((visibility / 8).max(Duration::from_millis(20)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        crash::point("leases");
        let due = due(&keeper.held, visibility, longest);
        let batches: Vec<Vec<(String, Receipt)>> =
            due.chunks(keeper.queue.max_batch().max(1)).map(<[_]>::to_vec).collect();
        let calls = batches.into_iter().map(|batch| extend(keeper.clone(), batch));
        stream::iter(calls).buffer_unordered(CALLS).collect::<Vec<()>>().await;
    }
}

async fn extend(keeper: Keeper, batch: Vec<(String, Receipt)>) {
    let Keeper { queue, held, meters, refused, visibility } = keeper;
    // This batch may have waited for its turn, and some of its messages been settled or delivered again meanwhile.
    let batch: Vec<_> = {
        let held = lock(&held);
        let stands = |entry: &Entry, receipt: &Receipt| !entry.settling && entry.receipt == *receipt;
        batch.into_iter().filter(|(id, receipt)| held.get(id).is_some_and(|entry| stands(entry, receipt))).collect()
    };
    if batch.is_empty() {
        return;
    }
    let receipts: Vec<Receipt> = batch.iter().map(|(_, receipt)| receipt.clone()).collect();
    let asked = Instant::now();
    // A call that fails or is slow is repeated at a later tick, with time to spare.
    let call = tokio::time::timeout(visibility / 4, queue.extend(&receipts, visibility));
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
    for ((id, receipt), outcome) in batch.iter().zip(outcomes) {
        // A newer receipt means that this answer is about a delivery of the past.
        let Some(entry) = held.get_mut(id).filter(|entry| entry.receipt == *receipt) else { continue };
        match outcome {
            Ok(()) => {
                let due = entry.deadline - visibility / 2;
                meters.renewed(asked.saturating_duration_since(due));
                entry.deadline = asked + visibility;
            }
            Err(error) if error.kind == ServiceErrorKind::LeaseLost => {
                entry.lost.send_replace(Some(Loss::Taken));
            }
            Err(error) => tracing::debug!(code = ?error.code, "a lease could not be extended"),
        }
    }
}

/// What is to be extended now. Marks what has been held too long as lost.
fn due(held: &Held, visibility: Duration, longest: Duration) -> Vec<(String, Receipt)> {
    let now = Instant::now();
    let mut due = Vec::new();
    for (id, entry) in lock(held).iter() {
        if entry.settling || entry.lost.borrow().is_some() || entry.deadline > now + visibility / 2 {
            continue;
        }
        if now + visibility + MARGIN.min(longest / 10) > entry.received + longest {
            entry.lost.send_replace(Some(Loss::TooLong));
        } else {
            due.push((id.clone(), entry.receipt.clone()));
        }
    }
    due
}
