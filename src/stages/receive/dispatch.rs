//! What becomes of the messages that a receive brought: leased, put on what they were asked for on, and sent on their
//! way. What is held already goes on where it is, and what may not begin is given back.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Intake;
use super::pool::Shared;
use super::prefetch::Waiting;
use super::reserve::Seat;
use crate::capacity::budget::Room;
use crate::capacity::limit::Permit;
use crate::lease::Lease;
use crate::services::queue::{Message, Receipt};
use crate::services::retry::Call;

/// A leased message with all that its job needs to begin. Dropping it lets the message come back.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Our right to it.
    pub lease: Lease,
    /// The job's memory.
    pub room: Room,
    /// The job's slot.
    pub slot: Permit,
    /// Messages of the same group that came with it, in order: their turn comes after it.
    pub behind: Vec<(Message, Lease)>,
}

/// Where deliveries go: those that begin, and those that wait.
pub(super) struct Outlet {
    pub(super) output: mpsc::Sender<Delivery>,
    pub(super) line: mpsc::UnboundedSender<Waiting>,
}

impl Delivery {
    /// The job, or the first of the line, begins.
    pub(super) fn begin(&self, intake: &Intake, shared: &Shared) {
        for message in [&self.message].into_iter().chain(self.behind.iter().map(|(message, _)| message)) {
            intake.meters.received(message.sent, message.attempt, 1);
        }
        shared.ahead.begun();
        self.room.begin();
    }
}

/// A message that came, what it was asked for on, and those of its group behind it.
struct Arrived {
    seat: Seat,
    message: Message,
    lease: Lease,
    behind: Vec<(Message, Lease)>,
}

/// Leases messages and sends them on their way; returns how many, without those held already.
pub(super) async fn deliver(
    intake: &Intake,
    shared: &Shared,
    asked: Instant,
    messages: Vec<Message>,
    mut seats: Vec<Seat>,
    outlet: &Outlet,
) -> usize {
    // Those that begin at once come first.
    seats.sort_by_key(|seat| matches!(seat, Seat::Place(..)));
    let mut lines: Vec<Arrived> = Vec::with_capacity(messages.len());
    // Groups of which a message is held here already, and what came behind those.
    let (mut held, mut early) = (HashSet::new(), Vec::new());
    for message in messages {
        // Held already: its newest receipt is noted, and the job that runs goes on.
        let Some(lease) = intake.leases.grant(&message, asked) else {
            intake.meters.received(message.sent, message.attempt, 0);
            held.extend(message.group);
            continue;
        };
        let first =
            message.group.as_ref().and_then(|_| lines.iter_mut().find(|line| line.message.group == message.group));
        // Looked at before the lines: what is held may lie in the middle of a group. It was behind one that failed, is
        // still to be given back, and those after it must not go on without it.
        if message.group.as_ref().is_some_and(|group| held.contains(group)) {
            early.push(message);
        } else if let Some(line) = first {
            line.behind.push((message, lease));
        } else if let Some(seat) = seats.pop() {
            lines.push(Arrived { seat, message, lease, behind: Vec::new() });
        } else {
            // A queue that hands out more than was asked for gets the rest back by its visibility timeout.
            intake.meters.received(message.sent, message.attempt, 0);
        }
    }
    drop(seats);
    refuse(intake, &early).await;
    let mut taken = 0;
    for Arrived { seat, message, lease, behind } in lines {
        let messages = 1 + behind.len();
        let sent = match seat.now(intake, shared) {
            Seat::Place(slot, room) => {
                let delivery = Delivery { message, lease, room, slot, behind };
                delivery.begin(intake, shared);
                outlet.output.send(delivery).await.is_ok()
            }
            Seat::Ahead(ticket) => {
                let (ticket, since) = (ticket.arrived(), Instant::now());
                outlet.line.send(Waiting { message, lease, behind, ticket, since }).is_ok()
            }
        };
        if !sent {
            break;
        }
        taken += messages;
    }
    taken
}

/// Refuses what may not begin: what a long poll brought after the stop, and what came behind a message of its group
/// that is still at work here.
pub(super) async fn refuse(intake: &Intake, messages: &[Message]) {
    messages.iter().for_each(|message| intake.meters.received(message.sent, message.attempt, 0));
    give_back(intake, messages.iter().map(|message| message.receipt.clone()).collect()).await;
}

/// Gives back messages that have not begun. The one exception to settling in `acknowledge`: there is no job.
pub(super) async fn give_back(intake: &Intake, receipts: Vec<Receipt>) {
    if receipts.is_empty() {
        return;
    }
    let call =
        intake.retry.run(&intake.meters, Call::queue("extend"), || intake.queue.extend(&receipts, Duration::ZERO));
    if let Err(error) = call.await {
        tracing::debug!(
            target: "batchpipe::stages::deliver",
            code = ?error.code, cause = ?error.message, "messages come back by their visibility timeout"
        );
    }
}
