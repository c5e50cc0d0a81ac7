//! Leases messages from the queue, a batch at a time, and never more than there is room for.
//!
//! Room first: a slot and the minimum memory of each job are reserved before the queue is asked for as many messages
//! as there are reservations. So a message that arrives begins at once, and a full pipeline asks for nothing; but where
//! jobs are quick beside a receive, for a few that will be here when slots come free (`prefetch.rs`). A queue that had
//! nothing is asked for one message. Each receiver is a task of its own, so that a response is read the moment it
//! arrives. Bounded by the slots, twice, and by the budget. Messages of one group share a place, in a line.

pub(super) mod dispatch;
pub(crate) mod group;
mod pool;
mod prefetch;
mod reserve;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use futures::{FutureExt, Stream, stream};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::capacity::budget::Budget;
use crate::capacity::limit::Limit;
use crate::error::{Code, ErrorKind, JobError, ServiceError, ServiceErrorKind, Stage};
use crate::lease::Leases;
use crate::processor::panics;
use crate::record::{Meters, Present, State, Turn};
use crate::runtime::failpoint;
use crate::runtime::task::{self, Task};
use crate::services::queue::JobQueue;
use crate::services::retry::{Call, Retry};
use crate::stop::circuit::{Circuit, Why};
use crate::stop::shutdown::{Phase, Shutdown};
use dispatch::{Delivery, Outlet, deliver, refuse};
use pool::Shared;
use prefetch::Ahead;
use reserve::{Seat, reserve};

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct Receive {
    /// Long polls in flight; `None` for as many as fill the slots while there is something to receive, and one while
    /// there is not.
    pub receivers: Option<usize>,
    /// How long one call waits for a message.
    pub wait: Duration,
    /// Stop when the queue holds nothing that could still come.
    pub until_empty: bool,
    /// Stop after so long with nothing to do.
    pub idle_exit: Option<Duration>,
    /// Stop after so many messages.
    pub max_messages: Option<u64>,
}

/// What receiving needs.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Where messages come from.
    pub queue: Arc<dyn JobQueue>,
    /// What keeps them ours.
    pub leases: Arc<Leases>,
    /// What bounds bytes.
    pub budget: Arc<Budget>,
    /// What bounds jobs.
    pub slots: Arc<Limit>,
    /// What stops us.
    pub shutdown: Shutdown,
    /// What we stop when the queue refuses us.
    pub circuit: Arc<Circuit>,
    /// What counts.
    pub meters: Arc<Meters>,
    /// How patient we are with a failing queue.
    pub retry: Retry,
    /// Whether somebody in this process still fills the queue: it is not empty then.
    pub filling: Arc<AtomicBool>,
    /// Whether messages may be asked for ahead. One that is then given back untried has one receive more on its count.
    pub ahead: bool,
}

/// Pauses between failed receives, at the most: a queue that is away is asked twice a minute.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The least time between two receives that bring nothing: a queue that answers at once, whatever it was asked to wait
/// (a stand-in, a proxy), must not be asked in a hot loop.
const EMPTY_PAUSE: Duration = Duration::from_millis(200);

/// How long a call waits at the most when an empty queue is to end the run. Above zero, since a short poll asks only
/// some of SQS's servers
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The slots that one long poll fills: it brings ten messages in about 20 ms, and jobs of two requests take 40 ms.
const SLOTS_A_POLL: usize = 16;

impl Receive {
    /// How many polls may be in flight with so many slots.
    pub fn polls(&self, slots: usize) -> usize {
        self.receivers.unwrap_or(1 + slots / SLOTS_A_POLL).max(1)
    }
}

