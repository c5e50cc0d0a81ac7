//! `--concurrency auto`: finds how many jobs, reads and writes should be in flight, and keeps searching.
//!
//! One task looks at what the [limits](crate::capacity::limit) have observed, in windows long enough for each permit
//! to have been used a few times, and asks `Climb` what to change. Work is counted in requests and bytes, so that
//! small and large objects can be compared. Long polls follow the job slots (`receive`).
//!
//! The tuner never exceeds the ceilings that the settings allow. It holds no memory: the budget grants memory before
//! a job begins. It moves nothing while jobs wait for a processor, while the cores are busy, or while the queue
//! brings less than was asked for. Every change is logged with its reason and counted. The runtime's clock drives
//! the tuner; with a fixed `--concurrency` there is no tuner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use self::climb::{Climb, KINDS, Sight, Window};
use self::trial::Pace;
use crate::capacity::limit::{Lane, Limit, Seen};
use crate::error::Stage;
use crate::record::{Meters, State};

mod change;
mod climb;
mod limit_state;
#[cfg(test)]
mod tests;
mod trial;

pub use change::Reason;

/// The limits that move, in the order of the flow. The names are metric labels.
pub const NAMES: [&str; KINDS] = ["jobs", "reads", "writes"];

/// How often the meters are read: about every round trip to S3, so that a window ends soon after it may.
const TICK: Duration = Duration::from_millis(25);
/// The shortest windows, in ticks. The usual window is some ten round trips to S3. Short steps show only in three times
/// as many. The effect of a doubling shows in two ticks, although half of its new jobs have no answer yet.
const fn shortest(pace: Pace) -> u32 {
    match pace {
        Pace::Quick => 2,
        Pace::Usual => 8,
        Pace::Fine => 24,
    }
}
/// The longest window, if anything was observed in it. A part of 8 MiB at [`SLOWEST`](crate::services::retry::SLOWEST)
/// takes longer, but at that speed no limit is right.
const LONGEST: Duration = Duration::from_secs(30);
/// How often each permit is used in a window, and three times as often in a window for a short step. Before the window,
/// while a change takes effect, each permit is used once, and at least a third of the ticks pass.
const TURNS: u64 = 2;
/// The fewest calls to judge by: their number varies by its square root, so 16 calls distinguish a half from a whole.
const LEAST: u64 = 16;
/// Bytes that count as much work as a request: what one connection to S3 carries (90 MB/s) in the time to a first byte.
const REQUEST: f64 = 2.0 * 1024.0 * 1024.0;
/// The share of calls that must wait for a limit before the limit counts as in the way.
const PRESSED: f64 = 0.1;
/// If a receive brings at least this share of what it asked for, the queue has more.
const FULL: f64 = 0.5;
/// More jobs can't help if a job waits for a processor in this share of the ticks, or this share of the cores' time is
/// used.
const STUCK: f64 = 0.9;
/// Beyond this number, use more than one machine; the memory promise is tested up to here.
pub const MOST: usize = 1000;

/// CPU seconds that this process has used so far.
pub type Cpu = fn() -> Option<f64>;

/// How the number of jobs at once is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// By the user.
    Fixed,
    /// By `--concurrency auto`, which is still climbing.
    Climbing,
    /// By `--concurrency auto`, which found that a higher number brought no more work.
    Found,
    /// By `--concurrency auto`, which has reached the highest allowed number.
    Most,
}

/// Moves the limits of one pipeline.
#[derive(Clone, Debug)]
pub struct Tuner {
    limits: [Arc<Limit>; KINDS],
    meters: Arc<Meters>,
    cores: usize,
    cpu: Cpu,
    /// Whether a rise has been tried since the last gain, and failed.
    found: Arc<AtomicBool>,
}

impl Tuner {
    /// A tuner for a pipeline that begins with `jobs` slots, with at most `ceiling` for each limit.
    pub fn new(jobs: usize, ceiling: usize, cores: usize, cpu: Cpu, meters: Arc<Meters>) -> Self {
        // Half of what the first jobs could have in flight, which is enough not to be in the way at first.
        let calls = (4 * jobs).min(ceiling);
        let limits = [Limit::moving(jobs, ceiling), Limit::moving(calls, ceiling), Limit::moving(calls, ceiling)];
        Self { limits, meters, cores: cores.max(1), cpu, found: Arc::default() }
    }

    /// The job slots.
    pub fn jobs(&self) -> &Arc<Limit> {
        &self.limits[0]
    }

    /// The lane for reads.
    pub fn reads(&self) -> Lane {
        Lane::through(&self.limits[1])
    }

    /// The lane for writes.
    pub fn writes(&self) -> Lane {
        Lane::through(&self.limits[2])
    }

    /// The current limits, in the order of [`NAMES`].
    pub fn now(&self) -> [usize; KINDS] {
        [0, 1, 2].map(|kind| self.limits[kind].now())
    }

