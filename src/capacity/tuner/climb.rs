//! Decides what to change from what was observed: pure arithmetic, without a clock.
//!
//! As more calls are in flight, throughput first rises in proportion, bends at a knee, and then stays the same while
//! latency rises; beyond a service's rate the service throttles. The climb looks for the knee by trials. It raises
//! one limit at a time that is in the way. If the work per second grew by a sufficient share of the step, the limit
//! stays and the next step follows; otherwise the limit returns, and the next step is shorter and later. Sometimes a
//! lower limit is tried: if it does as much work, it stays. A rise must gain a larger share of its step than a fall
//! may lose, so nothing moves between the two.
//!
//! The first doublings are judged by short windows, because their effect is obvious: in a run of a few seconds,
//! almost all lost time is the climb (if jobs take about 40 ms). If a short window shows no gain, a window of the
//! usual length follows, and if that shows no gain either, the fast phase is over.
//!
//! A throttled call cuts the limit at once. From there the limit grows by small equal steps, without having to show
//! a gain, because the throttle itself is the signal (as in TCP's congestion avoidance).

use super::change::{Change, Reason};
use super::limit_state::{REST, STRIDES, Spot};
use super::trial::{Haste, Pace, Trial};

/// The limits, in the order of the flow: jobs, reads, writes. A limit downstream blocks those before it.
pub(super) const KINDS: usize = 3;

/// What was observed in a window of time during which the limits did not move.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Window {
    /// Work done per second.
    pub rate: f64,
    /// A higher limit can't help: jobs wait for a processor, or the cores are busy.
    pub stuck: bool,
    /// The queue brought less than was asked for.
    pub empty: bool,
    /// What was observed of each limit.
    pub sights: [Sight; KINDS],
}

/// What was observed of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sight {
    /// Whether a higher limit would be used.
    pub pressed: bool,
    /// The share of its calls that were throttled.
    pub throttled: f64,
    /// How many were in flight on average.
    pub in_flight: f64,
    /// How many waited for a permit on average.
    pub waiting: f64,
    /// Seconds that a call took.
    pub latency: f64,
}

/// If at least this share of a limit is in flight, the limit would soon be in the way of the other calls.
const NEAR: f64 = 0.7;
/// Calls that wait for a permit must fill at least this share of the added permits; otherwise the trial would not show
/// what the permits bring.
const ENOUGH: f64 = 0.5;
/// The share of throttled calls that cuts a limit: S3 answers a few calls with 503 at any time.
const THROTTLED: f64 = 0.01;
/// The share of what was in flight that remains after a throttle.
const CUT: f64 = 0.75;
/// Windows after a cut in which calls sent before the cut may still be throttled.
const CALM: u32 = 2;
/// The weight of the newest window in the level by which a trial is judged.
const NEWEST: f64 = 0.4;
/// If the work per second changes by this factor on its own, the objects are of another kind, and earlier trials no
/// longer apply.
const OTHER: f64 = 1.3;

/// The state of the search.
#[derive(Clone, Debug)]
pub(super) struct Climb {
    spots: [Spot; KINDS],
    trial: Option<Trial>,
    /// The usual work per second with the current limits.
    level: Option<f64>,
    haste: Haste,
}

impl Climb {
    /// A search that begins at `start` and stays between floor and ceiling: `(start, floor, ceiling)` for each limit.
    pub(super) fn new(limits: [(usize, usize, usize); KINDS]) -> Self {
        Self { spots: limits.map(Spot::new), trial: None, level: None, haste: Haste::Quick }
    }

    /// How long the next window must be.
    pub(super) fn pace(&self) -> Pace {
        let longest = STRIDES[STRIDES.len() - 1];
        let fine = match self.trial {
            Some(trial) => trial.step < longest - 1.0,
            None => self.spots.iter().all(|spot| spot.stride < STRIDES.len() - 1 || spot.hold > 0),
        };
        match self.haste {
            Haste::Quick => Pace::Quick,
            Haste::Doubt => Pace::Usual,
            Haste::Over if fine => Pace::Fine,
            Haste::Over => Pace::Usual,
        }
    }