/// Streams deliveries until told to stop. The end of this stream is how the pipeline drains.
pub fn receive(intake: Intake, how: Receive) -> impl Stream<Item = Delivery> {
    let (output, deliveries) = mpsc::channel(intake.queue.max_batch());
    // Bounded by the tickets.
    let (line, waiting) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        limit: how.max_messages,
        ahead: Ahead::new(intake.ahead, Arc::clone(&intake.meters)),
        gathering: tokio::sync::Mutex::new(()),
        asked: AtomicU64::new(0),
        got: AtomicU64::new(0),
        answered: Notify::new(),
        plenty: AtomicBool::new(true),
        worth: AtomicUsize::new(intake.queue.max_batch()),
        brought: Notify::new(),
        unreachable: AtomicU64::new(0),
        last: std::sync::Mutex::new(Instant::now()),
    });
    let mut receivers: Vec<Task<()>> = (0..how.polls(intake.slots.ceiling()))
        .map(|number| {
            let outlet = Outlet { output: output.clone(), line: line.clone() };
            let polling = poll(intake.clone(), how, number, Arc::clone(&shared), outlet);
            task::spawn(guarded(Arc::clone(&intake.circuit), polling))
        })
        .collect();
    let circuit = Arc::clone(&intake.circuit);
    receivers.push(task::spawn(guarded(circuit, prefetch::begin(intake, shared, waiting, output))));
    stream::unfold((deliveries, receivers), |(mut deliveries, receivers)| async move {
        Some((deliveries.recv().await?, (deliveries, receivers)))
    })
}

/// A receiver that panicked must not look like the end of the queue: the worker drains, and fails.
async fn guarded(circuit: Arc<Circuit>, work: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
        let cause = format!("receiving panicked: {}", panics::message(panic.as_ref()));
        circuit.trip(&JobError::new(Stage::Receive, ErrorKind::Panicked, Code::InternalPanic, cause));
    }
}

async fn poll(intake: Intake, how: Receive, number: usize, shared: Arc<Shared>, outlet: Outlet) {
    if !shared.due(&intake, how, number).await {
        return;
    }
    // One call is one turn: what is told of receiving is told of a call, not of how long this receiver has lived.
    let mut turn = intake.meters.turn(Stage::Receive);
    let wait = if how.until_empty { how.wait.min(LAST_WAIT) } else { how.wait };
    let wait = how.idle_exit.map_or(wait, |idle| wait.min(idle));
    let (mut failures, mut outages) = (0, 0);
    loop {
        // First of all: whoever got the last message may be no longer due, and nobody else would say so.
        if shared.has_all(how.max_messages) {
            return stop(&intake, Why::Enough);
        }
        if !shared.is_due(&intake, how, number) {
            // Not a turn that waits: it would look as if there were a poll.
            drop(turn);
            if !shared.due(&intake, how, number).await {
                return;
            }
            turn = intake.meters.turn(Stage::Receive);
        }
        if let Some(error) = intake.leases.refused() {
            // A message that can't be kept is done by everybody and finished by nobody.
            return intake.circuit.trip(&error.at(Stage::Receive));
        }
        // While the store is away, each message taken would only be given back with one receive more on its count.
        let outage = intake.circuit.is_outage();
        outages = if outage { outages + 1 } else { 0 };
        if outage && !rest(&intake, &turn, patience(&intake, outages + 2)).await {
            return;
        }
        let mut places = tokio::select! {
            biased;
            () = intake.shutdown.reached(Phase::Draining) => return,
            places = reserve(&intake, &turn, &shared) => places,
        };
        if outage {
            places.truncate(1);
        }
        let wanted = tokio::select! {
            biased;
            () = intake.shutdown.reached(Phase::Draining) => return,
            wanted = shared.want(places.len()) => wanted,
        };
        // Messages ahead are worth it while jobs go on as they did.
        let ahead = places.iter().any(|place| matches!(place, Seat::Ahead(_)));
        let wait = if ahead { wait.min(LAST_WAIT) } else { wait };
        let held = places.iter().filter(|place| matches!(place, Seat::Place(..)));
        let held: Vec<Present> = held.take(wanted).map(|_| intake.meters.on_call.enter()).collect();
        let asked = Instant::now();
        // Not raced against the stop: a receive that is dropped midway loses its messages to their visibility timeout.
        let call = {
            let _waiting = turn.waits(State::WaitUpstream);
            let limit = Retry { deadline: wait + intake.retry.deadline, ..intake.retry };
            limit.attempt(Call::queue("receive"), intake.queue.receive(wanted, wait, intake.leases.visibility())).await
        };
        let took = asked.elapsed();
        drop(held);
        match &call {
            // How long an empty queue was asked to wait says nothing of a call.
            Ok(messages) => turn.ended_after((!messages.is_empty()).then_some(took), true),
            Err(_) => turn.ended_after(Some(took), false),
        }
        turn = intake.meters.turn(Stage::Receive);
        match call {
            Ok(messages) if intake.shutdown.phase() > Phase::Running => {
                refuse(&intake, &messages).await;
                return;
            }
            Ok(messages) => {
                failures = 0;
                intake.slots.press(messages.len(), wanted);
                intake.meters.answered(wanted, messages.len());
                if messages.is_empty() {
                    shared.got(wanted, 0);
                    if let Some(why) = ends(&intake, how, &shared).await {
                        return stop(&intake, why);
                    }
                    drop(places);
                    let soon = EMPTY_PAUSE.min(wait).saturating_sub(asked.elapsed());
                    if !soon.is_zero() && !rest(&intake, &turn, soon).await {
                        return;
                    }
                } else {
                    failpoint::point("CP1");
                    shared.touch();
                    shared.ahead.answered(took);
                    let _waiting = turn.waits(State::WaitDownstream);
                    let taken = deliver(&intake, &shared, asked, messages, places, &outlet).await;
                    shared.got(wanted, taken);
                }
            }
            Err(error) => {
                shared.got(wanted, 0);
                drop(places);
                failures += 1;
                if !pause(&intake, &turn, failures, error).await {
                    return;
                }
            }
        }
    }
}

