//! Counts what each stage does and where its time goes, in plain numbers that the panel, the status
//! page and the Prometheus exporter all read.
//!
//! A stage that works on a job takes a [`Turn`]. The turn is busy until a link makes it wait; links
//! and permits switch it, so stages contain no metric calls. Time is counted as it passes, not when a
//! job ends: a stage that has been stuck for an hour shows that hour now.
//!
//! Bounded: a fixed set of numbers a stage. The lock is held for a few additions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Code, ErrorKind, JobError, Stage};

/// What a stage is doing with its time. The names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Working.
    Busy,
    /// Nothing has come from the stage before.
    WaitUpstream,
    /// The stage after has no room.
    WaitDownstream,
    /// Waiting for a processor slot or for memory.
    WaitPermit,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Busy, Self::WaitUpstream, Self::WaitDownstream, Self::WaitPermit];

    /// The label used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::WaitUpstream => "wait_upstream",
            Self::WaitDownstream => "wait_downstream",
            Self::WaitPermit => "wait_permit",
        }
    }
}

/// The numbers of one stage. All only grow, but for those in progress.
#[derive(Debug, Default)]
pub struct StageMeter {
    clock: Mutex<Clock>,
    /// How often a turn began, ended, or changed its state.
    changes: AtomicU64,
    /// Items taken.
    pub items_in: AtomicU64,
    /// Items passed on, whole and right.
    pub items_out: AtomicU64,
    /// Items that failed here.
    pub failed: AtomicU64,
    /// Bytes taken.
    pub bytes_in: AtomicU64,
    /// Bytes passed on.
    pub bytes_out: AtomicU64,
    /// The wall clock, in seconds since 1970, when an item last left.
    pub last_success: AtomicU64,
    /// How long items took, whole and right ones.
    pub durations: Durations,
}

/// How long things took, in buckets that are a quarter of a power of two wide: a quantile read from them is
/// at most 25 % too high. Bounded: one number a bucket.
#[derive(Debug)]
pub struct Durations([AtomicU64; Self::BUCKETS]);

impl Default for Durations {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Durations {
    /// 4 a power of two, from 1 µs to 2^36 µs = 19 hours, longer than the 12 hours an SQS message can be kept.
    const BUCKETS: usize = 4 * 36;

    /// Counts one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let octave = micros.ilog2() as usize;
        let quarter = if octave < 2 { 0 } else { (micros >> (octave - 2)) as usize & 3 };
        self.0[(4 * octave + quarter).min(Self::BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    /// The time that `quantile` (0 to 1) of them did not exceed; `None` while there are none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        })?;
        Some(Duration::from_micros(((1_u64 << (bucket / 4)) * (5 + bucket as u64 % 4)).div_ceil(4)))
    }
}

#[derive(Debug, Default)]
struct Clock {
    in_state: [u32; State::ALL.len()],
    spent: [Duration; State::ALL.len()],
    updated: Option<Instant>,
}

impl Clock {
    fn advance(&mut self) {
        let now = Instant::now();
        let passed = self.updated.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        for (spent, in_state) in self.spent.iter_mut().zip(self.in_state) {
            *spent += passed * in_state;
        }
    }
}

impl StageMeter {
    /// Time spent in each state so far, in the order of [`State::ALL`], summed over all turns.
    pub fn time(&self) -> [Duration; State::ALL.len()] {
        let mut clock = self.clock();
        clock.advance();
        clock.spent
    }

    /// How many turns are in each state now, in the order of [`State::ALL`].
    pub fn in_state(&self) -> [u32; State::ALL.len()] {
        self.clock().in_state
    }

    /// Like [`in_state`](Self::in_state), without ever waiting: `None` if somebody is at it.
    pub fn glance(&self) -> Option<[u32; State::ALL.len()]> {
        self.clock.try_lock().ok().map(|clock| clock.in_state)
    }

    /// A number that changes whenever the stage does anything: takes or passes on bytes, begins or ends an item or a
    /// wait. It waits for nothing, and may be a little old.
    pub fn moved(&self) -> u64 {
        let changes = self.changes.load(Relaxed);
        [&self.items_in, &self.items_out, &self.failed, &self.bytes_in, &self.bytes_out]
            .iter()
            .fold(changes, |sum, number| sum.wrapping_add(number.load(Relaxed)))
    }

