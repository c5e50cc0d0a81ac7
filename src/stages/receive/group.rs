//! A line: messages of one group, worked one after the other.
//!
//! A FIFO queue keeps the messages of a group in order by hiding the whole group while one of them is in flight; but
//! one receive may bring several of them, and then the order is in our hands. The next begins when the one before has
//! left the queue: it is deleted, or with the dead letters. One that stays, to be tried again or because its delete
//! failed, holds up those behind it: they are given back untried (BP605), and the queue keeps them behind it. So an
//! older output never replaces a newer one. Lines of different groups run side by side.
//!
//! A line is *one* job to all that is bounded. It has one slot and one room, which its messages use in turn, and the
//! places that were reserved for the others go back at once. So what waits holds nothing that the one before it may
//! need, no line can keep another from growing (the budget counts on each job that has begun to end by itself), and ten
//! messages of one group don't take the places of ten groups. What waits does hold its lease, which is kept with all
//! others: at most nine a slot, since a queue hands out no more of a group before these are settled.
//!
//! Each message of a line but the last is settled at once and alone: the next waits for it.
//!
//! What was given back untried has one receive more on its count, as SQS counts. A queue whose jobs fail now and then
//! wants a generous `maxReceiveCount` where groups are long.

use std::iter;

use super::dispatch::Delivery;
use crate::capacity::budget::Room;
use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::lease::Lease;
use crate::services::queue::Message;
use crate::stages::{Finished, Settling};
use crate::stop::shutdown::{Phase, Shutdown};

/// What does what one message asks for.
pub(crate) trait Finish: Sync {
    /// One message, from lease to result.
    fn finish(&self, message: Message, lease: Lease, room: &Room) -> impl Future<Output = Finished> + Send;
}

/// Works the messages of one delivery in their order.
pub(crate) struct InOrder<'a, J> {
    pub(crate) settling: &'a Settling,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) jobs: &'a J,
}

impl<J: Finish> InOrder<'_, J> {
    /// One delivery, from lease to result: its message, and those behind it. What is still to be settled is returned.
    pub(crate) async fn work(&self, delivery: Delivery) -> Vec<Finished> {
        let Delivery { message, lease, room, slot, behind } = delivery;
        let slot = (slot, self.settling.meters.at_work.enter());
        if !behind.is_empty() {
            room.keep();
        }
        let mut behind = behind.into_iter();
        let mut finished = self.jobs.finish(message, lease, &room).await;
        while let Some((message, lease)) = behind.next() {
            let (before, gone) = self.settling.acknowledge_in_turn(finished).await;
            let Err(error) = self.turn(gone) else {
                finished = Finished { before, ..self.jobs.finish(message, lease, &room).await };
                continue;
            };
            drop((slot, room));
            let rest = iter::once((message, lease)).chain(behind);
            let mut rest: Vec<Finished> =
                rest.map(|(message, lease)| Finished::new(message, lease, Err(error.clone()))).collect();
            rest[0].before = before;
            return rest;
        }
        drop((slot, room));
        vec![finished]
    }

    /// Whether the next of a line may begin, when the one before has left the queue, or has not.
    fn turn(&self, gone: bool) -> Result<(), JobError> {
        let (phase, circuit) = (self.shutdown.phase(), &self.settling.circuit);
        // A run that got as many messages as it wanted drains too, in order to work on them.
        let stops = phase == Phase::Cutting || (phase == Phase::Draining && circuit.why().is_none());
        let cause = match (gone, stops) {
            (true, false) => return Ok(()),
            (false, _) => "the message before it in its group is to be done first",
            (true, true) => "the worker is stopping, and a message before it in its group had the turn",
        };
        Err(JobError::new(Stage::Receive, ErrorKind::Stopped, Code::GroupWaits, cause))
    }
}
