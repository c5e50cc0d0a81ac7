//! Trials: limits that were moved, what a trial must show for the change to stay, and how long to look.

use super::climb::KINDS;

/// A rise stays if the work grows by this share of the rise. Twice as many must do 15 % more work: less is noise on a
/// shared machine (10 % between equal runs, measured), and costs connections and memory.
const PAYS: f64 = 0.15;
/// What a short window must show of a rise. Windows this short differ by as much as 20 % on their own, and a trial
/// compares two of them, so a gain must be larger than that.
const PLAIN: f64 = 0.3;
/// A fall stays if the work falls by less than this share of the fall.
const COSTS: f64 = 0.08;

/// How long a window must be for the next judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Long enough to see only a large gain, of a doubling.
    Quick,
    /// Long enough to distinguish a step of the size of a doubling from noise.
    Usual,
    /// Long enough to distinguish a shorter step.
    Fine,
}

/// Whether the search is still in its fast phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Each rise has paid so far.
    Quick,
    /// A short window after the last rise showed no gain: a longer window follows.
    Doubt,
    /// A step did not pay.
    Over,
}

/// Limits that were moved on trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// The previous value of each limit that was moved.
    pub(super) from: [Option<usize>; KINDS],
    /// The size of the step, relative to the previous value.
    pub(super) step: f64,
    /// The work per second before the trial.
    pub(super) level: f64,
}

impl Trial {
    /// Whether the change should stay, judged by the work per second after it.
    pub(super) fn pays(&self, rate: f64, haste: Haste) -> bool {
        let share = match haste {
            Haste::Quick => PLAIN,
            _ if self.step > 0.0 => PAYS,
            _ => COSTS,
        };
        rate / self.level - 1.0 >= self.step * share
    }
}
