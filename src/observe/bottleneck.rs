//! Names the bottleneck of the work, and the setting that relieves it.
//!
//! **A resource is the bottleneck when it is exhausted**: a stage, a setting or a service that can't do more than it
//! does, while the others could. Exhausted is not the same as busy: if one delete is always in progress, deleting is
//! busy all the time, but there could be dozens of deletes. So each resource is measured against its capacity: the CPU
//! against the cores, the processors against `--processors`, running jobs against their slots, deletes against the
//! number allowed at once, received messages against requested messages.
//!
//! If several resources are exhausted at once, the first in the order of [`bottleneck`] is named, because it causes the
//! others. A throttling store accepts no more whatever we have, and its refused calls cost CPU, too; a full CPU makes
//! jobs wait for a processor, a busy processor keeps the slots full, and full slots leave messages in the queue; the
//! reverse is not true. What remains is latency: throughput is the number of concurrent jobs divided by the time of
//! each. More jobs at once help as far as slots *and* memory allow, faster responses help as far as jobs spend their
//! time waiting for them, and both help only as far as the processors and the CPU allow. The resource with the largest
//! expected gain is named, and the setting that allows more jobs at once.
//!
//! A setting is named only if raising it helped or can be expected to help. `tests/simulation/oracle` runs hundreds of
//! pipelines, makes each resource free in turn, raises each named setting, and compares.

use super::Bottleneck;
use super::load::{CLOSE, CpuLoad, FULL, IDLE, Load};
use crate::capacity::tuner::Concurrency;
use crate::error::Stage;

/// From this share of the batches allowed at once, batches count as exhausted.
const SLOTS_FULL: f64 = 0.85;

/// If there is room for this many times as many jobs, there is room for twice the slots. Objects of many parts use
/// spare room that they do not need, and with too many at once each of them gets too little.
const ROOMY: f64 = 2.0;

/// Gains above this count as equal, because the estimate is not more exact.
const PLAIN: f64 = 3.0;

/// From this share of the largest gain, another gain counts as equally good: then the one with a setting is named.
const TIE: f64 = 0.88;

/// If a stage's calls spend this share of its busy time waiting after throttling, throttling is the bottleneck.
const THROTTLED: f64 = 0.25;

/// If receives request this share of a whole batch, more receives help, but larger ones do not.
const WHOLE: f64 = 0.75;

/// The bottleneck. `None` if nothing is going on, or the bottleneck is unclear.
pub fn bottleneck(load: &Load) -> Option<Bottleneck> {
    let last = load.stages.iter().find(|stage| matches!(stage.stage, Stage::Acknowledge | Stage::Send));
    let settling = last.map_or(0.0, |stage| stage.busy);
    if load.at_work < IDLE && settling < IDLE {
        return (load.receivers > 0.0).then(|| starved(load));
    }
    if let Some(found) = throttled(load) {
        return Some(found);
    }
    if let Some(cpu) = load.cpu.filter(|cpu| load.fills(cpu)) {
        return Some(of_cpu(load, &cpu));
    }
    if load.processors_at_work() >= FULL && load.short_of_processors >= IDLE {
        let hint = "raise --processors: the CPU has time left";
        return Some(named(Stage::Process, "processors", "processor slots", hint, Some("--processors")));
    }
    if let Some(last) = last.filter(|last| last.busy >= SLOTS_FULL * load.settling && !load.is_calling()) {
        let hint = "raise --concurrency: it also limits the batches in flight";
        return Some(named(last.stage, "slots", "queue calls", hint, Some("--concurrency")));
    }
    if load.is_starved() { Some(starved(load)) } else { Some(at_once(load)) }
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
        "other programs use the rest of this machine's CPU: more cores or more machines"
    } else {
        "more cores or more machines"
    };
    named(load.heaviest(), "cpu", "CPU", hint, None)
}

/// The stage whose calls spend their time waiting after throttling, if any.
fn throttled(load: &Load) -> Option<Bottleneck> {
    let stage = load.stages.iter().max_by(|one, other| one.throttled.total_cmp(&other.throttled))?;
    let counts = stage.throttled >= IDLE && stage.throttled >= THROTTLED * stage.busy;
    let hint = match stage.stage {
        Stage::Receive | Stage::Acknowledge | Stage::Send => "no setting helps: the queue throttles requests",
        _ => "no setting helps: the store throttles requests; spread the keys over more prefixes",
    };
    counts.then(|| named(stage.stage, "throttled", "throttled", hint, None))
}

