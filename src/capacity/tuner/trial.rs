//! Limits that were moved to see what comes of it, what must come of it to stay, and how long to look.

use super::climb::KINDS;

/// A rise stays if the work grows by this share of it. Twice as many must do 15 % more: less is noise on a shared
/// machine (10 % between equal runs, measured), and costs connections and memory.
const PAYS: f64 = 0.15;
/// What a short look must show of a rise: windows so short differ by as much as 20 % by themselves, and with both of
/// two that do, more than that is a gain.
const PLAIN: f64 = 0.3;
/// A fall stays if the work falls by less than this share of it.
const COSTS: f64 = 0.08;

/// How long a window must be for the next judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Only a large gain is to be seen, of a doubling.
    Quick,
    /// A step as long as a doubling is to be told from noise.
    Usual,
    /// A shorter step is.
    Fine,
}

/// Whether the search is still new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Each rise has paid so far.
    Quick,
    /// A short look at the last rise showed nothing: once more, and longer.
    Doubt,
    /// Something did not pay.
    Over,
}

/// Limits that were moved to see what comes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// What they were, where they were moved.
    pub(super) from: [Option<usize>; KINDS],
    /// How far they were moved, as a part of what they were.
    pub(super) step: f64,
    /// The work a second before.
    pub(super) level: f64,
}

impl Trial {
    /// Whether it is to stay, by the work a second that came of it.
    pub(super) fn pays(&self, rate: f64, haste: Haste) -> bool {
        let share = match haste {
            Haste::Quick => PLAIN,
            _ if self.step > 0.0 => PAYS,
            _ => COSTS,
        };
        rate / self.level - 1.0 >= self.step * share
    }
}
