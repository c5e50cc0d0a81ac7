//! One pipeline, all of whose parts may be scarce, and a run of it on a clock that jumps.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::capacity::budget::LINK_BYTES;
use batchpipe::link::{Disconnected, Inlet, Outlet};
use batchpipe::observe::{Bottleneck, Sampler, Snapshot, ask_queue};
use batchpipe::processor::{Script, Work};
use batchpipe::record::{Ended, Meters};
use batchpipe::services::queue::JobQueue;
use batchpipe::testing::{Cores, Faults, MemoryQueue, MemoryStore, On, Rig};
use batchpipe::{Job, ProcessError};
use fastrand::Rng;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// What more than enough of a thing that is counted is: with it, a gain of three shows, and more makes no difference to
/// the judge.
const FREE: usize = 4;

/// Jobs before anything is measured, and jobs that are. The slots are filled some times in each.
const WARM: usize = 20;
const MEASURED: usize = 60;

/// Longer than any window here.
const LONG: Duration = Duration::from_secs(12 * 60 * 60);

/// Calls a second that no store here is asked for.
const UNLIMITED: u32 = 1_000_000;

/// A thing that may hold the work up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    Cpu,
    Processors,
    Memory,
    Slots,
    Store,
    Queue,
    Throttle,
    Messages,
}

impl Thing {
    pub(super) const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Processors,
        Self::Memory,
        Self::Slots,
        Self::Store,
        Self::Queue,
        Self::Throttle,
        Self::Messages,
    ];

    /// The thing that is meant by the cause of a bottleneck.
    pub(super) fn named(cause: &str) -> Option<Self> {
        Some(match cause {
            "cpu" => Self::Cpu,
            "processors" => Self::Processors,
            "memory" => Self::Memory,
            "slots" => Self::Slots,
            "queue_calls" => Self::Queue,
            "throttled" => Self::Throttle,
            "latency" | "line" => Self::Store,
            "queue_empty" => Self::Messages,
            _ => return None,
        })
    }
}

/// A pipeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    seed: u64,
    cores: usize,
    /// CPU time of a job's step, and of each call to the store.
    step: Duration,
    call: Duration,
    /// How long a step waits for something else.
    wait: Duration,
    /// Whether there is a step at all.
    copies: bool,
    processors: usize,
    memory: u64,
    slots: usize,
    receivers: usize,
    get: Duration,
    put: Duration,
    queue: Duration,
    /// Writes a second above which the store throttles.
    writes: u32,
    /// Messages a second that are sent.
    sent: Option<f64>,
    size: u64,
}

/// The size of a part, in bytes.
const PART: u64 = 64 * 1024;

/// What a job holds until the size of its input is known. Memory is drawn in jobs, since a part of a job is none.
const JOB: u64 = 2 * PART + LINK_BYTES;

impl World {
    /// What a seed draws.
    pub(super) fn draw(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut between = |low: f64, high: f64| low * (high / low).powf(dice.f64());
        let millis = |time: f64| Duration::from_micros((time * 1000.0) as u64);
        let mut world = Self {
            seed,
            cores: between(1.0, 9.0) as usize,
            step: millis(between(0.5, 60.0)),
            call: millis(between(0.02, 0.5)),
            wait: millis(between(0.5, 300.0)),
            copies: false,
            processors: between(1.0, 33.0) as usize,
            memory: between(2.0, 80.0) as u64 * JOB,
            slots: between(1.0, 25.0) as usize,
            receivers: between(1.0, 5.0) as usize,
            get: millis(between(2.0, 200.0)),
            put: millis(between(2.0, 200.0)),
            queue: millis(between(2.0, 200.0)),
            writes: UNLIMITED,
            sent: None,
            size: 100,
        };
        world.copies = dice.f64() < 0.25;
        if dice.f64() < 0.4 {
            world.step = Duration::ZERO;
        } else if dice.f64() < 0.5 {
            world.wait = Duration::ZERO;
        }
        if dice.f64() < 0.2 {
            world.size = dice.u64(2..10) * PART;
        }
        if dice.f64() < 0.15 {
            world.writes = dice.u32(20..400);
        }
        // What is rarely the scarcest of all by chance.
        match dice.u8(..12) {
            0 => world = Self { writes: dice.u32(15..60), ..world.roomy() },
            1 => world = Self { step: millis(dice.f64() * 40.0 + 10.0), cores: dice.usize(1..3), ..world.roomy() },
            2 => world = Self { processors: dice.usize(1..4), wait: millis(100.0), ..world.roomy() },
            _ => {}
        }
        if dice.f64() < 0.15 {
            world.sent = Some(dice.f64() * 60.0 + 5.0);
        }
        world
    }

