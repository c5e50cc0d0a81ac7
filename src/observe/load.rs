//! How much of each resource was used: averages over a period, from which the bottleneck is determined.
//!
//! Arithmetic on plain numbers, which the sampler provides.

use crate::capacity::tuner::Concurrency;
use crate::error::Stage;

/// From this share a resource counts as exhausted: a number that changes every millisecond never averages to 100 %.
pub(super) const FULL: f64 = 0.85;

/// Room for this many times as many jobs counts as no room, because a slot is empty for a moment between two jobs.
pub(super) const CLOSE: f64 = 1.15;

/// The same if the queue has no more messages: then even a few empty slots are empty because messages are missing.
const NEARLY_FULL: f64 = 1.05;

/// From this share the CPU counts as exhausted if there is a running step for each core.
const CROWDED: f64 = 0.75;

/// Below this number of jobs in the stages or arriving, nothing is going on.
pub(super) const IDLE: f64 = 0.05;

/// If jobs wait for memory for this share of the time, memory counts as exhausted.
const SHORT: f64 = 0.5;

/// The same if nearly all memory ([`NEARLY`]) is reserved: receivers that would wait for memory may be waiting for the
/// queue in the meantime.
const RARELY: f64 = 0.2;

/// The share of the memory that counts as nearly all.
const NEARLY: f64 = 0.8;

/// If this share of the jobs has less in flight than allowed because memory is short, memory counts as exhausted.
const CRAMPED: f64 = 0.4;

/// If this share of the requested messages was received, the queue has more messages.
const PLENTY: f64 = 0.5;

/// If the machine is full of other work, the CPU counts as exhausted for us only if we use at least this share of the
/// cores: a program that only waits uses a few percent.
const OURS: f64 = 0.25;

/// What one stage did, on average over the period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageLoad {
    /// Which.
    pub stage: Stage,
    /// Items that were processed, without those that waited for another stage or for a permit.
    pub busy: f64,
    /// Calls that waited to be tried again because the service throttled them.
    pub throttled: f64,
}

/// What the CPU did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuLoad {
    /// Cores that we used.
    pub used: f64,
    /// Cores that were idle, if known.
    pub idle: Option<f64>,
    /// Cores that we may use.
    pub cores: f64,
}

impl CpuLoad {
    /// The cores that we used or could have used.
    fn ours(&self) -> f64 {
        let free = self.idle.map_or(self.cores, |idle| self.used + idle);
        free.clamp(OURS * self.cores, self.cores)
    }

    /// The share of these cores that we used.
    pub fn share(&self) -> f64 {
        if self.cores > 0.0 { (self.used / self.ours()).min(1.0) } else { 0.0 }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.ours() < FULL * self.cores
    }
}

/// How much of each resource was used, on average over the period.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The stages of the command.
    pub stages: Vec<StageLoad>,
    /// The CPU, if known.
    pub cpu: Option<CpuLoad>,
    /// The share of the processors in use.
    pub processors: f64,
    /// How many processors may run at once.
    pub processor_slots: f64,
    /// Jobs that waited for a processor.
    pub short_of_processors: f64,
    /// The share of the time in which a job waited for memory.
    pub short_of_memory: f64,
    /// Jobs that had less in flight than allowed, because memory was short.
    pub cramped: f64,
    /// The share of the memory that is reserved.
    pub memory: f64,
    /// Running jobs.
    pub at_work: f64,
    /// Slots that are reserved for messages of a receive in progress.
    pub on_call: f64,
    /// Job slots.
    pub slots: f64,
    /// How the number of slots is set.
    pub concurrency: Concurrency,
    /// Batches that may be deleted, or sent, at once.
    pub settling: f64,
    /// Messages requested by one receive.
    pub asked: f64,
    /// The share of them that was received; `None` if no receive was answered.
    pub brought: Option<f64>,
    /// Messages that wait in the queue, if known.
    pub waiting: Option<u64>,
    /// The share of their time that receivers wait for a response of the queue, rather than for slots or for the next
    /// stage.
    pub calling: f64,
    /// Running receivers, including waits.
    pub receivers: f64,
}

