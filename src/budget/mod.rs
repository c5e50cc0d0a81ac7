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
//! The invariant, with `w` a job's write room and `full` a whole write part: `free ≥ full − max(w)` while there is a job.
//! Room that is reserved for a job still to come has no part in the maximum: a receiver may hold it through a long poll,
//! and a job that must grow would wait as long.
//!
//! A job that waits for a processor waits for others as well, and those must not wait for it: a job at its processor has
//! its full write room [lent](Room::try_lend), and gives up the turn where that is not free. So whoever has a processor never
//! waits for memory, and of those who wait for one, the job with the most room can always go.
//!
//! Buffers of a whole part are used again instead of being freed. A fresh one costs a page fault for each 4 KiB, and blocks
//! of 8 MiB fragment the heap: `-- cat` under 128 MiB took 225 MiB and 1.9 CPU-s/GiB before (measured). A buffer that waits
//! for its next use lies in room that is free, or in its job's own, and goes when that room is given to something else.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::link;
use crate::sync::{Mutex, MutexGuard};

/// What a link between a processor and an upload can hold, counted as part of the write room.
pub const LINK_BYTES: u64 = ((link::DEPTH + 1) * link::WRITE_CHUNK) as u64;

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
}

#[derive(Debug)]
struct State {
    free: u64,
    /// How many jobs have how much write room.
    writes: BTreeMap<u64, usize>,
    /// What is granted beyond the jobs' own room.
    extra: u64,
    /// Jobs waiting for their minimum. While there are any, extras may have half of the budget and no more.
    waiting: usize,
    /// Jobs waiting to grow. While there are any, nobody is admitted and no extra is granted.
    growing: usize,
    /// Buffers of a part, empty, in what is free.
    spare: Vec<BytesMut>,
}

impl State {
    /// Takes `bytes` of what is free; returns the buffers that lay there.
    fn take(&mut self, bytes: u64, part: u64) -> Vec<BytesMut> {
        self.free -= bytes;
        self.spare.split_off(self.spare.len().min((self.free / part) as usize))
    }

    /// Keeps `buffer` if there is free room to keep it in.
    fn keep(&mut self, buffer: BytesMut, part: u64) {
        if (self.spare.len() as u64 + 1) * part <= self.free {
            self.spare.push(buffer);
        }
    }

    fn largest_write(&self) -> Option<u64> {
        self.writes.last_key_value().map(|(write, _)| *write)
    }

    fn add(&mut self, write: u64) {
        *self.writes.entry(write).or_default() += 1;
    }

    fn remove(&mut self, write: u64) {
        if let Some(count) = self.writes.get_mut(&write) {
            *count -= 1;
            if *count == 0 {
                self.writes.remove(&write);
            }
        }
    }
}

impl Budget {
    /// A budget of `total` bytes for transfers in parts of `part` bytes. `total` is at least two parts.
    pub fn new(total: u64, part: u64) -> Arc<Self> {
        let total = total.max(2 * part);
        let full = (part + LINK_BYTES).min(total - part);
        let state = State { free: total, extra: 0, waiting: 0, writes: BTreeMap::new(), growing: 0, spare: Vec::new() };
        Arc::new(Self { total, part, full, state: Mutex::new(state), changed: Notify::new() })
    }

    /// All there is, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is granted now, in bytes.
    pub fn reserved(&self) -> u64 {
        self.total - self.lock().free
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
        let mut spare = state.take(read + write, self.part);
        if begun {
            state.add(write);
        }
        drop(state);
        spare.truncate(self.parts(read, write));
        let held = Mutex::new(Held { read, write, begun, kept: false, lent: None, spare });
        let shared = Arc::new(Shared { budget: Arc::clone(self), held, starved: Notify::new() });
        Some(Room { read: Arc::new(Semaphore::new(1)), write: Arc::new(Semaphore::new(1)), shared })
    }

    /// What must stay free so that some job can reach a whole write part, with one more that has `write`.
    fn reachable(&self, state: &State, write: Option<u64>) -> u64 {
        // Nobody works, nobody grows.
        let Some(largest) = state.largest_write().max(write) else { return 0 };
        self.full - largest
    }

    fn minimum(&self, size: Option<u64>) -> (u64, u64) {
        let Some(size) = size else { return (self.part, self.full) };
        (size.min(self.part), size.saturating_mul(2).clamp(SMALLEST_WRITE.min(self.full), self.full))
    }

    fn try_extra(self: &Arc<Self>, bytes: u64) -> Option<Extra> {
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
        let mut spare = state.take(bytes, self.part);
        let buffer = spare.pop().or_else(|| state.spare.pop());
        drop(state);
        Some(Extra { budget: Arc::clone(self), bytes, buffer })
    }