    /// How far the search has got.
    pub fn state(&self) -> Concurrency {
        match () {
            () if self.limits[0].now() >= self.limits[0].ceiling() => Concurrency::Most,
            () if self.found.load(Relaxed) => Concurrency::Found,
            () => Concurrency::Climbing,
        }
    }

    /// Moves the limits until it is dropped.
    pub async fn run(self) {
        let floors = [self.cores, 2, 2];
        let mut climb =
            Climb::new([0, 1, 2].map(|kind| (self.limits[kind].now(), floors[kind], self.limits[kind].ceiling())));
        let mut clock = tokio::time::interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut began = self.sample();
        // Nothing is measured until a change has taken effect.
        let mut settling = true;
        let (mut looks, mut waiting) = (0_u32, 0_u32);
        loop {
            clock.tick().await;
            looks += 1;
            waiting += u32::from(self.a_job_waits_for_a_processor());
            let now = self.sample();
            let pace = climb.pace();
            let usual = if pace == Pace::Fine { 3 * TURNS } else { TURNS };
            let (ticks, turns) = if settling { (shortest(pace).div_ceil(3), 1) } else { (shortest(pace), usual) };
            let (elapsed, answered) = (now.at - began.at, now.answered() - began.answered());
            let places = self.limits.iter().map(|limit| limit.in_use()).max().unwrap_or(0) as u64;
            let enough = looks >= ticks && answered >= (turns * places).max(LEAST);
            if !enough && elapsed < LONGEST {
                continue;
            }
            let mut changed = false;
            if !settling {
                let stuck = f64::from(waiting) >= STUCK * f64::from(looks) || self.cores_are_busy(&began, &now);
                changed = self.decide(&mut climb, &window(&began, &now, stuck));
            }
            settling = changed;
            (looks, waiting) = (0, 0);
            began = self.sample();
        }
    }

    fn decide(&self, climb: &mut Climb, window: &Window) -> bool {
        let changes = climb.step(window);
        for change in &changes {
            self.limits[change.kind].set(change.to);
            let (limit, reason) = (NAMES[change.kind], change.why.as_str());
            tracing::info!(
                limit,
                from = change.from,
                to = change.to,
                reason,
                work = window.rate.round(),
                "concurrency"
            );
            self.meters.concurrency_changed(limit, reason);
            match change.why {
                Reason::NoGain | Reason::Fewer | Reason::Latency => self.found.store(true, Relaxed),
                Reason::Gain => self.found.store(false, Relaxed),
                Reason::Trial | Reason::Loss | Reason::Throttled | Reason::Recovery => {}
            }
        }
        !changes.is_empty()
    }

    fn a_job_waits_for_a_processor(&self) -> bool {
        self.meters.stage(Stage::Process).in_state()[State::WaitPermit as usize] > 0
    }

    fn cores_are_busy(&self, then: &Sample, now: &Sample) -> bool {
        let (Some(before), Some(after)) = (then.cpu, now.cpu) else { return false };
        (after - before) / (now.at - then.at).as_secs_f64() >= STUCK * self.cores as f64
    }

    fn sample(&self) -> Sample {
        Sample { at: Instant::now(), cpu: (self.cpu)(), seen: [0, 1, 2].map(|kind| self.limits[kind].seen()) }
    }
}

/// What was observed up to a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    cpu: Option<f64>,
    seen: [Seen; KINDS],
}

impl Sample {
    fn answered(&self) -> u64 {
        self.seen.iter().map(|seen| seen.answered + seen.throttled).sum()
    }
}

/// The difference between two samples.
fn window(then: &Sample, now: &Sample, stuck: bool) -> Window {
    let seconds = (now.at - then.at).as_secs_f64();
    let mut window = Window { stuck, ..Window::default() };
    for kind in 0..KINDS {
        let (then, now) = (&then.seen[kind], &now.seen[kind]);
        let more = |number: fn(&Seen) -> u64| (number(now) - number(then)) as f64;
        let (asked, pressed) = (more(|seen| seen.asked), more(|seen| seen.pressed));
        let (answered, throttled) = (more(|seen| seen.answered), more(|seen| seen.throttled));
        let busy = (now.busy - then.busy).as_secs_f64();
        window.rate += (answered + more(|seen| seen.bytes) / REQUEST) / seconds;
        let share = if kind == 0 { FULL } else { PRESSED };
        window.sights[kind] = Sight {
            pressed: pressed > 0.0 && pressed >= asked * share,
            throttled: if throttled > 0.0 { throttled / (answered + throttled) } else { 0.0 },
            in_flight: busy / seconds,
            waiting: (now.waited - then.waited).as_secs_f64() / seconds,
            latency: if answered > 0.0 { busy / answered } else { 0.0 },
        };
        if kind == 0 {
            window.empty = asked > 0.0 && pressed < asked * share;
        }
    }
    window
}
