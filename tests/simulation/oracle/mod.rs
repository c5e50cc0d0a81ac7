//! Whether the bottleneck that is named is the one, in simulated time.
//!
//! A seed draws a pipeline (`world.rs`): a store and a queue that are near or far, cores, processors, memory, slots and
//! receivers, steps that compute or wait, a store that throttles, messages that come slowly. It runs, and what a user
//! would see is read. Then each thing is made free in turn, and the same pipeline runs again: the bottleneck is the
//! thing whose removal raises the rate the most. And where a setting was named, it is doubled: that must raise the
//! rate, and must never lower it.
//!
//! `BATCHPIPE_SEEDS=2000 cargo test --test simulation oracle::` draws more, `BATCHPIPE_SEED=17` draws one again and
//! prints what came of it.

mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use batchpipe::observe::Bottleneck;
use world::{Thing, World};

/// Seeds of a usual run.
const SEEDS: u64 = 100;

/// Gains beyond this are all the same: a setting that is quadrupled can't bring more.
const MOST: f64 = 3.0;

/// What two things may differ by and still be equally good answers. A window of some hundred jobs is as exact as that.
const TIE: f64 = 0.9;

/// A gain below this is none.
const GAIN: f64 = 1.05;

/// A rate below this part of what it was is lower.
const LOSS: f64 = 0.97;

/// What came of one seed.
struct Judgement {
    named: Option<Bottleneck>,
    right: bool,
    lowered: bool,
    told: String,
}

impl Judgement {
    /// Prints what was wrong, or everything.
    fn tell(&self, everything: bool) {
        if everything || !self.right || self.lowered || std::env::var_os("BATCHPIPE_ALL").is_some() {
            let lowered = if self.lowered { " LOWERED" } else { "" };
            println!("{}{lowered} {}", if self.right { "right" } else { "WRONG" }, self.told);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn judge(seed: u64) -> Judgement {
    let world = World::draw(seed);
    let begun = std::time::Instant::now();
    let seen = world::run(&world);
    let gain = |other: &World| world::run(other).rate / seen.rate;
    let free = |thing: Thing| if world.lacks(thing) { gain(&world.with_free(thing)).min(MOST) } else { 1.0 };
    let gains: BTreeMap<Thing, f64> = Thing::ALL.iter().map(|thing| (*thing, free(*thing))).collect();
    let best = gains.values().copied().fold(1.0, f64::max);
    let named = seen.bottleneck.clone();
    let thing = named.as_ref().and_then(|named| Thing::named(named.cause));
    let knob = named.as_ref().and_then(|named| named.knob).map(|knob| (knob, gain(&world.with_more(knob))));
    let right = match thing {
        Some(thing) => gains[&thing] >= TIE * best && (best < GAIN || gains[&thing] >= GAIN),
        None => best < GAIN,
    } && knob.is_none_or(|(_, gain)| gain >= GAIN || best < GAIN);
    let lowered = knob.is_some_and(|(_, gain)| gain < LOSS);
    let mut told = format!("seed {seed}: {:.1} jobs/s, {:?}", seen.rate, named);
    write!(told, " in {:.1?}", begun.elapsed()).unwrap();
    write!(told, "\n  {world:?}\n  {gains:.2?}\n  knob {knob:.2?}\n  {}", seen.load).unwrap();
    Judgement { named, right, lowered, told }
}

fn judged() -> Vec<Judgement> {
    let seeds = number("BATCHPIPE_SEED").map_or(0..number("BATCHPIPE_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (next, all) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let judgement = judge(seed);
                    judgement.tell(seeds.end - seeds.start == 1);
                    all.lock().unwrap().push(judgement);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn the_bottleneck_named_is_the_one_whose_removal_raises_the_rate_the_most() {
    let all = judged();
    let mut causes: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for judgement in &all {
        let (seen, right) = causes.entry(judgement.named.as_ref().map_or("none", |named| named.cause)).or_default();
        *seen += 1;
        *right += u32::from(judgement.right);
    }
    let right = all.iter().filter(|judgement| judgement.right).count();
    println!("{right} of {} right; of each cause seen and right: {causes:?}", all.len());
    if all.len() as u64 >= SEEDS {
        let kinds = ["cpu", "processors", "memory", "slots", "latency", "queue_calls", "queue_empty", "throttled"];
        assert!(kinds.iter().all(|kind| causes.contains_key(kind)), "a cause that no seed of so many has: {causes:?}");
    }
    assert!(all.iter().all(|judgement| !judgement.lowered), "a setting was named that lowers the rate");
    assert!(right * 100 >= 95 * all.len(), "{right} of {} right", all.len());
}
