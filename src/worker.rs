//! A worker in a few lines: the library's front door, and the one place where settings become a [`Pipeline`].
//!
//! ```
//! use std::io::{BufRead, Write};
//! use batchpipe::{Job, ProcessError, Worker};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let place = folder.path().display().to_string();
//! # std::fs::write(folder.path().join("a.txt"), "quiet words\n")?;
//! # let queue = format!("sqlite:{place}/jobs.db");
//! # let job = format!(r#"{{"input":"file://{place}/a.txt","output":"file://{place}/out/a.txt"}}"#);
//! # let jobs = batchpipe::services::open::open_queue(&queue, &Default::default()).await?;
//! # jobs.send(&[batchpipe::services::queue::Outgoing { body: job, ..Default::default() }]).await?;
//! let upper = |_job: &Job, input: &mut dyn BufRead, output: &mut dyn Write| -> Result<(), ProcessError> {
//!     let mut line = String::new();
//!     while input.read_line(&mut line)? > 0 {
//!         output.write_all(line.to_uppercase().as_bytes())?;
//!         line.clear();
//!     }
//!     Ok(())
//! };
//! // With an SQS queue and S3 objects this is `Worker::new("jobs", upper)`, and nothing more changes.
//! let settled = Worker::new(&queue, upper).allow(&format!("file://{place}/"))?.until_empty().run().await?;
//! assert_eq!(settled.done, 1);
//! # assert_eq!(std::fs::read_to_string(folder.path().join("out/a.txt"))?, "QUIET WORDS\n");
//! # Ok(())
//! # }
//! ```

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::capacity::budget::Budget;
use crate::capacity::limit::Limit;
use crate::capacity::tuner::{self, Tuner};
use crate::error::{Code, Role, ServiceError, Subject, UserError};
use crate::job::Location;
use crate::job::message::Rules;
use crate::lease::Leases;
use crate::pipeline::{Pipeline, Plan};
use crate::processor::{Processor, Work};
use crate::record::Meters;
use crate::runtime::cpu::cpu_seconds;
use crate::runtime::machine::Machine;
use crate::services::aws::AwsSettings;
use crate::services::open::{self};
use crate::services::queue::JobQueue;
use crate::services::retry::Retry;
use crate::services::store::ObjectStore;
use crate::services::store::local::Places;
use crate::stages::upload::orphans::Leftovers;
use crate::stages::{IfExists, Intake, Receive, Settled, Settling, Transfer};
use crate::stop::circuit::Circuit;
use crate::stop::shutdown::Shutdown;

/// How long a finished message waits for nine others. Short beside any visibility timeout, long beside the time in
/// which a busy worker finishes ten jobs.
pub const LINGER: Duration = Duration::from_millis(100);

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
    /// ([`Processor::memory`]); at least two parts beside that.
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
        let jobs = open::open_queue(name, aws).await?;
        let unusable =
            |error: ServiceError| error.told(&Subject::new(Role::Receive, format!("use the queue {name:?}")));
        let policy = jobs.policy().await.map_err(unusable)?;
        let dead_letters = match dead_letter {
            Some(name) => Some(open::open_queue(name, aws).await?),
            None => jobs.dead_letters().await.map_err(unusable)?,
        };
        if let Some(dead_letters) = &dead_letters {
            open::refuse_same(&**dead_letters, &*jobs, "the queue and its dead letters are the same queue")?;
        }
        let embedded = name.starts_with("sqlite:").then_some(MAX_RECEIVES);
        let max_receives = policy.max_receives.or(embedded);
        Ok(Self { jobs, leases: open::open_queue(name, aws).await?, dead_letters, max_receives })
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
    let retry = Retry::default();
    let jobs = settings.concurrency.max(1);
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let tuner =
        (settings.most > jobs).then(|| Tuner::new(jobs, settings.most, cores, cpu_seconds, Arc::clone(&meters)));
    let slots = tuner.as_ref().map_or_else(|| Limit::fixed(jobs), |tuner| Arc::clone(tuner.jobs()));
    let (reads, writes) = tuner.as_ref().map(|tuner| (tuner.reads(), tuner.writes())).unwrap_or_default();
    let processors = settings.processors.max(1);
    // At least two parts are left: a pipeline that can't move is worth less than the promise.
    let bytes = settings.memory.saturating_sub(work.memory().saturating_mul(processors as u64));
    let leases = Leases::new(queues.leases, settings.visibility, Arc::clone(&meters))?;
    let plan = Plan {
        rules,
        work,
        transfer: Transfer {
            part: settings.part,
            parallel: settings.parallel.max(1),
            retry: Retry { attempts: PATIENT_ATTEMPTS, ..retry },
            reads,
            writes,
            hedge: Arc::default(),
        },
        if_exists: settings.if_exists,
        job_timeout: settings.job_timeout,
        linger: LINGER,
    };
    let circuit = Arc::new(Circuit::new(shutdown.clone()));
    Ok(Pipeline {
        intake: Intake {
            queue: Arc::clone(&queues.jobs),
            leases,
            budget: Budget::new(bytes, settings.part),
            slots,
            circuit: Arc::clone(&circuit),
            shutdown,
            meters: Arc::clone(&meters),
            retry,
            filling: Arc::default(),
            ahead: queues.max_receives != Some(1),
        },
        settling: Settling {
            queue: queues.jobs,
            dead_letters: queues.dead_letters,
            max_receives: queues.max_receives,
            retry,
            circuit,
            meters: Arc::clone(&meters),
        },
        leftovers: Arc::new(Leftovers::new(Arc::clone(&store), retry, meters)),
        store,
        readable: Arc::default(),
        processors: Arc::new(Semaphore::new(processors)),
        plan: Arc::new(plan),
        tuner,
    })
}

