//! Names what holds the work up, and the setting that lets more of it through.
//!
//! **Something is the bottleneck when it is used up**: a stage, a setting or a service that could do no more than it does, while
//! the others could. That is not the same as being busy. A single delete that is always under way is busy all the time, and
//! could be one of dozens. So each thing is measured against what it could do: the CPU against the cores, the processors against
//! `--processors`, jobs at work against their slots, deletes against as many as may be under way at once, messages against what
//! was asked for.
//!
//! Where several are used up at once, the first in the order of [`bottleneck`] decides about the others. A full CPU makes jobs wait for a
//! processor, a busy processor keeps the slots full, and full slots leave messages in the queue; none of this holds the other way round.
//!
//! A setting is named only where raising it was, or can be expected to be, of use. `tests/oracle` runs hundreds of pipelines with each
//! thing free in turn, and each named setting turned, and compares.

use super::Bottleneck;
use crate::error::Stage;

/// The part of something that is used from which it counts as used up: what changes each millisecond never reads as the whole.
const FULL: f64 = 0.9;

/// The same of slots. A slot is empty while its next message is on its way.
const SLOTS_FULL: f64 = 0.85;

/// Jobs in a stage, or on their way, below which nothing goes on.
const IDLE: f64 = 0.05;

/// The part of the time in which somebody waits for memory from which the memory is used up.
const SHORT: f64 = 0.5;

/// The part of the jobs that have less in flight than they may, for want of memory, from which the memory is used up.
const CRAMPED: f64 = 0.4;

/// The part of a stage's busy time that its calls spend waiting after a throttle from which the throttle is what counts.
const THROTTLED: f64 = 0.25;

/// The part of the messages asked for that came, from which the queue has more.
const PLENTY: f64 = 0.5;

/// The part of a whole batch that the receives ask for, from which more of them, and not larger ones, bring more.
const WHOLE: f64 = 0.75;

/// The part of the cores that we use from which a machine full of other work is full for us, too: a program that waits uses a few percent.
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

    fn is_shared(&self) -> bool {
        self.ours() < FULL * self.cores
    }
}

/// How the number of jobs at once is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// By a person.
    Fixed,
    /// By `--concurrency auto`, which has not found an end yet.
    Climbing,
    /// By `--concurrency auto`: more did no more.
    Found,
    /// By `--concurrency auto`, which may raise it no further.
    Most,
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
    /// Jobs that waited for a processor.
    pub short_of_processors: f64,
    /// The part of the time in which something waited for memory.
    pub short_of_memory: f64,
    /// Jobs that had less in flight than they may, for want of memory.
    pub cramped: f64,
    /// Jobs at work.
    pub at_work: f64,
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
    /// Receivers at work, waits included.
    pub receivers: f64,
}

/// What holds the work up. `None` where nothing goes on, or nothing is used up and it can't be told.
pub fn bottleneck(load: &Load) -> Option<Bottleneck> {
    let last = load.stages.iter().find(|stage| matches!(stage.stage, Stage::Acknowledge | Stage::Send));
    let settling = last.map_or(0.0, |stage| stage.busy);
    if load.at_work < IDLE && settling < IDLE {
        return (load.receivers > 0.0).then(|| starved(load));
    }
    if let Some(cpu) = load.cpu.filter(|cpu| cpu.share() >= FULL) {
        return Some(of_cpu(load, &cpu));
    }
    if load.processors >= FULL && load.short_of_processors >= IDLE {
        let hint = "raise --processors: the CPU has time left";
        return Some(named(Stage::Process, "processors", "processor slots", hint, Some("--processors")));
    }
    if let Some(found) = throttled(load) {
        return Some(found);
    }
    if load.short_of_memory >= SHORT || load.cramped >= CRAMPED * load.at_work {
        let stage = if load.has(Stage::Read) { Stage::Read } else { Stage::Download };
        let hint = "raise --memory or lower --part-size";
        return Some(named(stage, "memory", "memory", hint, Some("--memory")));
    }
    if load.at_work >= SLOTS_FULL * load.slots {
        return Some(of_slots(load));
    }
    if settling >= SLOTS_FULL * load.settling {
        let stage = last.map_or(Stage::Acknowledge, |stage| stage.stage);
        return Some(named(stage, "slots", "queue calls", "raise --concurrency: as many batches may be on their way", Some("--concurrency")));
    }
    Some(starved(load))
}

