//! Limits on what is in flight, which can move: job slots, reads and writes.
//!
//! A semaphore that can shrink. Permits above a lowered limit are taken out as they come back, so nothing under way is
//! disturbed, and nothing new begins until the limit is met. A [`Lane`] is a limit for service calls that also counts
//! what the [tuner](crate::capacity::tuner) decides by; the lane of a fixed `--concurrency` is open and costs nothing.
//!
//! A call holds its place only while the service has it: not while it waits for its next attempt, and not while its
//! bytes wait for another stage. So places always come back, and waiting for one can't deadlock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::{ServiceError, ServiceErrorKind};
use crate::runtime::sync::{AtomicUsize, Mutex, MutexGuard};

/// How many may be in flight.
#[derive(Debug)]
pub struct Limit {
    gate: Arc<Semaphore>,
    now: AtomicUsize,
    /// Permits to be taken out when they come back.
    debt: AtomicUsize,
    ceiling: usize,
    /// The limit summed over time, up to an instant.
    area: Mutex<(Instant, Duration)>,
    /// What has been seen, ever growing.
    seen: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    pressed: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    bytes: AtomicU64,
    busy: AtomicU64,
    waited: AtomicU64,
    throttled: AtomicU64,
}

/// What a limit has seen so far. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of what was asked for, what shows that a higher limit would be used.
    pub pressed: u64,
    /// What was asked for.
    pub asked: u64,
    /// Calls that succeeded.
    pub answered: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Time that calls took, summed.
    pub busy: Duration,
    /// Time that calls waited for a place, summed.
    pub waited: Duration,
    /// Calls that were throttled.
    pub throttled: u64,
}

impl Limit {
    /// A limit that stays.
    pub fn fixed(number: usize) -> Arc<Self> {
        Self::moving(number, number)
    }

    /// A limit that begins with `start` and never exceeds `ceiling`.
    pub fn moving(start: usize, ceiling: usize) -> Arc<Self> {
        let start = start.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            gate: Arc::new(Semaphore::new(start)),
            now: AtomicUsize::new(start),
            debt: AtomicUsize::new(0),
            ceiling: ceiling.max(start),
            area: Mutex::new((Instant::now(), Duration::ZERO)),
            seen: Counts::default(),
        })
    }

    /// The limit as it is now.
    pub fn now(&self) -> usize {
        self.now.load(Relaxed)
    }

    /// What the limit never exceeds.
    pub fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// How many are in flight.
    pub fn in_use(&self) -> usize {
        (self.now() + self.debt.load(Relaxed)).saturating_sub(self.gate.available_permits())
    }

    /// The limit summed over the time since it was made.
    pub fn area(&self) -> Duration {
        self.integrate().1
    }

    fn integrate(&self) -> MutexGuard<'_, (Instant, Duration)> {
        let mut area = self.area.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let limit = u32::try_from(self.now()).unwrap_or(u32::MAX);
        let passed = now.saturating_duration_since(area.0);
        *area = (now, area.1 + passed.saturating_mul(limit));
        area
    }

    /// Moves the limit, within 1 and its ceiling. One task does so.
    pub fn set(&self, to: usize) {
        let to = to.clamp(1, self.ceiling);
        let area = self.integrate();
        let from = self.now.swap(to, Relaxed);
        drop(area);
        if to > from {
            let mut more = to - from;
            // What was still to be taken out stays in.
            let kept = self.debt.fetch_update(Relaxed, Relaxed, |debt| Some(debt.saturating_sub(more))).unwrap_or(0);
            more -= kept.min(more);
            self.gate.add_permits(more);
        } else {
            let forgotten = self.gate.forget_permits(from - to);
            self.debt.fetch_add(from - to - forgotten, Relaxed);
        }
    }

    /// Waits for a place.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        match Arc::clone(&self.gate).acquire_owned().await {
            Ok(permit) => Permit { limit: Arc::clone(self), permit: Some(permit) },
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// A place, if one is free.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.gate).try_acquire_owned().ok()?;
        Some(Permit { limit: Arc::clone(self), permit: Some(permit) })
    }

    /// Notes that of `asked`, `pressed` show that a higher limit would be used.
    pub fn press(&self, pressed: usize, asked: usize) {
        self.seen.pressed.fetch_add(pressed as u64, Relaxed);
        self.seen.asked.fetch_add(asked as u64, Relaxed);
    }

    /// What has been seen so far.
    pub fn seen(&self) -> Seen {
        let get = |number: &AtomicU64| number.load(Relaxed);
        let Counts { pressed, asked, answered, bytes, busy, waited, throttled } = &self.seen;
        Seen {
            pressed: get(pressed),
            asked: get(asked),
            answered: get(answered),
            bytes: get(bytes),
            busy: Duration::from_micros(get(busy)),
            waited: Duration::from_micros(get(waited)),
            throttled: get(throttled),
        }
    }
}

/// A place. Dropping it gives the place to the next.
#[derive(Debug)]
pub struct Permit {
    limit: Arc<Limit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let debt = &self.limit.debt;
        // Looked at first: there is hardly ever any, and a load is cheaper than a failed exchange on every call.
        if debt.load(Relaxed) > 0
            && debt.fetch_update(Relaxed, Relaxed, |debt| debt.checked_sub(1)).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

/// Where the calls of one kind pass: through a limit, or freely.
#[derive(Clone, Debug, Default)]
pub struct Lane(Option<Arc<Limit>>);

impl Lane {
    /// A lane through `limit`.
    pub fn through(limit: &Arc<Limit>) -> Self {
        Self(Some(Arc::clone(limit)))
    }

    /// Waits until a call may begin.
    pub async fn enter(&self) -> Passing {
        let Some(limit) = &self.0 else { return Passing(None) };
        let permit = match limit.try_acquire() {
            Some(permit) => {
                limit.press(0, 1);
                permit
            }
            None => {
                limit.press(1, 1);
                let since = Instant::now();
                let permit = limit.acquire().await;
                limit.seen.waited.fetch_add(micros(since.elapsed()), Relaxed);
                permit
            }
        };
        Passing(Some((permit, Instant::now())))
    }
}

/// A call under way. One that is dropped before its [end](Self::ended) counts as none.
#[derive(Debug)]
pub struct Passing(Option<(Permit, Instant)>);

impl Passing {
    /// The call has ended well, having moved `bytes`, or not.
    pub fn ended<T>(self, answer: &Result<T, ServiceError>, bytes: u64) {
        let Some((permit, since)) = self.0 else { return };
        let seen = &permit.limit.seen;
        match answer {
            Ok(_) => {
                seen.answered.fetch_add(1, Relaxed);
                seen.bytes.fetch_add(bytes, Relaxed);
                seen.busy.fetch_add(micros(since.elapsed()), Relaxed);
            }
            Err(error) if error.kind == ServiceErrorKind::Throttled => {
                seen.throttled.fetch_add(1, Relaxed);
            }
            Err(_) => {}
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
