//! How long things took, with quantiles that can be read while recording continues.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Durations, counted in buckets that are a quarter of a power of two wide: a quantile read from them is at most 25 %
/// too high. Bounded: one number for each bucket.
#[derive(Debug)]
pub struct Durations([AtomicU64; Self::BUCKETS]);

impl Default for Durations {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Durations {
    /// Four for each power of two, from 1 µs to 2^36 µs = 19 hours, longer than the 12 hours for which an SQS message
    /// can be held.
    const BUCKETS: usize = 4 * 36;

    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let octave = micros.ilog2() as usize;
        let quarter = if octave < 2 { 0 } else { (micros >> (octave - 2)) as usize & 3 };
        self.0[(4 * octave + quarter).min(Self::BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    /// The time that the `quantile` (0 to 1) of the durations did not exceed; `None` while there are none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        })?;
        Some(Duration::from_micros(((1_u64 << (bucket / 4)) * (5 + bucket as u64 % 4)).div_ceil(4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_never_too_low_and_at_most_a_quarter_too_high() {
        let durations = Durations::default();
        assert_eq!(durations.quantile(0.5), None);
        for millis in 1..=1000 {
            durations.record(Duration::from_millis(millis));
        }
        for (quantile, exact) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let read = durations.quantile(quantile).unwrap();
            let exact = Duration::from_millis(exact);
            assert!(read >= exact && read <= exact.mul_f64(1.25), "{quantile}: {read:?} for {exact:?}");
        }
        durations.record(Duration::ZERO);
        durations.record(Duration::MAX);
    }
}