    /// Makes a job's write room a whole part, if that much is free.
    fn try_fill(&self, held: &mut Held, state: &mut State) -> bool {
        let more = self.full - held.write;
        if state.free < more {
            return false;
        }
        let spare = state.take(more, self.part);
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

    fn release(&self, bytes: u64, buffers: impl IntoIterator<Item = BytesMut>) {
        let mut state = self.lock();
        state.free += bytes;
        buffers.into_iter().for_each(|buffer| state.keep(buffer, self.part));
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many buffers of a part fit in a job's own room.
    fn parts(&self, read: u64, write: u64) -> usize {
        (read / self.part + write / self.part) as usize
    }

    /// Whether a buffer is one to use again: it has room for a part, and not much more.
    fn is_usual(&self, buffer: &BytesMut) -> bool {
        (self.part..=self.part + self.part / 8).contains(&(buffer.capacity() as u64))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one job holds.
#[derive(Clone, Debug)]
pub struct Room {
    shared: Arc<Shared>,
    /// One permit: whose bytes are in the read room now.
    read: Arc<Semaphore>,
    /// One permit: whose bytes are in the write room now.
    write: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    budget: Arc<Budget>,
    held: Mutex<Held>,
    /// A read waits for the bytes in the read room to be used up.
    starved: Notify,
}

#[derive(Debug)]
struct Held {
    read: u64,
    write: u64,
    /// The job has come. Until then it does not count as one that can go on and end.
    begun: bool,
    /// Nothing is given back before the end.
    kept: bool,
    /// The write room is full for as long as the processor is at work, and this is its own size.
    lent: Option<u64>,
    /// Buffers of a part, empty, in the job's own room.
    spare: Vec<BytesMut>,
}

#[derive(Debug)]
struct Extra {
    budget: Arc<Budget>,
    bytes: u64,
    /// An empty buffer in this room.
    buffer: Option<BytesMut>,
}

/// The right to hold the bytes of one part. Give it to the bytes with [`hold`](Claim::hold).
#[derive(Debug)]
pub struct Claim(Source);

#[derive(Debug)]
enum Source {
    /// The job's own room; the room lives as long as any bytes in it.
    Own(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit, Arc<Shared>),
    /// Room that was free.
    Extra(Extra),
}

impl Room {
    /// The job of a [reserved](Budget::reserve) room has come.
    pub fn begin(&self) {
        let mut held = self.shared.lock();
        if !std::mem::replace(&mut held.begun, true) {
            self.shared.budget.lock().add(held.write);
        }
    }

    /// From now on [`fit`](Self::fit) gives nothing back: several jobs use the room in turn, and the next may be larger.
    pub fn keep(&self) {
        self.shared.lock().kept = true;
    }

    /// Gives back what a job does not need whose input turned out to have `size` bytes.
    pub fn fit(&self, size: u64) {
        let budget = &self.shared.budget;
        let (read, write) = budget.minimum(Some(size));
        let mut held = self.shared.lock();
        if held.kept || held.lent.is_some() {
            return;
        }
        let (read, write) = (read.min(held.read), write.min(held.write));
        let spare = held.read - read + held.write - write;
        if spare == 0 {
            return;
        }
        let mut state = budget.lock();
        if held.begun {
            state.remove(held.write);
            state.add(write);
        }
        state.free += spare;
        (held.read, held.write) = (read, write);
        let fitting = held.spare.len().min(budget.parts(read, write));
        held.spare.split_off(fitting).into_iter().for_each(|buffer| state.keep(buffer, budget.part));
        drop((state, held));
        budget.changed.notify_waiters();
    }

    /// Waits for room for `bytes` (at most a part) to read into: the job's own, or more if more is free.
    pub async fn read(&self, bytes: u64) -> Claim {
        if let Some(claim) = self.try_read(bytes) {
            return claim;
        }
        self.shared.starved.notify_one();
        self.claim(&self.read, bytes).await
    }

    /// Resolves when a read waits for room, so there is more to come and it comes when the bytes read before have been
    /// used up. Whoever holds such bytes must not wait for the next ones without watching this.
    pub async fn starved(&self) {
        self.shared.starved.notified().await;
    }

    /// Room to read ahead into, if it is free.
    pub fn try_read(&self, bytes: u64) -> Option<Claim> {
        self.try_claim(&self.read, bytes)
    }

    /// Waits for room for one write part: the job's own, which may begin small, or a whole one if that is free.
    pub async fn write(&self, bytes: u64) -> Claim {
        self.claim(&self.write, bytes).await
    }

    /// The usual length of a part, in bytes.
    pub fn part(&self) -> u64 {
        self.shared.budget.part
    }

    /// Bytes of output that fit into the job's own write room before it must [`grow`](Self::grow).
    pub fn write_size(&self) -> u64 {
        let held = self.shared.lock();
        let write = held.lent.unwrap_or(held.write);
        if write == self.shared.budget.full { self.shared.budget.part } else { write / 2 }
    }

    /// Whether `bytes` fit into the job's own write room, if nothing else is in it. What is lent goes before they do.
    pub fn has(&self, bytes: u64) -> bool {
        let held = self.shared.lock();
        bytes <= held.lent.unwrap_or(held.write)
    }

    /// Waits until the job's own write room is a whole part. Some job can always do this; see the module.
    pub async fn grow(&self) {
        let budget = &self.shared.budget;
        let mut waiting = None;
        loop {
            let changed = budget.changed.notified();
            {
                let mut held = self.shared.lock();
                let mut state = budget.lock();
                // What was lent is used, and stays.
                held.lent = None;
                if budget.try_fill(&mut held, &mut state) {
                    return;
                }
            }
            waiting.get_or_insert_with(|| Growing::new(budget));
            changed.await;
        }
    }

    /// Fills the write room up to a whole part for as long as the result lives, or for good if [`grow`](Self::grow) is called
    /// meanwhile; `None` if that much is not free.
    pub fn try_lend(&self) -> Option<Lent> {
        let mut held = self.shared.lock();
        let (own, mut state) = (held.write, self.shared.budget.lock());
        if !self.shared.budget.try_fill(&mut held, &mut state) {
            return None;
        }
        held.lent = (held.write > own).then_some(own);
        Some(Lent(Arc::clone(&self.shared)))
    }

    /// Resolves when something has been given back since this was called.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.budget.changed.notified()
    }

    /// Counts as waiting to grow for as long as the result lives.
    pub(crate) fn growing(&self) -> Growing<'_> {
        Growing::new(&self.shared.budget)
    }

    /// Room for `bytes` beyond what is this job's, if it is free: for a part that is larger than usual.
    pub fn try_more(&self, bytes: u64) -> Option<Claim> {
        self.shared.budget.try_extra(bytes).map(|extra| Claim(Source::Extra(extra)))
    }

    fn try_claim(&self, own: &Arc<Semaphore>, bytes: u64) -> Option<Claim> {
        match Arc::clone(own).try_acquire_owned() {
            Ok(permit) => Some(Claim(Source::Own(permit, Arc::clone(&self.shared)))),
            Err(_) => self.try_more(bytes),
        }
    }

    async fn claim(&self, own: &Arc<Semaphore>, bytes: u64) -> Claim {
        if let Some(claim) = self.try_claim(own, bytes) {
            return claim;
        }
        // The permit comes back when the bytes in the room have been used up, by a stage that waits for nothing of ours.
        match Arc::clone(own).acquire_owned().await {
            Ok(permit) => Claim(Source::Own(permit, Arc::clone(&self.shared))),
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }
}

impl Claim {
    /// An empty buffer for the bytes, with room for at least `capacity` of them: for most of a part, one that was used
    /// before, if there is one.
    pub fn buffer(&mut self, capacity: usize) -> BytesMut {
        let (budget, used) = match &mut self.0 {
            Source::Own(_, shared) => (&shared.budget, shared.lock().spare.pop()),
            Source::Extra(extra) => (&extra.budget, extra.buffer.take()),
        };
        let bytes = capacity as u64;
        if bytes > budget.part || bytes <= budget.part / 2 {
            // It goes with what else was in the room.
            return BytesMut::with_capacity(capacity);
        }
        used.or_else(|| budget.lock().spare.pop()).unwrap_or_else(|| BytesMut::with_capacity(budget.part as usize))
    }

    /// Keeps a buffer that has been used up for the next claim.
    fn keep(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        match &mut self.0 {
            Source::Own(_, shared) if shared.budget.is_usual(&buffer) => {
                let mut held = shared.lock();
                if held.spare.len() < shared.budget.parts(held.read, held.write) {
                    held.spare.push(buffer);
                }
            }
            Source::Extra(extra) if extra.budget.is_usual(&buffer) => extra.buffer = Some(buffer),
            _ => {}
        }
    }

    /// The bytes, holding their claim for as long as any clone or slice of them lives.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, claim: self })
    }
}

struct Counted {
    bytes: Bytes,
    claim: Claim,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Ok(buffer) = std::mem::take(&mut self.bytes).try_into_mut() {
            self.claim.keep(buffer);
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Held { read, write, begun, .. } = *held;
        if begun {
            self.budget.lock().remove(write);
        }
        self.budget.release(read + write, std::mem::take(&mut held.spare));
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        self.budget.lock().extra -= self.bytes;
        self.budget.release(self.bytes, self.buffer.take());
    }
}

/// One job waiting for its minimum, counted for as long as it waits.
struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.lock().waiting += 1;
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

/// The full write room of a job at its processor.
#[derive(Debug)]
pub struct Lent(Arc<Shared>);

impl Drop for Lent {
    fn drop(&mut self) {
        let mut held = self.0.lock();
        let Some(own) = held.lent.take() else { return };
        let budget = &self.0.budget;
        let mut state = budget.lock();
        if held.begun {
            state.remove(held.write);
            state.add(own);
        }
        state.free += held.write - own;
        held.write = own;
        let fitting = held.spare.len().min(budget.parts(held.read, held.write));
        held.spare.split_off(fitting).into_iter().for_each(|buffer| state.keep(buffer, budget.part));
        drop((state, held));
        budget.changed.notify_waiters();
    }
}

/// One job waiting to grow, counted for as long as it waits.
#[derive(Debug)]
pub(crate) struct Growing<'a>(&'a Budget);

impl<'a> Growing<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.lock().growing += 1;
        Self(budget)
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.0.lock().growing -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
