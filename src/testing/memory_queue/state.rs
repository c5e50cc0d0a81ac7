//! The contents of the queue: its messages, which of them are visible, and the order within groups.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::{ServiceError, ServiceErrorKind};
use crate::services::queue::{MAX_ATTRIBUTES, MAX_MESSAGE, Outgoing, Receipt};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) next: u64,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) ready: VecDeque<u64>,
    /// The times at which messages become visible again; entries may be outdated.
    pub(super) hidden: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The messages of each group of a FIFO queue, in order.
    pub(super) groups: BTreeMap<String, BTreeSet<u64>>,
    /// When each deduplication id was last accepted, on a FIFO queue. Grows with the test.
    recent: BTreeMap<String, Instant>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) outgoing: Outgoing,
    pub(super) sent: SystemTime,
    /// How often the message was delivered, which also numbers its receipts.
    pub(super) delivered: u32,
    /// The end of its hidden time, while it is hidden.
    pub(super) hidden: Option<Instant>,
}

impl State {
    /// Makes messages visible whose hidden time has passed.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(Reverse((until, id))) = self.hidden.peek().copied().filter(|Reverse((until, _))| *until <= now) {
            self.hidden.pop();
            if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.hidden == Some(until)) {
                entry.hidden = None;
                self.ready.push_back(id);
            }
        }
    }

    /// The message to deliver when `id` is visible: the first of its group, if it has a group; `None` while a message
    /// of the group is in flight that was not `taken` by this receive.
    pub(super) fn next_of_group(&self, id: u64, taken: &BTreeSet<u64>) -> Option<u64> {
        let group = self.entries.get(&id).and_then(|entry| self.groups.get(entry.outgoing.group.as_ref()?));
        let Some(group) = group else { return Some(id) };
        let hidden = |id: &u64| self.entries.get(id).is_some_and(|entry| entry.hidden.is_some());
        if group.iter().any(|id| hidden(id) && !taken.contains(id)) {
            return None;
        }
        group.iter().copied().find(|id| !hidden(id))
    }

    /// Whether a message repeats a message of the last five minutes, by SQS's rules. Remembers the message if not.
    pub(super) fn repeats(&mut self, message: &Outgoing) -> bool {
        let Some(name) = &message.deduplication else { return false };
        let now = Instant::now();
        match self.recent.get(name) {
            Some(then) if now - *then < Duration::from_secs(5 * 60) => true,
            _ => {
                self.recent.insert(name.clone(), now);
                false
            }
        }
    }

    /// The message of a receipt; `None` if the message is gone; an error if the receipt is not the newest.
    pub(super) fn held(&self, receipt: &Receipt) -> Result<(u64, Option<&Entry>), ServiceError> {
        let parsed = receipt
            .0
            .split_once('#')
            .and_then(|(id, delivery)| Some((id.parse::<u64>().ok()?, delivery.parse::<u32>().ok()?)));
        let Some((id, delivery)) = parsed else {
            let said = "this is no receipt of this queue";
            return Err(ServiceError::new(ServiceErrorKind::Invalid, "ReceiptHandleIsInvalid", said));
        };
        let entry = self.entries.get(&id);
        if entry.is_some_and(|entry| entry.delivered != delivery) {
            return Err(lost("the message was delivered again"));
        }
        Ok((id, entry))
    }
}

pub(super) fn lost(said: &str) -> ServiceError {
    ServiceError::new(ServiceErrorKind::LeaseLost, "MessageNotInflight", said)
}

/// Why SQS would refuse a message.
pub(super) fn refused(message: &Outgoing, fifo: bool) -> Option<ServiceError> {
    let said = match () {
        () if fifo && message.group.is_none() => "it has no group",
        () if fifo && message.deduplication.is_none() => "it has no deduplication id",
        () if !fifo && message.deduplication.is_some() => "a standard queue drops no repeats",
        () if message.size() > MAX_MESSAGE => "it is too long",
        () if message.attributes.len() > MAX_ATTRIBUTES => "it has too many attributes",
        () => return None,
    };
    Some(ServiceError::new(ServiceErrorKind::Invalid, "InvalidParameterValue", said))
}
