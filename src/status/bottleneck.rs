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
//! What is left is latency: so many jobs at once, and so much time for each. More at once helps as far as slots *and* memory allow, an
//! answer that comes sooner helps as far as jobs spend their time on it, and both no further than the processors and the CPU. What
//! promises the most is named, and the setting that lets more be at once.
//!
//! A setting is named only where raising it was, or can be expected to be, of use. `tests/oracle` runs hundreds of pipelines with each
//! thing free in turn, and each named setting turned, and compares.

use super::Bottleneck;
use crate::error::Stage;

/// The part of something that is used from which it counts as used up: what changes each millisecond never reads as the whole.
const FULL: f64 = 0.85;

/// The same of batches under way.
const SLOTS_FULL: f64 = 0.85;

/// Room for so many times as many jobs is no room: a slot is empty for a moment between two jobs.
const CLOSE: f64 = 1.15;

/// The same where the queue has no more: then even a few empty slots are empty for want of messages.
const NEARLY_FULL: f64 = 1.05;

/// Room for so many times as many jobs is room for twice the slots. Objects of many parts take more than they must where there is
/// more, and with too many at once each of them gets too little.
const ROOMY: f64 = 2.0;

/// The part of the CPU from which it counts as used up where more steps compute than there are cores.
const CROWDED: f64 = 0.75;

/// Gains beyond this are alike: what is expected is no more exact.
const PLAIN: f64 = 3.0;

/// The part of the largest gain from which another is as good: then the one with a setting is named.
const TIE: f64 = 0.88;

/// Jobs in a stage, or on their way, below which nothing goes on.
const IDLE: f64 = 0.05;

/// The part of the time in which somebody waits for memory from which the memory is used up.
const SHORT: f64 = 0.5;

/// The same where nearly all of it ([`NEARLY`]) is taken: whoever would wait for it may be waiting for the queue meanwhile.
const RARELY: f64 = 0.2;

/// The part of the memory that is nearly all.
const NEARLY: f64 = 0.8;

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
    /// Receivers at work, waits included.
    pub receivers: f64,
}

/// What holds the work up. `None` where nothing goes on, or it can't be told.
pub fn bottleneck(load: &Load) -> Option<Bottleneck> {
    let last = load.stages.iter().find(|stage| matches!(stage.stage, Stage::Acknowledge | Stage::Send));
    let settling = last.map_or(0.0, |stage| stage.busy);
    if load.at_work < IDLE && settling < IDLE {
        return (load.receivers > 0.0).then(|| starved(load));
    }
    if let Some(cpu) = load.cpu.filter(|cpu| load.fills(cpu)) {
        return Some(of_cpu(load, &cpu));
    }
    if load.processors_at_work() >= FULL && load.short_of_processors >= IDLE {
        let hint = "raise --processors: the CPU has time left";
        return Some(named(Stage::Process, "processors", "processor slots", hint, Some("--processors")));
    }
    if let Some(found) = throttled(load) {
        return Some(found);
    }
    if let Some(last) = last.filter(|last| last.busy >= SLOTS_FULL * load.settling) {
        let hint = "raise --concurrency: as many batches may be on their way";
        return Some(named(last.stage, "slots", "queue calls", hint, Some("--concurrency")));
    }
    if load.is_starved() { Some(starved(load)) } else { Some(at_once(load)) }
}

impl Load {
    /// Whether the CPU is used up. Steps that come in bursts wait for a core half of the time, and leave it idle at others.
    fn fills(&self, cpu: &CpuLoad) -> bool {
        let crowded = self.processors * self.processor_slots > cpu.cores && self.busy(Stage::Process) > cpu.cores;
        cpu.share() >= if crowded { CROWDED } else { FULL }
    }

    /// The part of the processors that does something. Others are taken by jobs that wait for their input, or for room for their
    /// output.
    fn processors_at_work(&self) -> f64 {
        let taken = self.processors * self.processor_slots;
        if self.busy(Stage::Process) >= taken / 2.0 { self.processors } else { 0.0 }
    }

