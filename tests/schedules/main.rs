//! Explores the orders in which tasks may go on: thousands, chosen by [shuttle](https://docs.rs/shuttle), of the code
//! that ships.
//!
//! The code is batchpipe's own, file by file, compiled with the scheduler's locks (`product/`). Each model states its
//! property at its top and draws, for each schedule, a small case (jobs, sizes, who fails, who is cut) and an order.
//! Half of the schedules choose any task at each step, half keep priorities that change at few steps, which finds what
//! needs few steps in a rare order (PCT). A standstill is a failure: every lost wake-up is one.
//!
//! `BATCHPIPE_SCHEDULES=100000 cargo test --test schedules budget` explores more; seeds are counted from the same
//! number, so what failed fails again. A failure prints its schedule: `BATCHPIPE_SCHEDULE=91… cargo test --test
//! schedules budget` runs that alone (all lines of it, in quotes; the seed that is printed as well is shuttle's own and
//! of no use here).

mod acknowledge;
mod budget;
mod checked;
mod clock;
mod leases;
mod lines;
mod store;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Schedules of a usual run, of each model: a few seconds in a debug build. Of the breaks that were tried by hand those
/// that are found at all are found within some hundred.
const SCHEDULES: usize = 2000;

/// Steps at which priorities change: most bugs of concurrency need one or two.
const DEPTH: usize = 3;

/// A task's stack: shuttle's 32 KiB are too few for the futures of a debug build.
const STACK: usize = 512 * 1024;

/// Runs `model` under each schedule. Its calls may have deadlines: time stands still, unless the model lets it pass.
fn explore(name: &str, model: fn()) {
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Never dropped: it would wake the tasks of a schedule that failed.
    let clock: &tokio::runtime::Runtime = Box::leak(Box::new(clock));
    let _entered = clock.enter();
    clock::install(clock);
    if let Ok(schedule) = std::env::var("BATCHPIPE_SCHEDULE") {
        let mut replay = ReplayScheduler::new_from_encoded(&schedule);
        replay.set_allow_incomplete();
        run(name, model, replay).unwrap_or_else(|panic| resume_unwind(panic));
        return;
    }
    let schedules = std::env::var("BATCHPIPE_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(SCHEDULES);
    let begun = Instant::now();
    let ended = run(name, model, RandomScheduler::new_from_seed(0, schedules.div_ceil(2)))
        .and_then(|random| Ok(random + run(name, model, PctScheduler::new_from_seed(0, DEPTH, schedules / 2))?));
    match ended {
        Ok(explored) => println!("{name}: {explored} schedules, 0 failed, {:.1?}", begun.elapsed()),
        Err(panic) => {
            eprintln!("again:  BATCHPIPE_SCHEDULE=(what stands above) cargo test --test schedules {name}");
            resume_unwind(panic);
        }
    }
}

fn run(name: &str, model: fn(), scheduler: impl Scheduler + 'static) -> Result<usize, Box<dyn Any + Send>> {
    let mut config = Config::new();
    config.stack_size = STACK;
    let runner = Runner::new(scheduler, config);
    let explored = catch_unwind(AssertUnwindSafe(|| runner.run(model)));
    explored.inspect_err(|_| eprintln!("the model {name} failed"))
}

/// So many steps at which others may go on, drawn for this schedule.
async fn others(most: usize) {
    for _ in 0..draw(0..most + 1) {
        shuttle::future::yield_now().await;
    }
}

/// A number drawn for this schedule.
fn draw(range: std::ops::Range<usize>) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(range)
}

#[test]
fn budget_grants_nothing_beyond_it_and_every_job_ends() {
    explore("budget", budget::model);
}

#[test]
fn leases_are_kept_while_they_are_held_and_not_a_moment_longer() {
    explore("leases", leases::model);
}

#[test]
fn acknowledge_deletes_or_gives_back_each_message_once_and_counts_it_as_that() {
    explore("acknowledge", acknowledge::model);
}

#[test]
fn lines_begin_each_message_of_a_group_after_those_before_it_and_end_with_all() {
    explore("lines", lines::model);
}
