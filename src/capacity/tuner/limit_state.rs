//! One limit of the search: where it stands, what it would try next, and when.

use super::change::Reason;

/// The steps up. From 16 to 256 in four, and the last third of the way to a knee in steps whose effect can still be
/// told from noise.
pub(super) const STRIDES: [f64; 3] = [1.25, 1.5, 2.0];
/// A step down, when fewer are tried.
const FEWER: f64 = 0.8;
/// Latency that has doubled without more work is a queue somewhere.
const SLOWER: f64 = 2.0;
/// A step up from a throttle, as a part of where it happened.
const RECOVERY: usize = 16;
/// Windows until a trial that failed is made again; doubled each time up to the longest, about a minute.
pub(super) const REST: u32 = 4;
const LONGEST_REST: u32 = 64;

/// One limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) now: usize,
    pub(super) floor: usize,
    pub(super) ceiling: usize,
    /// The step up to be tried next.
    pub(super) stride: usize,
    /// Windows until the next trial.
    pub(super) hold: u32,
    /// The next hold after a failure.
    pub(super) rest: u32,
    /// The next trial is one of fewer.
    pub(super) fewer: bool,
    /// Windows until a throttle counts again.
    pub(super) calm: u32,
    /// Where the service throttled.
    pub(super) knee: Option<usize>,
    /// The latency when the limit was last found right.
    pub(super) latency: Option<f64>,
    /// Whether the last change that stayed was a rise.
    pub(super) rose: bool,
}

impl Spot {
    /// One that begins at `now`.
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

    /// Where the limit should go next.
    pub(super) fn wish(&mut self, latency: f64, gained: bool) -> (usize, Reason) {
        let slower = self.latency.is_some_and(|reference| latency > reference * SLOWER);
        if slower || std::mem::take(&mut self.fewer) {
            self.latency = Some(latency);
            return ((self.now as f64 * FEWER) as usize, if slower { Reason::Latency } else { Reason::Fewer });
        }
        if let Some(knee) = self.knee.filter(|knee| self.now < *knee) {
            let step = knee.div_ceil(RECOVERY);
            if self.now + 2 * step >= knee {
                // The next step leads to where it throttled: gone there rarely, and ever more so.
                self.tire();
            }
            return (self.now + step, Reason::Recovery);
        }
        // Nothing was throttled where it was before.
        self.knee = None;
        let to = (self.now as f64 * STRIDES[self.stride]) as usize;
        (to.max(self.now + 1), if gained { Reason::Gain } else { Reason::Trial })
    }

    pub(super) fn refresh(&mut self) {
        (self.hold, self.rest, self.latency) = (self.hold.min(REST), REST, None);
    }
}
