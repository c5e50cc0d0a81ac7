//! The numbers behind the lock: what is free, what jobs have, and who waits.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Buffer;
use super::spare::Spare;

#[derive(Debug)]
pub(super) struct State {
    pub(super) free: u64,
    /// How many jobs have how much write room.
    pub(super) writes: BTreeMap<u64, usize>,
    /// What is granted beyond the jobs' own room.
    pub(super) extra: u64,
    /// Jobs waiting for their minimum. While there are any, extras may have half of the budget and no more.
    pub(super) waiting: usize,
    /// Jobs waiting to grow. While there are any, nobody is admitted and no extra is granted.
    pub(super) growing: usize,
    /// Empty buffers in what is free.
    pub(super) spare: Spare,
    /// What was free summed over the time, in byte-seconds, up to an instant.
    pub(super) area: (f64, Instant),
}

impl State {
    /// Takes `bytes` of what is free; returns the buffers that lay there.
    pub(super) fn take(&mut self, bytes: u64) -> Vec<Buffer> {
        self.look();
        self.free -= bytes;
        self.spare.shrink(self.free)
    }

    /// Gives `bytes` back.
    pub(super) fn give(&mut self, bytes: u64) {
        self.look();
        self.free += bytes;
    }

    /// Brings the sum up to date.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.area.1).as_secs_f64();
        self.area = (self.area.0 + self.free as f64 * passed, now);
    }

    /// Keeps `buffer` if there is free room to keep it in.
    pub(super) fn keep(&mut self, buffer: Buffer) {
        self.spare.keep(buffer, self.free);
    }

    pub(super) fn largest_write(&self) -> Option<u64> {
        self.writes.last_key_value().map(|(write, _)| *write)
    }

    pub(super) fn add(&mut self, write: u64) {
        *self.writes.entry(write).or_default() += 1;
    }

    pub(super) fn remove(&mut self, write: u64) {
        if let Some(count) = self.writes.get_mut(&write) {
            *count -= 1;
            if *count == 0 {
                self.writes.remove(&write);
            }
        }
    }
}
