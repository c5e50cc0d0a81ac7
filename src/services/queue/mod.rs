//! The job queue, as small as the pipeline needs it: send, receive, extend, delete.
//!
//! The only requirement for an implementation is that a received message is hidden from others until it is deleted
//! or its visibility timeout passes. Delivery is at least once. Each adapter knows the limits of its service and how
//! to read its errors; one conformance suite (`tests/library/backends`) runs on every adapter.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::ServiceError;
use crate::services::ServiceFuture;

#[cfg(feature = "local-queue")]
pub mod local;
pub mod sqs;

/// Proof that a message is ours, valid until its visibility timeout passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// The largest message, attributes included, and the largest sum of a batch
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>). Every queue
/// keeps the limits of SQS, so that what works on one queue works on all.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// The most attributes of a message
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>).
pub const MAX_ATTRIBUTES: usize = 10;

/// A received message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The queue's id of the message, the same at every delivery.
    pub id: String,
    /// The body.
    pub body: String,
    /// Our receipt. Every delivery has a new receipt, and only the newest is sure to work.
    pub receipt: Receipt,
    /// How often the message has been received, this time included.
    pub attempt: u32,
    /// When the message was sent, if the queue tells.
    pub sent: Option<SystemTime>,
    /// Its message group, if the queue keeps groups in order. One receive may bring several messages of a group, in
    /// order.
    pub group: Option<String>,
    /// Whether the body arrived as it was sent: its checksum matched, or there was none.
    pub intact: bool,
    /// The message's text attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Message {
    /// A message that arrived as it was sent, in no group, without attributes; the queue does not tell when it was
    /// sent.
    pub fn new(id: impl Into<String>, body: impl Into<String>, receipt: Receipt, attempt: u32) -> Self {
        let (id, body, attributes) = (id.into(), body.into(), BTreeMap::new());
        Self { id, body, receipt, attempt, sent: None, group: None, intact: true, attributes }
    }
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The body.
    pub body: String,
    /// Text attributes (at most 10 on SQS).
    pub attributes: BTreeMap<String, String>,
    /// The message group, for queues that have groups.
    pub group: Option<String>,
    /// The deduplication id, for queues that drop repeats.
    pub deduplication: Option<String>,
}

impl Outgoing {
    /// A message with this body, and nothing else.
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The same message in a group, whose messages are worked one after the other.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The same message with one more text attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The same message with the name under which a queue drops a repeat.
    #[must_use]
    pub fn with_deduplication(mut self, name: impl Into<String>) -> Self {
        self.deduplication = Some(name.into());
        self
    }

    /// What a queue counts of it, in bytes.
    pub fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(|(name, value)| attribute_size(name, value)).sum::<usize>()
    }
}

/// The size that a queue counts for a text attribute: its name, type and value.
pub fn attribute_size(name: &str, value: &str) -> usize {
    name.len() + "String".len() + value.len()
}

/// How many messages the queue holds. Estimates on SQS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that can be received now.
    pub visible: u64,
    /// Messages that were received and not settled.
    pub in_flight: u64,
    /// Messages that can be received later.
    pub delayed: u64,
}

/// How the queue treats its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The queue's own visibility timeout.
    pub visibility: Duration,
    /// After how many receives a message moves to the dead-letter queue, if it ever does.
    pub max_receives: Option<u32>,
    /// How long a message is kept.
    pub retention: Option<Duration>,
    /// Whether groups are kept in order.
    pub fifo: bool,
    /// The largest body that the queue takes, in bytes.
    pub max_body: usize,
}

/// The outcome of one entry of a batch call. An `Err` of kind `LeaseLost` means that the message is no longer ours.
pub type Outcome = Result<(), ServiceError>;

/// A queue with visibility timeouts.
pub trait JobQueue: Debug + Send + Sync + 'static {
    /// The name by which people know the queue.
    fn name(&self) -> &str;

    /// The queue's address, which distinguishes it from other queues of the same name.
    fn address(&self) -> String {
        self.name().to_owned()
    }

    /// Identifies the queue, however it was named: two names of the same queue have the same identity.
    fn identity(&self) -> String {
        self.address()
    }

    /// Whether this is a FIFO queue, in which every message has a group. SQS decides this by the name, and so do we.
    fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }

    /// Whether a message may have a group, and then waits for the messages before it in the group.
    fn keeps_groups(&self) -> bool {
        self.is_fifo()
    }

    /// The most messages that one call can carry.
    fn max_batch(&self) -> usize;

    /// How much more time than a service's call a send or a delete may take before it is given up. A call that writes
    /// to a disk can't be given up midway, and sending again would store the messages twice.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Sends at most [`max_batch`](Self::max_batch) messages. Returns one outcome each, in order.
    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>>;

    /// Receives up to `max` messages, hides them for `visibility`, and waits up to `wait` for the first. Do not drop
    /// the future: messages that it has received would stay hidden until their timeout.
    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>>;

    /// Hides the messages for `timeout` from now; zero gives them back at once. Returns one outcome each, in order.
    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>>;

    /// Deletes the messages. Returns one outcome each, in order; a message deleted before counts as deleted.
    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>>;

    /// How many messages the queue holds.
    fn counts(&self) -> ServiceFuture<'_, Counts>;

    /// How the queue treats its messages.
    fn policy(&self) -> ServiceFuture<'_, Policy>;

    /// The queue that receives rejected messages, if there is one.
    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>>;

    /// Called by a receiver that has settled all messages and receives no more, so that the queue can discard what it
    /// keeps for the receiver.
    fn done(&self) -> ServiceFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
