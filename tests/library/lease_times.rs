//! When exactly leases are extended, confirmed and given up, on a clock that jumps to the next moment at which something
//! happens. `tests/library/lease.rs` has the same keeper on a thread and a clock of its own, where moments are not exact.

use std::time::Duration;

use crate::lease_bench::Bench;
use batchpipe::error::{Code, ServiceErrorKind};
use batchpipe::lease::{LONGEST, Lease, Leases};
use batchpipe::services::queue::JobQueue;
use batchpipe::testing::{Fault, On, Operation};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Looked at each second.
const VISIBILITY: Duration = Duration::from_secs(8);

/// A bench whose keeper is on the clock of the test.
fn bench(visibility: Duration, longest: Duration) -> Bench {
    Bench::new(|queue, meters| Leases::here(queue, visibility, longest, meters))
}

/// A lease on a message that is asked for now.
async fn take(bench: &Bench) -> Lease {
    bench.take(1).await.remove(0)
}

/// When leases were extended, from the beginning on.
fn extended(bench: &Bench) -> Vec<Duration> {
    let extends = |operation: &Operation| matches!(operation, Operation::Extend { ids, .. } if !ids.is_empty());
    let timed = bench.log.timed().into_iter().filter(|(_, operation)| extends(operation));
    timed.map(|(at, _)| at - bench.began).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_extended_at_each_half_of_its_time_until_the_queue_would_refuse() {
    let bench = bench(VISIBILITY, 40 * SECOND);
    let lost = take(&bench).await.lost().await;
    // At 28 s another 8 s and the tenth that is kept for giving back are just within 40 s; the last look before is at 35 s.
    assert_eq!(extended(&bench), [4, 8, 12, 16, 20, 24, 28].map(Duration::from_secs));
    assert_eq!((lost.code, bench.began.elapsed()), (Code(603), 35 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_held_for_twelve_hours_and_no_longer() {
    // As SQS documents it, in seconds.
    assert_eq!(LONGEST, Duration::from_secs(43_200));
    // Whatever the timeout: the last extension is as long as is left, less the half minute that is kept for giving back.
    let minute = 60 * SECOND;
    for visibility in [minute, HOUR, 5 * HOUR, 6 * HOUR, 12 * HOUR] {
        let bench = bench(visibility, LONGEST);
        let lease = take(&bench).await;
        sleep(LONGEST - 70 * SECOND).await;
        assert!(!lease.is_lost() && lease.confirm().await.is_ok(), "{visibility:?}");
        assert_eq!(bench.queue.visible(), 0, "nobody else sees it");
        let lost = lease.lost().await;
        assert_eq!(lost.code, Code(603));
        let held = bench.began.elapsed();
        assert!((LONGEST - minute..=LONGEST - minute / 2).contains(&held), "{visibility:?}: {held:?}");
        let hidden = bench.log.timed().into_iter().filter_map(|(at, operation)| match operation {
            Operation::Extend { timeout, .. } => Some(at - bench.began + timeout),
            _ => None,
        });
        assert!(hidden.max().unwrap_or_default() <= LONGEST - minute / 2, "the queue would refuse: {visibility:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_due_between_two_looks_is_extended_at_the_next_and_the_lag_is_told() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bench = bench(VISIBILITY, HOUR);
    sleep(SECOND / 4).await;
    let _lease = take(&bench).await;
    sleep(6 * SECOND).await;
    // Due at 4.25 s, and looked at each second.
    assert_eq!(extended(&bench), [5 * SECOND]);
    let lag = seen.snapshot().into_vec().into_iter().find_map(|(key, _, _, value)| match value {
        DebugValue::Histogram(lags) if key.key().name().contains("renewal_lag") => Some(lags),
        _ => None,
    });
    assert_eq!(lag.map(|lags| lags.into_iter().map(|lag| lag.into_inner()).collect()), Some(vec![0.75]));
}

#[tokio::test(start_paused = true)]
async fn an_extension_without_an_answer_is_given_up_in_time_for_another() {
    let bench = bench(VISIBILITY, HOUR);
    bench.faults.next(On::Extend, Fault::Silence, 1);
    let lease = take(&bench).await;
    sleep(VISIBILITY).await;
    assert_eq!(extended(&bench), [6 * SECOND], "a quarter of the timeout after the first");
    assert!(!lease.is_lost() && lease.confirm().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_ours_at_the_moment_at_which_others_may_see_it() {
    let bench = bench(VISIBILITY, HOUR);
    bench.faults.always(On::Extend, Fault::Silence);
    let lease = take(&bench).await;
    sleep(VISIBILITY - Duration::from_millis(1)).await;
    assert!(lease.confirm().await.is_ok());
    sleep(Duration::from_millis(1)).await;
    assert_eq!((bench.queue.visible(), bench.began.elapsed()), (1, VISIBILITY));
    assert!(lease.confirm().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_queue_confirms_has_all_its_time_again() {
    let bench = bench(VISIBILITY, HOUR);
    bench.faults.always(On::Extend, Fault::Silence);
    let lease = take(&bench).await;
    // Extended, as far as the queue knows, by a call whose answer was lost.
    bench.queue.extend(&[lease.receipt().unwrap()], HOUR).await.unwrap();
    sleep(VISIBILITY + SECOND / 2).await;
    assert_eq!(bench.leases.health().shortest, Some(Duration::ZERO));
    bench.faults.clear();
    assert!(lease.confirm().await.is_ok());
    assert_eq!(bench.leases.health().shortest, Some(VISIBILITY));
}

#[tokio::test(start_paused = true)]
async fn the_keeper_shows_once_a_second_that_it_lives_and_at_any_time_how_many_are_held() {
    let bench = bench(VISIBILITY, HOUR);
    let two = [take(&bench).await, take(&bench).await];
    assert_eq!((bench.leases.held(), bench.leases.visibility()), (Some(2), VISIBILITY));
    sleep(10 * SECOND + SECOND / 2).await;
    assert_eq!(bench.leases.beats(), 11, "at once, and after each of ten seconds");
    let [one, other] = two;
    drop(one);
    assert_eq!((bench.leases.held(), bench.leases.health().held), (Some(1), 1));
    drop(other);
    assert_eq!(bench.leases.held(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn what_a_queue_said_that_lets_nothing_be_extended_is_kept_and_a_passing_failure_is_not() {
    for (kind, refuses) in [(ServiceErrorKind::Denied, true), (ServiceErrorKind::Unavailable, false)] {
        let bench = bench(VISIBILITY, HOUR);
        bench.faults.next(On::Extend, Fault::Fail(kind), 1);
        let lease = take(&bench).await;
        sleep(VISIBILITY).await;
        assert_eq!(bench.leases.refused().map(|error| error.kind), refuses.then_some(kind));
        assert!(!lease.is_lost() && extended(&bench) == [5 * SECOND], "asked again at the next look");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_is_asked_for_no_more() {
    let bench = bench(VISIBILITY, HOUR);
    let lease = take(&bench).await;
    assert_eq!(bench.queue.steal(HOUR), 1);
    assert_eq!((lease.lost().await.code, bench.began.elapsed()), (Code(601), 4 * SECOND));
    sleep(10 * VISIBILITY).await;
    assert_eq!(bench.faults.calls(On::Extend), 1, "another has it");
}
