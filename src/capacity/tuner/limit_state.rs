//! One limit of the search: its value, what to try next, and when.

use super::change::Reason;

/// The steps up. Four steps lead from 16 to 256; the last third of the way to a knee is covered in steps whose effect
/// still exceeds the noise.
pub(super) const STRIDES: [f64; 3] = [1.25, 1.5, 2.0];
/// A step down, when a lower limit is tried.
const FEWER: f64 = 0.8;
/// If latency has doubled without more work, calls are queueing somewhere.
const SLOWER: f64 = 2.0;
/// A step up after a throttle, as a fraction of the limit at which the service throttled.
const RECOVERY: usize = 16;
/// Windows until a failed trial is repeated; doubled after each failure up to the longest, about a minute.
pub(super) const REST: u32 = 4;
const LONGEST_REST: u32 = 64;

/// One limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) now: usize,
    pub(super) floor: usize,
    pub(super) ceiling: usize,
    /// The index of the step up to be tried next.
    pub(super) stride: usize,
    /// Windows until the next trial.
    pub(super) hold: u32,
    /// The number of windows to wait after the next failure.
    pub(super) rest: u32,
    /// Whether the next trial is of a lower limit.
    pub(super) fewer: bool,
    /// Windows until a throttle counts again.
    pub(super) calm: u32,
    /// The limit at which the service throttled.
    pub(super) knee: Option<usize>,
    /// The latency when the limit was last confirmed.
    pub(super) latency: Option<f64>,
    /// Whether the last change that stayed was a rise.
    pub(super) rose: bool,
}

impl Spot {
    /// A limit that begins at `now`.
    pub(super) fn new((now, floor, ceiling): (usize, usize, usize)) -> Self {
        Self {
            now,
            floor: floor.min(now),
            ceiling: ceiling.max(now),
            stride: STRIDES.len() - 1,
            hold: 0,
            rest: REST,
            fewer: false,
            calm: 0,
            knee: None,
            latency: None,
            rose: true,
        }
    }

    pub(super) fn tire(&mut self) {
        self.hold = self.rest;
        self.rest = (self.rest * 2).min(LONGEST_REST);
    }

    /// The value that the limit should take next.
    pub(super) fn wish(&mut self, latency: f64, gained: bool) -> (usize, Reason) {
        let slower = self.latency.is_some_and(|reference| latency > reference * SLOWER);
        if slower || std::mem::take(&mut self.fewer) {
            self.latency = Some(latency);
            return ((self.now as f64 * FEWER) as usize, if slower { Reason::Latency } else { Reason::Fewer });
        }
        if let Some(knee) = self.knee.filter(|knee| self.now < *knee) {
            let step = knee.div_ceil(RECOVERY);
            if self.now + 2 * step >= knee {
                // The next step leads to where the service throttled, so it is taken rarely, and ever more rarely.
                self.tire();
            }
            return (self.now + step, Reason::Recovery);
        }
        // Nothing was throttled at the value that throttled before.
        self.knee = None;
        let to = (self.now as f64 * STRIDES[self.stride]) as usize;
        (to.max(self.now + 1), if gained { Reason::Gain } else { Reason::Trial })
    }

    pub(super) fn refresh(&mut self) {
        (self.hold, self.rest, self.latency) = (self.hold.min(REST), REST, None);
    }
}