/// Works through a queue with a [`Processor`].
#[derive(Clone, Debug)]
pub struct Worker {
    queue: String,
    work: Work,
    rules: Rules,
    aws: AwsSettings,
    settings: Settings,
    how: Receive,
    shutdown: Shutdown,
}

impl Worker {
    /// A worker of `queue`: an SQS queue by name, ARN or URL, or `sqlite:PATH`.
    pub fn new(queue: &str, processor: impl Processor) -> Self {
        Self {
            queue: queue.to_owned(),
            work: Work::Filter(Arc::new(processor)),
            rules: Rules::default(),
            aws: AwsSettings::default(),
            settings: Settings::default(),
            how: Receive {
                receivers: None,
                wait: Duration::from_secs(20),
                until_empty: false,
                idle_exit: None,
                max_messages: None,
            },
            shutdown: Shutdown::default(),
        }
    }

    /// Where outputs go of messages that name none: `s3://bucket/prefix/` or `file:///folder/`.
    pub fn output(mut self, uri: &str) -> Result<Self, UserError> {
        self.rules.output = Some(location(uri)?);
        Ok(self)
    }

    /// A prefix that messages may read and write. Without any, all of S3 that the credentials reach, and no file.
    pub fn allow(mut self, uri: &str) -> Result<Self, UserError> {
        self.rules.allow.push(location(uri)?);
        Ok(self)
    }

    /// The numbers.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How to reach AWS.
    #[must_use]
    pub fn aws(mut self, aws: AwsSettings) -> Self {
        self.aws = aws;
        self
    }

    /// Stops when the queue holds nothing that could still come.
    #[must_use]
    pub fn until_empty(mut self) -> Self {
        self.how.until_empty = true;
        self
    }

    /// What stops the worker: advance it to `Draining` to finish what is in flight, to `Cutting` to give it back.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Works until the queue is empty, if so asked, or until the [`shutdown`](Self::shutdown) says to stop.
    pub async fn run(self) -> Result<Settled, UserError> {
        let queues = Queues::open(&self.queue, None, &self.aws).await?;
        let places = self.rules.allow.iter().chain(&self.rules.output);
        let own = open::file_of_queue(&self.queue).into_iter().collect();
        let store = open::open_store_at(&self.aws, Places { write: roots(places), own, ..Places::default() })?;
        let meters = Arc::new(Meters::default());
        let joined = join(&self.settings, queues, store, self.rules, self.work, meters, self.shutdown);
        let pipeline = joined.map_err(no_thread)?;
        let settled = pipeline.run(self.how).await;
        match pipeline.intake.circuit.tripped() {
            None => Ok(settled),
            Some(tripped) => Err(tripped.told(&Subject::of(tripped.stage, &self.queue))),
        }
    }
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

fn location(uri: &str) -> Result<Location, UserError> {
    Location::parse(uri).ok_or_else(|| {
        let what = format!("{uri:?} is not a place for objects");
        UserError::usage(
            Code::BadPlaceOrStep,
            what,
            "it is neither s3:// nor file://",
            "for example  s3://bucket/prefix/",
        )
    })
}
