//! Bytes in flight: every byte the pipeline holds is counted here, and none is held that was not granted.
//!
//! A job is admitted with a minimum: room for one read part, or the object where that is smaller, and room for
//! one write part, or an estimate where the object is small. The minimum is its own until it ends, so it can
//! always go on. What a job may *need* beyond that is known in advance: a whole write part, if a small input
//! turns out to have a large output. [`Budget`] grants such growth the way a banker does: nothing is granted
//! that would leave no job able to reach its full write part, so some job can always finish, and its room lets
//! the next one grow. What a job would merely *like*, a deeper read-ahead, more parts in flight, is granted
//! only when it is free, and is never waited for; while a job waits for its minimum, no more than half of the budget.
//!
//! So no mix of sizes, order of failures or setting of `--memory` from two parts up can deadlock, thousands of
//! small objects fly at once, and one huge object gets the whole budget.
//!
//! The invariant, with `w` a job's write room and `full` a whole write part: `free ≥ full − max(w)` while there is a
//! job. Room that is reserved for a job still to come has no part in the maximum: a receiver may hold it through a long
//! poll, and a job that must grow would wait as long.
//!
//! A job that waits for a processor waits for others as well, and those must not wait for it: a job at its processor
//! has its full write room [lent](Room::try_lend), and gives up the turn where that is not free. So whoever has a
//! processor never waits for memory, and of those who wait for one, the job with the most room can always go. What is
//! lent goes when the upload has used up the processor's last chunk, which waits for nobody.
//!
//! Long buffers are mappings of their own, outside the heap and its gaps (`buffer.rs`), and none is longer than the
//! room granted for it. They are used again instead of being freed, those of a whole part and shorter ones of the same
//! length (`spare.rs`): a fresh one costs a page fault for each 4 KiB (`-- cat` took 1.9 CPU-s/GiB before, measured). A
//! buffer that waits for its next use lies in room that is free, or in its job's own, and goes when that room is given
//! to something else.

mod buffer;
mod claim;
mod room;
mod spare;
mod state;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::link;
use crate::record::Level;
use crate::runtime::sync::{Mutex, MutexGuard};
pub use buffer::Buffer;
pub use claim::Claim;
use claim::Extra;
use room::Held;
pub use room::{Lent, Room};
use spare::Spare;
use state::State;
use waiting::{Growing, Waiting};

/// What there is between a processor and the parts of its output, counted as part of the write room: the chunk that the
/// processor fills, those in the link, and two at the upload, which may look ahead by one.
pub const LINK_BYTES: u64 = ((1 + link::DEPTH + 2) * link::WRITE_CHUNK) as u64;

/// The write room of a job whose input is tiny: most outputs of tiny inputs fit, and a thousand such jobs take 64 MiB.
const SMALLEST_WRITE: u64 = 64 * 1024;

/// The bytes that all jobs together may hold.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    part: u64,
    /// A whole write part and its link.
    full: u64,
    state: Mutex<State>,
    changed: Notify,
    began: Instant,
    /// Whoever waits for a job's minimum, or for a job to grow.
    short: Arc<Level>,
    /// Jobs that have less in flight than they may, for want of room.
    cramped: Arc<Level>,
}

impl Budget {
    /// A budget of `total` bytes for transfers in parts of `part` bytes. `total` is at least two parts.
    pub fn new(total: u64, part: u64) -> Arc<Self> {
        let total = total.max(2 * part);
        let full = (part + LINK_BYTES).min(total - part);
        let state = State {
            free: total,
            extra: 0,
            waiting: 0,
            writes: BTreeMap::new(),
            growing: 0,
            spare: Spare::default(),
            area: (0.0, Instant::now()),
        };
        let began = state.area.1;
        let (short, cramped) = (Arc::default(), Arc::default());
        Arc::new(Self { total, part, full, state: Mutex::new(state), changed: Notify::new(), began, short, cramped })
    }

    /// All there is, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is granted now, in bytes.
    pub fn reserved(&self) -> u64 {
        self.total - self.lock().free
    }

    /// What has been granted so far, summed over the time: a byte for two seconds are two.
    pub fn held(&self) -> f64 {
        let mut state = self.lock();
        state.look();
        let (free, now) = state.area;
        (self.total as f64 * now.saturating_duration_since(self.began).as_secs_f64() - free).max(0.0)
    }

    /// For how long somebody has waited for a job's minimum, or for a job to grow.
    pub fn waited(&self) -> Duration {
        self.short.any()
    }

    /// For how long jobs have had less in flight than they may, for want of room; summed over the jobs.
    pub fn cramped(&self) -> Duration {
        self.cramped.sum()
    }

