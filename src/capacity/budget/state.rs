//! The numbers behind the budget's lock: what is free, what jobs have, and who waits.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Buffer;
use super::spare::Spare;

#[derive(Debug)]
pub(super) struct State {
    pub(super) free: u64,
    /// How many jobs have how much write room.
    pub(super) writes: BTreeMap<u64, usize>,
    /// What is granted beyond the jobs' own rooms.
    pub(super) extra: u64,
    /// Jobs that wait for their minimum. While there are any, extras may have at most half of the budget.
    pub(super) waiting: usize,
    /// Jobs that wait to grow. While there are any, no job is admitted and no extra is granted.
    pub(super) growing: usize,
    /// Empty buffers in the free memory.
    pub(super) spare: Spare,
    /// Integral of the free bytes over time (byte-seconds), and when it was last updated.
    pub(super) area: (f64, Instant),
}

impl State {
    /// Takes `bytes` of the free memory; returns the spare buffers that no longer fit.
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

    /// Brings the integral up to date.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.area.1).as_secs_f64();
        self.area = (self.area.0 + self.free as f64 * passed, now);
    }

    /// Keeps `buffer` if free memory can hold it.
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