/// All job slots are in use, and no other resource is exhausted: more jobs at once would help, and so would faster
/// jobs. Chooses the one with the largest expected gain.
fn at_once(load: &Load) -> Bottleneck {
    let (slots, memory) = (load.room_in_slots(), load.room_in_memory());
    let (by_memory, by_slots) = (memory <= CLOSE && slots > CLOSE, slots <= CLOSE && memory > CLOSE);
    // The expected speed-up if one resource were free and the others stayed as they are.
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
    // If a setting helps as much as a nearer service, the setting is named, because it is easier to change.
    let is_best = |gain: f64| gain >= if knob.is_some() { TIE * best } else { best };
    match () {
        () if knob == Some("--memory") && is_best(more_memory) => {
            let stage = if load.has(Stage::Read) { Stage::Read } else { Stage::Download };
            named(stage, "memory", "memory", "raise --memory or lower --part-size", knob)
        }
        () if by_slots && is_best(more_slots) => of_slots(load, knob),
        () if nearer_queue > nearer_store => {
            let hint = match knob {
                Some("--memory") => "raise --memory: more jobs at once hide the wait",
                Some(_) => "raise --concurrency: more jobs at once hide the wait",
                None => together(load),
            };
            named(Stage::Receive, "queue_calls", "queue calls", hint, knob)
        }
        () if nearer_store > CLOSE => of_latency(load, load.store_stage(), knob),
        () => of_slots(load, knob),
    }
}

/// What to raise together with the slots, if more slots alone would only wait for something else.
fn together(load: &Load) -> &'static str {
    if load.room_in_memory() < ROOMY {
        "raise --concurrency and --memory together: either one alone helps little"
    } else {
        "raise --concurrency and --processors together: either one alone helps little"
    }
}

/// All slots have jobs, so slots are exhausted.
fn of_slots(load: &Load, knob: Option<&'static str>) -> Bottleneck {
    let stage = load.heaviest();
    let reason = match stage {
        Stage::Read => "disk",
        Stage::Download | Stage::Upload => "store answers",
        _ => "job slots",
    };
    match (load.concurrency, knob) {
        (Concurrency::Fixed, Some(_)) => {
            named(stage, "slots", reason, "raise --concurrency while jobs/s still grow", knob)
        }
        (Concurrency::Fixed, None) => named(stage, "slots", reason, together(load), None),
        _ => Bottleneck { reason, ..of_latency(load, stage, knob) },
    }
}

/// The jobs wait for the store. `knob` allows more jobs to wait at once.
fn of_latency(load: &Load, stage: Stage, knob: Option<&'static str>) -> Bottleneck {
    let (cause, hint) = match (knob, load.concurrency) {
        (Some("--memory"), _) => ("latency", "raise --memory: more jobs at once hide the wait"),
        (Some(_), _) => ("latency", "raise --concurrency: more jobs at once hide the wait"),
        (None, Concurrency::Climbing) => ("latency", "nothing to do: --concurrency auto is still trying more"),
        (None, Concurrency::Found) => ("line", "more machines: the network is full, more jobs at once do not help"),
        (None, Concurrency::Most) => ("latency", "more machines: --concurrency auto is at its maximum"),
        (None, Concurrency::Fixed) => ("latency", together(load)),
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
        // With more slots, each receive requests more messages; with a nearer queue, the existing slots would be full.
        let (larger, room) = (BATCH / load.asked, load.room_in_slots());
        let cause = if larger >= room && room < PLAIN { "slots" } else { "queue_calls" };
        let hint = "raise --concurrency: a receive asks for no more messages than there are slots";
        return named(Stage::Receive, cause, "queue calls", hint, Some("--concurrency"));
    }
    named(Stage::Receive, "queue_empty", "queue empty", "nothing to do: every message is taken", None)
}

/// The most messages that one receive returns, for all queues.
const BATCH: f64 = 10.0;
