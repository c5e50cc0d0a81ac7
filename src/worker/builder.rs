//! What a worker is told before it is built: one function for each thing that may be said. Nothing is checked here.
//! `build` tells every mistake, so that a chain of calls needs no `?` in its middle.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;

use super::Settings;
use super::choices::{Concurrency, QueueSource, Scheme};
use crate::error::UserError;
use crate::processor::codec::Limits;
use crate::processor::{AsyncProcessor, Processor, Work};
use crate::record::{Event, Listener};
use crate::services::aws::AwsSettings;
use crate::services::open::{AwsSource, Stores};
use crate::services::store::ObjectStore;
use crate::stages::{IfExists, Receive};
use crate::stop::shutdown::Shutdown;

/// The longest that SQS holds a long poll
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>): what a worker
/// waits by default.
const WAIT: Duration = Duration::from_secs(20);

/// What is done to each object.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    Work(Work),
    Steps(String),
    Program(Vec<OsString>),
}

/// Everything that was said about a worker. [`Worker::builder`](super::Worker::builder) begins one. A value that is
/// given twice counts as given last.
#[must_use = "a worker does nothing before build() and run()"]
pub struct WorkerBuilder {
    pub(super) queue: QueueSource,
    pub(super) dead_letters: Option<QueueSource>,
    pub(super) doing: Option<Doing>,
    pub(super) store: Option<Arc<dyn ObjectStore>>,
    pub(super) stores: Stores,
    pub(super) aws: AwsSource,
    pub(super) output: Option<String>,
    pub(super) output_suffix: Option<String>,
    pub(super) input_prefix: Option<String>,
    pub(super) allow: Vec<String>,
    pub(super) settings: Settings,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) processors: Option<usize>,
    pub(super) memory: Option<u64>,
    pub(super) max_receives: Option<u32>,
    pub(super) how: Receive,
    pub(super) limits: Limits,
    pub(super) work_dir: Option<PathBuf>,
    pub(super) pass_credentials: bool,
    pub(super) reject_codes: Vec<u8>,
    pub(super) recorder: Option<Arc<dyn metrics::Recorder + Send + Sync>>,
    pub(super) listener: Option<Listener>,
    pub(super) shutdown: Shutdown,
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WorkerBuilder");
        shown.field("queue", &self.queue).field("doing", &self.doing).field("output", &self.output);
        shown.finish_non_exhaustive()
    }
}

/// What is worked on, and what is done.
impl WorkerBuilder {
    pub(super) fn new(queue: QueueSource) -> Self {
        Self {
            queue,
            dead_letters: None,
            doing: None,
            store: None,
            stores: Stores::default(),
            aws: AwsSource::default(),
            output: None,
            output_suffix: None,
            input_prefix: None,
            allow: Vec::new(),
            settings: Settings::default(),
            concurrency: Some(Concurrency::Auto),
            processors: None,
            memory: None,
            max_receives: None,
            how: Receive { receivers: None, wait: WAIT, until_empty: false, idle_exit: None, max_messages: None },
            limits: Limits::default(),
            work_dir: None,
            pass_credentials: false,
            reject_codes: Vec::new(),
            recorder: None,
            listener: None,
            shutdown: Shutdown::default(),
        }
    }

    /// Runs `processor` on each object, on a blocking thread. A closure that takes `(&Job, &mut dyn BufRead, &mut dyn
    /// Write)` is a
    /// [`Processor`].
    pub fn process(mut self, processor: impl Processor) -> Self {
        self.doing = Some(Doing::Work(Work::Filter(Arc::new(processor))));
        self
    }

    /// Runs `processor` on each object, on the runtime.
    pub fn process_async(mut self, processor: impl AsyncProcessor) -> Self {
        self.doing = Some(Doing::Work(Work::Async(Arc::new(processor))));
        self
    }

    /// Does what `--process` of the program does, such as `"decompress,zstd:9"` or `"copy"`.
    pub fn steps(mut self, steps: impl Into<String>) -> Self {
        self.doing = Some(Doing::Steps(steps.into()));
        self
    }

