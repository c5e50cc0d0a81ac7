//! Sends a read a second time if it is much later than reads usually are, and takes the first answer.
//!
//! A service answers a few of its reads far later than the rest, and the same read sent again is usually as fast as
//! any other ([Dean and Barroso, The Tail at Scale](https://research.google/pubs/the-tail-at-scale/)). Meanwhile a
//! late read blocks a job's slot and a large object's window. Only the wait for the head of an answer is hedged: a
//! body that stops or crawls is resumed by `stages/download.rs`.
//!
//! The answers themselves decide what late means: if more than a few come late, the store is slow as a whole, and
//! more requests would make it worse. Bounded: one hedge for each read, with its own permit in the read lane, and a
//! twentieth of all reads. The slower of the two calls is dropped before any of its body is read, so a hedge needs
//! only the memory of a request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::capacity::limit::Lane;
use crate::error::ServiceError;
use crate::record::Meters;

/// How many reads pay for one hedge. Requests are billed, and 5 % is the most that hedging after the 95th percentile
/// costs, as the paper proposes.
const PRICE: u32 = 20;

/// The most hedges that can be saved up: how many a store that gets slow after a fast hour receives at once beyond its
/// share.
const SAVED: u32 = 10;

/// The shortest wait before a hedge. S3 usually takes 100-200 ms to a first byte.
const SOONEST: Duration = Duration::from_millis(100);

/// The wait while too little is known: S3's guide recommends retrying a small read after this time.
const UNKNOWN: Duration = Duration::from_secs(2);

/// Powers of two of a millisecond, up to 16 s: beyond every deadline of a first byte.
const STEPS: usize = 15;

/// After this many answers, the older ones count half. Chosen, not measured: a hundred times what a first estimate
/// needs.
const REMEMBERED: u32 = 2048;

/// How long reads take, and how many more hedges may be sent. Shared by all reads of a worker.
#[derive(Debug, Default)]
pub struct Hedge(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The number of answers by power of two of a millisecond, each counted under the smallest power above its time.
    answers: [u32; STEPS],
    /// Their sum.
    all: u32,
    /// The time after which a read is late, once enough is known.
    late: Option<Duration>,
    /// Reads that have not been spent on a hedge.
    credit: u32,
}

impl Hedge {
    /// The answer of `call`, or that of the same call made once more if the first is late and that succeeds before it.
    pub async fn first<T, F>(&self, meters: &Meters, lane: &Lane, call: impl Fn() -> F) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        let asked = Instant::now();
        let mut first = std::pin::pin!(call());
        let late = loop {
            let late = self.lock().late();
            let waited = asked.elapsed();
            if waited >= late {
                break late;
            }
            // Waits in short steps, because the first reads of a worker begin when nothing is known, and others answer
            // meanwhile.
            if let Ok(answer) = timeout((late - waited).min(SOONEST), first.as_mut()).await {
                // A failure says nothing about how long reads take.
                if answer.is_ok() {
                    self.lock().learn(asked.elapsed());
                }
                return answer;
            }
        };
        if !self.lock().spend(late) {
            return first.await;
        }
        let place = tokio::select! {
            biased;
            answer = first.as_mut() => return answer,
            place = lane.enter() => place,
        };
        // On the heap, because hardly any read needs it.
        let mut second = Box::pin(call());
        let (answer, outcome) = tokio::select! {
            biased;
            // A failure of the first call counts too, so that a read takes no longer than without a hedge.
            answer = first.as_mut() => (answer, "lost"),
            answer = second.as_mut() => match answer {
                Ok(answer) => (Ok(answer), "won"),
                failed => {
                    place.ended(&failed, 0);
                    (first.await, "failed")
                }
            },
        };
        meters.hedged(outcome);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The time after which a read is late.
    fn late(&self) -> Duration {
        self.late.unwrap_or(UNKNOWN)
    }

    fn learn(&mut self, took: Duration) {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let step = (u64::BITS - milliseconds.leading_zeros()) as usize;
        self.answers[step.min(STEPS - 1)] += 1;
        self.all += 1;
        if self.all.is_multiple_of(PRICE) {
            self.late = Some(self.much_later());
        }
        if self.all >= REMEMBERED {
            self.answers.iter_mut().for_each(|answers| *answers /= 2);
            self.all = self.answers.iter().sum();
        }
        self.credit = (self.credit + 1).min(PRICE * SAVED);
    }

    /// Two to four times the longest time of the fastest 95 % of the answers.
    fn much_later(&self) -> Duration {
        let mut quicker = 0;
        let usual = self.answers.iter().position(|answers| {
            quicker += answers;
            quicker * 20 >= self.all * 19
        });
        Duration::from_millis(2 << usual.unwrap_or(STEPS)).max(SOONEST)
    }

