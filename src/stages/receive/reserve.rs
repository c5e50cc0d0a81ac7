//! What a message is asked for on: a slot and the memory of a job, or a place in the line of those ahead. Reserved
//! before the queue is asked, a batch at a time where so many are free.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::Intake;
use super::pool::Shared;
use super::prefetch::Ticket;
use crate::capacity::budget::Room;
use crate::capacity::limit::Permit;
use crate::record::{State, Turn};

/// How long a receiver of a busy pipeline waits for more places than one. Beside a job's two or three requests to S3,
/// 30 ms and more, it is nothing; without it each job that ends costs a call of its own, and ten places cost the same
/// call.
pub(super) const GATHER: Duration = Duration::from_millis(5);

/// The share of the slots that may be empty while a receiver waits for more.
const IDLE_SHARE: usize = 4;

/// What a message is asked for on.
pub(super) enum Seat {
    /// A slot and the memory of a job: it begins at once.
    Place(Permit, Room),
    /// Nothing: it waits for its place.
    Ahead(Ticket),
}

impl Seat {
    /// What a message sits on once it is here: one ahead takes the place that is free now, if no other waits for it.
    /// Left to the line it would begin a moment later, and the next receive would count it as waiting and ask for one
    /// message fewer.
    pub(super) fn now(self, intake: &Intake, shared: &Shared) -> Self {
        match self {
            Self::Ahead(ticket) if shared.ahead.is_clear() => match free_place(intake) {
                Some((slot, room)) => Self::Place(slot, room),
                None => Self::Ahead(ticket),
            },
            seat => seat,
        }
    }
}

/// Waits for a seat, and takes what else is free, up to a batch. Where that is little, waits a moment for more.
pub(super) async fn reserve(intake: &Intake, turn: &Turn, shared: &Shared) -> Vec<Seat> {
    let mut seats = Vec::with_capacity(intake.queue.max_batch());
    let most = intake.queue.max_batch().min(shared.worth.load(Relaxed)).max(1);
    let goal = (intake.slots.now() / IDLE_SHARE).clamp(1, most);
    let _waiting = turn.waits(State::WaitDownstream);
    let _gathering = shared.gathering.lock().await;
    seats.push(seat(intake, shared).await);
    let until = Instant::now() + GATHER;
    while seats.len() < most {
        // What is free is taken at once, what is not is worth a wait only while there are few.
        let until = if seats.len() < goal { until } else { Instant::now() };
        let Ok(more) = tokio::time::timeout_at(until, seat(intake, shared)).await else { break };
        seats.push(more);
    }
    seats
}

/// Ahead where that may be: a place that is held through a receive is empty meanwhile. What waits has the next place
/// before all that is still to be asked for.
async fn seat(intake: &Intake, shared: &Shared) -> Seat {
    loop {
        // Registered before looking.
        let changed = shared.ahead.changed();
        if let Some(ticket) = shared.ahead.ticket(intake.slots.now()) {
            return Seat::Ahead(ticket);
        }
        let free = async {
            if !shared.ahead.is_clear() {
                std::future::pending::<()>().await;
            }
            place(intake).await
        };
        tokio::select! {
            biased;
            () = changed => {}
            (slot, room) = free => return Seat::Place(slot, room),
        }
    }
}

/// A slot and the memory of a job, if both are free.
fn free_place(intake: &Intake) -> Option<(Permit, Room)> {
    let slot = intake.slots.try_acquire()?;
    Some((slot, intake.budget.try_reserve()?))
}

/// A slot and the memory of a job.
async fn place(intake: &Intake) -> (Permit, Room) {
    let slot = intake.slots.acquire().await;
    (slot, intake.budget.reserve().await)
}