    /// The same with slots, memory and processors for many small jobs.
    fn roomy(self) -> Self {
        Self {
            slots: self.slots.max(16),
            memory: self.memory.max(40 * JOB),
            processors: self.processors.max(8),
            size: 100,
            ..self
        }
    }

    /// The same with more than enough of one thing.
    pub(super) fn with_free(self, thing: Thing) -> Self {
        let nothing = Duration::ZERO;
        match thing {
            // More cores are a larger machine: processors that were one for each core are so there, too.
            Thing::Cpu if self.processors < self.cores => Self { cores: FREE * self.cores, ..self },
            Thing::Cpu => Self { cores: FREE * self.cores, processors: FREE * self.processors, ..self },
            Thing::Processors => Self { processors: FREE * self.processors, ..self },
            Thing::Memory => Self { memory: FREE as u64 * self.memory, ..self },
            Thing::Slots => Self { slots: FREE * self.slots, ..self },
            Thing::Store => Self { get: nothing, put: nothing, ..self },
            Thing::Queue => Self { queue: nothing, ..self },
            Thing::Throttle => Self { writes: UNLIMITED, ..self },
            Thing::Messages => Self { sent: None, ..self },
        }
    }

    /// Whether there is any difference with more than enough of a thing.
    pub(super) fn lacks(&self, thing: Thing) -> bool {
        match thing {
            Thing::Processors => !self.copies,
            Thing::Throttle => self.writes != UNLIMITED,
            Thing::Messages => self.sent.is_some(),
            _ => true,
        }
    }

    /// The same with twice as much of a setting.
    pub(super) fn with_more(self, knob: &str) -> Self {
        match knob {
            "--processors" => Self { processors: 2 * self.processors, ..self },
            "--memory" => Self { memory: 2 * self.memory, ..self },
            "--concurrency" => Self { slots: 2 * self.slots, ..self },
            "--receivers" => Self { receivers: 2 * self.receivers, ..self },
            other => panic!("{other} is no setting that is known here"),
        }
    }

    fn rig(&self, cores: &Cores) -> Rig {
        let mut rig = Rig::new();
        rig.store = MemoryStore::sink();
        rig.queue = Arc::new(MemoryQueue::new("jobs"));
        rig.store.insert(Rig::input("x"), vec![0; self.size as usize]);
        // The keeper of leases lives on a real clock, and has nothing to do here.
        rig.visibility = LONG;
        rig.transfer.part = PART;
        rig.transfer.retry.attempts = 100;
        (rig.concurrency, rig.processors, rig.memory) = (self.slots, self.processors, self.memory);
        rig.receive.receivers = Some(self.receivers);
        rig.receive.wait = Duration::from_secs(1);
        rig.receive.until_empty = false;
        rig.transfer.retry.deadline = Duration::from_secs(20);
        let faults = Faults::none();
        faults.pace(On::Get, self.get, UNLIMITED);
        faults.pace(On::Put, self.put, self.writes);
        for on in [On::Begin, On::Part, On::Complete] {
            faults.pace(on, self.put, UNLIMITED);
        }
        for on in [On::Receive, On::Delete] {
            faults.pace(on, self.queue, UNLIMITED);
        }
        for on in [On::Get, On::Put, On::Part] {
            faults.cost(on, cores, self.call);
        }
        rig.faults = faults;
        rig
    }

