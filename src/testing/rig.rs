//! A pipeline on memory, small and impatient, with everything in reach that a test wants to see or to break.
//!
//! Whatever the test is about, [`Rig::run`] checks at its end what must hold of every run: no message was deleted before
//! its outputs were complete, no upload was left open, and all memory and all slots came back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::faulty::{Faults, Faulty, FaultyQueue};
use super::log::{Log, Operation};
use super::memory_queue::MemoryQueue;
use super::memory_store::MemoryStore;
use super::wire::Wire;
use crate::budget::{Budget, LINK_BYTES};
use crate::circuit::Circuit;
use crate::error::Stage;
use crate::job::Location;
use crate::lease::{LONGEST, Leases};
use crate::leftovers::Leftovers;
use crate::limit::{Lane, Limit};
use crate::message::Rules;
use crate::meter::{Ended, Meters};
use crate::pipeline::{IfExists, Pipeline, Plan, Transfer};
use crate::processor::Work;
use crate::queue::JobQueue;
use crate::retry::Retry;
use crate::shutdown::Shutdown;
use crate::stages::{Intake, Receive, Settled, Settling};
use crate::store::ObjectStore;
use crate::tuner::Tuner;

/// How long a run may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline on memory. Change the settings, fill it, run it.
#[derive(Clone, Debug)]
pub struct Rig {
    /// The queue of messages.
    pub queue: Arc<MemoryQueue>,
    /// Where rejected messages go.
    pub dead_letters: Arc<MemoryQueue>,
    /// The objects: inputs under `s3://input/`, outputs under `s3://output/`.
    pub store: MemoryStore,
    /// What goes wrong between the pipeline and the two.
    pub faults: Faults,
    /// What happened.
    pub log: Log,
    /// What was counted.
    pub meters: Arc<Meters>,
    /// Stops the run.
    pub shutdown: Shutdown,
    /// How objects move.
    pub transfer: Transfer,
    /// The bytes that all jobs together may hold.
    pub memory: u64,
    /// Jobs in flight, to begin with if `most` is more.
    pub concurrency: usize,
    /// What the tuner may make of it; none by default.
    pub most: usize,
    /// Processors at once.
    pub processors: usize,
    /// How long a message is hidden at a time.
    pub visibility: Duration,
    /// After what time at the latest a message that was given back comes again, whatever was asked for.
    pub longest_back_off: Duration,
    /// How to receive.
    pub receive: Receive,
    /// What the operator said about inputs and outputs.
    pub rules: Rules,
    /// What to do about an output that is there already.
    pub if_exists: IfExists,
    /// The longest a job may take.
    pub job_timeout: Option<Duration>,
    /// The receive after which a failing message is rejected.
    pub max_receives: Option<u32>,
    /// Whether rejected messages have a place to go to.
    pub has_dead_letters: bool,
    /// Whether uploads may be left open: where an abort or the answer to a begin was lost on purpose.
    pub may_leave_uploads: bool,
    /// What is between the pipeline and the rest, in simulated time; the leases are kept on the runtime of the run then.
    pub simulated: Option<Wire>,
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

/// A run under way.
#[derive(Debug)]
pub struct Running {
    /// The bytes in flight.
    pub budget: Arc<Budget>,
    /// The jobs' slots.
    pub slots: Arc<Limit>,
    /// What stopped the run, if it stopped by itself.
    pub circuit: Arc<Circuit>,
    /// The leases.
    pub leases: Arc<Leases>,
    /// What moves the limits, if anything does.
    pub tuner: Option<Tuner>,
    rig: Rig,
    task: tokio::task::JoinHandle<Settled>,
}

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
            transfer: Transfer {
                part: PART,
                parallel: 4,
                retry: IMPATIENT,
                reads: Lane::default(),
                writes: Lane::default(),
                hedge: Arc::default(),
            },
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

    /// Puts an input of `size` bytes of [`pattern`](super::pattern) there and sends its message; returns the message's id.
    pub fn job(&self, name: &str, size: u64) -> String {
        self.store.insert_pattern(Self::input(name), size);
        self.message(name)
    }