    /// The stage that waits for the store the most.
    fn store_stage(&self) -> Stage {
        if self.busy(Stage::Download) > self.busy(Stage::Upload) { Stage::Download } else { Stage::Upload }
    }

    fn busy(&self, stage: Stage) -> f64 {
        self.stages.iter().find(|load| load.stage == stage).map_or(0.0, |load| load.busy)
    }

    /// Whether the queue has more than what is asked for. One message that is asked for, and comes when somebody sends it, is all that
    /// was asked for, too; so a queue that has fewer messages than we have slots counts as empty.
    fn has_more(&self) -> bool {
        let waits = self.waiting.is_none_or(|waiting| waiting as f64 > self.asked.max(self.slots));
        waits && self.brought.is_some_and(|brought| brought >= PLENTY)
    }

    /// Whether jobs find slots and memory, and there are too few messages.
    fn is_starved(&self) -> bool {
        let close = if self.has_more() { CLOSE } else { NEARLY_FULL };
        self.room_in_slots() > close && self.room_in_memory() > 1.0
    }

    /// How many times as many jobs the slots would take. A slot that is held for a message which is on its way is taken; one that is
    /// held for a message which somebody has still to send is not.
    fn room_in_slots(&self) -> f64 {
        let on_call = if self.has_more() || self.has(Stage::Read) { self.on_call } else { 0.0 };
        self.slots / (self.at_work + on_call).max(f64::MIN_POSITIVE)
    }

    /// The same of the memory.
    fn room_in_memory(&self) -> f64 {
        let short = if self.memory >= NEARLY { RARELY } else { SHORT };
        if self.short_of_memory >= short || self.cramped >= CRAMPED * self.at_work {
            return 1.0;
        }
        1.0 / self.memory.max(f64::MIN_POSITIVE)
    }

    /// How many times as much work processors and cores would take.
    fn room_for_work(&self) -> f64 {
        let cpu = self.cpu.map_or(0.0, |cpu| cpu.share());
        1.0 / self.processors_at_work().max(cpu).max(f64::MIN_POSITIVE)
    }

    /// How many times as many jobs they would take. A processor that waits for its job's input is taken all the same.
    fn room_for_jobs(&self) -> f64 {
        let taken = if self.short_of_processors >= IDLE { self.processors } else { self.processors_at_work() };
        self.room_for_work().min(1.0 / taken.max(f64::MIN_POSITIVE))
    }