fn stop(intake: &Intake, why: Why) {
    tracing::debug!(?why, "receiving ended");
    intake.circuit.ended(why);
    intake.shutdown.advance(Phase::Draining);
}

/// Whether an empty answer is the end, and of what kind.
async fn ends(intake: &Intake, how: Receive, shared: &Shared) -> Option<Why> {
    if intake.leases.health().held > 0 {
        shared.touch();
        return None;
    }
    if how.idle_exit.is_some_and(|idle| shared.idle() >= idle) {
        return Some(Why::Idle);
    }
    if how.until_empty && !intake.filling.load(Acquire) {
        let counts = match intake.retry.attempt(Call::queue("counts"), intake.queue.counts()).await {
            Ok(counts) => counts,
            Err(error) => {
                // Without the right to count, the run would wait for ever.
                trip_if_fatal(intake, &error);
                return None;
            }
        };
        // What was kept for want of a dead-letter queue would come again for ever.
        let kept = intake.meters.kept.load(Relaxed);
        if counts.delayed == 0 && counts.in_flight <= kept {
            // Behind a kept message of a FIFO group the queue counts as visible what it hands to nobody. Seen twice: a
            // message that was sent after our receive and before the count is received the next time.
            let held_up = intake.meters.holding_up.load(Relaxed) > 0 && shared.unreachable.fetch_add(1, Relaxed) > 0;
            if counts.visible == 0 || held_up {
                return Some(Why::Empty);
            }
        }
    }
    None
}

/// Waits after a failed receive; false when there is no use in going on.
async fn pause(intake: &Intake, turn: &Turn, failures: u32, error: ServiceError) -> bool {
    if trip_if_fatal(intake, &error) || intake.circuit.queue_is_full(failures, &error) {
        return false;
    }
    tracing::warn!(failures, code = ?error.code, cause = ?error.message, "the queue could not be asked");
    intake.meters.retried("queue", "receive", error.kind.as_str());
    let throttled = error.kind == ServiceErrorKind::Throttled;
    let _throttled = throttled.then(|| {
        intake.meters.throttled("queue");
        intake.meters.stage(Stage::Receive).throttled.enter()
    });
    rest(intake, turn, patience(intake, failures)).await
}

/// How long to wait after so many failures in a row.
fn patience(intake: &Intake, failures: u32) -> Duration {
    Retry { cap: LONGEST_PAUSE, ..intake.retry }.delay(failures.min(16)).max(intake.retry.base)
}

/// Waits; false when there is no use in going on.
async fn rest(intake: &Intake, turn: &Turn, patience: Duration) -> bool {
    let _waiting = turn.waits(State::WaitUpstream);
    tokio::select! {
        biased;
        () = intake.shutdown.reached(Phase::Draining) => false,
        () = tokio::time::sleep(patience) => true,
    }
}

/// Stops the worker if the queue will answer all it is asked like that.
fn trip_if_fatal(intake: &Intake, error: &ServiceError) -> bool {
    let fatal = error.is_fatal() || error.kind == ServiceErrorKind::Missing;
    if fatal {
        intake.circuit.trip(&error.clone().at(Stage::Receive));
    }
    fatal
}
