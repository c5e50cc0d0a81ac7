//! What a test can see and change in the queue directly, without the worker and without a receive: the number of
//! messages, and leases that end too early.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant;

use super::MemoryQueue;
use super::state::{Entry, State};
use crate::services::queue::{Outgoing, Receipt};

impl MemoryQueue {
    /// The number of messages that are neither deleted nor moved.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of messages that can be received now.
    pub fn visible(&self) -> usize {
        let mut state = self.lock();
        state.wake(Instant::now());
        state.entries.values().filter(|entry| entry.hidden.is_none()).count()
    }

    /// The id of the message that a receipt belongs to.
    pub fn id_of(&self, receipt: &Receipt) -> String {
        let number = receipt.0.split_once('#').map_or("", |(number, _)| number);
        format!("{}-{number}", self.name)
    }

    /// Bodies and attributes of all messages, oldest first, without receiving them.
    pub fn peek(&self) -> Vec<Outgoing> {
        self.lock().entries.values().map(|entry| entry.outgoing.clone()).collect()
    }

    /// Delivers all messages in flight to another receiver: they are hidden for `hidden`, and earlier receipts are
    /// void. Returns the number of messages.
    pub fn steal(&self, hidden: Duration) -> usize {
        self.steal_if(hidden, |_| true)
    }

    /// Like [`steal`](Self::steal), for one message; returns whether it was in flight.
    pub fn steal_one(&self, id: &str, hidden: Duration) -> bool {
        self.steal_if(hidden, |there| self.id(there) == id) == 1
    }

    fn steal_if(&self, hidden: Duration, which: impl Fn(u64) -> bool) -> usize {
        let until = Instant::now() + hidden;
        self.change_in_flight(which, |entry| {
            entry.delivered += 1;
            entry.hidden = Some(until);
        })
    }

    /// Whether a message in flight holds up a message of its group that no receiver has.
    pub fn holds_up(&self) -> bool {
        let mut state = self.lock();
        state.wake(Instant::now());
        let State { entries, groups, .. } = &*state;
        let hidden = |id: &u64| entries.get(id).is_some_and(|entry| entry.hidden.is_some());
        groups.values().any(|group| group.iter().any(hidden) && !group.iter().all(hidden))
    }

    /// Makes all messages in flight visible, as if their timeouts had passed or the queue had forgotten them. Their
    /// receipts stay valid until the messages are delivered again. Returns the number of messages.
    pub fn forget(&self) -> usize {
        self.change_in_flight(|_| true, |entry| entry.hidden = None)
    }

    fn change_in_flight(&self, which: impl Fn(u64) -> bool, change: impl Fn(&mut Entry)) -> usize {
        let mut state = self.lock();
        state.wake(Instant::now());
        let State { entries, ready, hidden, .. } = &mut *state;
        let mut changed = 0;
        let in_flight = |entry: &Entry| entry.hidden.is_some() && entry.delivered > 0;
        for (id, entry) in entries.iter_mut().filter(|(id, entry)| in_flight(entry) && which(**id)) {
            change(entry);
            changed += 1;
            match entry.hidden {
                Some(until) => hidden.push(Reverse((until, *id))),
                None => ready.push_back(*id),
            }
        }
        drop(state);
        self.arrived.notify_waiters();
        changed
    }
}
