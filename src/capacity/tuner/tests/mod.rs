//! The search on simulated plants, and the tuner in a pipeline on the runtime's clock.

use super::*;

mod plant;

use plant::{EACH, Plant, Run};

#[test]
fn it_finds_the_knee_of_a_link_and_stays_near_it() {
    for seed in 0..40 {
        for knee in [8.0, 40.0, 150.0, 500.0] {
            let plant = Plant { knee, ..Plant::default() };
            let (mut run, best) = (Run::new(seed), EACH * knee);
            run.on(plant, 60, best);
            let (share, _) = run.on(plant, 600, best);
            let jobs = knee / 0.8;
            assert!(share > 0.95, "{share} of the work at a knee of {jobs} jobs (seed {seed})");
            assert!(run.slots < 2.0 * jobs, "{} slots at a knee of {jobs} jobs (seed {seed})", run.slots);

            assert!(run.moves <= 70, "{} moves in 600 windows (seed {seed})", run.moves);
        }
    }
}

#[test]
fn jobs_and_calls_that_are_in_each_others_way_go_up_together() {
    for seed in 0..40 {
        for knee in [200.0, 600.0] {
            // Tiny jobs only read and write: 128 of them fill 64 reads and 64 writes, and none waits.
            let plant = Plant { share: 0.5, knee, ..Plant::default() };
            let (mut run, best) = (Run::new(seed), EACH * knee);
            run.on(plant, 60, best);
            let (share, _) = run.on(plant, 600, best);
            assert!(share > 0.9, "{share} of the work at a knee of {knee} with {:?} (seed {seed})", run.limits);
            assert!(run.slots < 2.0 * knee, "{} slots at a knee of {knee} (seed {seed})", run.slots);
        }
    }
}

#[test]
fn jobs_with_many_calls_that_wait_are_not_too_few() {
    // Eight jobs with twenty calls each: the waiting calls fill the added permits.
    let sight = Sight { pressed: true, in_flight: 64.0, waiting: 40.0, ..Sight::default() };
    let jobs = Sight { pressed: true, ..Sight::default() };
    let window = |rate| Window { rate, sights: [jobs, sight, sight], ..Window::default() };
    let mut climb = Climb::new([(8, 2, 1000), (64, 2, 1000), (64, 2, 1000)]);
    let changes = climb.step(&window(1000.0));
    assert_eq!(changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn it_goes_from_16_to_256_in_half_a_second() {
    for seed in 0..40 {
        let (mut run, plant) = (Run::new(seed), Plant { knee: 600.0, noise: 0.1, ..Plant::default() });
        while run.limits[0] < 256 {
            run.on(plant, 1, 1.0);
        }
        assert!(TICK * run.ticks <= Duration::from_millis(500), "{:?} (seed {seed})", TICK * run.ticks);
    }
}

#[test]
fn a_rise_of_which_a_short_look_shows_nothing_gets_a_longer_one() {
    let sight = Sight { pressed: true, ..Sight::default() };
    let window = |rate| Window { rate, sights: [sight; KINDS], ..Window::default() };
    for (second, jobs, pace) in [(2000.0, 64, Pace::Quick), (1010.0, 16, Pace::Usual)] {
        let mut climb = Climb::new([16, 1000, 1000].map(|start| (start, 2, 1000)));
        assert_eq!((climb.pace(), climb.step(&window(1000.0))[0].to), (Pace::Quick, 32));
        assert_eq!((climb.step(&window(1010.0)), climb.pace()), (vec![], Pace::Usual), "once more");
        assert_eq!((climb.step(&window(second))[0].to, climb.pace()), (jobs, pace));
    }
}

#[test]
fn haste_is_over_with_the_first_throttle() {
    let sight = Sight { pressed: true, in_flight: 16.0, ..Sight::default() };
    let mut climb = Climb::new([(16, 2, 1000); KINDS]);
    let throttled = Sight { throttled: 0.1, ..sight };
    climb.step(&Window { rate: 1000.0, sights: [sight, throttled, sight], ..Window::default() });
    assert_ne!(climb.pace(), Pace::Quick);
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

#[test]
fn a_trial_that_was_cut_short_is_no_failure_and_is_made_again_as_it_was() {
    let nothing = Window::default();
    let few = Window { rate: 1.0, empty: true, ..nothing };
    for quiet in [nothing, few, Window { rate: 0.0, ..few }] {
        let (mut run, plant) = (Run::new(5), Plant::default());
        run.on(plant, 2, 1.0);
        assert_eq!(run.limits[0], 64, "under trial");
        for change in run.climb.step(&quiet) {
            run.limits[change.kind] = change.to;
        }
        assert_eq!(run.limits[0], 32, "nobody knows whether more help");
        run.on(plant, 1, 1.0);
        assert_eq!(run.limits[0], 64, "neither shorter nor later: {quiet:?}");
    }
}

/// CPU seconds as if all four cores had been busy since the first call.
fn four_busy_cores() -> Option<f64> {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    Some(4.0 * BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn no_limit_moves_while_jobs_wait_for_a_processor_or_all_cores_are_busy() {
    let idle: Cpu = || Some(0.0);
    for (cpu, waits, moves) in [(idle, false, true), (idle, true, false), (four_busy_cores as Cpu, false, false)] {
        let meters = Arc::new(Meters::default());
        let turn = meters.turn(Stage::Process);
        let waiting = waits.then(|| turn.waits(State::WaitPermit));
        let tuner = Tuner::new(16, 300, 4, cpu, Arc::clone(&meters));
        let before = tuner.now();
        // More jobs than the limit ever allows; each reads for 20 ms and begins again.
        let jobs: Vec<_> = (0..300)
            .map(|_| {
                let (slots, reads) = (Arc::clone(tuner.jobs()), tuner.reads());
                crate::runtime::task::spawn(async move {
                    loop {
                        let _slot = slots.acquire().await;
                        slots.press(1, 1);
                        let passing = reads.enter().await;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        passing.ended(&Ok(()), 0);
                    }
                })
            })
            .collect();
        let running = crate::runtime::task::spawn(tuner.clone().run());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(tuner.now() != before, moves, "{before:?} became {:?}", tuner.now());
        drop((running, jobs, waiting));
    }
}