    /// Like [`job`](Self::job), in a group.
    pub fn job_in(&self, group: &str, name: &str, size: u64) -> String {
        self.store.insert_pattern(Self::input(name), size);
        self.send(&[name], || self.queue.push_in(group, Self::message_of(name)))
    }

    /// Sends the message for an input that the test has put there, or not; returns the message's id.
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

    fn send(&self, outputs: &[&str], push: impl FnOnce() -> String) -> String {
        // Locked first: the run may be under way.
        let mut all = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let id = push();
        all.insert(id.clone(), outputs.iter().map(|name| Self::output(name)).collect());
        id
    }

    /// Whether the output is there and is what the input is.
    pub fn is_copied(&self, name: &str) -> bool {
        self.store
            .contents(&Self::output(name))
            .is_some_and(|output| self.store.contents(&Self::input(name)).is_some_and(|input| input == output))
    }

    /// Runs to the end and checks what must hold of every run.
    ///
    /// # Panics
    ///
    /// If it doesn't hold, or the run hangs.
    pub async fn run(&self, work: Work) -> Settled {
        self.start(work).end().await
    }

    /// Begins a run.
    ///
    /// # Panics
    ///
    /// If the machine has no thread left for it.
    pub fn start(&self, work: Work) -> Running {
        let queue = self.faulty_queue(Arc::clone(&self.queue) as Arc<dyn JobQueue>);
        let settled = self.faulty_queue(self.queue.with_longest_back_off(self.longest_back_off));
        let dead = self.faulty_queue(Arc::clone(&self.dead_letters) as Arc<dyn JobQueue>);
        let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(Arc::new(self.store.clone()), self.faults.clone()));
        let store = self.simulated.as_ref().map_or_else(|| Arc::clone(&store), |wire| wire.store(Arc::clone(&store)));
        let budget = Budget::new(self.memory, self.transfer.part);
        let meters = Arc::clone(&self.meters);
        let tuner = (self.most > self.concurrency)
            .then(|| Tuner::new(self.concurrency, self.most, self.processors, || None, meters));
        let slots = tuner.as_ref().map_or_else(|| Limit::fixed(self.concurrency), |tuner| Arc::clone(tuner.jobs()));
        let mut transfer = self.transfer.clone();
        if let Some(tuner) = &tuner {
            (transfer.reads, transfer.writes) = (tuner.reads(), tuner.writes());
        }
        let circuit = Arc::new(Circuit::new(self.shutdown.clone()));
        let (kept, meters) = (Arc::clone(&queue), Arc::clone(&self.meters));
        let leases = match self.simulated {
            Some(_) => Leases::here(kept, self.visibility, LONGEST, meters),
            None => Leases::new(kept, self.visibility, meters).expect("a thread for the leases"),
        };
        let pipeline = Pipeline {
            intake: Intake {
                queue: Arc::clone(&queue),
                leases: Arc::clone(&leases),
                budget: Arc::clone(&budget),
                slots: Arc::clone(&slots),
                shutdown: self.shutdown.clone(),
                circuit: Arc::clone(&circuit),
                meters: Arc::clone(&self.meters),
                retry: self.transfer.retry,
                filling: Arc::default(),
                ahead: self.max_receives != Some(1),
            },
            settling: Settling {
                queue: settled,
                dead_letters: self.has_dead_letters.then_some(dead),
                max_receives: self.max_receives,
                retry: self.transfer.retry,
                circuit: Arc::clone(&circuit),
                meters: Arc::clone(&self.meters),
            },
            leftovers: Arc::new(Leftovers::new(Arc::clone(&store), self.transfer.retry, Arc::clone(&self.meters))),
            store,
            readable: Arc::default(),
            processors: Arc::new(Semaphore::new(self.processors)),
            plan: Arc::new(Plan {
                rules: self.rules.clone(),
                work,
                transfer,
                if_exists: self.if_exists,
                job_timeout: self.job_timeout,
                linger: Duration::from_millis(20),
            }),
            tuner: tuner.clone(),
        };
        let how = self.receive;
        let task = tokio::spawn(async move { pipeline.run(how).await });
        Running { budget, slots, circuit, leases, tuner, rig: self.clone(), task }
    }

    fn faulty_queue(&self, queue: Arc<dyn JobQueue>) -> Arc<dyn JobQueue> {
        let faulty = FaultyQueue::new(queue, self.faults.clone());
        match &self.simulated {
            Some(wire) => wire.queue(Arc::new(faulty)),
            None => Arc::new(faulty),
        }
    }

    /// Checks that every message taken is counted as ended in one way, and that nothing counts as under way.
    fn check_counts(&self) {
        let received = self.meters.jobs_received.load(Relaxed);
        let ended: u64 = Ended::ALL.iter().map(|how| self.meters.jobs(*how)).sum();
        assert_eq!(received, ended, "messages taken, and ended in one way or another");
        assert_eq!(self.meters.multipart_open.load(Relaxed), 0, "uploads counted as open");
        for stage in Stage::ALL {
            assert_eq!(self.meters.stage(stage).in_progress(), 0, "at work in {}", stage.as_str());
        }
    }

    /// Checks that no message was deleted before its outputs were complete, or it was moved to the dead letters.
    ///
    /// # Panics
    ///
    /// If one was.
    pub fn check_order(&self) {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut complete, mut moved) = (HashSet::new(), HashSet::new());
        for operation in self.log.operations() {
            match operation {
                Operation::Put { at } | Operation::Complete { at } => {
                    complete.insert(at);
                }
                Operation::Send { letters, .. } => moved.extend(letters),
                Operation::Delete { ids } => {
                    for id in ids {
                        let whole = outputs.get(&id).is_none_or(|all| all.iter().all(|at| complete.contains(at)));
                        assert!(whole || moved.contains(&id), "{id} was deleted before its output was complete");
                    }
                }
                _ => {}
            }
        }
    }
}

