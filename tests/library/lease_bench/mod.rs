//! A keeper of leases over a queue in memory, and what can go wrong between them. `tests/library/lease.rs` and
//! `tests/library/lease_times.rs` share it.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::lease::{Lease, Leases};
use batchpipe::record::Meters;
use batchpipe::services::queue::{JobQueue, Message};
use batchpipe::testing::{Faults, FaultyQueue, Log, MemoryQueue};
use tokio::time::Instant;

pub(crate) struct Bench {
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
    pub(crate) leases: Arc<Leases>,
    pub(crate) began: Instant,
}

impl Bench {
    /// A bench whose leases are made by `keep`, of the queue that fails as told.
    pub(crate) fn new(keep: impl FnOnce(Arc<dyn JobQueue>, Arc<Meters>) -> Arc<Leases>) -> Self {
        let log = Log::default();
        let queue = Arc::new(MemoryQueue::new("jobs").with_log(log.clone()));
        let faults = Faults::none();
        let faulty = FaultyQueue::new(Arc::clone(&queue) as Arc<dyn JobQueue>, faults.clone());
        let leases = keep(Arc::new(faulty), Arc::default());
        Self { queue, faults, log, leases, began: Instant::now() }
    }

    pub(crate) async fn receive(&self) -> Vec<Message> {
        self.queue.receive(10, Duration::ZERO, self.leases.visibility()).await.unwrap()
    }

    /// Leases on so many new messages, asked for now.
    pub(crate) async fn take(&self, count: usize) -> Vec<Lease> {
        let mut leases = Vec::new();
        (0..count).for_each(|number| drop(self.queue.push(number.to_string())));
        // One moment for all, so that they are due at the same look.
        let asked = Instant::now();
        while leases.len() < count {
            let messages = self.receive().await;
            leases.extend(messages.iter().filter_map(|message| self.leases.grant(message, asked)));
        }
        leases
    }
}