    /// How many turns are taken.
    pub fn in_progress(&self) -> u32 {
        self.in_state().iter().sum()
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of every stage and of the pipeline as a whole.
#[derive(Debug, Default)]
pub struct Meters {
    stages: [StageMeter; Stage::ALL.len()],
    /// Messages received.
    pub messages: AtomicU64,
    /// Jobs that the received messages asked for.
    pub jobs_received: AtomicU64,
    /// The age in seconds of the message received last: about the oldest one the queue holds.
    pub message_age: AtomicU64,
    /// Messages received again while an earlier delivery was still being worked on here.
    pub duplicates: AtomicU64,
    /// Jobs by how they ended, in the order of [`Ended::ALL`].
    ended: [AtomicU64; Ended::ALL.len()],
    /// Leases extended.
    pub renewals: AtomicU64,
    /// Calls to a service that were tried again.
    pub retries: AtomicU64,
    /// Calls that a service throttled.
    pub throttles: AtomicU64,
    /// Multipart uploads begun and not ended.
    pub multipart_open: AtomicU64,
    /// Multipart uploads that could not be aborted when their jobs failed.
    pub abort_failures: AtomicU64,
    /// Those that could not be aborted since.
    pub unaborted: AtomicU64,
    /// Entries of batch deletes that failed.
    pub ack_failures: AtomicU64,
    /// Messages rejected and kept, because there is no dead-letter queue.
    pub kept: AtomicU64,
    /// Bytes in the work directory.
    pub temp_bytes: AtomicU64,
    /// The longest deadline that a call has been given, in seconds.
    longest_call: AtomicU64,
}

/// How a job ended, as counted. The names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its output is complete and its message deleted.
    Ok,
    /// It was rejected, or failed and will be tried again; or its message could not be deleted, and it may be done again.
    Failed,
    /// It was given back, not failed.
    Released,
    /// Its message went to somebody else.
    LeaseLost,
    /// There was nothing to do: a test event, a deletion, an output that was there already.
    Skipped,
}

impl Ended {
    /// Every way.
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

impl Meters {
    /// The numbers of one stage.
    pub fn stage(&self, stage: Stage) -> &StageMeter {
        &self.stages[stage as usize]
    }

    /// Counts a message, sent at `sent` where the queue tells, delivered for the `attempt`th time, which asks
    /// for `jobs` jobs.
    pub fn received(&self, sent: Option<SystemTime>, attempt: u32, jobs: usize) {
        self.messages.fetch_add(1, Relaxed);
        self.jobs_received.fetch_add(jobs as u64, Relaxed);
        crate::metrics::receive_count(attempt);
        // A sender's clock ahead of ours makes a message from the future: it has no age.
        if let Some(age) = sent.and_then(|sent| sent.elapsed().ok()) {
            self.message_age.store(age.as_secs(), Relaxed);
            crate::metrics::message_age(age);
        }
    }

    /// Counts a call that is tried again because of `reason`, one of a few fixed words.
    pub fn retried(&self, service: &'static str, op: &'static str, reason: &'static str) {
        self.retries.fetch_add(1, Relaxed);
        crate::metrics::retry(service, op, reason);
    }

    /// Notes that a call may take as long as `deadline`.
    pub fn allowed(&self, deadline: Duration) {
        self.longest_call.fetch_max(deadline.as_secs().saturating_add(1), Relaxed);
    }

    /// The longest that a call may have been under way without being tried again or given up.
    pub fn longest_call(&self) -> Duration {
        Duration::from_secs(self.longest_call.load(Relaxed))
    }

    /// Counts a call that a service throttled.
    pub fn throttled(&self, service: &'static str) {
        self.throttles.fetch_add(1, Relaxed);
        crate::metrics::throttle(service);
    }

    /// Counts a `limit` that was moved for `reason`, each one of a few fixed words.
    pub fn concurrency_changed(&self, limit: &'static str, reason: &'static str) {
        crate::metrics::concurrency_changed(limit, reason);
    }

    /// Counts an entry of a batch delete that failed with `fault`, one of a few fixed words.
    pub fn ack_failed(&self, fault: &'static str) {
        self.ack_failures.fetch_add(1, Relaxed);
        crate::metrics::ack_failure(fault);
    }

    /// Counts a call that deletes a batch of `messages`.
    pub fn ack_batch(&self, messages: usize) {
        crate::metrics::ack_batch(messages);
    }

    /// Counts a lease extended `lag` after it was due.
    pub fn renewed(&self, lag: Duration) {
        self.renewals.fetch_add(1, Relaxed);
        crate::metrics::renewal_lag(lag);
    }

    /// Counts a job rejected for the reason that `code` is.
    pub fn rejected(&self, code: Code) {
        crate::metrics::bad_input(code);
    }

    /// Counts the sizes of a job's input and output, in bytes. An input that was not read to its end has none.
    pub fn sizes(&self, input: Option<u64>, output: u64) {
        if let Some(input) = input {
            crate::metrics::input_size(input);
        }
        crate::metrics::output_size(output);
    }

