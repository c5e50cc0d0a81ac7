//! Reports a worker in which nothing progresses any more. The program then ends with exit code 7, so that its
//! supervisor starts another.
//!
//! Every wait in the flow has a bound: a call has a deadline, a retry has a longest pause, a long poll has its wait
//! time. If a worker has jobs in hand and nothing has progressed for longer than all of these together, the worker
//! is not slow but stuck: in a deadlock, in a thread that never returns, or by a lost wake-up. It would keep its
//! leases for twelve hours, and look alive from outside. If the worker ends instead, its messages become visible
//! after their visibility timeout.
//!
//! Four things are watched, by a thread that shares nothing with them and waits for no lock:
//!
//! - the runtime that does the work runs our heartbeat task each second;
//! - the runtime of the lease keeper does the same;
//! - while there are jobs in hand, some stage of a job takes or passes on something, fails, or begins or ends a
//!   wait, or some call is retried;
//! - while there are no jobs, receiving continues.
//!
//! Long work that is legitimate does not count as stuck. A processor that computes for hours counts as progress for
//! as long as it runs (`--job-timeout` bounds it), an idle worker receives, and a worker in an outage retries. While
//! a process is stopped or its machine sleeps, the watchdog does not look either: a look counts only the time of one
//! interval between looks.
//!
//! The caller decides what to do about it: only the program ends its process, because a library must not end its
//! host's process.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::error::Stage;
use crate::lease::Leases;
use crate::record::{Meters, State};
use crate::runtime::heartbeat;
use crate::runtime::task::{self, Task};

/// How long nothing has progressed although something should. Shared with the display.
#[derive(Clone, Debug, Default)]
pub struct Stall(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown {
    quiet: AtomicU64,
    limit: AtomicU64,
}

impl Stall {
    /// How long nothing has progressed although something should.
    pub fn quiet(&self) -> Duration {
        Duration::from_secs(self.0.quiet.load(Relaxed))
    }

    /// Whether this is at least half of the limit: long enough to report the worker as unhealthy.
    pub fn is_unwell(&self) -> bool {
        let limit = self.0.limit.load(Relaxed);
        limit > 0 && self.0.quiet.load(Relaxed) >= limit.div_ceil(2)
    }

    /// Records that nothing has progressed for `quiet`; `limit` is the time that ends the worker.
    pub fn set(&self, quiet: Duration, limit: Duration) {
        self.0.quiet.store(quiet.as_secs(), Relaxed);
        self.0.limit.store(limit.as_secs(), Relaxed);
    }
}

/// What is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What the stages count.
    pub meters: Arc<Meters>,
    /// The leases, and their keeper.
    pub leases: Arc<Leases>,
    /// How long nothing may progress, in addition to what deadlines explain.
    pub patience: Duration,
    /// The longest of all legitimate waits except calls: confirming a lease, a long poll, pauses between calls.
    pub waits: Duration,
}

/// A worker in which nothing progresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// What does not progress.
    pub what: String,
    /// For how long.
    pub quiet: Duration,
    /// What every stage waits for, in one line.
    pub seen: String,
}

/// The watchdog's thread; dropping this ends it.
#[derive(Debug)]
pub struct Watchdog {
    _stop: Sender<()>,
    _heart: Task<()>,
}

/// Watches until dropped, or until nothing progresses, which it reports once to `report`, on its own thread. Must be
/// called on the runtime that is to be watched.
pub fn start(watched: Watched, stall: Stall, report: impl FnOnce(Stuck) + Send + 'static) -> std::io::Result<Watchdog> {
    let beats = Arc::new(AtomicU64::new(0));
    let heart = task::spawn(heartbeat::beat(Arc::clone(&beats)));
    let (stop, stopped) = channel();
    let watching = move || watch(&watched, &beats, &stall, &stopped).map(report);
    std::thread::Builder::new().name("watchdog".into()).spawn(watching)?;
    Ok(Watchdog { _stop: stop, _heart: heart })
}