impl Load {
    fn has(&self, stage: Stage) -> bool {
        self.stages.iter().any(|load| load.stage == stage)
    }

    /// The stage in which the jobs spend most of their time, of those that a job is in.
    fn heaviest(&self) -> Stage {
        let of_jobs = |load: &&StageLoad| !matches!(load.stage, Stage::Receive | Stage::Acknowledge | Stage::Send);
        let heaviest = self.stages.iter().filter(of_jobs).max_by(|one, other| one.busy.total_cmp(&other.busy));
        heaviest.map_or(Stage::Process, |load| load.stage)
    }
}

fn named(
    stage: Stage,
    cause: &'static str,
    reason: &'static str,
    hint: &'static str,
    knob: Option<&'static str>,
) -> Bottleneck {
    Bottleneck { stage: stage.as_str(), reason, hint, cause, knob }
}

fn of_cpu(load: &Load, cpu: &CpuLoad) -> Bottleneck {
    let hint = if cpu.is_shared() {
        "other programs take the rest of this machine's CPU: more cores or more machines"
    } else {
        "more cores or more machines"
    };
    named(load.heaviest(), "cpu", "CPU", hint, None)
}

/// The stage whose calls spend their time waiting after throttles, if one does.
fn throttled(load: &Load) -> Option<Bottleneck> {
    let stage = load.stages.iter().max_by(|one, other| one.throttled.total_cmp(&other.throttled))?;
    let counts = stage.throttled >= IDLE && stage.throttled >= THROTTLED * stage.busy;
    let hint = match stage.stage {
        Stage::Receive | Stage::Acknowledge | Stage::Send => "nothing to raise: the queue throttles its callers",
        _ => "nothing to raise: the store throttles; spread the keys over more prefixes",
    };
    counts.then(|| named(stage.stage, "throttled", "throttled", hint, None))
}

/// All slots have jobs, and these wait for something that is not used up.
fn of_slots(load: &Load) -> Bottleneck {
    let stage = load.heaviest();
    let reason = match stage {
        Stage::Process => "job slots",
        Stage::Read => "disk",
        _ => "store answers",
    };
    let (cause, hint, knob) = match load.concurrency {
        Concurrency::Fixed => ("slots", "raise --concurrency while jobs/s still grow", Some("--concurrency")),
        Concurrency::Climbing => ("latency", "nothing: --concurrency auto is looking for more", None),
        Concurrency::Found => ("line", "as fast as the line: more at once did no more; more machines", None),
        Concurrency::Most => ("latency", "more machines: --concurrency auto is at the most for this memory", None),
    };
    named(stage, cause, reason, hint, knob)
}

/// Jobs find slots, memory and processors: there are too few messages.
fn starved(load: &Load) -> Bottleneck {
    if load.has(Stage::Read) {
        return named(Stage::Read, "disk", "disk", "a faster disk, or submit from several machines", None);
    }
    if load.brought.is_some_and(|brought| brought >= PLENTY) {
        return if load.asked >= WHOLE * BATCH {
            named(Stage::Receive, "receivers", "queue calls", "raise --receivers", Some("--receivers"))
        } else {
            let hint = "raise --concurrency: a receive asks for as many messages as there are slots";
            named(Stage::Receive, "slots", "queue calls", hint, Some("--concurrency"))
        };
    }
    named(Stage::Receive, "queue_empty", "queue empty", "nothing to do: all messages are taken", None)
}

/// Messages that one receive may bring, of any queue that there is.
const BATCH: f64 = 10.0;
