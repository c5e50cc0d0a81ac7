//! Counts what each stage does and where its time goes, in plain numbers that the panel, the status page and the
//! Prometheus exporter all read.
//!
//! A stage that works on a job takes a [`Turn`]. The turn counts as busy until a link makes it wait; links and
//! permits switch its state, so stages contain no metric calls. Time is counted as it passes, not when a job ends,
//! so a stage that has been stuck for an hour shows that hour now.
//!
//! Bounded: a fixed set of numbers for each stage. The lock is held for a few additions.

mod durations;
mod event;
mod level;
pub mod metrics;
mod notices;
mod stage;
mod turn;

pub use durations::Durations;
pub use event::{Event, JobFailure, JobRef, Listener};
pub use level::{Level, Present};
pub use notices::Notices;
pub use stage::{StageMeter, State};
pub use turn::{Turn, Waiting};

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::{Code, Stage};

/// The numbers of every stage and of the pipeline as a whole.
#[derive(Debug, Default)]
pub struct Meters {
    /// Where metrics are recorded; `None` for the recorder of the thread or the process.
    recorder: Option<Recorder>,
    /// Who is told of events.
    listener: Option<Listener>,
    stages: [StageMeter; Stage::ALL.len()],
    /// Messages received.
    pub messages: AtomicU64,
    /// Jobs that the received messages asked for; an event record that asks for no job counts as one.
    pub jobs_received: AtomicU64,
    /// The age in seconds of the message received last, which is about the age of the oldest message in the queue.
    pub message_age: AtomicU64,
    /// Messages received again while an earlier delivery was still being worked on here.
    pub duplicates: AtomicU64,
    /// Jobs by how they ended, in the order of [`Ended::ALL`].
    ended: [AtomicU64; Ended::ALL.len()],
    /// Of `Ended::Failed`, the attempts that will be retried.
    pub retried: AtomicU64,
    /// Jobs of a `map` that an earlier run of the same `map` completed.
    pub before: AtomicU64,
    /// The bytes of the inputs of those jobs.
    pub bytes_before: AtomicU64,
    /// Objects of a `submit` that were in the store already, and whose jobs have been sent.
    pub there: AtomicU64,
    /// The bytes of those objects.
    pub bytes_there: AtomicU64,
    /// Prefetched messages that wait for a slot.
    pub ahead: AtomicU64,
    /// Leases extended.
    pub renewals: AtomicU64,
    /// Calls to a service that were retried.
    pub retries: AtomicU64,
    /// Calls that a service throttled.
    pub throttles: AtomicU64,
    /// Multipart uploads that were begun and have not ended.
    pub multipart_open: AtomicU64,
    /// Multipart uploads that could not be aborted when their jobs failed.
    pub abort_failures: AtomicU64,
    /// Of those, the uploads that still have not been aborted.
    pub unaborted: AtomicU64,
    /// Entries of batch deletes that failed.
    pub ack_failures: AtomicU64,
    /// Messages rejected and kept, because there is no dead-letter queue.
    pub kept: AtomicU64,
    /// Of those, the messages that block the messages behind them in their FIFO group.
    pub holding_up: AtomicU64,
    /// Jobs that have a slot and are being worked on.
    pub at_work: Arc<Level>,
    /// Slots reserved for messages that a receive is to bring.
    pub on_call: Arc<Level>,
    /// Processors in use.
    pub processors: Arc<Level>,
    /// Jobs that wait for a processor.
    pub short_of_processors: Arc<Level>,
    /// Messages that all receives so far asked for.
    pub asked_for: AtomicU64,
    /// Messages that these receives brought.
    pub brought: AtomicU64,
    /// Bytes in the work directory.
    pub temp_bytes: AtomicU64,
    /// The kinds of events of which at least one was skipped.
    skipped_kinds: Mutex<BTreeSet<&'static str>>,
    /// The longest deadline of any call so far, in seconds.
    longest_call: AtomicU64,
    /// Conditions that are no failures but that the user should know.
    pub notices: Arc<Notices>,
}

/// How a job ended, for counting. The names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its output is complete, and its message was deleted, or kept only because of another record in it.
    Ok,
    /// It was rejected, or failed and will be retried (`Meters::retried`), or its message could not be deleted, so that
    /// the job may be repeated.
    Failed,
    /// It was given back without having failed.
    Released,
    /// Its message went to another worker.
    LeaseLost,
    /// There was nothing to do: a test event, a deletion, or an output that existed already.
    Skipped,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Failed, Self::Released, Self::LeaseLost, Self::Skipped];

    /// The label used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Released => "released",
            Self::LeaseLost => "lease_lost",
            Self::Skipped => "skipped",
        }
    }
}

