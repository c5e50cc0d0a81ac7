//! A task that shows that its runtime still runs tasks: it counts once a second, and a watchdog compares the counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Time between two beats, and between two looks of the watchdog: short compared with any sensible bound.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Counts in `beats` once a second for as long as the runtime runs it.
pub(crate) async fn beat(beats: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        beats.fetch_add(1, Relaxed);
    }
}
