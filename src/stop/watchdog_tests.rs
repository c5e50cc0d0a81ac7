//! What counts as progress, how long a worker may stand still, and how the watchdog ends it.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Looks once a second for an hour at the signs from `signs`; returns the longest quiet time and its cause.
fn hour(signs: impl Fn(u64) -> Signs) -> (Duration, What) {
    let mut quiet = Quiet::default();
    (0..3600).map(|second| quiet.look(&signs(second), SECOND)).max_by_key(|(quiet, _)| *quiet).unwrap()
}

fn alive(second: u64) -> Signs {
    Signs { runtime: second + 1, keeper: second + 1, receive: second / 20, receiving: true, ..Signs::default() }
}

#[test]
fn a_processor_that_computes_for_an_hour_is_not_stuck() {
    let (quiet, _) = hour(|second| Signs { in_hand: true, computing: true, receive: 0, ..alive(second) });
    assert!(quiet <= SECOND, "{quiet:?}");
}

#[test]
fn an_idle_worker_that_receives_every_twenty_seconds_is_quiet_for_no_longer() {
    let (quiet, what) = hour(alive);
    assert!(quiet <= 20 * SECOND && what == What::Receiving, "{what:?} {quiet:?}");
}

#[test]
fn an_outage_is_quiet_between_two_tries_and_no_longer() {
    let (quiet, what) = hour(|second| Signs { in_hand: true, jobs: second / 40, ..alive(second) });
    assert!(quiet <= 40 * SECOND && what == What::Jobs, "{what:?} {quiet:?}");
}

#[test]
fn jobs_in_hand_that_nothing_moves_are_stuck_though_receiving_goes_on() {
    let (quiet, what) = hour(|second| Signs { in_hand: true, ..alive(second) });
    assert!(quiet > 3590 * SECOND && what == What::Jobs, "{what:?} {quiet:?}");
}

#[test]
fn a_worker_with_nothing_in_hand_that_never_receives_is_deaf() {
    let (quiet, what) = hour(|second| Signs { receive: 7, ..alive(second) });
    assert!(quiet > 3590 * SECOND && what == What::Receiving, "{what:?} {quiet:?}");
}

#[test]
fn a_runtime_that_stands_still_is_named_before_what_it_stops() {
    let (quiet, what) = hour(|_| Signs { in_hand: true, ..Signs::default() });
    assert!(quiet > 3590 * SECOND && what == What::Runtime, "{what:?} {quiet:?}");
    let (_, what) = hour(|second| Signs { keeper: 3, ..alive(second) });
    assert_eq!(what, What::Keeper);
}

#[test]
fn what_moved_once_begins_to_count_anew() {
    let mut quiet = Quiet::default();
    for second in 0..10 {
        quiet.look(&Signs { in_hand: true, ..alive(second) }, SECOND);
    }
    assert_eq!(quiet.look(&Signs { in_hand: true, jobs: 1, ..alive(11) }, SECOND).0, Duration::ZERO);
}

/// A worker whose runtime never runs a task, so there is no heartbeat.
fn stuck(patience: Duration, waits: Duration) -> Watched {
    let meters = Arc::new(Meters::default());
    let queue = Arc::new(crate::testing::MemoryQueue::new("jobs"));
    let leases = Leases::new(queue, Duration::from_secs(60), Arc::clone(&meters)).unwrap();
    Watched { meters, leases, patience, waits }
}

#[test]
fn a_worker_that_is_stuck_is_reported_after_its_limit_and_not_before() {
    let (_stop, stopped) = channel();
    let stuck = watch(&stuck(SECOND, SECOND), &AtomicU64::new(0), &Stall::default(), &stopped).unwrap();
    // Looks are counted: the third is the first beyond one second of patience and one second of waits.
    assert_eq!((stuck.what.as_str(), stuck.quiet), ("the runtime runs no task", 3 * SECOND));
    assert_eq!(stuck.seen, "leases held: 0");
}

#[test]
fn what_may_take_long_is_all_in_the_limit() {
    let (watched, stall) = (stuck(100 * SECOND, 20 * SECOND), Stall::default());
    watched.meters.allowed(2 * SECOND);
    let (stop, stopped) = channel();
    let shown = stall.clone();
    let watching = std::thread::spawn(move || watch(&watched, &AtomicU64::new(0), &shown, &stopped));
    while stall.0.limit.load(Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(stop);
    watching.join().unwrap();
    // A call of two seconds may be in its third second.
    assert_eq!(stall.0.limit.load(Relaxed), 123);
}

#[test]
fn half_of_the_limit_is_unwell() {
    let stall = Stall::default();
    assert!(!stall.is_unwell());
    stall.set(49 * SECOND, 100 * SECOND);
    assert!(!stall.is_unwell());
    stall.set(50 * SECOND, 100 * SECOND);
    assert!(stall.is_unwell());
}

#[test]
fn the_last_words_name_every_stage_that_has_something() {
    let mut signs = Signs::default();
    signs.states[Stage::Download as usize][State::WaitDownstream as usize] = 3;
    assert_eq!(dump(&signs, Some(3)), "leases held: 3; download: 3 wait_downstream");
}
