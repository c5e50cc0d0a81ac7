//! The budget's promises: never more than the total, and some job can always continue.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;

use super::*;

mod buffers;

const PART: u64 = 1 << 20;

#[tokio::test]
async fn a_known_small_object_takes_little_room() {
    let budget = Budget::new(64 * PART, PART);
    let rooms: Vec<_> = (0..500).map_while(|_| budget.try_admit(Some(4096))).collect();
    assert_eq!(rooms.len(), 500);
    assert!(rooms.iter().all(|room| room.has(65_536)), "most outputs of such fit");
    assert!(budget.reserved() < 64 * PART);
    drop(rooms);
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn one_job_may_have_the_whole_budget_to_read_ahead_but_never_more() {
    let budget = Budget::new(32 * PART, PART);
    let room = budget.admit(None).await;
    let mut claims = vec![room.read(PART).await];
    claims.extend(std::iter::from_fn(|| room.try_read(PART)));
    assert!(claims.len() >= 28, "{}", claims.len());
    assert!(budget.reserved() <= budget.total());
    drop(room);
    assert!(budget.reserved() > 0, "bytes in flight keep their room");
    drop(claims);
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn bytes_hold_their_claim_until_the_last_slice_of_them_is_gone() {
    let budget = Budget::new(2 * PART, PART);
    let room = budget.admit(None).await;
    let bytes = room.read(PART).await.hold(Bytes::from_static(b"some bytes"));
    let slice = bytes.slice(0..4);
    drop(bytes);
    assert!(room.try_read(PART).is_none());
    drop(slice);
    assert!(room.try_read(PART).is_some());
}

#[tokio::test]
async fn a_job_that_waits_to_grow_goes_before_new_jobs() {
    let budget = Budget::new(4 * PART, PART);
    let small = budget.admit(Some(1000)).await;
    let hog = budget.admit(None).await;
    let extra: Vec<_> = std::iter::from_fn(|| small.try_more(PART / 4)).collect();
    let growing = tokio::spawn({
        let small = small.clone();
        async move { small.grow().await }
    });
    while budget.lock().growing == 0 && !growing.is_finished() {
        tokio::task::yield_now().await;
    }
    let mut extra = extra.into_iter();
    drop(extra.next());
    assert!(
        budget.try_admit(Some(10)).is_none() && budget.try_reserve().is_none(),
        "it takes what the other waits for"
    );
    assert!(small.try_more(10).is_none(), "nor is there more for others");
    drop(extra);
    drop(hog);
    growing.await.unwrap();
    assert!(budget.try_admit(Some(10)).is_some());
    assert_eq!(small.write_size(), PART);
    drop(small);
    assert!(budget.try_reserve().is_some());
}

#[tokio::test]
async fn a_job_that_waits_for_its_minimum_gets_it_beside_one_that_takes_all_there_is() {
    let budget = Budget::new(16 * PART, PART);
    let large = budget.admit(None).await;
    let mut claims: std::collections::VecDeque<_> = std::iter::from_fn(|| large.try_more(PART)).collect();
    assert!(claims.len() > 10, "alone it may have all: {}", claims.len());
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.reserve().await }
    });
    for _ in 0..40 {
        tokio::task::yield_now().await;
        claims.pop_front();
        claims.extend(large.try_more(PART));
    }
    let _room = waiting.await.unwrap();
    assert!(claims.len() >= 6, "and it keeps half: {}", claims.len());
    claims.extend(std::iter::from_fn(|| large.try_more(PART)));
    assert!(claims.len() > 8, "what nobody waits for is free again");
}

#[test]
fn beside_one_that_waits_extras_may_have_half_and_no_more() {
    let budget = Budget::new(16 * PART, PART);
    let large = budget.try_admit(None).unwrap();
    let waiting = Waiting::new(&budget);
    let claims: Vec<Claim> = std::iter::from_fn(|| large.try_more(PART)).collect();
    assert_eq!(claims.len(), 8);
    drop(waiting);
    assert!(large.try_more(PART).is_some());
}

