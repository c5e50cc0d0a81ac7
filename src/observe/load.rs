//! What was used of what there is, as the bottleneck is judged by: averages over the time looked at, and what follows
//! from them.
//!
//! Arithmetic on plain numbers; where they come from is the sampler's matter.

use crate::capacity::tuner::Concurrency;
use crate::error::Stage;

/// The part of something that is used from which it counts as used up: what changes each millisecond never reads as the
/// whole.
pub(super) const FULL: f64 = 0.85;

/// Room for so many times as many jobs is no room: a slot is empty for a moment between two jobs.
pub(super) const CLOSE: f64 = 1.15;

/// The same where the queue has no more: then even a few empty slots are empty for want of messages.
const NEARLY_FULL: f64 = 1.05;

/// The part of the CPU from which it counts as used up where there is a step at work for each core.
const CROWDED: f64 = 0.75;

/// Jobs in a stage, or on their way, below which nothing goes on.
pub(super) const IDLE: f64 = 0.05;

/// The part of the time in which somebody waits for memory from which the memory is used up.
const SHORT: f64 = 0.5;

/// The same where nearly all of it ([`NEARLY`]) is taken: whoever would wait for it may be waiting for the queue
/// meanwhile.
const RARELY: f64 = 0.2;

/// The part of the memory that is nearly all.
const NEARLY: f64 = 0.8;

/// The part of the jobs that have less in flight than they may, for want of memory, from which the memory is used up.
const CRAMPED: f64 = 0.4;

/// The part of the messages asked for that came, from which the queue has more.
const PLENTY: f64 = 0.5;

/// The part of the cores that we use from which a machine full of other work is full for us, too: a program that waits
/// uses a few percent.
const OURS: f64 = 0.25;

/// What one stage did, on average over the time looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageLoad {
    /// Which.
    pub stage: Stage,
    /// Items that were worked on, those that waited for a neighbour or for a permit left out.
    pub busy: f64,
    /// Calls that waited to be made again because the service throttled them.
    pub throttled: f64,
}

/// What the CPU did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuLoad {
    /// Cores that we used.
    pub used: f64,
    /// Cores that were idle, if that is known.
    pub idle: Option<f64>,
    /// Cores that we may use.
    pub cores: f64,
}

impl CpuLoad {
    /// The cores that we had, or could have had.
    fn ours(&self) -> f64 {
        let free = self.idle.map_or(self.cores, |idle| self.used + idle);
        free.clamp(OURS * self.cores, self.cores)
    }

    /// The part of them that we used.
    pub fn share(&self) -> f64 {
        if self.cores > 0.0 { (self.used / self.ours()).min(1.0) } else { 0.0 }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.ours() < FULL * self.cores
    }
}

/// What was used of what there is, on average over the time looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The stages of the command.
    pub stages: Vec<StageLoad>,
    /// The CPU, if it is known.
    pub cpu: Option<CpuLoad>,
    /// The part of the processors that was taken.
    pub processors: f64,
    /// How many processors there may be at once.
    pub processor_slots: f64,
    /// Jobs that waited for a processor.
    pub short_of_processors: f64,
    /// The part of the time in which something waited for memory.
    pub short_of_memory: f64,
    /// Jobs that had less in flight than they may, for want of memory.
    pub cramped: f64,
    /// The part of the memory that is reserved.
    pub memory: f64,
    /// Jobs at work.
    pub at_work: f64,
    /// Slots that are held for messages that a receive is to bring.
    pub on_call: f64,
    /// Job slots.
    pub slots: f64,
    /// How their number is set.
    pub concurrency: Concurrency,
    /// Batches that may be deleted, or sent, at once.
    pub settling: f64,
    /// Messages asked for in one receive.
    pub asked: f64,
    /// The part of them that came; none if no receive was answered.
    pub brought: Option<f64>,
    /// Messages that wait in the queue, if it has said.
    pub waiting: Option<u64>,
    /// The part of their time that receivers wait for an answer of the queue, and not for slots or for those who take
    /// what they bring.
    pub calling: f64,
    /// Receivers at work, waits included.
    pub receivers: f64,
}

