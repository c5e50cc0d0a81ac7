//! Leases, by themselves: when they are extended, how they end, and what is asked before publishing.

use std::time::{Duration, Instant};

use crate::lease_bench::Bench;
use batchpipe::error::{Code, ErrorKind, ServiceErrorKind};
use batchpipe::lease::Leases;
use batchpipe::services::queue::JobQueue;
use batchpipe::testing::{Fault, On, Operation};

/// Renewed at half time, looked at eight times: a machine that stands still for a third of a second loses nothing.
const VISIBILITY: Duration = Duration::from_secs(1);

/// A bench whose keeper has a thread and a clock of its own.
fn bench(visibility: Duration, longest: Duration) -> Bench {
    Bench::new(|queue, meters| Leases::limited(queue, visibility, longest, meters).unwrap())
}

/// The extensions so far: how long after the last receive, and of how many messages.
fn extensions(bench: &Bench) -> Vec<(Duration, usize)> {
    let mut received = None;
    let mut extensions = Vec::new();
    for (at, operation) in bench.log.timed() {
        match operation {
            Operation::Receive { .. } => received = Some(at),
            Operation::Extend { ids, .. } => extensions.push((at - received.unwrap(), ids.len())),
            _ => {}
        }
    }
    extensions
}

async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_extended_at_half_time_in_batches_of_ten() {
    let visibility = 2 * VISIBILITY;
    let bench = bench(visibility, Duration::from_secs(60));
    let leases = bench.take(25).await;
    sleep(visibility * 7 / 8).await;
    let extensions = extensions(&bench);
    assert_eq!(extensions.iter().map(|(_, count)| count).sum::<usize>(), 25, "each once: {extensions:?}");
    assert_eq!(extensions.len(), 3, "10, 10 and 5: {extensions:?}");
    for (after, _) in &extensions {
        assert!(*after >= visibility * 3 / 8 && *after <= visibility * 7 / 8, "{extensions:?}");
    }
    sleep(visibility * 3 / 2).await;
    assert_eq!(bench.queue.visible(), 0, "none of them came back");
    assert!(leases.iter().all(|lease| !lease.is_lost()));
    assert_eq!(bench.leases.health().held, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_queue_does_not_lose_leases() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    bench.faults.always(On::Extend, Fault::Delay(VISIBILITY / 8));
    let leases = bench.take(40).await;
    sleep(VISIBILITY * 5).await;
    assert!(leases.iter().all(|lease| !lease.is_lost()));
    assert_eq!(bench.queue.visible(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_fails_now_and_then_does_not_lose_leases() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let leases = bench.take(5).await;
    for _ in 0..3 {
        bench.faults.next(On::Extend, Fault::Fail(ServiceErrorKind::Unavailable), 1);
        bench.faults.next(On::Extend, Fault::Delay(Duration::ZERO), 1);
    }
    sleep(VISIBILITY * 4).await;
    assert!(leases.iter().all(|lease| !lease.is_lost()));
    assert_eq!(bench.queue.visible(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_fails_for_a_moment_in_a_batch_that_succeeds_is_no_lost_lease() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let leases = bench.take(6).await;
    bench.faults.next(On::Extend, Fault::Partial, 1);
    sleep(VISIBILITY * 3).await;
    assert!(bench.faults.calls(On::Extend) > 2);
    assert!(leases.iter().all(|lease| !lease.is_lost()));
    assert_eq!(bench.queue.visible(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_held_longer_than_the_queue_allows() {
    let longest = VISIBILITY * 4;
    let bench = bench(VISIBILITY, longest);
    let lease = bench.take(1).await.remove(0);
    let begun = Instant::now();
    let lost = tokio::time::timeout(Duration::from_secs(5), lease.lost()).await.expect("the limit is noticed");
    assert_eq!((lost.code, lost.kind), (Code(603), ErrorKind::LeaseLost));
    assert!(begun.elapsed() < longest, "in time to say so: {:?}", begun.elapsed());
    assert!(begun.elapsed() > longest / 3, "and not before it had to be: {:?}", begun.elapsed());
    assert_eq!(lease.confirm().await.unwrap_err().code, Code(603));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_being_settled_is_extended_no_more() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let leases = bench.take(3).await;
    leases[0].settle(true);
    leases[1].settle(true);
    leases[1].settle(false);
    sleep(VISIBILITY * 3 / 2).await;
    let mut counts = [0; 3];
    for operation in bench.log.operations() {
        let Operation::Extend { ids, .. } = operation else { continue };
        for id in ids {
            counts[id.rsplit('-').next().unwrap().parse::<usize>().unwrap()] += 1;
        }
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1] > 0 && counts[2] > 0, "{counts:?}");
}

/// Batches wait for each other when the queue is slow; a message that is settled meanwhile must not be extended.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_settled_while_its_extension_waits_for_its_turn_is_not_extended() {
    let bench = bench(4 * VISIBILITY, Duration::from_secs(60));
    bench.faults.always(On::Extend, Fault::Delay(Duration::from_millis(600)));
    // 32 batches go out at once, the others 600 ms later.
    let leases = bench.take(400).await;
    while bench.faults.calls(On::Extend) < 32 {
        sleep(Duration::from_millis(1)).await;
    }
    leases.iter().for_each(|lease| lease.settle(true));
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(bench.faults.calls(On::Extend), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_dropped_lets_its_message_come_back() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    drop(bench.take(1).await);
    assert_eq!(bench.leases.health().held, 0);
    sleep(VISIBILITY * 3 / 2).await;
    assert_eq!(bench.queue.visible(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_delivery_gives_its_receipt_to_the_lease() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let lease = bench.take(1).await.remove(0);
    bench.queue.forget();
    let asked = tokio::time::Instant::now();
    let again = bench.receive().await.remove(0);
    assert!(bench.leases.grant(&again, asked).is_none());
    assert_eq!(lease.receipt(), Some(again.receipt));
    sleep(VISIBILITY * 2).await;
    assert!(!lease.is_lost(), "an answer about the old receipt is about the past");
    assert_eq!(bench.queue.visible(), 0);
}

/// Two receivers: the answer to the first delivery is on its way while the second has come.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_late_never_takes_a_newer_receipt_away() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let lease = bench.take(1).await.remove(0);
    bench.queue.forget();
    let asked_first = tokio::time::Instant::now();
    let late = bench.receive().await.remove(0);
    bench.queue.forget();
    let asked = tokio::time::Instant::now();
    let newest = bench.receive().await.remove(0);
    for (message, asked) in [(&newest, asked), (&late, asked_first)] {
        assert!(bench.leases.grant(message, asked).is_none());
        assert_eq!(lease.receipt().as_ref(), Some(&newest.receipt));
    }
    sleep(VISIBILITY * 2).await;
    assert!(!lease.is_lost() && bench.queue.visible() == 0, "it is extended by the receipt that works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_somebody_else_is_lost_with_its_code() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let leases = bench.take(2).await;
    assert_eq!(bench.queue.steal(Duration::from_secs(60)), 2);
    for lease in &leases {
        let lost = tokio::time::timeout(Duration::from_secs(5), lease.lost()).await.expect("it is noticed");
        assert_eq!((lost.code, lost.kind), (Code(601), ErrorKind::LeaseLost));
        assert!(lease.confirm().await.is_err());
    }
}

/// A worker that was stopped for a while finds its leases run out, and nobody has told it whose the messages are now.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_may_have_run_out_is_confirmed_with_the_queue_before_publishing() {
    for stolen in [false, true] {
        let bench = bench(VISIBILITY, Duration::from_secs(60));
        let lease = bench.take(1).await.remove(0);
        assert!(lease.confirm().await.is_ok());
        assert_eq!(extensions(&bench).len(), 0, "a lease that has time left needs no question");
        // The keeper's call does not get through, as if it had been stopped.
        bench.faults.always(On::Extend, Fault::Silence);
        sleep(VISIBILITY / 2).await;
        if stolen {
            bench.queue.steal(Duration::from_secs(60));
        } else {
            // Nobody has taken it, and the queue is slow to make it visible.
            let receipts = [lease.receipt().unwrap()];
            bench.queue.extend(&receipts, Duration::from_secs(60)).await.unwrap();
        }
        sleep(VISIBILITY).await;
        assert!(!lease.is_lost(), "nobody has told");
        bench.faults.clear();
        let confirmed = lease.confirm().await;
        assert_eq!(confirmed.is_err(), stolen, "{confirmed:?}");
        let calls = bench.faults.calls(On::Extend);
        assert_eq!(lease.confirm().await.is_err(), stolen);
        assert!(stolen || bench.faults.calls(On::Extend) == calls, "what was just confirmed is asked again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_silent_can_not_confirm() {
    let bench = bench(VISIBILITY, Duration::from_secs(60));
    let lease = bench.take(1).await.remove(0);
    bench.faults.always(On::Extend, Fault::Silence);
    sleep(VISIBILITY * 3 / 2).await;
    let answer = tokio::time::timeout(Duration::from_secs(5), lease.confirm()).await.expect("it is not waited for");
    assert_eq!(answer.unwrap_err().kind, ErrorKind::LeaseLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_panics_begins_anew_and_loses_no_lease() {
    // Printing a panic with where it came from takes a second on a busy machine.
    let bench = bench(Duration::from_secs(4), Duration::from_secs(60));
    bench.faults.next(On::Extend, Fault::Panic, 1);
    let leases = bench.take(3).await;
    while bench.faults.calls(On::Extend) < 3 {
        assert!(bench.began.elapsed() < Duration::from_secs(30), "it does not go on");
        assert_eq!(bench.queue.visible(), 0, "one came back");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.queue.visible(), 0, "none of them came back");
    assert!(leases.iter().all(|lease| !lease.is_lost()));
}