/// A metrics recorder of a worker's own.
#[derive(Clone)]
struct Recorder(Arc<dyn ::metrics::Recorder + Send + Sync>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Meters {
    /// The same meters, whose metrics go to `recorder` instead of the recorder that the process has installed.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Arc<dyn ::metrics::Recorder + Send + Sync>) -> Self {
        self.recorder = Some(Recorder(recorder));
        self
    }

    /// The same meters, which tell `listener` of each event.
    #[must_use]
    pub fn with_listener(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Runs `record`, whose metrics go where the metrics of this worker go.
    pub fn recording<T>(&self, record: impl FnOnce() -> T) -> T {
        match &self.recorder {
            Some(Recorder(recorder)) => ::metrics::with_local_recorder(&**recorder, record),
            None => record(),
        }
    }

    /// Whether anybody listens to events.
    pub fn has_listener(&self) -> bool {
        self.listener.is_some()
    }

    /// Tells the listener, if there is one, of an event. The event is made only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(listener) = &self.listener {
            listener.tell(&event());
        }
    }

    /// The numbers of one stage.
    pub fn stage(&self, stage: Stage) -> &StageMeter {
        &self.stages[stage as usize]
    }

    /// Counts a message that asks for `jobs` jobs. The message was sent at `sent`, if the queue tells, and has been
    /// delivered `attempt` times.
    pub fn received(&self, sent: Option<SystemTime>, attempt: u32, jobs: usize) {
        self.messages.fetch_add(1, Relaxed);
        self.jobs_received.fetch_add(jobs as u64, Relaxed);
        self.recording(|| metrics::receive_count(attempt));
        // A sender's clock ahead of ours makes a message from the future: it has no age.
        if let Some(age) = sent.and_then(|sent| sent.elapsed().ok()) {
            self.message_age.store(age.as_secs(), Relaxed);
            self.recording(|| metrics::message_age(age));
        }
    }

    /// Counts the additional `jobs` of a message that turned out to ask for more than one.
    pub fn more_jobs(&self, jobs: usize) {
        self.jobs_received.fetch_add(jobs as u64, Relaxed);
    }

    /// Whether this is the first skipped event of its kind. The kinds are a fixed list.
    pub fn is_first_of_kind(&self, kind: &'static str) -> bool {
        self.skipped_kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(kind)
    }

    /// Counts a call that ended: `code` is `ok` or the kind of the failure.
    pub fn called(&self, service: &'static str, op: &'static str, code: &'static str) {
        self.recording(|| metrics::http_request(service, op, code));
    }

    /// Counts a late read that was sent twice: the second answer `won`, `lost` or `failed`.
    pub fn hedged(&self, outcome: &'static str) {
        self.recording(|| metrics::hedge(outcome));
    }

    /// Counts a call that is tried again because of `reason`, one of a few fixed words.
    pub fn retried(&self, service: &'static str, op: &'static str, reason: &'static str) {
        self.retries.fetch_add(1, Relaxed);
        self.recording(|| metrics::retry(service, op, reason));
    }

    /// Records that a call may take as long as `deadline`.
    pub fn allowed(&self, deadline: Duration) {
        self.longest_call.fetch_max(deadline.as_secs().saturating_add(1), Relaxed);
    }

    /// The longest time for which a call may run before it is retried or given up.
    pub fn longest_call(&self) -> Duration {
        Duration::from_secs(self.longest_call.load(Relaxed))
    }

    /// Counts a call that a service throttled.
    pub fn throttled(&self, service: &'static str) {
        self.throttles.fetch_add(1, Relaxed);
        self.recording(|| metrics::throttle(service));
    }

    /// Counts a receive that asked for `asked` messages and brought `brought`.
    pub fn answered(&self, asked: usize, brought: usize) {
        self.asked_for.fetch_add(asked as u64, Relaxed);
        self.brought.fetch_add(brought as u64, Relaxed);
    }

    /// Counts a move of `limit` for `reason`; both are from a few fixed words.
    pub fn concurrency_changed(&self, limit: &'static str, reason: &'static str) {
        self.recording(|| metrics::concurrency_changed(limit, reason));
    }

    /// Counts an entry of a batch delete that failed with `fault`, one of a few fixed words.
    pub fn ack_failed(&self, fault: &'static str) {
        self.ack_failures.fetch_add(1, Relaxed);
        self.recording(|| metrics::ack_failure(fault));
    }

    /// Counts a call that deletes a batch of `messages` messages.
    pub fn ack_batch(&self, messages: usize) {
        self.recording(|| metrics::ack_batch(messages));
    }

    /// Counts a lease extended `lag` after it was due.
    pub fn renewed(&self, lag: Duration) {
        self.renewals.fetch_add(1, Relaxed);
        self.recording(|| metrics::renewal_lag(lag));
    }

    /// Counts a job rejected with `code`.
    pub fn rejected(&self, code: Code) {
        self.recording(|| metrics::bad_input(code));
    }

    /// Counts the sizes of a job's input and output, in bytes. `input` is `None` if the input was not read to its end.
    pub fn sizes(&self, input: Option<u64>, output: u64) {
        if let Some(input) = input {
            self.recording(|| metrics::input_size(input));
        }
        self.recording(|| metrics::output_size(output));
    }

    /// Counts a job's end.
    pub fn ended(&self, how: Ended) {
        if how == Ended::LeaseLost {
            self.recording(metrics::lease_lost);
        }
        self.ended[how as usize].fetch_add(1, Relaxed);
    }

    /// How many jobs ended in this way.
    pub fn jobs(&self, how: Ended) -> u64 {
        self.ended[how as usize].load(Relaxed)
    }

    /// Begins a stage's work on one item.
    pub fn turn(self: &Arc<Self>, stage: Stage) -> Arc<Turn> {
        Turn::begin(Arc::clone(self), stage)
    }
}