/// Looks once a second until stopped, or until something has been quiet for longer than the limit.
fn watch(watched: &Watched, beats: &AtomicU64, stall: &Stall, stopped: &Receiver<()>) -> Option<Stuck> {
    let mut quiet = Quiet::default();
    let mut last = Signs::default();
    while stopped.recv_timeout(heartbeat::EVERY) == Err(RecvTimeoutError::Timeout) {
        last = Signs::read(watched, beats, &last);
        let (for_how_long, what) = quiet.look(&last, heartbeat::EVERY);
        // The deadline of a call grows with the part that the call carries.
        let limit = watched.patience + watched.waits + watched.meters.longest_call();
        stall.set(for_how_long, limit);
        if for_how_long > limit {
            let seen = dump(&last, watched.leases.held());
            return Some(Stuck { what: what.to_string(), quiet: for_how_long, seen });
        }
    }
    None
}

/// What has progressed and what there is to do, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Signs {
    runtime: u64,
    keeper: u64,
    /// Everything that the stages of jobs have done, summed up.
    jobs: u64,
    receive: u64,
    in_hand: bool,
    computing: bool,
    receiving: bool,
    /// What the stages are doing, in the order of [`Stage::ALL`].
    states: [[u32; State::ALL.len()]; Stage::ALL.len()],
}

impl Signs {
    /// If a value can't be read because its lock is held, the previous value stays.
    fn read(watched: &Watched, beats: &AtomicU64, before: &Self) -> Self {
        let Watched { meters, leases, .. } = watched;
        let mut signs = Self {
            runtime: beats.load(Relaxed),
            keeper: leases.beats(),
            jobs: meters.retries.load(Relaxed),
            receive: 0,
            in_hand: leases.held().map_or(before.in_hand, |held| held > 0),
            computing: false,
            receiving: false,
            states: before.states,
        };
        for stage in Stage::ALL {
            let meter = meters.stage(stage);
            let moved = meter.moved();
            match stage {
                Stage::Receive => signs.receive = moved,
                _ => signs.jobs = signs.jobs.wrapping_add(moved),
            }
            if let Some(states) = meter.glance() {
                signs.states[stage as usize] = states;
            }
        }
        signs.computing = signs.states[Stage::Process as usize][State::Busy as usize] > 0;
        signs.receiving = signs.states[Stage::Receive as usize].iter().sum::<u32>() > 0;
        signs
    }
}

/// What does not progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Runtime,
    Keeper,
    Jobs,
    Receiving,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "the runtime runs no task",
            Self::Keeper => "the keeper of the leases does not run",
            Self::Jobs => "no job moves",
            Self::Receiving => "nothing is in hand, and nothing is received",
        })
    }
}

/// How long each thing has been quiet.
#[derive(Debug, Default)]
struct Quiet {
    last: Option<Signs>,
    runtime: Duration,
    keeper: Duration,
    jobs: Duration,
    receiving: Duration,
}

impl Quiet {
    /// Takes a look, `passed` after the previous one; returns what has been quiet for the longest time, and for how
    /// long.
    fn look(&mut self, now: &Signs, passed: Duration) -> (Duration, What) {
        let before = self.last.replace(now.clone()).unwrap_or_default();
        let count = |quiet: &mut Duration, still: bool| *quiet = if still { *quiet + passed } else { Duration::ZERO };
        count(&mut self.runtime, now.runtime == before.runtime);
        count(&mut self.keeper, now.keeper == before.keeper);
        count(&mut self.jobs, now.in_hand && !now.computing && now.jobs == before.jobs);
        count(&mut self.receiving, now.receiving && !now.in_hand && now.receive == before.receive);
        let all = [
            (self.runtime, What::Runtime),
            (self.keeper, What::Keeper),
            (self.jobs, What::Jobs),
            (self.receiving, What::Receiving),
        ];
        // If several are equal, the first, because a runtime that does not run explains the rest.
        all.into_iter().rev().max_by_key(|(quiet, _)| *quiet).unwrap_or((Duration::ZERO, What::Jobs))
    }
}

/// What every stage waits for, in one line.
fn dump(signs: &Signs, held: Option<usize>) -> String {
    let mut text = held.map_or("leases locked".to_owned(), |held| format!("leases held: {held}"));
    for stage in Stage::ALL {
        let states = signs.states[stage as usize];
        if states.iter().sum::<u32>() == 0 {
            continue;
        }
        // Writing to a string can't fail.
        write!(text, "; {}:", stage.as_str()).unwrap_or(());
        for (state, count) in State::ALL.into_iter().zip(states).filter(|(_, count)| *count > 0) {
            write!(text, " {count} {}", state.as_str()).unwrap_or(());
        }
    }
    text
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