    /// Decides what to change after a window.
    pub(super) fn step(&mut self, seen: &Window) -> Vec<Change> {
        let mut changes: Vec<Change> = (0..KINDS).filter_map(|kind| self.cut(kind, &seen.sights[kind])).collect();
        if !changes.is_empty() {
            // What a trial shows now is the effect of the throttle.
            if let Some(mut trial) = self.trial.take() {
                changes.iter().for_each(|cut| trial.from[cut.kind] = None);
                changes.extend(self.back(trial, Reason::NoGain));
            }
            (self.level, self.haste) = (None, Haste::Over);
            return changes;
        }
        if seen.rate <= 0.0 || seen.empty {
            // No evidence: the trial under way is undone and forgotten.
            self.level = None;
            return self.trial.take().map(|trial| self.back(trial, Reason::NoGain)).unwrap_or_default();
        }
        let trial = self.trial.take();
        match trial {
            Some(trial) => {
                let pays = trial.pays(seen.rate, self.haste);
                match self.haste {
                    Haste::Quick if !pays => {
                        (self.trial, self.haste) = (Some(trial), Haste::Doubt);
                        return Vec::new();
                    }
                    Haste::Doubt => self.haste = if pays { Haste::Quick } else { Haste::Over },
                    Haste::Quick | Haste::Over => {}
                }
                self.note(trial, seen, pays);
                if !pays {
                    self.level = Some(trial.level);
                    let why = if trial.step > 0.0 { Reason::NoGain } else { Reason::Loss };
                    return self.back(trial, why);
                }
                self.level = Some(seen.rate);
            }
            None => self.settle(seen.rate),
        }
        if seen.stuck { Vec::new() } else { self.next(seen, trial.is_some()) }
    }

    /// Cuts the limit after throttling.
    fn cut(&mut self, kind: usize, sight: &Sight) -> Option<Change> {
        let spot = &mut self.spots[kind];
        spot.calm = spot.calm.saturating_sub(1);
        if sight.throttled < THROTTLED || spot.calm > 0 {
            return None;
        }
        // Counted from what was in flight, because cutting a limit far above that would change nothing.
        let flying = (sight.in_flight.ceil() as usize).clamp(spot.floor, spot.now);
        let to = ((flying as f64 * CUT) as usize).max(spot.floor);
        (spot.calm, spot.hold, spot.stride, spot.fewer) = (CALM, CALM, 0, false);
        spot.knee = Some(flying);
        self.set(kind, to, Reason::Throttled)
    }

    /// Records the result of a trial for each limit that it moved.
    fn note(&mut self, trial: Trial, seen: &Window, stays: bool) {
        let up = trial.step > 0.0;
        for kind in (0..KINDS).filter(|kind| trial.from[*kind].is_some()) {
            let spot = &mut self.spots[kind];
            if stays {
                spot.latency = Some(seen.sights[kind].latency);
                spot.fewer = false;
                if spot.rose == up {
                    // The knee lies further in this direction. Downwards the steps are slow, because each step is a
                    // risk.
                    spot.rest = REST;
                    spot.hold = if up { 0 } else { REST };
                } else {
                    // Moving to and fro means noise, or that the limit is at the knee.
                    spot.tire();
                }
                if up {
                    spot.stride = (spot.stride + 1).min(STRIDES.len() - 1);
                }
                spot.rose = up;
            } else if up && spot.stride > 0 {
                spot.stride -= 1;
                spot.hold = 1;
            } else {
                spot.tire();
                spot.fewer = up;
            }
        }
        let jobs = &mut self.spots[0];
        if stays && !up && trial.from[0].is_none() {
            // Jobs that waited for the calls that were removed: nothing else would test whether these jobs are needed.
            jobs.fewer = true;
        }
    }

