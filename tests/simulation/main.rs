//! The whole pipeline in simulated time: no job is lost whatever a seed brings together, and a seed brings it again.
//!
//! One seed decides everything (`plan.rs`): jobs, settings, processors, which calls fail and how, whose answers are
//! lost or late, when workers are killed, told to stop or cut off. Workers are the real pipeline, with the leases kept
//! on its own runtime; queue and store are the twins in memory, at the end of wires that take time. All on one thread,
//! with a clock that jumps to the next moment at which something happens: an hour takes milliseconds, and one seed is
//! one run. At the end the model (`model.rs`) says from the plan alone what must be there, and `groups.rs` what must
//! have come after what.
//!
//! Not in here: blocking threads and programs (their clock does not stand still), so of the process stage only the
//! slots, the verdicts and the panics; the services' real clients; more than one thread. `tests/library/faults.rs`,
//! `tests/library/pipeline` and `tests/proof` look at those.
//!
//! `BATCHPIPE_SEEDS=5000 cargo test --test simulation` runs more, `BATCHPIPE_SEED=17` one again,
//! and says what happened at the services when.

mod groups;
mod model;
mod oracle;
mod plan;
mod script;
mod tally;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use plan::Plan;
use tally::Tally;
use world::Outcome;

/// Seeds of a usual run: some ten seconds of them on two cores, in a debug build.
const SEEDS: u64 = 400;

/// The longest that one seed may take of real time: it usually takes a twentieth of a second.
const BOUND: Duration = Duration::from_secs(60);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// One run, on a runtime of its own.
fn simulate(seed: u64) -> (Outcome, Tally) {
    let plan = Plan::draw(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = runtime.block_on(async {
        let outcome = world::run(seed, &plan).await;
        if number("BATCHPIPE_SEED").is_some() {
            outcome.history.iter().for_each(|(at, operation)| println!("{:>10.3} {operation:?}", at.as_secs_f64()));
        }
        model::check(&plan, &outcome);
        let tally = Tally::of(&outcome, groups::check(&plan, &outcome));
        world::collect_garbage(&outcome.store).await;
        assert_eq!(outcome.store.uploads(), 0, "uploads left after the garbage was collected");
        (outcome, tally)
    });
    assert!(outcome.0.history.len() > plan.messages.len());
    outcome
}

#[test]
fn no_job_is_lost_and_no_output_is_wrong_whatever_comes_together() {
    let single = number("BATCHPIPE_SEED");
    let seeds = single.map_or(0..number("BATCHPIPE_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (next, failed) = (AtomicU64::new(seeds.start), std::sync::Mutex::new(Vec::new()));
    let all = std::sync::Mutex::new(Tally::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let started = Instant::now();
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| simulate(seed)));
                    match ended {
                        Ok((_, tally)) if started.elapsed() < BOUND => *all.lock().unwrap() += tally,
                        _ => {
                            eprintln!("again:  BATCHPIPE_SEED={seed} cargo test --test simulation");
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let all = all.into_inner().unwrap();
    println!("{} seeds, {} failed, {all}, {:.1?}", seeds.end - seeds.start, failed.len(), begun.elapsed());
    assert!(failed.is_empty(), "seeds that failed: {failed:?}; BATCHPIPE_SEED=n runs one again");
    all.covers_all();
}

#[test]
fn the_same_seed_is_the_same_run_operation_by_operation() {
    // A tenth of the seeds are enough to see chance at work.
    for seed in 0..number("BATCHPIPE_SEEDS").unwrap_or(SEEDS) / 10 {
        let (first, _) = simulate(seed);
        // On a thread of its own, which shares nothing with the first.
        let (second, _) = std::thread::spawn(move || simulate(seed)).join().unwrap();
        assert_eq!(first.history.len(), second.history.len(), "seed {seed}");
        for (number, (one, other)) in first.history.iter().zip(&second.history).enumerate() {
            assert_eq!(one, other, "seed {seed}, operation {number}");
        }
    }
}
