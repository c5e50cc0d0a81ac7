//! The search on simulated plants, and the tuner in a pipeline on the runtime's clock.

use super::climb::{Change, Climb};
use super::*;

/// What a pipeline meets: jobs that spend 40 % of their time in a read and 40 % in a write, each of which a service
/// answers in proportion up to a knee.
#[derive(Clone, Copy)]
struct Plant {
    /// Requests in flight beyond which more bring no more.
    knee: f64,
    /// Requests a second beyond which the service throttles.
    throttles_above: f64,
    /// The part of the rate by which equal windows differ, either way.
    noise: f64,
    stuck: bool,
    empty: bool,
}

impl Default for Plant {
    fn default() -> Self {
        Self { knee: 1e9, throttles_above: 1e9, noise: 0.05, stuck: false, empty: false }
    }
}

/// The requests that one in flight makes in a second.
const EACH: f64 = 20.0;

impl Plant {
    fn see(&self, limits: [usize; KINDS], dice: &mut fastrand::Rng) -> Window {
        let [jobs, reads, writes] = limits.map(|limit| limit as f64);
        let working = jobs.min(reads / 0.4).min(writes / 0.4);
        let flying = working * 0.8;
        let noise = 1.0 + self.noise * (2.0 * dice.f64() - 1.0);
        let offered = EACH * flying.min(self.knee);
        let rate = offered.min(self.throttles_above);
        let throttled = if self.empty { 0.0 } else { 1.0 - rate / offered };
        let call = |limit: f64| Sight {
            pressed: working * 0.4 >= limit,
            throttled,
            in_flight: flying / 2.0,
            latency: flying / offered,
        };
        let sights = [Sight { pressed: !self.empty, ..Sight::default() }, call(reads), call(writes)];
        Window { rate: if self.empty { 0.0 } else { rate * noise }, stuck: self.stuck, empty: self.empty, sights }
    }
}

/// A search under way.
struct Run {
    climb: Climb,
    limits: [usize; KINDS],
    dice: fastrand::Rng,
    /// The job slots of the last windows, on average.
    slots: f64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let limits = [16, 64, 64];
        let climb = Climb::new(limits.map(|start| (start, 2, 1000)));
        Self { climb, limits, dice: fastrand::Rng::with_seed(seed), slots: 0.0 }
    }

    /// So many windows; what was done on average, as a part of `best`, and every change.
    fn on(&mut self, plant: Plant, windows: u32, best: f64) -> (f64, Vec<Change>) {
        let (mut sum, mut all) = (0.0, Vec::new());
        self.slots = 0.0;
        for _ in 0..windows {
            let window = plant.see(self.limits, &mut self.dice);
            sum += window.rate;
            self.slots += self.limits[0] as f64 / f64::from(windows);
            for change in self.climb.step(&window) {
                assert_eq!(self.limits[change.kind], change.from);
                self.limits[change.kind] = change.to;
                all.push(change);
            }
        }
        (sum / f64::from(windows) / best, all)
    }
}

#[test]
fn it_finds_the_knee_of_a_link_and_stays_near_it() {
    for seed in 0..40 {
        for knee in [8.0, 40.0, 150.0, 500.0] {
            let plant = Plant { knee, ..Plant::default() };
            let (mut run, best) = (Run::new(seed), EACH * knee);
            run.on(plant, 60, best);
            let (share, changes) = run.on(plant, 600, best);
            let jobs = knee / 0.8;
            assert!(share > 0.95, "{share} of the work at a knee of {jobs} jobs (seed {seed})");
            assert!(run.slots < 2.0 * jobs, "{} slots at a knee of {jobs} jobs (seed {seed})", run.slots);
            assert!(changes.len() < 90, "{} changes in 600 windows (seed {seed})", changes.len());
        }
    }
}

#[test]
fn it_goes_from_16_to_many_in_a_few_seconds() {
    let (mut run, plant) = (Run::new(1), Plant { knee: 600.0, ..Plant::default() });
    run.on(plant, 12, 1.0);
    assert!(run.limits[0] >= 256, "{:?} after a dozen windows, some 5 s", run.limits);
}

#[test]
fn a_throttling_service_is_asked_less_at_once_and_then_rarely_throttles() {
    for seed in 0..40 {
        // 400 requests a second are 20 in flight.
        let plant = Plant { throttles_above: 400.0, ..Plant::default() };
        let mut run = Run::new(seed);
        let (_, changes) = run.on(plant, 40, 400.0);
        let cut = changes.iter().find(|change| change.why == Reason::Throttled).expect("a cut");
        assert!(cut.to as f64 <= 0.8 * cut.from as f64, "{cut:?}");
        let (share, changes) = run.on(plant, 400, 400.0);
        let cuts = changes.iter().filter(|change| change.why == Reason::Throttled).count();
        assert!(cuts <= 60, "{cuts} cuts in 400 windows (seed {seed})");
        assert!(share > 0.85, "{share} of what the service takes (seed {seed})");
    }
}

#[test]
fn it_comes_back_when_the_service_no_longer_throttles() {
    let mut run = Run::new(3);
    run.on(Plant { throttles_above: 400.0, knee: 100.0, ..Plant::default() }, 100, 1.0);
    let plant = Plant { knee: 100.0, ..Plant::default() };
    run.on(plant, 500, 1.0);
    let (share, _) = run.on(plant, 100, EACH * 100.0);
    assert!(share > 0.9, "{share} of the work, with {:?}", run.limits);
}

#[test]
fn nothing_moves_while_the_processors_or_the_queue_are_the_bottleneck() {
    for plant in [Plant { stuck: true, ..Plant::default() }, Plant { empty: true, ..Plant::default() }] {
        let (_, changes) = Run::new(4).on(plant, 200, 1.0);
        assert_eq!(changes, []);
    }
}

#[test]
fn what_was_being_tried_when_the_queue_ran_empty_is_put_back() {
    let mut run = Run::new(5);
    run.on(Plant::default(), 2, 1.0);
    assert_eq!(run.limits[0], 64);
    run.on(Plant { empty: true, ..Plant::default() }, 50, 1.0);
    assert_eq!(run.limits[0], 32, "the second step was not judged");
}

#[test]
fn bursts_with_pauses_between_end_near_the_knee_too() {
    let (mut run, knee) = (Run::new(6), 100.0);
    let plant = Plant { knee, ..Plant::default() };
    for _ in 0..40 {
        run.on(plant, 5, 1.0);
        run.on(Plant { empty: true, ..plant }, 5, 1.0);
    }
    let (share, _) = run.on(plant, 10, EACH * knee);
    assert!(share > 0.9 && run.limits[0] <= 400, "{share} with {:?}", run.limits);
}

#[test]
fn it_follows_a_link_that_changes() {
    let mut run = Run::new(7);
    for knee in [50.0, 300.0, 20.0, 100.0] {
        let plant = Plant { knee, ..Plant::default() };
        run.on(plant, 300, 1.0);
        let (share, _) = run.on(plant, 100, EACH * knee);
        assert!(share > 0.9, "{share} at a knee of {knee} with {:?}", run.limits);
    }
}

#[test]
fn windows_that_differ_by_a_quarter_cost_little() {
    for seed in 0..40 {
        for knee in [8.0, 40.0, 150.0] {
            let plant = Plant { knee, noise: 0.125, ..Plant::default() };
            let mut run = Run::new(seed);
            run.on(plant, 100, 1.0);
            let (share, _) = run.on(plant, 900, EACH * knee);
            assert!(share > 0.85, "{share} of the work at a knee of {knee} with {:?} (seed {seed})", run.limits);
        }
    }
}
