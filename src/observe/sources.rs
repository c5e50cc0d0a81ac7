//! The sources of the displayed numbers: the meters of the pipeline, and a few closures for numbers that only its owner
//! knows. Cheap to clone; everything is read when it is shown, and nothing is pushed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Concurrency, Running};
use crate::capacity::budget::Budget;
use crate::error::Stage;
use crate::pipeline::Pipeline;
use crate::record::Meters;
use crate::runtime::cpu::{CpuTime, cpu_time};
use crate::runtime::task;
use crate::services::queue::{Counts, JobQueue};
use crate::stages::Receive;
use crate::stop::watchdog::Stall;

/// How often the queue's counts are requested. SQS's counts settle within about a minute, and each request is paid:
/// every 10 seconds makes one request per line of `--progress lines`.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// The first pause between two requests, which doubles each time: a `map` has just begun to fill its queue, and without
/// this the display would show the first counts for 10 seconds.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes that are reserved and bytes that may be reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Reserved by jobs.
    pub reserved: u64,
    /// The most they may reserve.
    pub budget: u64,
    /// Integral of the reserved bytes over time: one byte for two seconds counts two.
    pub held: f64,
    /// How long at least one job has waited for memory so far, to begin or to go on.
    pub waited: Duration,
    /// How long jobs have had less in flight than allowed because memory was short; summed over the jobs.
    pub cramped: Duration,
}

impl Memory {
    /// The figures of a budget.
    pub fn of(budget: &Budget) -> Self {
        let (reserved, waited, cramped) = (budget.reserved(), budget.waited(), budget.cramped());
        Self { reserved, budget: budget.total(), held: budget.held(), waited, cramped }
    }
}

/// The leases held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// How many.
    pub held: usize,
    /// The remaining time of the lease that ends first.
    pub shortest_remaining: Option<Duration>,
}

/// How many may be in flight now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs.
    pub jobs: usize,
    /// Reads of all jobs together.
    pub reads: usize,
    /// Writes of all jobs together.
    pub writes: usize,
    /// Long polls.
    pub receivers: usize,
    /// Integral of the number of job slots over the time since the start.
    pub slot_time: Duration,
    /// Batches that may be settled at once.
    pub settling: usize,
    /// How the number of concurrent jobs is set.
    pub concurrency: Concurrency,
}

/// What is known before the work starts (`submit`, `map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Files to upload.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The texts of the first line. The output and the program's arguments are shown only on the operator's terminal; the
/// status listener shows only the command and the queue's name.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `run`, `map` or `submit`.
    pub command: &'static str,
    /// The queue's name, and in parentheses its region if it has one.
    pub queue: String,
    /// The processing of each object.
    pub process: String,
    /// Where the outputs go.
    pub output: String,
    /// The address of the status page, if it is served.
    pub page: Option<String>,
    /// How long a drain may take, for the line printed on Ctrl-C.
    pub drain: Duration,
}

/// The queue's last two counts.
#[derive(Clone, Debug, Default)]
pub struct QueueCounts(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    latest: Option<(Instant, Counts)>,
    before: Option<(Instant, Counts)>,
}

impl QueueCounts {
    /// Adds new counts.
    pub fn set(&self, counts: Counts) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.before = answers.latest.replace((Instant::now(), counts));
    }

    /// The last counts.
    pub fn latest(&self) -> Option<Counts> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).latest?.1)
    }

    /// By how many messages per second the queue shrinks, with all workers and senders together, if it shrinks.
    pub fn drain_rate(&self) -> Option<f64> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ((at, latest), (then, before)) = (answers.latest?, answers.before?);
        let seconds = at.saturating_duration_since(then).as_secs_f64();
        let gone = before.visible.checked_sub(latest.visible)?;
        (gone > 0 && seconds > 0.0).then(|| gone as f64 / seconds)
    }
}

