//! A worker in a few lines: the library's front door, and the one place where settings become a [`Pipeline`].
//!
//! `builder.rs` takes what the user says, `build.rs` checks it, `run.rs` runs the pipeline; `legacy.rs` is the front
//! door of version 0.1.0.
//!
//! ```
//! use std::io::{BufRead, Write};
//! use batchpipe::{Job, ProcessError, Worker};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::Arc;
//! # use batchpipe::testing::{MemoryQueue, MemoryStore};
//! # let (jobs, store) = (Arc::new(MemoryQueue::new("jobs")), Arc::new(MemoryStore::new()));
//! # let input = batchpipe::Location::s3("acme-in", "a.txt");
//! # store.insert(input.clone(), &b"quiet words\n"[..]);
//! # jobs.push(format!(r#"{{"v":1,"input":"{input}"}}"#));
//! let upper = |_job: &Job, input: &mut dyn BufRead, output: &mut dyn Write| -> Result<(), ProcessError> {
//!     let mut line = String::new();
//!     while input.read_line(&mut line)? > 0 {
//!         output.write_all(line.to_uppercase().as_bytes())?;
//!         line.clear();
//!     }
//!     Ok(())
//! };
//! # /*
//! let worker = Worker::builder("jobs").process(upper).output("s3://acme-out/upper/").until_empty().build().await?;
//! # */
//! # let worker = Worker::builder(Arc::clone(&jobs)).store(store.clone()).process(upper);
//! # let worker = worker.output("s3://acme-out/upper/").until_empty().build().await?;
//! let summary = worker.run().await?;
//! assert_eq!(summary.done, 1);
//! # let made = store.contents(&batchpipe::Location::s3("acme-out", "upper/a.txt"));
//! # assert_eq!(made.as_deref(), Some(&b"QUIET WORDS\n"[..]));
//! # Ok(())
//! # }
//! ```

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::capacity::tuner::{self, Tuner};
use crate::error::{Code, Role, ServiceError, Subject, UserError};
use crate::job::Location;
use crate::job::message::Rules;
use crate::lease::Leases;
use crate::pipeline::{LINGER, Parts, Pipeline, Plan, Shared};
use crate::processor::Work;
use crate::record::Meters;
use crate::runtime::cpu::cpu_seconds;
use crate::runtime::machine::Machine;
use crate::services::aws::AwsSettings;
use crate::services::open::{self, AwsSource};
use crate::services::queue::JobQueue;
use crate::services::retry::Retry;
use crate::services::store::ObjectStore;
use crate::stages::{IfExists, Transfer};
use crate::stop::shutdown::Shutdown;

mod build;
mod builder;
mod checks;
mod choices;
mod legacy;
mod numbers;
mod run;

pub use builder::WorkerBuilder;
pub use checks::{SLACK, SMALLEST_PART};
pub use choices::{Concurrency, QueueSource, Scheme};
pub use legacy::OldWorker;
pub use run::{End, StopHandle, Summary, Worker};

/// Transfers are tried for some 10 s of waiting: longer than most storms, while the message stays ours. Giving a job
/// back sooner would raise its count of receives, and five of those may be all that the queue allows.
const PATIENT_ATTEMPTS: u32 = 8;

/// Receives after which a failing message is rejected where neither the operator nor the queue says: what AWS advises
/// for a redrive policy.
pub const MAX_RECEIVES: u32 = 5;

/// The numbers of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Jobs in flight; to begin with, if `most` is more.
    pub concurrency: usize,
    /// What the number of jobs in flight may grow to, and that of reads and of writes, where that pays
    /// (`--concurrency auto`); up to `concurrency` nothing moves.
    pub most: usize,
    /// Processors running at once.
    pub processors: usize,
    /// Bytes of objects held in memory at any time, and what the processors set aside
    /// ([`Processor::memory`](crate::Processor::memory)); at least two parts beside that.
    pub memory: u64,
    /// Bytes of a ranged read and of an uploaded part; at least 5 MiB on S3.
    pub part: u64,
    /// Ranged reads, and parts, in flight for each job.
    pub parallel: usize,
    /// How long a message stays ours without a sign of life.
    pub visibility: Duration,
    /// What to do about an output that is there already.
    pub if_exists: IfExists,
    /// How long one attempt at a job may take.
    pub job_timeout: Option<Duration>,
}

impl Default for Settings {
    /// The defaults of the command line, from this machine's cores and memory.
    fn default() -> Self {
        let machine = Machine::look();
        let cores = machine.cores.max(1);
        Self {
            concurrency: (4 * cores).max(16),
            most: tuner::MOST,
            processors: cores,
            memory: machine.memory / 4,
            part: 8 << 20,
            parallel: 8,
            visibility: Duration::from_secs(60),
            if_exists: IfExists::Overwrite,
            job_timeout: None,
        }
    }
}