impl Load {
    /// Whether the CPU is used up. Where there is a step at work for each core, some of them wait for a core at times
    /// and leave it idle at others: when they come in bursts, and beside other programs.
    pub(super) fn fills(&self, cpu: &CpuLoad) -> bool {
        let steps = (self.processors * self.processor_slots).min(self.busy(Stage::Process));
        let crowded = steps >= FULL * cpu.cores;
        cpu.share() >= if crowded { CROWDED } else { FULL }
    }

    /// The part of the processors that does something. Others are taken by jobs that wait for their input, or for room
    /// for their output.
    pub(super) fn processors_at_work(&self) -> f64 {
        let taken = self.processors * self.processor_slots;
        if self.busy(Stage::Process) >= taken / 2.0 { self.processors } else { 0.0 }
    }

    /// The stage that waits for the store the most.
    pub(super) fn store_stage(&self) -> Stage {
        if self.busy(Stage::Download) > self.busy(Stage::Upload) { Stage::Download } else { Stage::Upload }
    }

    pub(super) fn busy(&self, stage: Stage) -> f64 {
        self.stages.iter().find(|load| load.stage == stage).map_or(0.0, |load| load.busy)
    }

    /// Whether receivers wait for the queue most of the time. Where jobs at their end are in each other's way, they
    /// don't.
    pub(super) fn is_calling(&self) -> bool {
        self.calling >= PLENTY
    }

    /// Whether the queue has more than what is asked for. One message that is asked for, and comes when somebody sends
    /// it, is all that was asked for, too; so a queue that has fewer messages than we have slots counts as empty.
    pub(super) fn has_more(&self) -> bool {
        let waits = self.waiting.is_none_or(|waiting| waiting as f64 > self.asked.max(self.slots));
        waits && self.brought.is_some_and(|brought| brought >= PLENTY)
    }

    /// Whether jobs find slots and memory, and there are too few messages.
    pub(super) fn is_starved(&self) -> bool {
        let close = if self.has_more() { CLOSE } else { NEARLY_FULL };
        self.room_in_slots() > close && self.room_in_memory() > 1.0
    }

    /// How many times as many jobs the slots would take. A slot that is held for a message which is on its way is
    /// taken; one that is held for a message which somebody has still to send is not.
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

    /// How many times as much work processors and cores would take.
    pub(super) fn room_for_work(&self) -> f64 {
        let cpu = self.cpu.map_or(0.0, |cpu| cpu.share());
        1.0 / self.processors_at_work().max(cpu).max(f64::MIN_POSITIVE)
    }

    /// How many times as many jobs they would take. A processor that waits for its job's input is taken all the same.
    pub(super) fn room_for_jobs(&self) -> f64 {
        let taken = if self.short_of_processors >= IDLE { self.processors } else { self.processors_at_work() };
        self.room_for_work().min(1.0 / taken.max(f64::MIN_POSITIVE))
    }

    /// Jobs that wait for an answer of the store.
    pub(super) fn in_store(&self) -> f64 {
        let of_store = |load: &&StageLoad| matches!(load.stage, Stage::Download | Stage::Upload);
        self.stages.iter().filter(of_store).map(|load| load.busy).sum::<f64>().min(self.at_work)
    }

    pub(super) fn has(&self, stage: Stage) -> bool {
        self.stages.iter().any(|load| load.stage == stage)
    }

    /// The stage in which the jobs spend most of their time, of those that a job is in.
    pub(super) fn heaviest(&self) -> Stage {
        let of_jobs = |load: &&StageLoad| !matches!(load.stage, Stage::Receive | Stage::Acknowledge | Stage::Send);
        let heaviest = self.stages.iter().filter(of_jobs).max_by(|one, other| one.busy.total_cmp(&other.busy));
        heaviest.map_or(Stage::Process, |load| load.stage)
    }
}
