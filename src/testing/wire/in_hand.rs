//! Tracks which messages a worker has in hand, from what it received and sent, so that a test knows whether messages
//! came while others of their group were being processed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::services::queue::{Message, Receipt};

/// Messages of a worker.
#[derive(Debug, Default)]
pub(super) struct Hand {
    /// The messages in hand, by each receipt that they came with.
    held: HashMap<Receipt, String>,
    /// The visibility timeout with which they were received.
    visibility: Duration,
    came_behind: usize,
}

impl Hand {
    /// Messages were received.
    pub(super) fn take(&mut self, messages: &[Message], visibility: Duration) {
        self.visibility = visibility;
        let mut at_work = HashSet::new();
        for Message { id, receipt, group, .. } in messages {
            if self.held.values().any(|held| held == id) {
                at_work.extend(group);
            } else if group.as_ref().is_some_and(|group| at_work.contains(group)) {
                self.came_behind += 1;
            }
            self.held.insert(receipt.clone(), id.clone());
        }
    }

    /// Messages are about to be extended. The same timeout as at the receive keeps them; any other timeout gives them
    /// back.
    pub(super) fn extend(&mut self, receipts: &[Receipt], timeout: Duration) {
        if timeout != self.visibility {
            self.put_down(receipts);
        }
    }

    /// Messages are about to be given up.
    pub(super) fn put_down(&mut self, receipts: &[Receipt]) {
        let gone: HashSet<String> = receipts.iter().filter_map(|receipt| self.held.get(receipt).cloned()).collect();
        self.held.retain(|_, id| !gone.contains(id));
    }

    /// How many messages were received while another of their group was already being processed.
    pub(super) fn came_behind(&self) -> usize {
        self.came_behind
    }
}
