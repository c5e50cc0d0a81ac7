//! What the pipeline is doing now, as it is shown: panel, lines, events and page all read this one type. Its JSON
//! is a contract: fields are added, never renamed.

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
    /// Seconds that the rates and shares are about.
    pub interval: f64,
    /// Jobs at once.
    pub slots: usize,
    /// Reads at once, of all jobs together.
    pub reads_limit: usize,
    /// Writes at once, of all jobs together.
    pub writes_limit: usize,
    /// The stages, in the order of the flow.
    pub stages: Vec<StageNow>,
    /// What holds the work up, if anything goes on.
    pub bottleneck: Option<Bottleneck>,
    /// What became of what was received.
    pub jobs: Ledger,
    /// Jobs done or failed a second.
    pub jobs_per_second: f64,
    /// Bytes read so far.
    pub bytes_in: u64,
    /// Bytes written so far.
    pub bytes_out: u64,
    /// Bytes read a second.
    pub bytes_in_per_second: f64,
    /// Bytes written a second.
    pub bytes_out_per_second: f64,
    /// What the queue holds, if it was asked.
    pub queue: Option<QueueNow>,
    /// The part of the CPU in use of what this process and its programs could have, if it is known.
    pub cpu: Option<f64>,
    /// The part of the processors that is taken.
    pub processors_taken: f64,
    /// Bytes reserved.
    pub memory_reserved: u64,
    /// Bytes that may be reserved.
    pub memory_budget: u64,
    /// Leases held.
    pub leases_held: usize,
    /// Seconds left on the one that ends first.
    pub lease_remaining: Option<f64>,
    /// Bytes in the work directory.
    pub temp_bytes: u64,
    /// The most it may hold, if known.
    pub temp_budget: Option<u64>,
    /// What went wrong with services, so far.
    pub errors: Errors,
    /// How far a known amount of work has got.
    pub progress: Option<Progress>,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageNow {
    /// Its name.
    pub stage: &'static str,
    /// Share of its time at work.
    pub busy: f64,
    /// Share waiting for the stage before, empty places included.
    pub wait_upstream: f64,
    /// Share waiting for the stage after.
    pub wait_downstream: f64,
    /// Share waiting for a processor slot or memory.
    pub wait_permit: f64,
    /// Items it has.
    pub in_progress: u32,
    /// Items passed on so far.
    pub items: u64,
    /// Items passed on a second.
    pub items_per_second: f64,
    /// Bytes a second, where it handles bytes.
    pub bytes_per_second: Option<f64>,
    /// Half of the items took no longer, in seconds.
    pub p50: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99: Option<f64>,
    /// Items that failed.
    pub failed: u64,
}

impl StageNow {
    /// The share of its time that it does not wait for its neighbours.
    pub fn load(&self) -> f64 {
        self.busy + self.wait_permit
    }
}

/// What holds the work up, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bottleneck {
    /// The stage in which it shows.
    pub stage: &'static str,
    /// What is used up, in words.
    pub reason: &'static str,
    /// What to do about it, in words.
    pub hint: &'static str,
    /// What is used up, as one of a few fixed words: `cpu`, `processors`, `memory`, `slots`, `queue_calls`,
    /// `throttled`, `latency`, `line`, `disk`, `queue_empty`.
    pub cause: &'static str,
    /// The setting to raise, if there is one that helps.
    pub knob: Option<&'static str>,
}

/// Received = done + failed + retried + released + lease_lost + skipped + in_progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Jobs that the received messages asked for.
    pub received: u64,
    /// Done.
    pub done: u64,
    /// Rejected: failed for good.
    pub failed: u64,
    /// Attempts that failed; the job comes again.
    pub retried: u64,
    /// Given back.
    pub released: u64,
    /// Went to somebody else.
    pub lease_lost: u64,
    /// Had nothing to do.
    pub skipped: u64,
    /// Under way.
    pub in_progress: u64,
    /// Neither ended nor held: always 0, or there is a bug.
    pub lost: u64,
    /// Messages delivered while an earlier delivery was still worked on here.
    pub duplicates: u64,
}

/// What the queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QueueNow {
    /// Can be received.
    pub waiting: u64,
    /// Received by somebody.
    pub in_flight: u64,
    /// Can be received later.
    pub delayed: u64,
    /// Whether there are fewer than there were.
    pub falling: bool,
    /// Seconds since the message received last was sent; about the oldest one's age. None in an empty queue.
    pub oldest: Option<u64>,
    /// Seconds until none waits, at this rate. None where none does.
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

/// How far a known amount of work has got.
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
