//! A simulated pipeline, and a search that runs on it.

use super::super::change::Change;
use super::super::climb::Climb;
use super::super::*;

/// A simulated pipeline: jobs that spend a share of their time in a read and the same share in a write; the service
/// answers reads and writes in proportion up to a knee.
#[derive(Clone, Copy)]
pub(super) struct Plant {
    pub(super) share: f64,
    /// Requests in flight beyond which more bring no more work.
    pub(super) knee: f64,
    /// Requests a second beyond which the service throttles.
    pub(super) throttles_above: f64,
    /// The relative noise of the rate in equal windows, either way.
    pub(super) noise: f64,
    pub(super) stuck: bool,
    pub(super) empty: bool,
}

impl Default for Plant {
    fn default() -> Self {
        Self { share: 0.4, knee: 1e9, throttles_above: 1e9, noise: 0.05, stuck: false, empty: false }
    }
}

/// The requests per second of each request in flight.
pub(super) const EACH: f64 = 20.0;

impl Plant {
    fn see(&self, limits: [usize; KINDS], dice: &mut fastrand::Rng) -> Window {
        let [jobs, reads, writes] = limits.map(|limit| limit as f64);
        let working = jobs.min(reads / self.share).min(writes / self.share);
        let flying = working * 2.0 * self.share;
        let noise = 1.0 + self.noise * (2.0 * dice.f64() - 1.0);
        let offered = EACH * flying.min(self.knee);
        let rate = offered.min(self.throttles_above);
        let throttled = if self.empty { 0.0 } else { 1.0 - rate / offered };
        let call = |limit: f64| Sight {
            pressed: working * self.share >= limit,
            throttled,
            in_flight: flying / 2.0,
            waiting: (jobs - working).max(0.0) / 2.0,
            latency: flying / offered,
        };
        let sights = [Sight { pressed: !self.empty, ..Sight::default() }, call(reads), call(writes)];
        Window { rate: if self.empty { 0.0 } else { rate * noise }, stuck: self.stuck, empty: self.empty, sights }
    }
}

/// A search under way.
pub(super) struct Run {
    pub(super) climb: Climb,
    pub(super) limits: [usize; KINDS],
    pub(super) dice: fastrand::Rng,
    /// The average of the job slots over the last windows.
    pub(super) slots: f64,
    /// How many of the last windows ended in a change.
    pub(super) moves: u32,
    /// The time that all windows took, including the time for each change to take effect.
    pub(super) ticks: u32,
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let limits = [16, 64, 64];
        let climb = Climb::new(limits.map(|start| (start, 2, 1000)));
        Self { climb, limits, dice: fastrand::Rng::with_seed(seed), slots: 0.0, moves: 0, ticks: 0 }
    }

    /// Runs `windows` windows; returns the average work as a fraction of `best`, and every change.
    pub(super) fn on(&mut self, plant: Plant, windows: u32, best: f64) -> (f64, Vec<Change>) {
        let (mut sum, mut all) = (0.0, Vec::new());
        (self.slots, self.moves) = (0.0, 0);
        for _ in 0..windows {
            let pace = self.climb.pace();
            // Half the length of a window means 1.4 times the noise; short windows have a quarter of the usual length.
            let noise = if pace == Pace::Quick { 2.0 * plant.noise } else { plant.noise };
            let window = Plant { noise, ..plant }.see(self.limits, &mut self.dice);
            sum += window.rate;
            self.slots += self.limits[0] as f64 / f64::from(windows);
            let changes = self.climb.step(&window);
            self.ticks += shortest(pace) + if changes.is_empty() { 0 } else { shortest(self.climb.pace()).div_ceil(3) };
            self.moves += u32::from(!changes.is_empty());
            for change in changes {
                assert_eq!(self.limits[change.kind], change.from);
                self.limits[change.kind] = change.to;
                all.push(change);
            }
        }
        (sum / f64::from(windows) / best, all)
    }
}