/// A job as the pipeline runs it: it reads in order into its room, grows when its output does, and succeeds or fails.
async fn work(budget: Arc<Budget>, known: bool, size: u64, output: u64, fails_after: Option<u32>) {
    let room = budget.admit(known.then_some(size)).await;
    let mut window = std::collections::VecDeque::new();
    let (mut read, mut written, mut steps) = (0, 0, 0);
    let mut own = room.write(PART).await;
    while read < size || !window.is_empty() {
        while window.len() < 4 && read < size {
            let length = (size - read).min(PART);
            // Only a reader that holds nothing waits; the rest is read-ahead.
            let claim = if window.is_empty() { Some(room.read(length).await) } else { room.try_read(length) };
            let Some(claim) = claim else { break };
            window.push_back(claim.hold(Bytes::from(vec![0; 16])));
            if !known && read == 0 {
                room.fit(size);
            }
            read += length;
        }
        tokio::task::yield_now().await;
        window.pop_front();
        if output > room.write_size() && written == 0 {
            room.grow().await;
        }
        written += 1;
        drop(own);
        own = room.write(PART).await;
        steps += 1;
        if fails_after == Some(steps) {
            return;
        }
        assert!(budget.reserved() <= budget.total());
    }
    drop((own, window));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 8, ..ProptestConfig::default() })]
    #[test]
    fn no_mix_of_sizes_orders_failures_and_budgets_deadlocks(
        parts in 2u64..12,
        jobs in proptest::collection::vec(
            (any::<bool>(), 0..6 * PART, 0..6 * PART, proptest::option::of(1u32..5)),
            1..60,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let left = runtime.block_on(async {
            let budget = Budget::new(parts * PART, PART);
            let running: Vec<_> = jobs.into_iter()
                .map(|(known, size, output, fails)| tokio::spawn(work(Arc::clone(&budget), known, size, output, fails)))
                .collect();
            for job in running {
                let ended = tokio::time::timeout(Duration::from_secs(5), job).await;
                prop_assert!(ended.is_ok(), "deadlock: {budget:?}");
                prop_assert!(ended.unwrap().is_ok());
            }
            Ok(budget.reserved())
        })?;
        prop_assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn what_is_lent_comes_back_unless_it_was_needed() {
    let part = 1 << 20;
    let budget = Budget::new(16 << 20, part);
    let full = part + LINK_BYTES;
    let room = budget.admit(Some(10)).await;
    let own = budget.reserved();
    let lent = room.try_lend().unwrap();
    assert_eq!(budget.reserved(), own + full - SMALLEST_WRITE);
    assert_eq!(room.write_size(), SMALLEST_WRITE / 2, "what is not needed is not filled");
    drop(lent);
    assert_eq!(budget.reserved(), own);
    let lent = room.try_lend().unwrap();
    room.grow().await;
    assert_eq!(room.write_size(), part);
    drop(lent);
    assert_eq!(budget.reserved(), own + full - SMALLEST_WRITE, "used");
    drop(room);
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn nothing_is_lent_that_is_not_free_and_the_largest_can_always_have_it() {
    let part = 1 << 20;
    // Two whole minimums and a tiny one.
    let budget = Budget::new(2 * (2 * part + LINK_BYTES) + SMALLEST_WRITE + 10, part);
    let small = budget.admit(Some(10)).await;
    let (large, reserved) = (budget.reserve().await, budget.try_reserve());
    assert!(reserved.is_none(), "the small one must be able to grow");
    large.begin();
    let larger = budget.reserve().await;
    larger.begin();
    assert!(small.try_lend().is_none());
    let at_work = large.try_lend().unwrap();
    assert!(small.try_lend().is_none());
    drop((at_work, large));
    assert!(small.try_lend().is_some());
}

#[test]
fn a_job_that_turns_out_small_gives_back_what_it_does_not_need() {
    let budget = Budget::new(16 * PART, PART);
    let small = budget.try_admit(Some(10)).unwrap();
    let least = budget.reserved();
    drop(small);
    let room = budget.try_admit(None).unwrap();
    let whole = budget.reserved();
    let line = room.clone();
    line.keep();
    room.fit(10);
    assert_eq!(budget.reserved(), whole, "the next job in this room may be larger");
    drop((room, line));
    let room = budget.try_admit(Some(PART / 4)).unwrap();
    let own = budget.reserved();
    let lent = room.try_lend().unwrap();
    let full = budget.reserved();
    room.fit(10);
    assert_eq!(budget.reserved(), full, "its processor may need what was lent");
    drop(lent);
    assert_eq!(budget.reserved(), own);
    room.fit(10);
    assert_eq!(budget.reserved(), least);
    drop(room);
    let room = budget.try_admit(None).unwrap();
    let lent = room.try_lend().unwrap();
    room.fit(10);
    assert_eq!(room.write_size(), PART, "nor does it give back its own while it may need it");
    drop((lent, room));
    assert_eq!(budget.reserved(), 0);
}

#[test]
fn a_job_knows_what_fits_in_its_own_room() {
    let budget = Budget::new(16 * PART, PART);
    let room = budget.try_admit(Some(10)).unwrap();
    assert!(room.has(SMALLEST_WRITE) && !room.has(SMALLEST_WRITE + 1));
    let lent = room.try_lend().unwrap();
    assert!(!room.has(SMALLEST_WRITE + 1), "what is lent goes");
    room.grow().now_or_never().unwrap();
    assert!(room.has(PART));
    drop(lent);
    assert!(room.has(PART) && !room.has(budget.full + 1));
}

#[test]
fn a_read_that_waits_for_the_bytes_before_it_says_so() {
    let budget = Budget::new(2 * PART, PART);
    let room = budget.try_admit(None).unwrap();
    let before = room.try_read(PART).unwrap();
    assert!(room.starved().now_or_never().is_none());
    let mut read = std::pin::pin!(room.read(PART));
    assert!((&mut read).now_or_never().is_none());
    assert!(room.starved().now_or_never().is_some());
    drop(before);
    assert!(read.now_or_never().is_some());
}
