//! Movable limits on what is in flight: job slots, reads and writes.
//!
//! A [`Limit`] is a semaphore that can shrink. Permits above a lowered limit are removed when they are returned, so
//! nothing under way is disturbed, and nothing new begins until the limit is met. A [`Lane`] is a limit for service
//! calls that also counts what the [tuner](crate::capacity::tuner) needs for its decisions. With a fixed
//! `--concurrency` a lane is open and costs nothing.
//!
//! A call holds its permit only while the service works on it: not while it waits for its next attempt, and not
//! while its bytes wait for another stage. So permits always return, and waiting for a permit can't deadlock.

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
    /// Permits to be removed when they are returned.
    debt: AtomicUsize,
    ceiling: usize,
    /// Integral of the limit over time (slot-seconds), and when it was last updated.
    area: Mutex<(Instant, Duration)>,
    /// What has been observed; the numbers only grow.
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

/// What a limit has observed so far. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of `asked`, what shows that a higher limit would be used: messages that came, or calls that had to wait.
    pub pressed: u64,
    /// What was asked for: messages by receives, or permits by calls.
    pub asked: u64,
    /// Calls that succeeded.
    pub answered: u64,
    /// Bytes that those calls moved.
    pub bytes: u64,
    /// Time that calls took, summed.
    pub busy: Duration,
    /// Time that calls waited for a permit, summed.
    pub waited: Duration,
    /// Calls that were throttled.
    pub throttled: u64,
}

impl Limit {
    /// A limit that never moves.
    pub fn fixed(number: usize) -> Arc<Self> {
        Self::moving(number, number)
    }

    /// A limit that begins at `start` and never exceeds `ceiling`.
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

    /// The current limit.
    pub fn now(&self) -> usize {
        self.now.load(Relaxed)
    }

    /// The highest value that the limit may take.
    pub fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// How many are in flight.
    pub fn in_use(&self) -> usize {
        (self.now() + self.debt.load(Relaxed)).saturating_sub(self.gate.available_permits())
    }

    /// Integral of the limit over the time since it was made.
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

    /// Moves the limit, between 1 and its ceiling. Only one task may call this.
    pub fn set(&self, to: usize) {
        let to = to.clamp(1, self.ceiling);
        let area = self.integrate();
        let from = self.now.swap(to, Relaxed);
        drop(area);
        if to > from {
            let mut more = to - from;
            // Permits that were still to be removed stay instead.
            let kept = self.debt.fetch_update(Relaxed, Relaxed, |debt| Some(debt.saturating_sub(more))).unwrap_or(0);
            more -= kept.min(more);
            self.gate.add_permits(more);
        } else {
            let forgotten = self.gate.forget_permits(from - to);
            self.debt.fetch_add(from - to - forgotten, Relaxed);
        }
    }

    /// Waits for a permit.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        match Arc::clone(&self.gate).acquire_owned().await {
            Ok(permit) => Permit { limit: Arc::clone(self), permit: Some(permit) },
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// A permit, if one is free.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.gate).try_acquire_owned().ok()?;
        Some(Permit { limit: Arc::clone(self), permit: Some(permit) })
    }

    /// Records that of `asked` requests, `pressed` show that a higher limit would be used.
    pub fn press(&self, pressed: usize, asked: usize) {
        self.seen.pressed.fetch_add(pressed as u64, Relaxed);
        self.seen.asked.fetch_add(asked as u64, Relaxed);
    }

    /// What has been observed so far.
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

/// A place among those in flight. Dropping it gives the place to the next in line.
#[derive(Debug)]
pub struct Permit {
    limit: Arc<Limit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let debt = &self.limit.debt;
        // Checked first, because the debt is almost always zero, and a load is cheaper than a failed exchange on every
        // call.
        if debt.load(Relaxed) > 0
            && debt.fetch_update(Relaxed, Relaxed, |debt| debt.checked_sub(1)).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

/// The way of all calls of one kind: through a limit, or without a limit.
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

/// A call under way. A call that is dropped before it [ends](Self::ended) is not counted.
#[derive(Debug)]
pub struct Passing(Option<(Permit, Instant)>);

impl Passing {
    /// Counts the end of the call: a success that moved `bytes`, or a failure.
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
