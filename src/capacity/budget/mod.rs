//! Memory for bytes in flight: every byte that the pipeline holds is counted here, and none is held without a grant.
//!
//! A job is admitted with a minimum: memory for one read part (or the whole object if that is smaller) and for one
//! write part (or an estimate if the object is small). The minimum belongs to the job until it ends, so the job can
//! always continue. What a job may *need* beyond that is known in advance: a whole write part, if a small input
//! turns out to have a large output. [`Budget`] grants such growth by the banker's algorithm: it grants nothing that
//! would leave no job able to reach its full write part, so some job can always finish, and its memory lets the next
//! job grow. What a job would merely *like*, a deeper read-ahead or more parts in flight, is granted only from free
//! memory and never waited for. While a job waits for its minimum, such extras get at most half of the budget.
//!
//! So no mix of sizes, order of failures or value of `--memory` from two parts upwards can deadlock, thousands of
//! small objects can be in flight at once, and one huge object gets the whole budget.
//!
//! The invariant, with `w` a job's write room and `full` a whole write part: `free ≥ full − max(w)` while there is a
//! job. Rooms of jobs not yet received are excluded from `max(w)`: a receiver may hold such a room through a long
//! poll, and a job that must grow would wait as long.
//!
//! A job that waits for a processor waits for other jobs, and those must not wait for it. So a job at its processor
//! is [lent](Room::try_lend) its full write room; if that is not free, the next job goes first. So a job that has a
//! processor never waits for memory, and of the jobs that wait for a processor, the one with the most room can
//! always go. A loan ends when the upload has used up the processor's last chunk, which depends on no other job.
//!
//! Long buffers are mappings outside the heap and its gaps (`buffer.rs`), and no buffer is longer than the memory
//! granted for it. Buffers are reused instead of freed, both those of a whole part and shorter ones of the same
//! length (`spare.rs`), because a fresh buffer costs a page fault for each 4 KiB (`-- cat` took 1.9 CPU-s/GiB
//! without reuse, measured). A spare buffer uses free memory, or its job's own room, and is dropped when that memory
//! is granted to something else.

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

/// Memory between a processor and the parts of its output, counted as part of the write room: the chunk that the
/// processor fills, the chunks in the link, and two chunks at the upload, which may look ahead by one.
pub const LINK_BYTES: u64 = ((1 + link::DEPTH + 2) * link::WRITE_CHUNK) as u64;

/// The write room of a job whose input is tiny. Most outputs of tiny inputs fit, and a thousand such jobs take 64 MiB.
const SMALLEST_WRITE: u64 = 64 * 1024;

/// The limit on the bytes that all jobs together may hold.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    part: u64,
    /// A whole write part and its link.
    full: u64,
    state: Mutex<State>,
    changed: Notify,
    began: Instant,
    /// The jobs that wait for their minimum or to grow.
    short: Arc<Level>,
    /// The jobs that have less in flight than they may, because memory is short.
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

    /// The whole budget, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The bytes that are granted now.
    pub fn reserved(&self) -> u64 {
        self.total - self.lock().free
    }

    /// The bytes granted so far, summed over time: one byte for two seconds counts two.
    pub fn held(&self) -> f64 {
        let mut state = self.lock();
        state.look();
        let (free, now) = state.area;
        (self.total as f64 * now.saturating_duration_since(self.began).as_secs_f64() - free).max(0.0)
    }

    /// How long at least one job has waited for its minimum or to grow.
    pub fn waited(&self) -> Duration {
        self.short.any()
    }

    /// How long jobs have had less in flight than they may because memory was short; summed over the jobs.
    pub fn cramped(&self) -> Duration {
        self.cramped.sum()
    }

    /// Waits for the minimum of a job whose input has `size` bytes, if the size is known. Holds nothing while it waits.
    pub async fn admit(self: &Arc<Self>, size: Option<u64>) -> Room {
        self.room(size, true).await
    }

    /// The minimum of a job, if it is free.
    pub fn try_admit(self: &Arc<Self>, size: Option<u64>) -> Option<Room> {
        self.try_room(size, true)
    }

    /// Waits for the minimum of a job that is not received yet. [`Room::begin`] marks the job as received.
    pub async fn reserve(self: &Arc<Self>) -> Room {
        self.room(None, false).await
    }

    async fn room(self: &Arc<Self>, size: Option<u64>, begun: bool) -> Room {
        let mut waiting = None;
        loop {
            // Registered before looking, so that a release between the look and the wait is not missed.
            let changed = self.changed.notified();
            if let Some(room) = self.try_room(size, begun) {
                return room;
            }
            waiting.get_or_insert_with(|| Waiting::new(self));
            changed.await;
        }
    }

    /// The minimum of a job that is not received yet, if it is free.
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

    /// How much must stay free so that some job can reach a whole write part, if a job with write room `write` is
    /// added.
    fn reachable(&self, state: &State, write: Option<u64>) -> u64 {
        // Without jobs at work, no job can grow.
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

    /// How much memory `bytes` bytes take: the length of the buffer for them. Most of a part takes the buffer of a
    /// whole part, because such buffers are always at hand. Buffers longer than a part are too rare to be reused.
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
        // One huge object may have all memory that no other job wants. It returns half of it as soon as another job
        // waits. Otherwise it would take again each part that it returns, and a whole minimum would never be free.
        if state.waiting > 0 && state.extra + bytes > self.total / 2 {
            return None;
        }
        state.extra += bytes;
        let displaced = state.take(bytes);
        drop(state);
        let buffer = displaced.into_iter().find(|buffer| buffer.capacity() as u64 == bytes);
        Some(Extra::new(Arc::clone(self), bytes, buffer))
    }

    /// Extends a job's write room to a whole part, if that much is free.
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

    /// How many buffers of a part fit into a job's own room.
    fn parts(&self, read: u64, write: u64) -> usize {
        (read / self.part + write / self.part) as usize
    }

    /// Whether a buffer has the length of a part.
    fn is_usual(&self, buffer: &Buffer) -> bool {
        buffer.capacity() as u64 == self.part
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
