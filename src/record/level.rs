//! How many of something there are, summed over time.
//!
//! A share such as "half of the processors were taken" is a sum over time. Looking now and then at a number that
//! changes a thousand times a second does not give that share. The sum is current at any time: something that lasts
//! for an hour counts from its first second. Bounded: four numbers. The lock is held for a few additions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many of something there are, summed over time.
#[derive(Debug, Default)]
pub struct Level(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    now: u32,
    sum: Duration,
    any: Duration,
    updated: Option<Instant>,
}

impl Level {
    /// Counts one more, until the result is dropped.
    pub fn enter(self: &Arc<Self>) -> Present {
        self.advanced().now += 1;
        Present(Arc::clone(self))
    }

    /// The number summed over the time so far: two for three seconds are six seconds.
    pub fn sum(&self) -> Duration {
        self.advanced().sum
    }

    /// How long there was at least one.
    pub fn any(&self) -> Duration {
        self.advanced().any
    }

    fn advanced(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = inside.updated.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        let present = inside.now;
        if present > 0 {
            inside.any += passed;
            inside.sum += passed.saturating_mul(present);
        }
        inside
    }
}

/// One counted thing; dropping it ends the count.
#[derive(Debug)]
pub struct Present(Arc<Level>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.advanced().now -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_level_knows_how_many_there_were_for_how_long_while_they_are_there() {
        let level = Arc::new(Level::default());
        let pass = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        pass(5).await;
        let first = level.enter();
        pass(2).await;
        let second = level.enter();
        pass(3).await;
        assert_eq!((level.sum(), level.any()), (Duration::from_secs(2 + 2 * 3), Duration::from_secs(5)));
        drop((first, second));
        pass(9).await;
        assert_eq!((level.sum(), level.any()), (Duration::from_secs(8), Duration::from_secs(5)));
    }
}