    /// Records a read that took longer than `late`, and pays for its hedge if the credit suffices.
    fn spend(&mut self, late: Duration) -> bool {
        self.learn(late);
        let left = self.credit.checked_sub(PRICE);
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::capacity::limit::Limit;
    use crate::error::ServiceErrorKind;

    const QUICK: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(2);

    fn unavailable() -> ServiceError {
        ServiceError::new(ServiceErrorKind::Unavailable, "503", "busy")
    }

    /// Calls of a store: how many began, and how many of them ran to their end.
    #[derive(Default)]
    struct Calls {
        begun: Cell<u32>,
        ended: Cell<u32>,
    }

    impl Calls {
        /// One read. The first call takes the time and has the outcome of the first of `calls`, the second call those
        /// of the second.
        async fn read(&self, hedge: &Hedge, calls: [(Duration, bool); 2]) -> Result<u32, ServiceError> {
            self.read_in(&Lane::default(), hedge, calls).await
        }

        async fn read_in(&self, lane: &Lane, hedge: &Hedge, calls: [(Duration, bool); 2]) -> Result<u32, ServiceError> {
            let next = Cell::new(0);
            let call = || {
                let number = next.replace(next.get() + 1);
                let (takes, well) = calls[number];
                async move {
                    self.begun.set(self.begun.get() + 1);
                    tokio::time::sleep(takes).await;
                    self.ended.set(self.ended.get() + 1);
                    if well { Ok(number as u32 + 1) } else { Err(unavailable()) }
                }
            };
            hedge.first(&Meters::default(), lane, call).await
        }

        async fn quick(&self, hedge: &Hedge, reads: u32) {
            for _ in 0..reads {
                self.read(hedge, [(QUICK, true), (QUICK, true)]).await.unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_read_is_overtaken_and_dropped() {
        let (hedge, calls) = (Hedge::default(), Calls::default());
        calls.quick(&hedge, 40).await;
        let asked = Instant::now();
        assert_eq!(calls.read(&hedge, [(LATE, true), (QUICK, true)]).await.unwrap(), 2);
        assert!(asked.elapsed() <= SOONEST + 2 * QUICK, "{:?}", asked.elapsed());
        tokio::time::sleep(2 * LATE).await;
        assert_eq!((calls.begun.get(), calls.ended.get()), (42, 41), "the late one is not let end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_began_when_nothing_was_known_is_overtaken_too() {
        let (hedge, calls) = (Hedge::default(), Calls::default());
        let asked = Instant::now();
        let first = async {
            assert_eq!(calls.read(&hedge, [(LATE, true), (QUICK, true)]).await.unwrap(), 2);
            asked.elapsed()
        };
        let (took, ()) = tokio::join!(first, calls.quick(&hedge, 40));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_twice_while_nothing_is_late() {
        let (hedge, calls) = (Hedge::default(), Calls::default());
        for number in 0..3000 {
            // Answers between a fast one and one five times as slow, as varying load causes.
            let takes = Duration::from_millis(15 + number * 7 % 75);
            calls.read(&hedge, [(takes, true), (takes, true)]).await.unwrap();
        }
        assert_eq!(calls.begun.get(), 3000);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_twentieth_of_all_reads_is_asked_twice_however_many_are_late() {
        let (hedge, calls) = (Hedge::default(), Calls::default());
        let (mut reads, mut hedges) = (0, 0);
        for (quick, late) in [(10, 30), (600, 40), (100, 100), (3000, 30)] {
            calls.quick(&hedge, quick).await;
            reads += quick;
            for _ in 0..late {
                hedges += calls.read(&hedge, [(LATE, true), (QUICK, true)]).await.unwrap() - 1;
                reads += 1;
                assert_eq!(calls.begun.get(), reads + hedges);
                assert!(hedges * PRICE <= reads, "{hedges} of {reads}");
            }
        }
        assert!((20..60).contains(&hedges), "of 200 late reads some were asked twice, others not: {hedges}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_become_slow_is_not_asked_more() {
        let (hedge, calls) = (Hedge::default(), Calls::default());
        calls.quick(&hedge, 200).await;
        for _ in 0..1000 {
            calls.read(&hedge, [(LATE, true), (LATE, true)]).await.unwrap();
        }
        assert!(calls.begun.get() - 1200 <= SAVED + 2, "{}", calls.begun.get() - 1200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_that_fails_is_no_failure_and_none_makes_a_read_take_longer() {
        let (hedge, calls) = (Hedge::default(), Calls::default());
        calls.quick(&hedge, 100).await;
        assert_eq!(calls.read(&hedge, [(LATE, true), (QUICK, false)]).await.unwrap(), 1);
        let asked = Instant::now();
        assert!(calls.read(&hedge, [(LATE, false), (2 * LATE, true)]).await.is_err());
        assert_eq!(asked.elapsed(), LATE, "a read takes no longer for being hedged");
        assert_eq!(calls.begun.get(), 104);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_waits_for_a_place_among_the_reads() {
        let (hedge, calls, limit) = (Hedge::default(), Calls::default(), Limit::fixed(1));
        let lane = Lane::through(&limit);
        calls.quick(&hedge, 100).await;
        let held = limit.acquire().await;
        assert_eq!(calls.read_in(&lane, &hedge, [(LATE, true), (QUICK, true)]).await.unwrap(), 1);
        assert_eq!(calls.begun.get(), 101, "there was no place for another call");
        drop(held);
        assert_eq!(calls.read_in(&lane, &hedge, [(LATE, true), (QUICK, true)]).await.unwrap(), 2);
        assert_eq!(limit.in_use(), 0);
    }
}