    /// Counts a job's end.
    pub fn ended(&self, how: Ended) {
        if how == Ended::LeaseLost {
            crate::metrics::lease_lost();
        }
        self.ended[how as usize].fetch_add(1, Relaxed);
    }

    /// How many jobs ended so.
    pub fn jobs(&self, how: Ended) -> u64 {
        self.ended[how as usize].load(Relaxed)
    }

    /// Begins a stage's work on one item.
    pub fn turn(self: &Arc<Self>, stage: Stage) -> Arc<Turn> {
        self.stage(stage).items_in.fetch_add(1, Relaxed);
        {
            let mut clock = self.stage(stage).clock();
            clock.advance();
            clock.in_state[State::Busy as usize] += 1;
        }
        Arc::new(Turn { meters: Arc::clone(self), stage, began: Instant::now(), state: Mutex::new(State::Busy) })
    }
}

/// One stage at work on one item, shared by the stage and the ends of its links.
#[derive(Debug)]
pub struct Turn {
    meters: Arc<Meters>,
    stage: Stage,
    began: Instant,
    state: Mutex<State>,
}

impl Turn {
    /// The stage whose turn it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The numbers of the stage.
    pub fn meter(&self) -> &StageMeter {
        self.meters.stage(self.stage)
    }

    /// From now on the time is spent in `state`, until the guard is dropped: then the stage is busy again.
    pub fn waits(&self, state: State) -> Waiting<'_> {
        self.switch(state);
        Waiting(self)
    }

    /// Drives the stage's work on the item and counts how it ends. The turn is over with it: a stage that is done does
    /// not look busy while its neighbours still work.
    pub async fn through<T>(self: Arc<Self>, work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
        let result = work.await;
        // An echo of a neighbour's failure is no failure of this stage.
        if !result.as_ref().is_err_and(|error| error.kind == ErrorKind::Disconnected) {
            self.ended(result.is_ok());
        }
        result
    }

    /// Counts the end of the item, and how long it took.
    pub fn ended(&self, well: bool) {
        let meter = self.meter();
        let took = self.began.elapsed();
        crate::metrics::stage_duration(self.stage, took);
        if well {
            meter.items_out.fetch_add(1, Relaxed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            meter.last_success.store(now, Relaxed);
            meter.durations.record(took);
        } else {
            meter.failed.fetch_add(1, Relaxed);
        }
    }

    fn switch(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clock = self.meter().clock();
        clock.advance();
        clock.in_state[*state as usize] -= 1;
        clock.in_state[to as usize] += 1;
        *state = to;
        self.meter().changes.fetch_add(1, Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let state = *self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.meter().changes.fetch_add(1, Relaxed);
        let mut clock = self.meters.stage(self.stage).clock();
        clock.advance();
        clock.in_state[state as usize] -= 1;
    }
}

/// A wait under way.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Turn);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.switch(State::Busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_never_too_low_and_at_most_a_quarter_too_high() {
        let durations = Durations::default();
        assert_eq!(durations.quantile(0.5), None);
        for millis in 1..=1000 {
            durations.record(Duration::from_millis(millis));
        }
        for (quantile, exact) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let read = durations.quantile(quantile).unwrap();
            let exact = Duration::from_millis(exact);
            assert!(read >= exact && read <= exact.mul_f64(1.25), "{quantile}: {read:?} for {exact:?}");
        }
        durations.record(Duration::ZERO);
        durations.record(Duration::MAX);
    }

    #[tokio::test]
    async fn a_stage_that_is_done_is_not_busy_while_others_work() {
        let meters = Arc::new(Meters::default());
        let (first, second) = (meters.turn(Stage::Download), meters.turn(Stage::Upload));
        let slow = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            assert_eq!(meters.stage(Stage::Download).in_progress(), 0);
            Ok(())
        };
        let (done, also) = tokio::join!(first.through(async { Ok(()) }), second.through(slow));
        done.and(also).unwrap();
        assert!(meters.stage(Stage::Download).time()[State::Busy as usize] < Duration::from_millis(350));
    }

    #[test]
    fn time_passes_into_the_state_a_turn_is_in_and_stops_with_the_turn() {
        let meters = Arc::new(Meters::default());
        let turn = meters.turn(Stage::Upload);
        {
            let _waiting = turn.waits(State::WaitUpstream);
            std::thread::sleep(Duration::from_millis(30));
        }
        let during = meters.stage(Stage::Upload).time();
        assert!(during[State::WaitUpstream as usize] >= Duration::from_millis(30));
        drop(turn);
        let after = meters.stage(Stage::Upload).time();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(after, meters.stage(Stage::Upload).time());
        assert_eq!(meters.stage(Stage::Upload).in_progress(), 0);
    }
}