    /// Waits for the minimum of a job whose input has `size` bytes, if that is known. Holds nothing meanwhile.
    pub async fn admit(self: &Arc<Self>, size: Option<u64>) -> Room {
        self.room(size, true).await
    }

    /// The minimum of a job, if it is free.
    pub fn try_admit(self: &Arc<Self>, size: Option<u64>) -> Option<Room> {
        self.try_room(size, true)
    }

    /// Waits for the minimum of a job that is still to come. [`Room::begin`] says that it has.
    pub async fn reserve(self: &Arc<Self>) -> Room {
        self.room(None, false).await
    }

    async fn room(self: &Arc<Self>, size: Option<u64>, begun: bool) -> Room {
        let mut waiting = None;
        loop {
            // Registered before looking: a release between the look and the wait must not be missed.
            let changed = self.changed.notified();
            if let Some(room) = self.try_room(size, begun) {
                return room;
            }
            waiting.get_or_insert_with(|| Waiting::new(self));
            changed.await;
        }
    }

    /// The minimum of a job that is still to come, if it is free.
    pub fn try_reserve(self: &Arc<Self>) -> Option<Room> {
        self.try_room(None, false)
    }

    fn try_room(self: &Arc<Self>, size: Option<u64>, begun: bool) -> Option<Room> {
        let (read, write) = self.minimum(size);
        let mut state = self.lock();
        let needed = read + write + self.reachable(&state, begun.then_some(write));
        if state.growing > 0 || state.free < needed {
            return None;
        }
        let mut spare = state.take(read + write);
        if begun {
            state.add(write);
        }
        drop(state);
        spare.retain(|buffer| self.is_usual(buffer));
        spare.truncate(self.parts(read, write));
        Some(Room::new(Arc::clone(self), Held { read, write, begun, kept: false, lent: None, spare }))
    }

    /// What must stay free so that some job can reach a whole write part, with one more that has `write`.
    fn reachable(&self, state: &State, write: Option<u64>) -> u64 {
        // Nobody works, nobody grows.
        let Some(largest) = state.largest_write().max(write) else { return 0 };
        self.full - largest
    }

    fn minimum(&self, size: Option<u64>) -> (u64, u64) {
        let Some(size) = size else { return (self.part, self.full) };
        let read = self.length(size.min(self.part));
        let write =
            if read == self.part { self.full } else { (2 * read).clamp(SMALLEST_WRITE.min(self.full), self.full) };
        (read, write)
    }

    /// How much memory `bytes` take: the length of the buffer for them. For most of a part that is one of a whole part,
    /// of which there always are some at hand; what is longer than a part is too rare to serve again.
    fn length(&self, bytes: u64) -> u64 {
        match bytes {
            _ if bytes > self.part => bytes,
            _ if bytes > self.part / 2 => self.part,
            _ => spare::length(bytes).min(self.part),
        }
    }

    fn try_extra(self: &Arc<Self>, bytes: u64) -> Option<Extra> {
        let bytes = self.length(bytes);
        let mut state = self.lock();
        if state.growing > 0 || state.free < bytes + self.reachable(&state, None) {
            return None;
        }
        // One huge object may have all that nobody else wants. It gives half back as soon as somebody does, since it
        // would take each part that it gives back at once again, and a whole minimum would never be free.
        if state.waiting > 0 && state.extra + bytes > self.total / 2 {
            return None;
        }
        state.extra += bytes;
        let displaced = state.take(bytes);
        drop(state);
        let buffer = displaced.into_iter().find(|buffer| buffer.capacity() as u64 == bytes);
        Some(Extra::new(Arc::clone(self), bytes, buffer))
    }

    /// Makes a job's write room a whole part, if that much is free.
    fn try_fill(&self, held: &mut Held, state: &mut State) -> bool {
        let more = self.full - held.write;
        if state.free < more {
            return false;
        }
        let mut spare = state.take(more);
        spare.retain(|buffer| self.is_usual(buffer));
        if held.begun {
            state.remove(held.write);
            state.add(self.full);
        }
        held.write = self.full;
        held.spare.extend(spare);
        let fitting = self.parts(held.read, held.write);
        held.spare.truncate(fitting);
        true
    }

    fn release(&self, bytes: u64, buffers: impl IntoIterator<Item = Buffer>) {
        let mut state = self.lock();
        state.give(bytes);
        buffers.into_iter().for_each(|buffer| state.keep(buffer));
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many buffers of a part fit in a job's own room.
    fn parts(&self, read: u64, write: u64) -> usize {
        (read / self.part + write / self.part) as usize
    }

    /// Whether a buffer is one for a part.
    fn is_usual(&self, buffer: &Buffer) -> bool {
        buffer.capacity() as u64 == self.part
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