    fn work(&self, cores: &Cores) -> Work {
        let steps = Steps { cores: cores.clone(), compute: self.step, wait: self.wait };
        if self.copies { Work::Copy } else { Work::Script(Arc::new(steps)) }
    }
}

/// A step that computes and waits, once for each job, and hands on what it was given.
#[derive(Debug)]
struct Steps {
    cores: Cores,
    compute: Duration,
    wait: Duration,
}

impl Script for Steps {
    fn run<'a>(
        &'a self,
        _job: &'a Job,
        input: &'a mut Inlet,
        output: &'a Outlet,
    ) -> BoxFuture<'a, Result<Result<(), ProcessError>, Disconnected>> {
        async move {
            self.cores.compute(self.compute).await;
            tokio::time::sleep(self.wait).await;
            while let Some(chunk) = input.recv().await? {
                output.send(chunk).await?;
            }
            Ok(Ok(()))
        }
        .boxed()
    }
}

/// What was seen of a run.
pub(super) struct Seen {
    /// Jobs done a second.
    pub(super) rate: f64,
    pub(super) bottleneck: Option<Bottleneck>,
    /// The figures, for whoever looks into it.
    pub(super) load: String,
}

/// Runs a world for as long as it takes to see.
pub(super) fn run(world: &World) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(watch(world))
}

async fn watch(world: &World) -> Seen {
    fastrand::seed(world.seed);
    let cores = Cores::new(world.cores);
    let rig = world.rig(&cores);
    let running = rig.start(world.work(&cores));
    let mut sources = running.sources.clone();
    sources.cpu = Arc::new(move || Some(cores.time()));
    let _asking = ask_queue(Arc::clone(&rig.queue) as Arc<dyn JobQueue>, sources.queue.clone());
    // Whole rounds of the slots, so that where a window begins makes no difference.
    // A store that throttles lets a tenth of a second's worth of writes through first.
    let burst = if world.writes == UNLIMITED { 0 } else { world.writes as usize / 2 };
    let warm = WARM + 2 * world.slots + burst;
    let measured = MEASURED + 2 * world.slots;
    // Those at work, on their way and ahead, and two batches to be deleted come on top: the queue has more to the end.
    let messages = warm + measured + 4 * world.slots + 20 * world.receivers + 40;
    match world.sent {
        Some(rate) => drop(tokio::spawn(feed(rig.clone(), rate))),
        None => (0..messages).for_each(|_| drop(rig.message("x"))),
    }
    until_done(&rig.meters, warm).await;
    let began = Instant::now();
    let mut sampler = Sampler::new(sources, LONG);
    let from = done(&rig.meters);
    until_done(&rig.meters, warm + measured).await;
    let jobs = done(&rig.meters) - from;
    let rate = jobs as f64 / began.elapsed().as_secs_f64();
    let snapshot = sampler.snapshot();
    let load = format!("{:?}", sampler.load());
    running.end_or_die(std::future::ready(())).await;
    Seen { rate, bottleneck: named(snapshot), load }
}

fn named(snapshot: Snapshot) -> Option<Bottleneck> {
    snapshot.bottleneck
}

/// Sends so many messages a second for ever.
async fn feed(rig: Rig, rate: f64) {
    loop {
        rig.message("x");
        tokio::time::sleep(Duration::from_secs_f64(1.0 / rate)).await;
    }
}

fn done(meters: &Meters) -> usize {
    meters.jobs(Ended::Ok) as usize
}

/// Waits until so many are done, looking so often that the time is right to half a percent.
async fn until_done(meters: &Meters, jobs: usize) {
    let began = Instant::now();
    while done(meters) < jobs {
        tokio::time::sleep((began.elapsed() / 200).max(Duration::from_millis(1))).await;
    }
}
