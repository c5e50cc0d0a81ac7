//! Builds a pipeline from settings: the one place where a configuration becomes stages.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::circuit::Circuit;
use crate::config::{self, Process, Working};
use crate::error::{Code, Exit, UserError};
use crate::job::Location;
use crate::lease::Leases;
use crate::message::{Rules, Suffix};
use crate::meter::Meters;
use crate::pipeline::{IfExists, Pipeline, Plan, Transfer};
use crate::processor::codec::{Chain, Limits};
use crate::processor::program::{Options, Program};
use crate::processor::{Work, codec};
use crate::queue::JobQueue;
use crate::retry::Retry;
use crate::scratch::Scratch;
use crate::shutdown::Shutdown;
use crate::stages::{Intake, Settling};
use crate::status::{self, Sources};
use crate::store::ObjectStore;

/// How long a finished message waits for nine others. Short beside any visibility timeout, long beside the time in
/// which a busy worker finishes ten jobs.
pub(super) const LINGER: Duration = Duration::from_millis(100);

/// The queues of a pipeline.
pub(super) struct Queues {
    /// Where messages come from.
    pub(super) jobs: Arc<dyn JobQueue>,
    /// The same queue over connections of its own, for the leases.
    pub(super) leases: Arc<dyn JobQueue>,
    /// Where rejected messages go, if anywhere.
    pub(super) dead_letters: Option<Arc<dyn JobQueue>>,
    /// The receive after which a failing message is rejected.
    pub(super) max_receives: Option<u32>,
}

/// What is done to each object, and the ending that it gives the output.
pub(super) fn work(working: &Working, meters: &Arc<Meters>) -> Result<(Work, Suffix), UserError> {
    let (work, suffix) = match &working.process {
        Process::Steps(steps) => {
            let limits = Limits { max_expanded_bytes: working.max_expanded_bytes, ..Limits::default() };
            let chain = Chain::parse(steps)?.with_limits(limits);
            let suffix = ending(&chain.suffix());
            (if chain.is_copy() { Work::Copy } else { Work::Filter(Arc::new(chain)) }, suffix)
        }
        Process::Program(words) => {
            let options = Options {
                pass_credentials: working.pass_credentials,
                reject_codes: working.reject_codes.iter().copied().collect(),
                ..Options::default()
            };
            let mut program = Program::parse(words.iter().map(OsString::from).collect(), options)?;
            if program.wants_scratch() {
                program = program.with_scratch(Scratch::new(&working.work_dir, meters)?);
            }
            (Work::Program(Arc::new(program)), Suffix::None)
        }
    };
    Ok((work, working.output_suffix.as_deref().map_or(suffix, Suffix::of)))
}

fn ending(suffix: &codec::Suffix) -> Suffix {
    let append = suffix.append.concat();
    match (suffix.strip.is_empty(), append.is_empty()) {
        (true, true) => Suffix::None,
        (true, false) => Suffix::Append(append),
        (false, true) => Suffix::Strip,
        (false, false) => Suffix::ReplaceCompressed(append),
    }
}

/// What is done to each object, in words.
pub(super) fn words(process: &Process) -> String {
    match process {
        Process::Steps(steps) => steps.clone(),
        Process::Program(words) => words.join(" "),
    }
}

/// The directories that a store of local files may touch: those of the locations that are files.
pub(super) fn roots<'a>(places: impl IntoIterator<Item = &'a Location>) -> Vec<PathBuf> {
    let file = |place: &Location| match place {
        Location::File { path } => Some(PathBuf::from(path)),
        Location::S3 { .. } => None,
    };
    places.into_iter().filter_map(file).collect()
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
    let shutdown = Shutdown::default();
    let retry = Retry::default();
    let leases = Leases::new(queues.leases, working.visibility, Arc::clone(&meters)).map_err(|error| UserError {
        code: Code(119),
        what: "cannot start the thread that keeps leases".into(),
        cause: error.to_string(),
        help: "raise the limits of threads and open files:  ulimit -a".into(),
        exit: Exit::Failed,
    })?;
    let plan = Plan {
        rules,
        work,
        transfer: Transfer { part: working.part_size, parallel: working.parallel.get(), retry },
        if_exists: match working.if_exists {
            config::IfExists::Overwrite => IfExists::Overwrite,
            config::IfExists::Skip => IfExists::Skip,
            config::IfExists::Fail => IfExists::Fail,
        },
        job_timeout: working.job_timeout,
        linger: LINGER,
    };
    Ok(Pipeline {
        intake: Intake {
            queue: Arc::clone(&queues.jobs),
            leases,
            budget: Budget::new(working.memory, working.part_size),
            slots: Arc::new(Semaphore::new(working.concurrency.get())),
            circuit: Arc::new(Circuit::new(shutdown.clone())),
            shutdown,
            meters: Arc::clone(&meters),
            retry,
            filling: Arc::default(),
        },
        settling: Settling {
            queue: queues.jobs,
            dead_letters: queues.dead_letters,
            max_receives: queues.max_receives,
            retry,
            meters,
        },
        store,
        processors: Arc::new(Semaphore::new(working.processors.get())),
        plan: Arc::new(plan),
    })
}

/// What a screen shows of a pipeline.
pub(super) fn sources(pipeline: &Pipeline, working: &Working, receivers: usize, about: status::About) -> Sources {
    let (budget, leases) = (Arc::clone(&pipeline.intake.budget), Arc::clone(&pipeline.intake.leases));
    let mut sources = Sources::new(Arc::clone(&pipeline.intake.meters), about);
    sources.slots = working.concurrency.get();
    sources.processors = working.processors.get();
    sources.receivers = receivers;
    sources.memory = Arc::new(move || status::Memory { reserved: budget.reserved(), budget: budget.total() });
    sources.leases = Arc::new(move || {
        let health = leases.health();
        status::Leases { held: health.held, shortest_remaining: health.shortest }
    });
    sources
}