impl Load {
    /// Whether the CPU is exhausted. Even if there is a running step for each core, steps wait for a core at times and
    /// leave cores idle at others: when they come in bursts, and beside other programs.
    pub(super) fn fills(&self, cpu: &CpuLoad) -> bool {
        let steps = (self.processors * self.processor_slots).min(self.busy(Stage::Process));
        let crowded = steps >= FULL * cpu.cores;
        cpu.share() >= if crowded { CROWDED } else { FULL }
    }

    /// The share of the processors that actually work. Others are held by jobs that wait for their input, or for room
    /// for their output.
    pub(super) fn processors_at_work(&self) -> f64 {
        let taken = self.processors * self.processor_slots;
        if self.busy(Stage::Process) >= taken / 2.0 { self.processors } else { 0.0 }
    }

    /// The stage that waits for the store most.
    pub(super) fn store_stage(&self) -> Stage {
        if self.busy(Stage::Download) > self.busy(Stage::Upload) { Stage::Download } else { Stage::Upload }
    }

    pub(super) fn busy(&self, stage: Stage) -> f64 {
        self.stages.iter().find(|load| load.stage == stage).map_or(0.0, |load| load.busy)
    }

    /// Whether receivers wait for the queue most of the time. If finished jobs hold each other up, they do not.
    pub(super) fn is_calling(&self) -> bool {
        self.calling >= PLENTY
    }

    /// Whether the queue has more messages than requested. A single requested message that arrives as soon as it is
    /// sent also fulfils the whole request, so a queue with fewer messages than we have slots counts as empty.
    pub(super) fn has_more(&self) -> bool {
        let waits = self.waiting.is_none_or(|waiting| waiting as f64 > self.asked.max(self.slots));
        waits && self.brought.is_some_and(|brought| brought >= PLENTY)
    }

    /// Whether jobs find slots and memory, and there are too few messages.
    pub(super) fn is_starved(&self) -> bool {
        let close = if self.has_more() { CLOSE } else { NEARLY_FULL };
        self.room_in_slots() > close && self.room_in_memory() > 1.0
    }

    /// How many times as many jobs the slots could hold. A slot reserved for a message that is arriving counts as
    /// taken; a slot reserved for a message that has not been sent yet does not.
    pub(super) fn room_in_slots(&self) -> f64 {
        let on_call = if self.has_more() || self.has(Stage::Read) { self.on_call } else { 0.0 };
        self.slots / (self.at_work + on_call).max(f64::MIN_POSITIVE)
    }

    /// The same of the memory.
    pub(super) fn room_in_memory(&self) -> f64 {
        let short = if self.memory >= NEARLY { RARELY } else { SHORT };
        if self.short_of_memory >= short || self.cramped >= CRAMPED * self.at_work {
            return 1.0;
        }
        1.0 / self.memory.max(f64::MIN_POSITIVE)
    }

    /// How many times as much work the processors and cores could do.
    pub(super) fn room_for_work(&self) -> f64 {
        let cpu = self.cpu.map_or(0.0, |cpu| cpu.share());
        1.0 / self.processors_at_work().max(cpu).max(f64::MIN_POSITIVE)
    }

    /// How many times as many jobs they could hold. A processor that waits for its job's input still counts as taken.
    pub(super) fn room_for_jobs(&self) -> f64 {
        let taken = if self.short_of_processors >= IDLE { self.processors } else { self.processors_at_work() };
        self.room_for_work().min(1.0 / taken.max(f64::MIN_POSITIVE))
    }

    /// Jobs that wait for a response of the store.
    pub(super) fn in_store(&self) -> f64 {
        let of_store = |load: &&StageLoad| matches!(load.stage, Stage::Download | Stage::Upload);
        self.stages.iter().filter(of_store).map(|load| load.busy).sum::<f64>().min(self.at_work)
    }

    pub(super) fn has(&self, stage: Stage) -> bool {
        self.stages.iter().any(|load| load.stage == stage)
    }

    /// The stage in which the jobs spend most of their time.
    pub(super) fn heaviest(&self) -> Stage {
        let of_jobs = |load: &&StageLoad| !matches!(load.stage, Stage::Receive | Stage::Acknowledge | Stage::Send);
        let heaviest = self.stages.iter().filter(of_jobs).max_by(|one, other| one.busy.total_cmp(&other.busy));
        heaviest.map_or(Stage::Process, |load| load.stage)
    }
}