    /// Jobs that wait for an answer of the store.
    fn in_store(&self) -> f64 {
        let of_store = |load: &&StageLoad| matches!(load.stage, Stage::Download | Stage::Upload);
        self.stages.iter().filter(of_store).map(|load| load.busy).sum::<f64>().min(self.at_work)
    }

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

/// As many jobs are at work as may be, and none of what they need is used up: more at once would do more, and so would jobs that
/// take less time. Of these, what can be expected to bring the most.
fn at_once(load: &Load) -> Bottleneck {
    let (slots, memory) = (load.room_in_slots(), load.room_in_memory());
    let (by_memory, by_slots) = (memory <= CLOSE && slots > CLOSE, slots <= CLOSE && memory > CLOSE);
    // How many times as fast, if one thing were free and the others stayed.
    let more_memory = if by_memory { slots.min(load.room_for_jobs()) } else { 1.0 };
    let more_slots = if by_slots { memory.min(load.room_for_jobs()) } else { 1.0 };
    let present = load.at_work + load.on_call;
    let faster = |part: f64| (present / (present - part).max(f64::MIN_POSITIVE)).min(load.room_for_work());
    let (nearer_store, nearer_queue) = (faster(load.in_store()), faster(load.on_call));
    let knob = match () {
        () if more_memory > CLOSE => Some("--memory"),
        () if more_slots > CLOSE && memory >= ROOMY && load.concurrency == Concurrency::Fixed => Some("--concurrency"),
        () => None,
    };
    let best = [more_memory, more_slots, nearer_store, nearer_queue].into_iter().fold(1.0, f64::max).min(PLAIN);
    // A setting is as good an answer as a service that is nearer, and it is at hand.
    let is_best = |gain: f64| gain >= if knob.is_some() { TIE * best } else { best };
    match () {
        () if knob == Some("--memory") && is_best(more_memory) => {
            let stage = if load.has(Stage::Read) { Stage::Read } else { Stage::Download };
            named(stage, "memory", "memory", "raise --memory or lower --part-size", knob)
        }
        () if by_slots && is_best(more_slots) => of_slots(load, knob),
        () if nearer_queue > nearer_store => {
            let hint = if knob.is_some() { "more jobs at once hide it" } else { MORE_OF_BOTH };
            named(Stage::Receive, "queue_calls", "queue calls", hint, knob)
        }
        () if nearer_store > CLOSE => of_latency(load, load.store_stage(), knob),
        () => of_slots(load, knob),
    }
}

const MORE_OF_BOTH: &str = "raise --concurrency and --memory together: each alone does little";

const MORE_PROCESSORS: &str = "raise --concurrency and --processors together: each alone does little";

/// All slots have jobs, and there are no more slots.
fn of_slots(load: &Load, knob: Option<&'static str>) -> Bottleneck {
    let stage = load.heaviest();
    let reason = match stage {
        Stage::Read => "disk",
        Stage::Download | Stage::Upload => "store answers",
        _ => "job slots",
    };
    match (load.concurrency, knob) {
        (Concurrency::Fixed, Some(_)) => named(stage, "slots", reason, "raise --concurrency while jobs/s still grow", knob),
        (Concurrency::Fixed, None) => named(stage, "slots", reason, MORE_OF_BOTH, None),
        _ => Bottleneck { reason, ..of_latency(load, stage, knob) },
    }
}

/// The time is spent waiting for the store. `knob` lets more jobs wait at once.
fn of_latency(load: &Load, stage: Stage, knob: Option<&'static str>) -> Bottleneck {
    let (cause, hint) = match (knob, load.concurrency) {
        (Some("--memory"), _) => ("latency", "raise --memory: more jobs at once hide the wait"),
        (Some(_), _) => ("latency", "raise --concurrency: more jobs at once hide the wait"),
        (None, Concurrency::Climbing) => ("latency", "nothing: --concurrency auto is looking for more"),
        (None, Concurrency::Found) => ("line", "as fast as the line: more at once did no more; more machines"),
        (None, Concurrency::Most) => ("latency", "more machines: --concurrency auto is at its most"),
        (None, Concurrency::Fixed) if load.room_in_memory() >= ROOMY => ("latency", MORE_PROCESSORS),
        (None, Concurrency::Fixed) => ("latency", MORE_OF_BOTH),
    };
    let reason = if cause == "line" { "network" } else { "store answers" };
    named(stage, cause, reason, hint, knob)
}

/// Jobs find slots, memory and processors: there are too few messages.
fn starved(load: &Load) -> Bottleneck {
    if load.has(Stage::Read) {
        return named(Stage::Read, "disk", "disk", "a faster disk, or submit from several machines", None);
    }
    if load.has_more() {
        if load.asked >= WHOLE * BATCH {
            return named(Stage::Receive, "queue_calls", "queue calls", "raise --receivers", Some("--receivers"));
        }
        // With more slots each receive asks for more; with a nearer queue the slots that there are would be full.
        let cause = if BATCH / load.asked >= load.room_in_slots() { "slots" } else { "queue_calls" };
        let hint = "raise --concurrency: a receive asks for as many messages as there are slots";
        return named(Stage::Receive, cause, "queue calls", hint, Some("--concurrency"));
    }
    named(Stage::Receive, "queue_empty", "queue empty", "nothing to do: all messages are taken", None)
}

/// Messages that one receive may bring, of any queue that there is.
const BATCH: f64 = 10.0;
