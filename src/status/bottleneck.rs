//! Names the stage that holds up the others, and the knob to turn.
//!
//! **The bottleneck is the stage that waits least for its neighbours**: whoever is slower makes them wait, never
//! itself. A permit (a processor slot, memory) is the stage's own need, so waiting for one counts as load.

use super::{Bottleneck, QueueNow, Sources, StageNow};

/// A stage that carries less than this is not a bottleneck: nothing much is going on. Flink calls up to 10 % ok.
const SLACK: f64 = 0.10;

/// The stage that waits least, if anything goes on.
pub fn bottleneck(sources: &Sources, stages: &[StageNow], queue: Option<&QueueNow>) -> Option<Bottleneck> {
    let mut heaviest: Option<&StageNow> = None;
    for stage in stages {
        // A receive that waits for messages is busy as long as nothing else is: it yields to any other stage.
        let outweighs =
            |than: &&StageNow| stage.load() > than.load() || (than.stage == "receive" && stage.load() > SLACK);
        if stage.load() > SLACK && heaviest.as_ref().is_none_or(outweighs) {
            heaviest = Some(stage);
        }
    }
    let stage = heaviest?;
    let short_of_permits = stage.wait_permit > stage.busy;
    let (reason, hint) = match stage.stage {
        "receive" if queue.is_some_and(|queue| queue.waiting > 0) => ("queue calls", "raise --receivers"),
        "receive" => ("queue empty", "nothing to do: all messages are taken"),
        "process" if stage.wait_permit > SLACK && sources.processors < sources.cores => {
            ("processor slots", "raise --processors, there are more cores")
        }
        "process" => ("CPU", "more cores or more machines"),
        "download" | "upload" if short_of_permits => ("memory", "raise --memory or lower --part-size"),
        "download" | "upload" => ("network", "raise --concurrency while the bytes/s still grow"),
        "read" => ("disk", "a faster disk, or submit from several machines"),
        _ => ("queue calls", "larger batches: raise --concurrency"),
    };
    Some(Bottleneck { stage: stage.stage, reason, hint })
}
