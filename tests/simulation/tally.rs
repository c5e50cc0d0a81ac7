//! What came about in all seeds together. A simulation in which something never happens has nothing to say about it.

use std::ops::AddAssign;

use super::groups::Seen;
use super::world::Outcome;

/// Numbers of one seed, or sums of many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    seeds: usize,
    kills: usize,
    ends: usize,
    operations: usize,
    /// Seeds with groups of several messages.
    groups: usize,
    /// Seeds in which a receive brought several of one group.
    lines: usize,
    /// Seeds in which a message came again and others of its group waited.
    held_up: usize,
    /// Seeds in which two groups were worked on at once.
    side_by_side: usize,
    /// Seeds in which a message came again while it was at work, and one of its group behind it.
    came_behind: usize,
    /// Seeds in which reads were asked again, and in which one of those answered first.
    hedged: usize,
    overtaken: usize,
}

/// Fewer seeds may have nothing of something.
const ENOUGH_SEEDS: usize = 100;

impl Tally {
    pub(super) fn of(outcome: &Outcome, seen: Seen) -> Self {
        let any = |so: bool| usize::from(so);
        Self {
            seeds: 1,
            kills: outcome.kills,
            ends: outcome.ends,
            operations: outcome.history.len(),
            groups: any(seen.groups),
            lines: any(seen.lines),
            held_up: any(seen.held_up),
            side_by_side: any(seen.side_by_side),
            came_behind: any(outcome.came_behind > 0),
            hedged: any(outcome.reads.iter().any(|reads| reads.again > 0)),
            overtaken: any(outcome.reads.iter().any(|reads| reads.overtook > 0)),
        }
    }

    /// Checks that each thing that a seed may draw came about in part of the seeds: about half as often as it does when
    /// this is written.
    ///
    /// # Panics
    ///
    /// If something did not.
    pub(super) fn covers_all(&self) {
        let percent = |of: usize| 100 * of / self.seeds.max(1);
        let least = [
            ("groups", self.groups, 15),
            ("lines", self.lines, 6),
            ("messages that held up their group", self.held_up, 7),
            ("groups side by side", self.side_by_side, 8),
            ("messages behind one at work", self.came_behind, 4),
            ("reads asked again", self.hedged, 5),
            ("reads overtaken", self.overtaken, 5),
        ];
        for (what, of, least) in least.into_iter().filter(|_| self.seeds >= ENOUGH_SEEDS) {
            assert!(percent(of) >= least, "{what}: only in {of} of {} seeds", self.seeds);
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.kills += other.kills;
        self.ends += other.ends;
        self.operations += other.operations;
        self.groups += other.groups;
        self.lines += other.lines;
        self.held_up += other.held_up;
        self.side_by_side += other.side_by_side;
        self.came_behind += other.came_behind;
        self.hedged += other.hedged;
        self.overtaken += other.overtaken;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kills, ends, operations, groups, lines, held_up, side_by_side, came_behind, hedged, overtaken, ..
        } = self;
        write!(f, "{kills} kills, {ends} workers that ended, {operations} operations; seeds with groups: {groups}, ")?;
        write!(f, "lines: {lines}, a group held up: {held_up}, groups side by side: {side_by_side}, ")?;
        write!(f, "behind one at work: {came_behind}, ")?;
        write!(f, "reads asked again: {hedged}, overtaken: {overtaken}")
    }
}
