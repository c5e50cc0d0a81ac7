//! What to change, from what was seen: arithmetic, without a clock.
//!
//! Throughput as a function of what is in flight rises in proportion, bends at a knee, and then stays, while latency
//! rises; beyond a service's rate it throttles. The climb looks for the knee by trials. One limit at a time, one that
//! is in the way, is raised; if the work done in a second grew by enough of the step the limit stays and goes on, else
//! it is put back and the next step is shorter and later. Now and then fewer are tried: if they do as much, fewer stay.
//! A rise that pays needs a larger share of its step than a fall that costs, so between the two nothing moves.
//!
//! The first doublings are judged by short looks, since what they bring is plain: beside jobs that wait for 40 ms, the
//! climb is all that a run of a few seconds loses. What a short look does not show gets one of the usual length, and
//! when that shows nothing either, haste is over.
//!
//! A throttled call cuts the limit at once, and from there it grows by equal small steps, without a gain to show: the
//! throttle itself is the signal (as TCP's congestion avoidance does).

use super::change::{Change, Reason};
use super::limit_state::{REST, STRIDES, Spot};
use super::trial::{Haste, Pace, Trial};

/// The limits, in the order of the flow: jobs, reads, writes. One downstream is in the way of those before it.
pub(super) const KINDS: usize = 3;

/// What was seen in a window of time in which the limits stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Window {
    /// Work done in a second.
    pub rate: f64,
    /// More in flight can't help: jobs wait for a processor, or the cores are busy.
    pub stuck: bool,
    /// The queue brought less than was asked for.
    pub empty: bool,
    /// What was seen of each limit.
    pub sights: [Sight; KINDS],
}

/// What was seen of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sight {
    /// A higher limit would be used.
    pub pressed: bool,
    /// The share of its calls that were throttled.
    pub throttled: f64,
    /// How many were in flight on average.
    pub in_flight: f64,
    /// How many waited for a place on average.
    pub waiting: f64,
    /// Seconds that a call took.
    pub latency: f64,
}

/// The share of a limit in flight from which it would soon be in the way of the other calls.
const NEAR: f64 = 0.7;
/// The share of the places to be added that calls which wait for one must fill for the trial to show what the places
/// bring.
const ENOUGH: f64 = 0.5;
/// The share of calls throttled that cuts a limit: S3 answers a few with 503 at any time.
const THROTTLED: f64 = 0.01;
/// What a throttle leaves, of what was in flight.
const CUT: f64 = 0.75;
/// Windows after a cut in which what was sent before it may still be throttled.
const CALM: u32 = 2;
/// The weight of the newest window in the level that a trial is judged by.
const NEWEST: f64 = 0.4;
/// Work a second that changes so much by itself means that other objects have come: what was tried before is void.
const OTHER: f64 = 1.3;

/// The state of the search.
#[derive(Clone, Debug)]
pub(super) struct Climb {
    spots: [Spot; KINDS],
    trial: Option<Trial>,
    /// The usual work a second with these limits.
    level: Option<f64>,
    haste: Haste,
}

impl Climb {
    /// A search that begins at `start` and keeps within floors and ceilings: `(start, floor, ceiling)` each.
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
            // What a trial shows now is the throttle's doing.
            if let Some(mut trial) = self.trial.take() {
                changes.iter().for_each(|cut| trial.from[cut.kind] = None);
                changes.extend(self.back(trial, Reason::NoGain));
            }
            (self.level, self.haste) = (None, Haste::Over);
            return changes;
        }
        if seen.rate <= 0.0 || seen.empty {
            // No evidence. What was being tried is put back, and forgotten.
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

    /// Takes a throttle's word for it.
    fn cut(&mut self, kind: usize, sight: &Sight) -> Option<Change> {
        let spot = &mut self.spots[kind];
        spot.calm = spot.calm.saturating_sub(1);
        if sight.throttled < THROTTLED || spot.calm > 0 {
            return None;
        }
        // A limit far above what is in flight cuts nothing.
        let flying = (sight.in_flight.ceil() as usize).clamp(spot.floor, spot.now);
        let to = ((flying as f64 * CUT) as usize).max(spot.floor);
        (spot.calm, spot.hold, spot.stride, spot.fewer) = (CALM, CALM, 0, false);
        spot.knee = Some(flying);
        self.set(kind, to, Reason::Throttled)
    }

    /// Notes what a trial has brought, with each limit that it moved.
    fn note(&mut self, trial: Trial, seen: &Window, stays: bool) {
        let up = trial.step > 0.0;
        for kind in (0..KINDS).filter(|kind| trial.from[*kind].is_some()) {
            let spot = &mut self.spots[kind];
            if stays {
                spot.latency = Some(seen.sights[kind].latency);
                spot.fewer = false;
                if spot.rose == up {
                    // The knee lies further on; down there only slowly, since each step is a risk.
                    spot.rest = REST;
                    spot.hold = if up { 0 } else { REST };
                } else {
                    // To and fro is noise, or the knee itself.
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
            // Those that wait for the calls that are no more: nothing else would ever ask whether they are needed.
            jobs.fewer = true;
        }
    }

    /// Follows the level while nothing is tried.
    fn settle(&mut self, rate: f64) {
        let level = self.level.unwrap_or(rate);
        if rate > level * OTHER || rate * OTHER < level {
            self.spots.iter_mut().for_each(Spot::refresh);
            self.level = Some(rate);
        } else {
            self.level = Some(level + NEWEST * (rate - level));
        }
    }

    /// Which limits move together in the next trial. Reads and writes where both are in the way, or nearly, for of one
    /// alone nothing would come. Jobs of which enough wait for a read or a write are not too few; but 128 jobs that do
    /// nothing else fill 64 reads and 64 writes, and none waits: there more jobs find no places, and more places no
    /// jobs, so all move. That is so for more only: fewer are tried of jobs alone, and of calls without them.
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

    /// The next trial, if one is due.
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
            // Together they go one way.
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