/// Requests the counts of `queue`, soon every 10 seconds, until dropped. A failed call keeps the last counts.
pub fn ask_queue(queue: Arc<dyn JobQueue>, into: QueueCounts) -> Running {
    Running(task::spawn(async move {
        let mut pause = ASK_AGAIN;
        loop {
            match queue.counts().await {
                Ok(counts) => into.set(counts),
                Err(error) => tracing::debug!(target: "batchpipe::status", error = ?error, "no counts from the queue"),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(ASK_EVERY);
        }
    }))
}

/// Everything that is shown. Build it with [`Sources::new`] and set the fields that apply.
#[derive(Clone)]
pub struct Sources {
    /// The numbers of the pipeline.
    pub meters: Arc<Meters>,
    /// The words of the first line.
    pub about: About,
    /// Concurrent jobs (`--concurrency`); for `submit`, concurrent files. The number at the start, if the `limits`
    /// change.
    pub slots: usize,
    /// The current limits, if they change (`--concurrency auto`).
    pub limits: Option<Arc<dyn Fn() -> Limits + Send + Sync>>,
    /// Concurrent processors (`--processors`).
    pub processors: usize,
    /// Long polls in flight (`--receivers`).
    pub receivers: usize,
    /// The CPU time so far, if known.
    pub cpu: Arc<dyn Fn() -> Option<CpuTime> + Send + Sync>,
    /// When the work started.
    pub started: Instant,
    /// Bytes reserved.
    pub memory: Arc<dyn Fn() -> Memory + Send + Sync>,
    /// Leases held.
    pub leases: Arc<dyn Fn() -> Leases + Send + Sync>,
    /// What the queue holds.
    pub queue: QueueCounts,
    /// The totals known beforehand.
    pub totals: Option<Totals>,
    /// The most bytes that the work directory may hold, if known.
    pub temp_budget: Option<u64>,
    /// How long nothing has progressed although something should.
    pub stall: Stall,
}

impl Sources {
    /// Sources with one slot, and no memory, leases, queue or totals.
    pub fn new(meters: Arc<Meters>, about: About) -> Self {
        Self {
            meters,
            about,
            slots: 1,
            limits: None,
            processors: 1,
            receivers: 1,
            cpu: Arc::new(cpu_time),
            started: Instant::now(),
            memory: Arc::new(Memory::default),
            leases: Arc::new(Leases::default),
            queue: QueueCounts::default(),
            totals: None,
            temp_budget: None,
            stall: Stall::default(),
        }
    }

    /// The sources of a pipeline that receives according to `how`.
    pub fn of(pipeline: &Pipeline, how: Receive, about: About) -> Self {
        let intake = &pipeline.intake;
        let mut sources = Self::new(Arc::clone(&intake.meters), about);
        sources.slots = intake.slots.now();
        sources.receivers = how.polls(sources.slots);
        sources.limits = pipeline.tuner.clone().map(|tuner| {
            let now = move || {
                let [jobs, reads, writes] = tuner.now();
                Limits {
                    jobs,
                    reads,
                    writes,
                    receivers: how.polls(jobs),
                    slot_time: tuner.jobs().area(),
                    settling: tuner.jobs().ceiling(),
                    concurrency: tuner.state(),
                }
            };
            Arc::new(now) as Arc<dyn Fn() -> Limits + Send + Sync>
        });
        sources.processors = pipeline.processors.available_permits();
        let (budget, leases) = (Arc::clone(&intake.budget), Arc::clone(&intake.leases));
        sources.memory = Arc::new(move || Memory::of(&budget));
        sources.leases = Arc::new(move || {
            let health = leases.health();
            Leases { held: health.held, shortest_remaining: health.shortest }
        });
        sources
    }

    /// The stages of this command, in the order of its flow.
    pub fn stages(&self) -> &'static [Stage] {
        match self.about.command {
            "submit" => &[Stage::Read, Stage::Upload, Stage::Send],
            _ => &[Stage::Receive, Stage::Download, Stage::Process, Stage::Upload, Stage::Acknowledge],
        }
    }

    /// The current limits. Reads and writes without a limit are limited by the jobs.
    pub fn limits_now(&self) -> Limits {
        let (jobs, receivers) = (self.slots, self.receivers);
        let fixed = || {
            let slot_time = self.started.elapsed().saturating_mul(u32::try_from(jobs).unwrap_or(u32::MAX));
            let concurrency = Concurrency::Fixed;
            Limits { jobs, reads: jobs, writes: jobs, receivers, slot_time, settling: jobs, concurrency }
        };
        self.limits.as_ref().map_or_else(fixed, |limits| limits())
    }

    /// The time since the start in which a stage could have had items, summed over its slots. `limits` are the current
    /// limits.
    pub fn offered(&self, stage: Stage, limits: &Limits) -> Duration {
        match stage {
            // A receiver exists only while it is needed, and counts that time itself.
            Stage::Receive => Duration::ZERO,
            // As many batches may be in flight as there are slots.
            _ => limits.slot_time,
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("about", &self.about).field("slots", &self.slots).finish_non_exhaustive()
    }
}
