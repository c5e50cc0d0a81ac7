//! The numbers of one stage, and the time that it spends in each state.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Durations, Level};

/// What a stage spends its time on. The names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Working.
    Busy,
    /// Waiting for data from the stage before.
    WaitUpstream,
    /// Waiting because the stage after has no room.
    WaitDownstream,
    /// Waiting for a processor slot or for memory.
    WaitPermit,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Busy, Self::WaitUpstream, Self::WaitDownstream, Self::WaitPermit];

    /// The label used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::WaitUpstream => "wait_upstream",
            Self::WaitDownstream => "wait_downstream",
            Self::WaitPermit => "wait_permit",
        }
    }
}

/// The numbers of one stage. All of them only grow, except those for items in progress.
#[derive(Debug, Default)]
pub struct StageMeter {
    clock: Mutex<Clock>,
    /// How often a turn ended or changed its state.
    changes: AtomicU64,
    /// Items taken.
    pub items_in: AtomicU64,
    /// Items passed on after success.
    pub items_out: AtomicU64,
    /// Items that failed here.
    pub failed: AtomicU64,
    /// Items that were given up, neither succeeded nor failed: another stage of their job failed, or nobody needs them
    /// any more.
    pub dropped: AtomicU64,
    /// Bytes taken.
    pub bytes_in: AtomicU64,
    /// Bytes passed on.
    pub bytes_out: AtomicU64,
    /// When an item last succeeded, by the wall clock, in seconds since 1970.
    pub last_success: AtomicU64,
    /// How long successful items took.
    pub durations: Durations,
    /// Calls that wait before their retry because the service throttled them.
    pub throttled: Arc<Level>,
}

/// How an item leaves a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Passed on after success.
    Out,
    /// Failed in this stage.
    Failed,
    /// Given up.
    Dropped,
}

#[derive(Debug, Default)]
struct Clock {
    in_state: [u32; State::ALL.len()],
    spent: [Duration; State::ALL.len()],
    updated: Option<Instant>,
}

impl Clock {
    fn advance(&mut self) {
        let now = Instant::now();
        let passed = self.updated.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        for (spent, in_state) in self.spent.iter_mut().zip(self.in_state) {
            *spent += passed * in_state;
        }
    }
}

impl StageMeter {
    /// Time spent in each state so far, in the order of [`State::ALL`], summed over all turns.
    pub fn time(&self) -> [Duration; State::ALL.len()] {
        let mut clock = self.clock();
        clock.advance();
        clock.spent
    }

    /// How many turns are in each state now, in the order of [`State::ALL`].
    pub fn in_state(&self) -> [u32; State::ALL.len()] {
        self.clock().in_state
    }

    /// Like [`in_state`](Self::in_state), but never waits: `None` if the clock is locked.
    pub fn glance(&self) -> Option<[u32; State::ALL.len()]> {
        self.clock.try_lock().ok().map(|clock| clock.in_state)
    }

    /// A number that changes whenever the stage does anything: takes or passes on bytes, begins or ends an item or a
    /// wait. Reading it never waits, and the number may be slightly out of date.
    pub fn moved(&self) -> u64 {
        let changes = self.changes.load(Relaxed);
        [&self.items_in, &self.items_out, &self.failed, &self.bytes_in, &self.bytes_out]
            .iter()
            .fold(changes, |sum, number| sum.wrapping_add(number.load(Relaxed)))
    }

    /// How many of the items taken were passed on, failed, were given up, or are still here. Their sum is `items_in`.
    pub fn left(&self) -> [u64; 4] {
        let [out, failed, dropped] = [&self.items_out, &self.failed, &self.dropped].map(|number| number.load(Relaxed));
        [out, failed, dropped, u64::from(self.in_progress())]
    }

    /// How many turns have not ended.
    pub fn in_progress(&self) -> u32 {
        self.in_state().iter().sum()
    }

    /// Begins a turn, in the busy state.
    pub(super) fn begin(&self) {
        self.items_in.fetch_add(1, Relaxed);
        let mut clock = self.clock();
        clock.advance();
        clock.in_state[State::Busy as usize] += 1;
    }

    /// Moves a turn from one state to another.
    pub(super) fn switch(&self, from: State, to: State) {
        self.changes.fetch_add(1, Relaxed);
        let mut clock = self.clock();
        clock.advance();
        clock.in_state[from as usize] -= 1;
        clock.in_state[to as usize] += 1;
    }

    /// Ends a turn that was in `state`.
    pub(super) fn end(&self, state: State, how: Leaving) {
        self.changes.fetch_add(1, Relaxed);
        let number = match how {
            Leaving::Out => &self.items_out,
            Leaving::Failed => &self.failed,
            Leaving::Dropped => &self.dropped,
        };
        number.fetch_add(1, Relaxed);
        let mut clock = self.clock();
        clock.advance();
        clock.in_state[state as usize] -= 1;
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
