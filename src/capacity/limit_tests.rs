//! How a limit hands out its permits while it is moved.

use super::*;

#[tokio::test]
async fn a_lowered_limit_lets_nothing_begin_until_it_is_met() {
    let limit = Limit::moving(4, 10);
    let mut held: Vec<Permit> = (0..3).filter_map(|_| limit.try_acquire()).collect();
    limit.set(2);
    assert_eq!((limit.now(), limit.in_use()), (2, 3), "what is under way goes on");
    assert!(limit.try_acquire().is_none());
    held.pop();
    assert!(limit.try_acquire().is_none(), "two are still under way");
    held.pop();
    let again = limit.try_acquire();
    assert!(again.is_some() && limit.try_acquire().is_none());
    drop((held, again));
    assert_eq!(limit.in_use(), 0);
}

#[tokio::test]
async fn a_limit_that_is_lowered_and_raised_again_has_as_many_places_as_it_says() {
    let limit = Limit::moving(8, 32);
    let mut held = Vec::new();
    for (step, to) in [3, 20, 1, 2, 9, 32, 4, 8, 99, 16].into_iter().enumerate() {
        held.extend(std::iter::from_fn(|| limit.try_acquire()));
        limit.set(to);
        held.truncate(held.len() / (1 + step % 3));
        assert_eq!(limit.now(), to.min(32));
        assert_eq!(limit.in_use(), held.len(), "after {to}");
    }
    held.clear();
    let free: Vec<Permit> = std::iter::from_fn(|| limit.try_acquire()).collect();
    assert_eq!(free.len(), 16);
}

#[tokio::test]
async fn a_waiter_gets_the_place_that_a_raised_limit_makes() {
    let limit = Limit::moving(1, 2);
    let first = limit.acquire().await;
    let waiting = tokio::spawn({
        let limit = Arc::clone(&limit);
        async move { limit.acquire().await }
    });
    tokio::task::yield_now().await;
    limit.set(2);
    drop(waiting.await.unwrap());
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_limit_knows_how_many_places_it_has_offered_for_how_long() {
    let limit = Limit::moving(2, 8);
    tokio::time::sleep(Duration::from_secs(3)).await;
    limit.set(8);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(limit.area(), Duration::from_secs(2 * 3 + 8));
}

#[tokio::test(start_paused = true)]
async fn a_lane_counts_what_passes_and_what_had_to_wait() {
    let limit = Limit::fixed(1);
    let lane = Lane::through(&limit);
    let first = lane.enter().await;
    let second = tokio::spawn(async move { lane.enter().await.ended(&Ok(()), 5) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let throttled = ServiceError::new(ServiceErrorKind::Throttled, "SlowDown", "slow down");
    first.ended(&Err::<(), _>(throttled), 7);
    second.await.unwrap();
    let seen = limit.seen();
    assert_eq!((seen.pressed, seen.asked, seen.answered, seen.bytes, seen.throttled), (1, 2, 1, 5, 1));
    assert!(seen.busy < Duration::from_millis(10), "waiting for a place is no latency");
    assert_eq!(seen.waited, Duration::from_millis(20));
}
