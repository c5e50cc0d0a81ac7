//! Runs a plan: queue and store on one side, workers that come and go on the other, wires between, and what befalls
//! them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batchpipe::Location;
use batchpipe::processor::Work;
use batchpipe::services::queue::Outgoing;
use batchpipe::services::retry::Retry;
use batchpipe::services::store::ObjectStore;
use batchpipe::stages::Receive;
use batchpipe::stop::shutdown::{Phase, Shutdown};
use batchpipe::testing::{Faults, MemoryStore, Operation, Reads, Rig, Wire};
use tokio::time::Instant;

use super::plan::{Ends, Event, Object, Pinned, Plan, Planned, What};
use super::script;

/// The longest back-off here: nothing is learned from a quarter of an hour of back-off.
const LONGEST: Duration = Duration::from_secs(120);

/// How long everything may take once it is calm. A message needs a few receives at the most by then, each within
/// [`LONGEST`] and a job's own time.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);

/// How often it is looked whether a message holds up others: a job takes some calls, and each 25 ms.
const GLANCE: Duration = Duration::from_millis(20);

/// Time for a receive and what comes of it.
const BETWEEN: Duration = Duration::from_millis(300);

/// What was left at the end, for the model to judge.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What happened at the services, and how long after the beginning.
    pub(super) history: Vec<(Duration, Operation)>,
    pub(super) store: MemoryStore,
    pub(super) letters: Vec<Outgoing>,
    /// Messages left in the queue.
    pub(super) left: usize,
    /// The id of each message of the plan, in its order.
    pub(super) ids: Vec<String>,
    /// Uploads that living workers forgot, and that may be open for another reason.
    pub(super) forgotten: usize,
    pub(super) explained: usize,
    pub(super) extended_after_delete: usize,
    /// Messages of which a worker was told that they are gone, and when, in order.
    pub(super) said_gone: Vec<(Duration, String)>,
    /// What each worker read.
    pub(super) reads: Vec<Reads>,
    /// Messages that came to a worker behind one of their group that it had in hand.
    pub(super) came_behind: usize,
    pub(super) kills: usize,
    pub(super) ends: usize,
}

struct World<'a> {
    plan: &'a Plan,
    rig: Rig,
    work: Work,
    seed: u64,
    begun: Instant,
    slots: Vec<Mutex<Current>>,
    wires: Mutex<Vec<(Wire, bool)>>,
    kills: AtomicUsize,
    ends: AtomicUsize,
}

/// The worker of a slot, or the next one's share of it.
struct Current {
    faults: Faults,
    wire: Wire,
    shutdown: Shutdown,
    /// When it dies.
    dies: Arc<tokio::sync::Notify>,
}

/// Runs the plan of `seed` to its end.
pub(super) async fn run(seed: u64, plan: &Plan) -> Outcome {
    // The jitter of back-off, too.
    fastrand::seed(seed);
    let begun = Instant::now();
    let mut rig = if plan.fifo { Rig::fifo() } else { Rig::new() };
    rig.longest_back_off = LONGEST;
    rig.rules.output = Some(Rig::output(""));
    rig.transfer.part = plan.part;
    rig.if_exists = plan.if_exists;
    rig.max_receives = plan.max_receives;
    rig.visibility = plan.visibility;
    rig.job_timeout = plan.job_timeout;
    rig.may_leave_uploads = true;
    rig.patience = plan.calm + PATIENCE;
    let objects = || plan.messages.iter().flat_map(Planned::objects);
    for object in objects() {
        if let Some(first) = object.contents.first() {
            rig.store.insert(Rig::input(&object.name), first.clone());
        }
        if let Some(before) = &object.before {
            rig.store.insert(Rig::output(&object.name), before.clone());
        }
    }
    let behaviours: BTreeMap<_, _> = objects().map(|object| (object.name.clone(), object.behaviour)).collect();
    let slots = (0..plan.workers.len()).map(|slot| {
        Mutex::new(Current {
            faults: Faults::dice(seed ^ slot as u64, plan.faults),
            wire: Wire::new(seed, plan.long),
            shutdown: Shutdown::default(),
            dies: Arc::default(),
        })
    });
    let world = World {
        plan,
        work: if plan.scripted { script::work(behaviours) } else { Work::Copy },
        seed,
        begun,
        slots: slots.collect(),
        wires: Mutex::default(),
        kills: AtomicUsize::new(0),
        ends: AtomicUsize::new(0),
        rig,
    };
    let staffed = futures::future::join_all((0..plan.workers.len()).map(|slot| world.staff(slot)));
    let all = async { tokio::join!(world.submit(), world.replace(), world.befall(), world.calm_down(), staffed) };
    let (ids, ..) = tokio::time::timeout(plan.calm + PATIENCE, Box::pin(all)).await.expect("it comes to an end");
    world.outcome(ids)
}