/// The queues of a pipeline.
#[derive(Clone, Debug)]
pub struct Queues {
    /// Where messages come from.
    pub jobs: Arc<dyn JobQueue>,
    /// The same queue over connections of its own, for the leases.
    pub leases: Arc<dyn JobQueue>,
    /// Where rejected messages go, if anywhere.
    pub dead_letters: Option<Arc<dyn JobQueue>>,
    /// The receive after which a failing message is rejected.
    pub max_receives: Option<u32>,
}

impl Queues {
    /// Opens the queue, and its dead letters unless others are named, over connections of their own.
    pub async fn open(name: &str, dead_letter: Option<&str>, aws: &AwsSettings) -> Result<Self, UserError> {
        let aws = AwsSource::Settings(aws.clone());
        Self::of(&name.into(), dead_letter.map(QueueSource::from).as_ref(), &aws).await
    }

    /// The same, of queues that may be somebody's own. The leases of such a queue are kept over the same connections.
    async fn of(queue: &QueueSource, dead: Option<&QueueSource>, aws: &AwsSource) -> Result<Self, UserError> {
        let jobs = opened(queue, aws).await?;
        let name = jobs.name().to_owned();
        let unusable =
            |error: ServiceError| error.told(&Subject::new(Role::Receive, format!("use the queue {name:?}")));
        let policy = jobs.policy().await.map_err(unusable)?;
        let dead_letters = match dead {
            Some(dead) => Some(opened(dead, aws).await?),
            None => jobs.dead_letters().await.map_err(unusable)?,
        };
        if let Some(dead_letters) = &dead_letters {
            open::refuse_same(&**dead_letters, &*jobs, "the queue and its dead letters are the same queue")?;
        }
        let embedded = matches!(queue, QueueSource::Uri(name) if name.starts_with("sqlite:")).then_some(MAX_RECEIVES);
        let max_receives = policy.max_receives.or(embedded);
        Ok(Self { jobs, leases: opened(queue, aws).await?, dead_letters, max_receives })
    }
}

async fn opened(queue: &QueueSource, aws: &AwsSource) -> Result<Arc<dyn JobQueue>, UserError> {
    match queue {
        QueueSource::Uri(name) => open::open_queue_with(name, aws).await,
        QueueSource::Own(queue) => Ok(Arc::clone(queue)),
    }
}

/// Joins everything to a pipeline. Fails only if the thread that keeps leases can't start.
pub fn join(
    settings: &Settings,
    queues: Queues,
    store: Arc<dyn ObjectStore>,
    rules: Rules,
    work: Work,
    meters: Arc<Meters>,
    shutdown: Shutdown,
) -> io::Result<Pipeline> {
    let shared = Shared::new(meters, shutdown, Retry::default());
    let jobs = settings.concurrency.max(1);
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let meters = &shared.meters;
    let tuner = (settings.most > jobs).then(|| Tuner::new(jobs, settings.most, cores, cpu_seconds, Arc::clone(meters)));
    let processors = settings.processors.max(1);
    Ok(Pipeline::assemble(Parts {
        queue: queues.jobs,
        dead_letters: queues.dead_letters,
        max_receives: queues.max_receives,
        leases: Leases::new(queues.leases, settings.visibility, Arc::clone(meters))?,
        store,
        concurrency: jobs,
        tuner,
        processors,
        // At least two parts are left: a pipeline that can't move is worth less than the promise.
        memory: settings.memory.saturating_sub(work.memory().saturating_mul(processors as u64)),
        plan: Plan {
            rules,
            work,
            transfer: Transfer::new(
                settings.part,
                settings.parallel.max(1),
                Retry { attempts: PATIENT_ATTEMPTS, ..shared.retry },
            ),
            if_exists: settings.if_exists,
            job_timeout: settings.job_timeout,
            linger: LINGER,
        },
        shared,
    }))
}

/// The directories that a store of local files may touch: those of the locations that are files.
pub fn roots<'a>(places: impl IntoIterator<Item = &'a Location>) -> Vec<PathBuf> {
    let file = |place: &Location| match place {
        Location::File { path } => Some(PathBuf::from(path)),
        Location::S3 { .. } => None,
    };
    places.into_iter().filter_map(file).collect()
}

/// The error of a thread that can't start.
pub fn no_thread(error: io::Error) -> UserError {
    let (code, what) = (Code::SystemLimit, "cannot start the thread that keeps leases");
    UserError::new(code, what, error.to_string(), code.help()).with_source(error)
}
