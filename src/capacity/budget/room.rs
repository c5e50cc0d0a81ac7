//! The memory of one job: its minimum, which grows to a whole write part and shrinks to what the job turns out to
//! need.
//!
//! The read half and the write half each hold one part's bytes at a time (a permit tells whose); whatever a job
//! holds beyond that is an [extra claim](Claim). Bounded by what was granted; the module above explains why some job
//! can always continue. If both locks are taken, the room's lock comes first and the budget's second.

use std::sync::{Arc, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::{Budget, Buffer, Claim, Growing};
use crate::record::Present;
use crate::runtime::sync::{Mutex, MutexGuard};

/// The memory of one job.
#[derive(Clone, Debug)]
pub struct Room {
    shared: Arc<Shared>,
    /// One permit: its holder's bytes are in the read room.
    read: Arc<Semaphore>,
    /// One permit: its holder's bytes are in the write room.
    write: Arc<Semaphore>,
}

/// What all clones of a job's room share. The room returns to the budget when the last clone and the last byte in it
/// are gone.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budget: Arc<Budget>,
    held: Mutex<Held>,
    /// Notified when a read waits until the bytes in the read room are used up.
    starved: Notify,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) read: u64,
    pub(super) write: u64,
    /// Whether the job was received. Until then it does not count as a job that can finish.
    pub(super) begun: bool,
    /// Whether nothing is given back before the end.
    pub(super) kept: bool,
    /// While the processor runs, the write room is full; this is its size without the loan.
    pub(super) lent: Option<u64>,
    /// Empty buffers of a part, in the job's own room.
    pub(super) spare: Vec<Buffer>,
}
impl Room {
    pub(super) fn new(budget: Arc<Budget>, held: Held) -> Self {
        let shared = Arc::new(Shared { budget, held: Mutex::new(held), starved: Notify::new() });
        Self { shared, read: Arc::new(Semaphore::new(1)), write: Arc::new(Semaphore::new(1)) }
    }

    /// Marks the job of a [reserved](Budget::reserve) room as received.
    pub fn begin(&self) {
        let mut held = self.shared.lock();
        if !std::mem::replace(&mut held.begun, true) {
            self.shared.budget.lock().add(held.write);
        }
    }

    /// From now on [`fit`](Self::fit) gives nothing back, because several jobs use the room in turn and the next job
    /// may be larger.
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
        state.give(spare);
        (held.read, held.write) = (read, write);
        let fitting = held.spare.len().min(budget.parts(read, write));
        held.spare.split_off(fitting).into_iter().for_each(|buffer| state.keep(buffer));
        drop((state, held));
        budget.changed.notify_waiters();
    }

    /// Waits for memory to read `bytes` (at most a part) into: the job's own room, or free memory.
    pub async fn read(&self, bytes: u64) -> Claim {
        if let Some(claim) = self.try_read(bytes) {
            return claim;
        }
        self.shared.starved.notify_one();
        self.claim(&self.read, bytes).await
    }

    /// Resolves when a read waits for memory: there is more to come, but only after the bytes read before have been
    /// used up. Whoever holds such bytes must not wait for the next ones without watching this.
    pub async fn starved(&self) {
        self.shared.starved.notified().await;
    }

    /// Memory to read ahead into, if it is free.
    pub fn try_read(&self, bytes: u64) -> Option<Claim> {
        self.try_claim(&self.read, bytes)
    }

    /// Waits for memory for one write part: the job's own write room, which may begin small, or free memory.
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

    /// Whether `bytes` fit into the job's own write room if it holds nothing else. A loan is not counted, because it
    /// ends before those bytes do.
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
                // The loan is in use now, so it becomes the job's own.
                held.lent = None;
                if budget.try_fill(&mut held, &mut state) {
                    return;
                }
            }
            waiting.get_or_insert_with(|| Growing::new(budget));
            changed.await;
        }
    }

    /// Extends the write room to a whole part for as long as the result lives, or for good if [`grow`](Self::grow) is
    /// called meanwhile; `None` if that much is not free.
    pub fn try_lend(&self) -> Option<Lent> {
        let mut held = self.shared.lock();
        let (own, mut state) = (held.write, self.shared.budget.lock());
        if !self.shared.budget.try_fill(&mut held, &mut state) {
            return None;
        }
        held.lent = Some(own);
        Some(Lent(Arc::clone(&self.shared)))
    }

    /// Resolves when memory has been given back since this was called.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.budget.changed.notified()
    }

    /// Counts the job as waiting to grow for as long as the result lives.
    pub(crate) fn growing(&self) -> Growing<'_> {
        Growing::new(&self.shared.budget)
    }

    /// Memory for `bytes` beyond the job's own room, if it is free: for a part that is larger than usual.
    pub fn try_more(&self, bytes: u64) -> Option<Claim> {
        self.shared.budget.try_extra(bytes).map(Claim::extra)
    }

    /// Records, until the result is dropped, that the job would have more in flight if more memory were free.
    pub fn cramped(&self) -> Present {
        self.shared.budget.cramped.enter()
    }

    fn try_claim(&self, own: &Arc<Semaphore>, bytes: u64) -> Option<Claim> {
        match Arc::clone(own).try_acquire_owned() {
            Ok(permit) => Some(Claim::own(permit, &self.shared)),
            Err(_) => self.try_more(bytes),
        }
    }

    async fn claim(&self, own: &Arc<Semaphore>, bytes: u64) -> Claim {
        if let Some(claim) = self.try_claim(own, bytes) {
            return claim;
        }
        let _cramped = self.cramped();
        // The permit returns when the bytes in the room have been used up, by a stage that waits for nothing of this
        // job.
        match Arc::clone(own).acquire_owned().await {
            Ok(permit) => Claim::own(permit, &self.shared),
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }
}

/// The loan that fills the write room of a job at its processor.
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
        state.give(held.write - own);
        held.write = own;
        let fitting = held.spare.len().min(budget.parts(held.read, held.write));
        held.spare.split_off(fitting).into_iter().for_each(|buffer| state.keep(buffer));
        drop((state, held));
        budget.changed.notify_waiters();
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Held> {
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
