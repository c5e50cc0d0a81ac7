//! A pipeline on in-memory services, small and impatient, with access to everything that a test wants to see or break.
//!
//! At its end, [`Rig::run`] checks for every test what must be true for every run: no message was deleted before its
//! outputs were complete, no upload was left open, and all memory and all slots were returned.

mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use run::Running;

use super::faulty::Faults;
use super::log::Log;
use super::memory_queue::MemoryQueue;
use super::memory_store::MemoryStore;
use super::wire::Wire;
use crate::capacity::budget::LINK_BYTES;
use crate::job::Location;
use crate::job::message::Rules;
use crate::record::Meters;
use crate::services::retry::Retry;
use crate::stages::{IfExists, Receive, Transfer};
use crate::stop::shutdown::Shutdown;

/// How long a run may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline on in-memory services. Change the settings, add jobs, run it.
#[derive(Clone, Debug)]
pub struct Rig {
    /// The queue of messages.
    pub queue: Arc<MemoryQueue>,
    /// The queue for rejected messages.
    pub dead_letters: Arc<MemoryQueue>,
    /// The objects: inputs under `s3://input/`, outputs under `s3://output/`.
    pub store: MemoryStore,
    /// The faults between the pipeline and the queue or store.
    pub faults: Faults,
    /// The log of operations.
    pub log: Log,
    /// The meters.
    pub meters: Arc<Meters>,
    /// Stops the run.
    pub shutdown: Shutdown,
    /// The transfer settings.
    pub transfer: Transfer,
    /// The bytes that all jobs together may hold.
    pub memory: u64,
    /// Jobs in flight; the number at the start, if `most` is higher.
    pub concurrency: usize,
    /// The highest number of jobs that the tuner may set; by default there is no tuner.
    pub most: usize,
    /// Concurrent processors.
    pub processors: usize,
    /// How long a message is hidden at a time.
    pub visibility: Duration,
    /// The longest time after which a message that was given back is delivered again, whatever delay was requested.
    pub longest_back_off: Duration,
    /// How to receive.
    pub receive: Receive,
    /// The operator's rules about inputs and outputs.
    pub rules: Rules,
    /// What to do if the output exists already.
    pub if_exists: IfExists,
    /// The longest time that a job may take.
    pub job_timeout: Option<Duration>,
    /// The receive after which a failing message is rejected.
    pub max_receives: Option<u32>,
    /// Whether there is a dead-letter queue.
    pub has_dead_letters: bool,
    /// Whether uploads may be left open, because the test loses an abort or the response to a begin on purpose.
    pub may_leave_uploads: bool,
    /// The wire between the pipeline and its services, for simulated time; the leases are then kept on the runtime of
    /// the run.
    pub simulated: Option<Wire>,
    /// How much longer the queues may take than a service, because they are on a disk.
    pub disk: Duration,
    /// How long a run may take before it counts as hung.
    pub patience: Duration,
    /// The outputs of each message, by its id.
    outputs: Arc<Mutex<HashMap<String, Vec<Location>>>>,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

/// The size of the parts of a rig, in bytes.
const PART: u64 = 64 * 1024;

/// The visibility timeout of a rig.
const VISIBILITY: Duration = Duration::from_millis(400);

/// The longest back-off of a rig: a test waits for a few of them.
const LONGEST_BACK_OFF: Duration = Duration::from_millis(300);

/// Five attempts within a tenth of a second.
const IMPATIENT: Retry = Retry {
    attempts: 5,
    base: Duration::from_millis(5),
    cap: Duration::from_millis(40),
    deadline: Duration::from_millis(500),
};

impl Rig {
    /// An empty rig: parts of 64 KiB, four at a time; eight jobs in flight, two processors; a visibility timeout of
    /// 400 ms; five quick attempts; a run that ends when the queue is empty. Back-off lasts 300 ms at the most.
    pub fn new() -> Self {
        Self::on("jobs", "dead")
    }

    /// The same on FIFO queues.
    pub fn fifo() -> Self {
        Self::on("jobs.fifo", "dead.fifo")
    }

    fn on(queue: &str, dead_letters: &str) -> Self {
        let log = Log::default();
        let dead_letters = Arc::new(MemoryQueue::new(dead_letters).with_log(log.clone()));
        let queue = MemoryQueue::new(queue).with_log(log.clone()).with_dead_letters(Arc::clone(&dead_letters));
        Self {
            queue: Arc::new(queue),
            dead_letters,
            store: MemoryStore::new().with_log(log.clone()),
            faults: Faults::none(),
            log,
            meters: Arc::default(),
            shutdown: Shutdown::default(),
            transfer: Transfer::new(PART, 4, IMPATIENT),
            memory: 16 * (PART + LINK_BYTES),
            concurrency: 8,
            most: 0,
            processors: 2,
            visibility: VISIBILITY,
            longest_back_off: LONGEST_BACK_OFF,
            receive: Receive {
                receivers: Some(1),
                wait: Duration::from_millis(100),
                until_empty: true,
                idle_exit: None,
                max_messages: None,
            },
            rules: Rules::default(),
            if_exists: IfExists::Overwrite,
            job_timeout: None,
            max_receives: None,
            has_dead_letters: true,
            may_leave_uploads: false,
            simulated: None,
            disk: Duration::ZERO,
            patience: PATIENCE,
            outputs: Arc::default(),
        }
    }

    /// The input called `name`.
    pub fn input(name: &str) -> Location {
        Location::s3("input", name)
    }

    /// The output of the input called `name`.
    pub fn output(name: &str) -> Location {
        Location::s3("output", name)
    }

    /// Adds an input of `size` bytes of [`pattern`](super::pattern) and sends its message; returns the message's id.
    pub fn job(&self, name: &str, size: u64) -> String {
        self.store.insert_pattern(Self::input(name), size);
        self.message(name)
    }

    /// Like [`job`](Self::job), in a group.
    pub fn job_in(&self, group: &str, name: &str, size: u64) -> String {
        self.store.insert_pattern(Self::input(name), size);
        self.send(&[name], || self.queue.push_in(group, Self::message_of(name)))
    }

    /// Sends the message for an input that the test has added or left missing; returns the message's id.
    pub fn message(&self, name: &str) -> String {
        self.body(Self::message_of(name), &[name])
    }

    fn message_of(name: &str) -> String {
        format!(r#"{{"v":1,"input":"{}","output":"{}"}}"#, Self::input(name), Self::output(name))
    }

    /// Sends a message whose jobs write these outputs; returns its id.
    pub fn body(&self, body: impl Into<String>, outputs: &[&str]) -> String {
        self.send(outputs, || self.queue.push(body))
    }

    /// Like [`body`](Self::body), in a group.
    pub fn body_in(&self, group: &str, body: impl Into<String>, outputs: &[&str]) -> String {
        self.send(outputs, || self.queue.push_in(group, body))
    }

    fn send(&self, outputs: &[&str], push: impl FnOnce() -> String) -> String {
        // Locked first, because the run may be in progress.
        let mut all = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let id = push();
        all.insert(id.clone(), outputs.iter().map(|name| Self::output(name)).collect());
        id
    }

    /// Whether the output exists and equals the input.
    pub fn is_copied(&self, name: &str) -> bool {
        self.store
            .contents(&Self::output(name))
            .is_some_and(|output| self.store.contents(&Self::input(name)).is_some_and(|input| input == output))
    }
}