impl Running {
    /// Waits for the end and checks what must hold of every run.
    ///
    /// # Panics
    ///
    /// If it doesn't hold, or the run hangs.
    pub async fn end(mut self) -> Settled {
        let ended = tokio::time::timeout(self.rig.patience, &mut self.task).await.expect("the run ends");
        let settled = ended.expect("the run does not panic");
        self.check().await;
        self.rig.check_counts();
        settled
    }

    /// Waits for the end as [`end`](Self::end) does, or kills the run when `dies` resolves: nothing of it goes on, but what
    /// is on its way to the services. `None` if it was killed.
    ///
    /// # Panics
    ///
    /// As [`end`](Self::end) does.
    pub async fn end_or_die(mut self, dies: impl Future<Output = ()>) -> Option<Settled> {
        tokio::select! {
            biased;
            ended = tokio::time::timeout(self.rig.patience, &mut self.task) => {
                let settled = ended.expect("the run ends").expect("the run does not panic");
                self.check().await;
                self.rig.check_counts();
                return Some(settled);
            }
            () = dies => {}
        }
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "the run is killed in the middle");
        None
    }

    async fn check(&self) {
        let Self { budget, slots, rig, .. } = self;
        rig.check_order();
        // What was cut on a blocking thread ends a moment later.
        for _ in 0..200 {
            let at_work = Stage::ALL.iter().any(|stage| rig.meters.stage(*stage).in_progress() > 0);
            if budget.reserved() == 0 && slots.in_use() == 0 && !at_work {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(budget.reserved(), 0, "bytes of memory not given back");
        assert_eq!(slots.in_use(), 0, "slots given back");
        let open = rig.store.uploads();
        assert!(open == 0 || rig.may_leave_uploads, "{open} uploads were left open");
    }
}

/// The size of the parts of a rig, in bytes.
const PART: u64 = 64 * 1024;

/// The visibility timeout of a rig.
const VISIBILITY: Duration = Duration::from_millis(400);

/// The longest back-off of a rig: a test waits for a few of them.
const LONGEST_BACK_OFF: Duration = Duration::from_millis(300);

/// Five attempts in a tenth of a second.
const IMPATIENT: Retry = Retry {
    attempts: 5,
    base: Duration::from_millis(5),
    cap: Duration::from_millis(40),
    deadline: Duration::from_millis(500),
};
