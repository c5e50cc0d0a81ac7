//! What must hold of the groups of a FIFO queue, from what happened at the services when.
//!
//! The property: nothing of a message is read or written before the queue has said of all that were sent before it in
//! its group that they are gone. So one that fails holds up its group, and what is done of a group is always its
//! beginning.
//!
//! What the queue says may be wrong: a delete that is reported as done and never happened. Nobody could keep the order
//! then.

use std::collections::{BTreeMap, BTreeSet};

use batchpipe::Location;
use batchpipe::testing::{Operation, Rig};

use super::plan::{Plan, Planned};
use super::world::Outcome;

/// What came about: whether the order was at stake at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// There was a group of several messages.
    pub(super) groups: bool,
    /// One receive brought several messages of a group.
    pub(super) lines: bool,
    /// A message came again while others of its group waited behind it.
    pub(super) held_up: bool,
    /// Messages of two groups were at work at once.
    pub(super) side_by_side: bool,
}

/// The messages of each group in the order in which they were sent, and what has become of them so far.
#[derive(Default)]
struct Groups<'a> {
    /// The group of each message of the plan.
    of: BTreeMap<&'a str, &'a str>,
    sent: BTreeMap<&'a str, Vec<&'a str>>,
    gone: BTreeSet<&'a str>,
    /// Those that the queue said are gone.
    said_gone: BTreeSet<&'a str>,
    received: BTreeSet<&'a str>,
    at_work: BTreeSet<&'a str>,
    seen: Seen,
}

/// Checks the order within groups.
///
/// # Panics
///
/// If a message did not wait for those before it.
pub(super) fn check(plan: &Plan, outcome: &Outcome) -> Seen {
    let named = || plan.messages.iter().zip(outcome.ids.iter().map(String::as_str));
    let mut groups = Groups::default();
    groups.of.extend(named().filter_map(|(planned, id)| Some((id, planned.group.as_deref()?))));
    let owners: BTreeMap<Location, &str> =
        named().flat_map(|(planned, id)| places(planned).map(move |place| (place, id))).collect();
    let mut said = outcome.said_gone.iter().peekable();
    for (at, operation) in &outcome.history {
        while let Some((_, id)) = said.next_if(|(said, _)| said <= at) {
            groups.said_gone.insert(id);
        }
        match operation {
            Operation::Send { ids, .. } => ids.iter().for_each(|id| groups.send(id)),
            Operation::Receive { ids, .. } => groups.receive(ids),
            Operation::Delete { ids } => ids.iter().for_each(|id| groups.delete(id)),
            Operation::Get { at, .. }
            | Operation::Put { at }
            | Operation::Begin { at }
            | Operation::Part { at, .. }
            | Operation::Complete { at } => owners.get(at).into_iter().for_each(|id| groups.work(id, operation)),
            Operation::Extend { .. } | Operation::Abort { .. } => {}
        }
    }
    groups.seen
}

/// Where a message's objects are. Nobody but its jobs writes to its outputs once it was sent.
fn places(planned: &Planned) -> impl Iterator<Item = Location> {
    planned.objects().flat_map(|object| [Rig::input(&object.name), Rig::output(&object.name)])
}

impl<'a> Groups<'a> {
    /// Those sent before `id` in its group that are in the queue still, for all that anybody was told.
    fn before(&self, id: &str) -> Vec<&'a str> {
        let sent = self.of.get(id).and_then(|group| self.sent.get(group));
        let before = sent.into_iter().flatten().take_while(|other| **other != id);
        before.filter(|other| !self.gone.contains(*other) && !self.said_gone.contains(*other)).copied().collect()
    }

    fn send(&mut self, id: &'a str) {
        if let Some(group) = self.of.get(id) {
            let sent = self.sent.entry(group).or_default();
            sent.push(id);
            self.seen.groups |= sent.len() > 1;
        }
    }

    fn receive(&mut self, ids: &'a [String]) {
        let mut brought = BTreeSet::new();
        for id in ids.iter().map(String::as_str) {
            let Some(group) = self.of.get(id) else { continue };
            self.seen.lines |= !brought.insert(group);
            let last = self.sent.get(group).and_then(|sent| sent.last());
            self.seen.held_up |= !self.received.insert(id) && last != Some(&id);
        }
    }

    fn delete(&mut self, id: &'a str) {
        assert_eq!(self.before(id), Vec::<&str>::new(), "left the queue before {id} did");
        self.gone.insert(id);
        self.at_work.remove(id);
    }

    /// Something is read or written for a message, perhaps by a call of a worker that is dead.
    fn work(&mut self, id: &'a str, what: &Operation) {
        let Some(group) = self.of.get(id) else { return };
        // Before, the plan itself puts objects there.
        if !self.sent.get(group).is_some_and(|sent| sent.contains(&id)) {
            return;
        }
        // Somebody else may replace an input whenever they like.
        if matches!(what, Operation::Put { at } if at.is_under(&Rig::input(""))) {
            return;
        }
        assert_eq!(self.before(id), Vec::<&str>::new(), "still in the queue before {id}: {what:?}");
        if !self.gone.contains(id) {
            self.at_work.insert(id);
            self.seen.side_by_side |= self.at_work.iter().any(|other| self.of.get(other) != Some(group));
        }
    }
}
