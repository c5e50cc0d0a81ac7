//! Builds a pipeline from settings: what was typed, as what a worker is made of.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use super::stuck;
use crate::config::{Process, Working};
use crate::error::UserError;
use crate::job::message::Rules;
use crate::job::suffix::Suffix;
use crate::observe::{self, Sources};
use crate::pipeline::Pipeline;
use crate::processor::Work;
use crate::processor::codec::{Chain, Limits};
use crate::processor::program::{Options, Program};
use crate::processor::scratch::Scratch;
use crate::record::Meters;
use crate::services::aws::AwsSettings;
use crate::services::store::ObjectStore;
use crate::stages::{Receive, receive};
use crate::stop::shutdown::Shutdown;
use crate::stop::watchdog::{self, Stall, Watchdog, Watched};
use crate::worker::{self, Queues, Settings};

/// What is done to each object, and the ending that it gives the output.
pub(super) fn work(working: &Working, aws: &AwsSettings, meters: &Arc<Meters>) -> Result<(Work, Suffix), UserError> {
    let (work, suffix) = match &working.process {
        Process::Steps(steps) => {
            let limits = Limits {
                max_expanded_bytes: working.max_expanded_bytes,
                max_ratio: working.max_ratio,
                decoder_bytes: working.decoder_bytes,
            };
            let chain = Chain::parse(steps)?.with_limits(limits).with_notices(Arc::clone(&meters.notices));
            let suffix = chain.suffix();
            (if chain.is_copy() { Work::Copy } else { Work::Filter(Arc::new(chain)) }, suffix)
        }
        Process::Program(words) => {
            let options = Options {
                pass_credentials: working.pass_credentials,
                profile: aws.profile.clone(),
                reject_codes: working.reject_codes.iter().copied().collect(),
                ..Options::default()
            };
            let mut program = Program::parse(words.iter().map(OsString::from).collect(), options)?
                .with_notices(Arc::clone(&meters.notices));
            if program.wants_scratch() {
                program = program.with_scratch(Scratch::new(&working.work_dir, meters)?);
            }
            (Work::Program(Arc::new(program)), Suffix::default())
        }
    };
    Ok((work, working.output_suffix.as_deref().map_or(suffix, Suffix::of)))
}

/// What is done to each object, in words.
pub(super) fn words(process: &Process) -> String {
    match process {
        Process::Steps(steps) => steps.clone(),
        Process::Program(words) => words.join(" "),
    }
}

/// Joins everything to a pipeline.
pub(super) fn pipeline(
    working: &Working,
    queues: Queues,
    store: Arc<dyn ObjectStore>,
    rules: Rules,
    work: Work,
    meters: Arc<Meters>,
) -> Result<Pipeline, UserError> {
    let settings = Settings {
        concurrency: working.concurrency.get(),
        most: working.most.get(),
        processors: working.processors.get(),
        memory: working.memory,
        part: working.part_size,
        parallel: working.parallel.get(),
        visibility: working.visibility,
        if_exists: working.if_exists,
        job_timeout: working.job_timeout,
    };
    worker::join(&settings, queues, store, rules, work, meters, Shutdown::default()).map_err(worker::no_thread)
}

/// Watches the pipeline, unless the operator does not want that. A receive waits for `poll`.
pub(super) fn watch(
    pipeline: &Pipeline,
    working: &Working,
    poll: Duration,
    stall: &Stall,
) -> Result<Option<Watchdog>, UserError> {
    let Some(watched) = watched(pipeline, working, poll) else { return Ok(None) };
    watchdog::start(watched, stall.clone(), |stuck| stuck::end(stuck)).map(Some).map_err(worker::no_thread)
}

fn watched(pipeline: &Pipeline, working: &Working, poll: Duration) -> Option<Watched> {
    let patience = working.stuck_timeout?;
    pipeline.intake.meters.allowed(pipeline.plan.transfer.retry.carrying(working.part_size as usize).deadline);
    Some(Watched {
        meters: Arc::clone(&pipeline.intake.meters),
        leases: Arc::clone(&pipeline.intake.leases),
        patience,
        waits: working.visibility + poll + receive::LONGEST_PAUSE,
    })
}

/// What a screen shows of a pipeline.
pub(super) fn sources(pipeline: &Pipeline, working: &Working, how: Receive, about: observe::About) -> Sources {
    let mut sources = Sources::of(pipeline, how, about);
    sources.processors = working.processors.get();
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, RunConfig, Typed};
    use crate::runtime::machine::Machine;
    use crate::testing::{MemoryQueue, MemoryStore};

    /// What is watched in a worker with these flags.
    fn watched_with(flags: &[(&str, &str)]) -> Option<Watched> {
        let mut typed = Typed::new();
        for (name, text) in [("queue", "jobs"), ("process", "copy")].iter().chain(flags) {
            typed.entry((*name).to_owned()).or_default().push((*text).to_owned());
        }
        let layers = Layers::new(typed, &std::collections::BTreeMap::new(), &[]).unwrap();
        let config = RunConfig::resolve(&layers, Vec::new(), &Machine::look()).unwrap();
        let jobs: Arc<dyn crate::services::queue::JobQueue> = Arc::new(MemoryQueue::new("jobs"));
        let queues = Queues { leases: Arc::clone(&jobs), jobs, dead_letters: None, max_receives: None };
        let (store, meters) = (Arc::new(MemoryStore::default()), Arc::default());
        let pipeline = pipeline(&config.working, queues, store, Rules::default(), Work::Copy, meters).unwrap();
        watched(&pipeline, &config.working, config.wait_time)
    }

    #[tokio::test]
    async fn a_worker_is_stuck_only_beyond_a_lease_a_poll_and_a_pause_together() {
        let flags = [("stuck-timeout", "7m"), ("visibility-timeout", "90s"), ("wait-time", "11s")];
        let watched = watched_with(&flags).unwrap();
        // A lease that is confirmed, a long poll that brings nothing, and the pause after a receive that failed.
        assert_eq!((watched.patience.as_secs(), watched.waits.as_secs()), (7 * 60, 90 + 11 + 30));
        assert!(watched_with(&[("stuck-timeout", "none")]).is_none());
    }

    #[tokio::test]
    async fn a_call_that_carries_a_large_part_may_take_longer_before_a_worker_is_stuck() {
        let longest = |part| watched_with(&[("part-size", part), ("memory", "1GiB")]).unwrap().meters.longest_call();
        let (small, large) = (longest("5MiB"), longest("128MiB"));
        assert!(small > Duration::ZERO && large > small + Duration::from_secs(10), "{small:?} and {large:?}");
    }
}