    /// Updates the level while no trial is under way.
    fn settle(&mut self, rate: f64) {
        let level = self.level.unwrap_or(rate);
        if rate > level * OTHER || rate * OTHER < level {
            self.spots.iter_mut().for_each(Spot::refresh);
            self.level = Some(rate);
        } else {
            self.level = Some(level + NEWEST * (rate - level));
        }
    }

    /// Decides which limits move together in the next trial. Reads and writes move together if both are in the way, or
    /// nearly, because raising one alone would bring nothing. If enough jobs wait for a read or a write, jobs are not
    /// too few. But 128 jobs that only read and write fill 64 reads and 64 writes, and none waits: more jobs alone
    /// would find no permits, and more permits no jobs, so all limits move. This applies only to rises: lower limits
    /// are tried for jobs alone, and for calls without jobs.
    fn group(&self, seen: &Window) -> [bool; KINDS] {
        let pressed = seen.sights.map(|sight| sight.pressed);
        let near = |kind: usize| seen.sights[kind].in_flight >= NEAR * self.spots[kind].now as f64;
        if pressed == [false; KINDS] || (pressed[0] && self.spots[0].fewer) {
            return [pressed[0], false, false];
        }
        let calls = [1, 2].map(|kind| pressed[kind] || near(kind));
        let (mut wanted, mut waiting, mut fewer) = (0.0, 0.0, false);
        for kind in [1, 2].into_iter().filter(|kind| calls[kind - 1]) {
            let spot = &self.spots[kind];
            wanted += spot.now as f64 * (STRIDES[spot.stride] - 1.0);
            waiting += seen.sights[kind].waiting;
            fewer |= spot.fewer;
        }
        [pressed[0] && !fewer && waiting <= ENOUGH * wanted, calls[0], calls[1]]
    }

    /// The next trial, if a trial is due.
    fn next(&mut self, seen: &Window, gained: bool) -> Vec<Change> {
        let Some(level) = self.level else { return Vec::new() };
        let group = self.group(seen);
        let mut due = false;
        for ((spot, sight), in_the_way) in self.spots.iter_mut().zip(&seen.sights).zip(group) {
            spot.latency.get_or_insert(sight.latency);
            due |= in_the_way && spot.hold == 0;
            spot.hold = spot.hold.saturating_sub(1);
        }
        if !due {
            return Vec::new();
        }
        let (mut trial, mut changes) = (Trial { from: [None; KINDS], step: 0.0, level }, Vec::new());
        for kind in (0..KINDS).filter(|kind| group[*kind]) {
            let (to, why) = self.spots[kind].wish(seen.sights[kind].latency, gained);
            let spot = &self.spots[kind];
            let (from, to) = (spot.now, to.clamp(spot.floor, spot.ceiling));
            let step = to as f64 / from as f64 - 1.0;
            // All limits of a trial move in the same direction.
            if step * trial.step < 0.0 {
                continue;
            }
            if why != Reason::Recovery && to != from {
                trial.from[kind] = Some(from);
                trial.step = if step.abs() > trial.step.abs() { step } else { trial.step };
            }
            changes.extend(self.set(kind, to, why));
        }
        if trial.step < 0.0 {
            self.haste = Haste::Over;
        }
        if trial.step == 0.0 {
            self.level = if changes.is_empty() { self.level } else { None };
        } else {
            self.trial = Some(trial);
        }
        changes
    }

    fn back(&mut self, trial: Trial, why: Reason) -> Vec<Change> {
        (0..KINDS).filter_map(|kind| self.set(kind, trial.from[kind]?, why)).collect()
    }

    fn set(&mut self, kind: usize, to: usize, why: Reason) -> Option<Change> {
        let from = std::mem::replace(&mut self.spots[kind].now, to);
        (from != to).then_some(Change { kind, from, to, why })
    }
}
