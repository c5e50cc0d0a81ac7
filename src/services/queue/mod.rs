//! The job queue, as small as the pipeline needs it: send, receive, extend, delete.
//!
//! The only requirement of an implementation is that a received message is hidden from others
//! until it is deleted or its visibility timeout passes. Delivery is at least once. The limits of a
//! service and the reading of its errors live in its adapter; one conformance suite
//! (`tests/library/backends`) runs on every adapter.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::ServiceError;
use crate::services::ServiceFuture;

pub mod local;
pub mod sqs;

/// Proof that a message is ours, for as long as its visibility timeout lasts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// The largest message, attributes included, and the largest sum of a batch
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>). Every queue
/// keeps to the limits of SQS, so that what works on one works on all.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// The most attributes of a message
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>).
pub const MAX_ATTRIBUTES: usize = 10;

/// A received message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The queue's name for it; the same at every delivery.
    pub id: String,
    /// The body.
    pub body: String,
    /// Our right to it. Every delivery has a new one, and only the newest is sure to work.
    pub receipt: Receipt,
    /// How often it has been received, this time included.
    pub attempt: u32,
    /// When it was sent, where the queue tells.
    pub sent: Option<SystemTime>,
    /// Its message group, where the queue keeps groups in order. One receive may bring several of a group, in order.
    pub group: Option<String>,
    /// Whether the body arrived as it was sent (its checksum was right, or there was none).
    pub intact: bool,
    /// The message's own attributes, text ones only.
    pub attributes: BTreeMap<String, String>,
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The body.
    pub body: String,
    /// Text attributes (at most 10 on SQS).
    pub attributes: BTreeMap<String, String>,
    /// The message group, for queues that have them.
    pub group: Option<String>,
    /// The name under which the queue drops a repeat, for queues that do.
    pub deduplication: Option<String>,
}

impl Outgoing {
    /// What a queue counts of it, in bytes.
    pub fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(|(name, value)| attribute_size(name, value)).sum::<usize>()
    }
}

/// What a queue counts of a text attribute: its name, its type and its value.
pub fn attribute_size(name: &str, value: &str) -> usize {
    name.len() + "String".len() + value.len()
}

/// What the queue holds. Estimates on SQS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that can be received now.
    pub visible: u64,
    /// Messages somebody has received and not settled.
    pub in_flight: u64,
    /// Messages that can be received later.
    pub delayed: u64,
}

/// How the queue treats its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The queue's own visibility timeout.
    pub visibility: Duration,
    /// After how many receives a message moves to the dead letters, if it does.
    pub max_receives: Option<u32>,
    /// How long a message is kept.
    pub retention: Option<Duration>,
    /// Whether groups are kept in order.
    pub fifo: bool,
    /// The largest body it takes, in bytes.
    pub max_body: usize,
}

/// The outcome of one entry of a batch call. `Err` of kind `LeaseLost` means: no longer ours.
pub type Outcome = Result<(), ServiceError>;

/// A queue with visibility timeouts.
pub trait JobQueue: Debug + Send + Sync + 'static {
    /// The name people know the queue by.
    fn name(&self) -> &str;

    /// Where the queue is: what tells it from others of its name.
    fn address(&self) -> String {
        self.name().to_owned()
    }

    /// What only this queue has, however it was named: two names of one queue have one identity.
    fn identity(&self) -> String {
        self.address()
    }

    /// Whether it is a FIFO queue, in which every message has a group. SQS tells by the name, and so do we.
    fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }

    /// Whether a message may have a group, and waits then for those before it in the group.
    fn keeps_groups(&self) -> bool {
        self.is_fifo()
    }

    /// The most messages one call can carry, and the most bytes of bodies one send can.
    fn max_batch(&self) -> usize;

    /// How much longer than a service a send or a delete may take before it is given up: one that is written to a disk
    /// can't be given up in its middle, and what is sent again would be there twice.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Sends at most [`max_batch`](Self::max_batch) messages. Returns one outcome each, in order.
    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>>;

    /// Receives up to `max` messages, hidden for `visibility`, waiting up to `wait` for the first.
    /// The waiting must not be cut off: what a dropped receive got is hidden until its timeout.
    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>>;

    /// Hides the messages for `timeout` from now; zero gives them back at once. One outcome each, in order.
    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>>;

    /// Deletes the messages. One outcome each, in order; one deleted before counts as deleted.
    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>>;

    /// What the queue holds.
    fn counts(&self) -> ServiceFuture<'_, Counts>;

    /// How the queue treats its messages.
    fn policy(&self) -> ServiceFuture<'_, Policy>;

    /// The queue that rejected messages go to, if there is one.
    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>>;

    /// Said by a receiver that has settled all it received and receives no more: what the queue keeps for it can go.
    fn done(&self) -> ServiceFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
