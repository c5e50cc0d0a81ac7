//! What the receivers of a worker share: how much is still to be asked for, whether the queue has something, and so how
//! many of them poll. Plain numbers and notices; nobody holds a lock while waiting, but the one who gathers places.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::prefetch::Ahead;
use super::{Intake, Receive};
use crate::stop::shutdown::Phase;

/// What the receivers share.
pub(super) struct Shared {
    /// Messages wanted, if that is limited.
    pub(super) limit: Option<u64>,
    /// What bounds messages that have no slot yet.
    pub(super) ahead: Arc<Ahead>,
    /// Held by the receiver that gathers places: two would share them out, and make two small calls.
    pub(super) gathering: tokio::sync::Mutex<()>,
    /// Messages asked for or got, when there is a limit.
    pub(super) asked: AtomicU64,
    /// Messages got.
    pub(super) got: AtomicU64,
    /// A receiver has got less than it asked for.
    pub(super) answered: Notify,
    /// Places that the next call should ask for. A long poll holds their room: on an empty queue one, so that the jobs
    /// that run may have the rest.
    pub(super) worth: AtomicUsize,
    /// The last answer brought something.
    pub(super) plenty: AtomicBool,
    /// An answer has.
    pub(super) brought: Notify,
    /// Empty answers in a row of a queue that counts messages which nobody can receive.
    pub(super) unreachable: AtomicU64,
    /// When there was last something to do.
    pub(super) last: std::sync::Mutex<Instant>,
}

impl Shared {
    /// Waits until there is something left to ask for; at most `room`.
    pub(super) async fn want(&self, room: usize) -> usize {
        let Some(limit) = self.limit else { return room };
        loop {
            // Registered before looking, as in the budget.
            let answered = self.answered.notified();
            let more = |asked: u64| Some((asked + room as u64).min(limit));
            let before = self.asked.fetch_update(Relaxed, Relaxed, more).unwrap_or(limit);
            if before < limit {
                return (limit - before).min(room as u64) as usize;
            }
            answered.await;
        }
    }

    /// Notes that `taken` came of `wanted`.
    pub(super) fn got(&self, wanted: usize, taken: usize) {
        self.got.fetch_add(taken as u64, Relaxed);
        self.plenty.store(taken > 0, Relaxed);
        // An answer that was full shows a queue with more. One that was not may be a sample of its servers.
        self.worth.store(if taken >= wanted { usize::MAX } else { (2 * taken).max(1) }, Relaxed);
        if taken > 0 {
            self.unreachable.store(0, Relaxed);
            self.brought.notify_waiters();
        }
        if self.limit.is_some() {
            self.asked.fetch_sub(wanted.saturating_sub(taken) as u64, Relaxed);
            self.answered.notify_waiters();
        }
    }

    /// Notes that messages which were taken have been given back untried.
    pub(super) fn gone(&self, messages: usize) {
        self.got.fetch_sub(messages as u64, Relaxed);
        if self.limit.is_some() {
            self.asked.fetch_sub(messages as u64, Relaxed);
            self.answered.notify_waiters();
        }
    }

    /// Whether receiver `number` is to poll: with a number given all do, else as many as the slots call for, and only
    /// the first while the queue has nothing.
    pub(super) fn is_due(&self, intake: &Intake, how: Receive, number: usize) -> bool {
        let wanted =
            if how.receivers.is_some() || self.plenty.load(Relaxed) { how.polls(intake.slots.now()) } else { 1 };
        number < wanted
    }

    /// Waits until receiver `number` is to poll; false when there will be no more to receive.
    pub(super) async fn due(&self, intake: &Intake, how: Receive, number: usize) -> bool {
        loop {
            // Registered before looking. The first receiver always polls, so there is somebody to wake the others.
            let brought = self.brought.notified();
            if self.is_due(intake, how, number) {
                return true;
            }
            tokio::select! {
                biased;
                () = brought => {}
                () = intake.shutdown.reached(Phase::Draining) => return false,
            }
        }
    }

    pub(super) fn has_all(&self, limit: Option<u64>) -> bool {
        limit.is_some_and(|limit| self.got.load(Relaxed) >= limit)
    }

    pub(super) fn touch(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn idle(&self) -> Duration {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed()
    }
}