impl World<'_> {
    async fn until(&self, at: Duration) {
        tokio::time::sleep_until(self.begun + at).await;
    }

    fn is_calm(&self) -> bool {
        self.begun.elapsed() >= self.plan.calm
    }

    /// Sends every message at its time; returns their ids in the order of the plan.
    async fn submit(&self) -> Vec<String> {
        let sending = self.plan.messages.iter().map(|planned| async {
            self.until(planned.at).await;
            let names: Vec<&str> = planned.objects().map(|object| object.name.as_str()).collect();
            match &planned.group {
                Some(group) => self.rig.body_in(group, planned.body(), &names),
                None => self.rig.body(planned.body(), &names),
            }
        });
        futures::future::join_all(sending).await
    }

    /// Replaces the inputs that somebody replaces.
    async fn replace(&self) {
        let replacing = self.plan.messages.iter().flat_map(Planned::objects).map(|object| async {
            if let (Some(at), Some(second)) = (object.replaced, object.contents.get(1)) {
                self.until(at).await;
                self.rig.store.insert(Rig::input(&object.name), second.clone());
            }
        });
        futures::future::join_all(replacing).await;
    }

    async fn befall(&self) {
        let befalling = self.plan.events.iter().map(|(at, event)| async {
            self.until(*at).await;
            self.happen(*event).await;
        });
        futures::future::join_all(befalling).await;
    }

    async fn happen(&self, event: Event) {
        match event {
            Event::Kill(slot) => self.current(slot).dies.notify_one(),
            Event::Drain(slot, patience) => {
                let shutdown = self.current(slot).shutdown.clone();
                shutdown.drain(patience).await;
            }
            Event::Cut(slot, time) => self.current(slot).wire.cut(time),
            Event::Storm(slot, calls, fault, time) => {
                let faults = self.current(slot).faults.clone();
                calls.iter().for_each(|on| faults.always(*on, fault));
                tokio::time::sleep(time).await;
                calls.iter().for_each(|on| faults.cease(*on));
            }
            Event::Steal(time) => drop(self.rig.queue.steal(time)),
            Event::Forget => drop(self.rig.queue.forget()),
            Event::Again(times) => {
                for _ in 0..times {
                    while !self.rig.queue.holds_up() && !self.is_calm() {
                        tokio::time::sleep(GLANCE).await;
                    }
                    self.rig.queue.forget();
                    tokio::time::sleep(BETWEEN).await;
                }
            }
        }
    }

    /// Ends everything that goes wrong, and every worker that would not end by itself.
    async fn calm_down(&self) {
        self.until(self.plan.calm).await;
        for (slot, planned) in self.plan.workers.iter().enumerate() {
            let current = self.current(slot);
            current.faults.clear();
            current.wire.calm();
            if !matches!(planned.ends, Ends::WhenEmpty) {
                current.shutdown.advance(Phase::Draining);
            }
        }
    }

    /// One worker after the other, until it is calm and the queue is empty.
    async fn staff(&self, slot: usize) {
        for life in 0.. {
            let (rig, dies) = self.hire(slot, life);
            let running = rig.start(self.work.clone());
            let ended = running.end_or_die(dies.notified()).await.is_some();
            self.wires.lock().unwrap_or_else(PoisonError::into_inner).push((self.current(slot).wire.clone(), ended));
            let counted = if ended { &self.ends } else { &self.kills };
            counted.fetch_add(1, SeqCst);
            if self.is_calm() && self.rig.queue.is_empty() {
                return;
            }
            // As the supervisor of a service does.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// The settings of the next worker of a slot, and what kills it.
    fn hire(&self, slot: usize, life: u64) -> (Rig, Arc<tokio::sync::Notify>) {
        let (plan, planned) = (self.plan, &self.plan.workers[slot]);
        let calm = self.is_calm();
        let mut current = self.current(slot);
        let (long, late) = if calm { (0.0, 0.0) } else { (plan.long, plan.late) };
        current.wire = Wire::new(self.seed.wrapping_mul(31) ^ (life << 8) ^ slot as u64, long).with_late_reads(late);
        current.shutdown = Shutdown::default();
        current.dies = Arc::default();
        let mut rig = self.rig.clone();
        rig.faults = current.faults.clone();
        rig.shutdown = current.shutdown.clone();
        rig.simulated = Some(current.wire.clone());
        rig.meters = Arc::default();
        rig.concurrency = planned.concurrency;
        rig.processors = planned.processors;
        rig.memory = planned.memory;
        rig.transfer.parallel = planned.parallel;
        // What is known of reads is a worker's own.
        rig.transfer.hedge = Arc::default();
        rig.transfer.retry = Retry { attempts: planned.attempts, ..Retry::default() };
        rig.receive = Receive {
            receivers: Some(planned.receivers),
            wait: planned.wait,
            until_empty: calm,
            idle_exit: None,
            max_messages: None,
        };
        match planned.ends {
            _ if calm => {}
            Ends::Never => {}
            Ends::WhenEmpty => rig.receive.until_empty = true,
            Ends::WhenIdle(time) => rig.receive.idle_exit = Some(time),
            Ends::After(messages) => rig.receive.max_messages = Some(messages),
        }
        (rig, Arc::clone(&current.dies))
    }

    fn current(&self, slot: usize) -> std::sync::MutexGuard<'_, Current> {
        self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(self, ids: Vec<String>) -> Outcome {
        let Self { rig, begun, wires, kills, ends, .. } = self;
        rig.check_order();
        let wires = wires.into_inner().unwrap_or_else(PoisonError::into_inner);
        let begins = rig.log.count(|operation| matches!(operation, Operation::Begin { .. }));
        let told: usize = wires.iter().map(|(wire, _)| wire.told_uploads()).sum();
        let loose: usize = wires.iter().map(|(wire, _)| wire.loose_uploads()).sum();
        let said_gone = wires.iter().flat_map(|(wire, _)| wire.said_gone());
        let mut said_gone: Vec<(Duration, String)> =
            said_gone.map(|(at, receipt)| (at - begun, rig.queue.id_of(&receipt))).collect();
        said_gone.sort();
        Outcome {
            said_gone,
            history: rig.log.timed().into_iter().map(|(at, operation)| (at - begun, operation)).collect(),
            letters: rig.dead_letters.peek(),
            left: rig.queue.len(),
            ids,
            forgotten: wires.iter().filter(|(_, ended)| *ended).map(|(wire, _)| wire.forgotten_uploads()).sum(),
            explained: begins - told + loose,
            extended_after_delete: wires.iter().map(|(wire, _)| wire.extended_after_delete().len()).sum(),
            reads: wires.iter().map(|(wire, _)| wire.reads()).collect(),
            came_behind: wires.iter().map(|(wire, _)| wire.came_behind()).sum(),
            kills: kills.into_inner(),
            ends: ends.into_inner(),
            store: rig.store,
        }
    }
}

impl Planned {
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        match &self.what {
            What::Objects(objects) => objects.as_slice(),
            _ => &[],
        }
        .iter()
    }

    fn body(&self) -> String {
        match &self.what {
            What::Nonsense(text) => (*text).to_owned(),
            What::Nothing => r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"input"}"#.to_owned(),
            What::Objects(objects) if objects.len() > 1 => {
                let records: Vec<String> = objects.iter().map(|object| record(&object.name)).collect();
                format!(r#"{{"Records":[{}]}}"#, records.join(","))
            }
            What::Objects(objects) => objects.iter().map(message).collect(),
        }
    }
}

fn record(key: &str) -> String {
    format!(
        r#"{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventVersion":"2.1",
            "s3":{{"bucket":{{"name":"input"}},"object":{{"key":"{key}"}}}}}}"#
    )
}

fn message(object: &Object) -> String {
    let (input, output) = (Rig::input(&object.name), Rig::output(&object.name));
    let wrong = match object.pinned {
        None => String::new(),
        Some(Pinned::Size) => format!(r#","size":{}"#, object.contents[0].len() + 1),
        Some(Pinned::Etag) => r#","etag":"another""#.to_owned(),
    };
    format!(r#"{{"v":1,"input":"{input}","output":"{output}"{wrong}}}"#)
}

/// Discards what nobody finished, as `batchpipe gc` does.
pub(super) async fn collect_garbage(store: &MemoryStore) {
    let place: Location = Rig::output("");
    for upload in store.unfinished(&place).await.expect("the list") {
        store.discard(&upload).await.expect("the discard");
    }
}
