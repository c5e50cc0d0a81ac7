//! What the pipeline is doing now: panel, lines, events and page all show this type. Its JSON is a contract: fields are
//! added, never renamed.

use serde::Serialize;

/// What the pipeline is doing.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The command that runs.
    pub command: &'static str,
    /// The queue's name.
    pub queue_name: String,
    /// Seconds since the start.
    pub elapsed: f64,
    /// The length of the period for rates and shares, in seconds.
    pub interval: f64,
    /// Jobs at once.
    pub slots: usize,
    /// The limit of concurrent reads, of all jobs together.
    pub reads_limit: usize,
    /// The limit of concurrent writes, of all jobs together.
    pub writes_limit: usize,
    /// The stages, in the order of the flow.
    pub stages: Vec<StageNow>,
    /// The bottleneck, if anything is going on.
    pub bottleneck: Option<Bottleneck>,
    /// What happened to the received jobs.
    pub jobs: Ledger,
    /// Jobs done or failed per second.
    pub jobs_per_second: f64,
    /// Bytes read so far.
    pub bytes_in: u64,
    /// Bytes written so far.
    pub bytes_out: u64,
    /// Bytes read per second.
    pub bytes_in_per_second: f64,
    /// Bytes written per second.
    pub bytes_out_per_second: f64,
    /// The counts of the queue, if they were requested.
    pub queue: Option<QueueNow>,
    /// CPU time used, as a share of the CPU time that this process and its programs could have used, if known.
    pub cpu: Option<f64>,
    /// The share of the processors in use.
    pub processors_taken: f64,
    /// Bytes reserved.
    pub memory_reserved: u64,
    /// Bytes that may be reserved.
    pub memory_budget: u64,
    /// Leases held.
    pub leases_held: usize,
    /// Seconds left on the lease that ends first.
    pub lease_remaining: Option<f64>,
    /// Bytes in the work directory.
    pub temp_bytes: u64,
    /// The most bytes it may hold, if known.
    pub temp_budget: Option<u64>,
    /// What went wrong with services, so far.
    pub errors: Errors,
    /// Progress, if the amount of work is known.
    pub progress: Option<Progress>,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageNow {
    /// Its name.
    pub stage: &'static str,
    /// Share of its time busy.
    pub busy: f64,
    /// Share waiting for the stage before, including empty slots.
    pub wait_upstream: f64,
    /// Share waiting for the stage after.
    pub wait_downstream: f64,
    /// Share waiting for a processor slot or memory.
    pub wait_permit: f64,
    /// Items it has.
    pub in_progress: u32,
    /// Items passed on so far.
    pub items: u64,
    /// Items passed on per second.
    pub items_per_second: f64,
    /// Bytes per second, if the stage handles bytes.
    pub bytes_per_second: Option<f64>,
    /// Half of the items took no longer, in seconds.
    pub p50: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99: Option<f64>,
    /// Items that failed.
    pub failed: u64,
}

impl StageNow {
    /// The share of its time in which it does not wait for other stages.
    pub fn load(&self) -> f64 {
        self.busy + self.wait_permit
    }
}

/// The bottleneck, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bottleneck {
    /// The stage in which it shows.
    pub stage: &'static str,
    /// A text that names the exhausted resource.
    pub reason: &'static str,
    /// A text that says what to do about it.
    pub hint: &'static str,
    /// The exhausted resource, as one of a few fixed words: `cpu`, `processors`, `memory`, `slots`, `queue_calls`,
    /// `throttled`, `latency`, `line`, `disk`, `queue_empty`.
    pub cause: &'static str,
    /// The setting to raise, if there is one that helps.
    pub knob: Option<&'static str>,
}

/// Received = done + failed + retried + released + lease_lost + skipped + in_progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Jobs in the received messages.
    pub received: u64,
    /// Done.
    pub done: u64,
    /// Rejected: failed for good.
    pub failed: u64,
    /// Failed attempts of jobs that will be tried again.
    pub retried: u64,
    /// Given back.
    pub released: u64,
    /// Went to another worker.
    pub lease_lost: u64,
    /// Had nothing to do.
    pub skipped: u64,
    /// In progress.
    pub in_progress: u64,
    /// Neither ended nor held: always 0, or there is a bug.
    pub lost: u64,
    /// Messages delivered while this worker was still processing an earlier delivery.
    pub duplicates: u64,
}

/// What the queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QueueNow {
    /// Messages that can be received.
    pub waiting: u64,
    /// Messages that a worker has received.
    pub in_flight: u64,
    /// Messages that can be received later.
    pub delayed: u64,
    /// Whether the number is falling.
    pub falling: bool,
    /// Seconds since the last received message was sent, which is about the age of the oldest message. `None` if the
    /// queue is empty.
    pub oldest: Option<u64>,
    /// Seconds until no message waits, at this rate. `None` if no message waits.
    pub eta: Option<f64>,
}

/// What went wrong with services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Calls tried again.
    pub retries: u64,
    /// Calls throttled.
    pub throttles: u64,
    /// Uploads that could not be aborted.
    pub abort_failures: u64,
    /// Entries of batch deletes that failed.
    pub ack_failures: u64,
}

/// Progress, if the amount of work is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Files done.
    pub files: u64,
    /// Files in all.
    pub files_total: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Seconds until all is done, at this rate.
    pub eta: Option<f64>,
}