    /// Runs an external program on each object: the object on stdin and the result from stdout, or in files where an
    /// argument holds `{input}` or `{output}`.
    pub fn program<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.doing = Some(Doing::Program(words.into_iter().map(Into::into).collect()));
        self
    }

    /// Where outputs go of messages that name none: `s3://bucket/prefix/` or `file:///folder/`.
    pub fn output(mut self, uri: impl Into<String>) -> Self {
        self.output = Some(uri.into());
        self
    }

    /// Appended to the key of every output, in place of the ending that the steps imply. May be empty.
    pub fn output_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.output_suffix = Some(suffix.into());
        self
    }

    /// The folder that is taken off the key of an input before the key is appended to the output. A job whose input
    /// lies elsewhere is rejected.
    pub fn input_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.input_prefix = Some(prefix.into());
        self
    }

    /// A place that messages may read and write; call it once for each place. Without any place, messages may name all
    /// of S3 that the credentials reach, and no local file.
    pub fn allow(mut self, uri: impl Into<String>) -> Self {
        self.allow.push(uri.into());
        self
    }

    /// What to do about an output that is there already. The default is to overwrite it.
    pub fn if_exists(mut self, if_exists: IfExists) -> Self {
        self.settings.if_exists = if_exists;
        self
    }

    /// The queue for messages that are rejected: a name, or a queue of your own. The default is the one that the queue
    /// itself names.
    pub fn dead_letters(mut self, queue: impl Into<QueueSource>) -> Self {
        self.dead_letters = Some(queue.into());
        self
    }

    /// After how many receives a failing job is rejected. The default is what the queue says; 5 for a queue in a file.
    pub fn max_receives(mut self, receives: u32) -> Self {
        self.max_receives = Some(receives);
        self
    }
}

/// Services.
impl WorkerBuilder {
    /// Reads and writes all objects, whatever their scheme, in `store`.
    pub fn store(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Reads and writes the objects of one scheme in `store`, and all others where they are.
    pub fn store_for(mut self, scheme: Scheme, store: Arc<dyn ObjectStore>) -> Self {
        match scheme {
            Scheme::S3 => self.stores.s3 = Some(store),
            Scheme::File => self.stores.files = Some(store),
        }
        self
    }

    /// Reaches AWS as the SDK is configured. The default is the SDK's own chain: environment, profile, role.
    pub fn aws_config(mut self, config: &SdkConfig) -> Self {
        self.aws = AwsSource::Configured(Box::new(config.clone()));
        self
    }

    /// Reaches AWS by the SDK's default chain, but for a profile, a region or an endpoint.
    pub fn aws_settings(mut self, settings: AwsSettings) -> Self {
        self.aws = AwsSource::Settings(settings);
        self
    }
}

/// When to stop, and what to tell.
impl WorkerBuilder {
    /// Stops when the queue holds nothing that could still come.
    pub fn until_empty(mut self) -> Self {
        self.how.until_empty = true;
        self
    }

    /// Stops after so long without a message.
    pub fn idle_exit(mut self, idle: Duration) -> Self {
        self.how.idle_exit = Some(idle);
        self
    }

    /// Stops after so many messages.
    pub fn max_jobs(mut self, jobs: u64) -> Self {
        self.how.max_messages = Some(jobs);
        self
    }

    /// Calls `listener` for each event: a job finished, will be retried, was rejected. The listener must return
    /// quickly.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listener = Some(Listener::new(listener));
        self
    }

    /// Records the metrics of this worker in `recorder`. The default is the recorder that the process has installed
    /// with the
    /// [`metrics`](https://docs.rs/metrics) crate. Two workers of one process need two recorders: the numbers of the
    /// one would replace those of the other.
    pub fn recorder(mut self, recorder: Arc<dyn metrics::Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Checks what was said, opens the queue and the stores, and asks the queue how it treats its messages.
    pub async fn build(self) -> Result<super::Worker, UserError> {
        super::build::build(self).await
    }
}
