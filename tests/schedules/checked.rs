//! A queue in memory that checks what is asked of it, and at which every call takes its time and may fail.
//!
//! It knows the keeper of the leases by its task: the one that asks how large a batch may be, at each look.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::services::ServiceFuture;
use batchpipe::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};
use batchpipe::testing::MemoryQueue;
use batchpipe_schedules::lease::Lease;
use batchpipe_schedules::runtime::task::Drawn;
use futures::FutureExt;
use shuttle::thread::{self, ThreadId};
use tokio::time::{Instant, sleep};

use super::clock::{LOOK, STEP, VISIBILITY};
use super::{draw, others};

/// The longest a call takes, in steps of others, beside its time.
const STEPS: usize = 2;

/// The keeper gives up a call after a quarter of the visibility timeout.
const GIVEN_UP: Duration = Duration::from_secs(2);

/// Small, so that a look has several batches.
const BATCH: usize = 2;

/// The queue.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) real: MemoryQueue,
    /// The longest a message may be held.
    longest: Duration,
    /// One call of so many fails or is slow.
    fails: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keeper: Option<ThreadId>,
    /// When a call of the keeper's was last bad.
    bad: Option<Instant>,
    messages: BTreeMap<String, Known>,
}

/// What is known of a message.
#[derive(Debug, Default)]
struct Known {
    received: Option<Instant>,
    /// Until when the queue hides it.
    until: Option<Instant>,
    lease: Weak<Lease>,
    /// The delivery whose receipt the lease has.
    granted: usize,
    /// Its settling is about to begin, or has begun.
    ending: bool,
    /// Its settling has begun.
    settling: bool,
    /// It was taken in time and from nobody, so its visibility may not end.
    safe: bool,
}

/// The delivery a receipt is of.
fn delivery(receipt: &Receipt) -> (String, usize) {
    let (id, number) = receipt.0.split_once('#').expect("a receipt of the queue in memory");
    (format!("jobs-{id}"), number.parse().expect("a number"))
}

fn failure() -> ServiceError {
    ServiceError::new(ServiceErrorKind::Unavailable, "503", "the model says so")
}

impl Checked {
    pub(super) fn new(longest: Duration, fails: usize) -> Arc<Self> {
        Arc::new(Self { real: MemoryQueue::new("jobs"), longest, fails, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no check failed")
    }

    /// No message that is held and safe is visible to others at `moment`.
    pub(super) fn nothing_held_ends_by(&self, moment: Instant) {
        for (id, known) in &self.state().messages {
            let held = known.lease.upgrade().is_some_and(|lease| !lease.is_lost());
            if held && known.safe && !known.ending {
                assert!(known.until > Some(moment), "the visibility of {id} ends though it is held: {known:?}");
            }
        }
    }

    /// The same, for the clock to ask.
    pub(super) fn held_until(self: &Arc<Self>) -> impl Fn(Instant) + Send + use<> {
        let queue = Arc::clone(self);
        move |moment| queue.nothing_held_ends_by(moment)
    }

    /// A lease was granted on a message. It is safe from now on if it was so in time.
    pub(super) fn granted(&self, message: &Message, lease: &Arc<Lease>) {
        let mut state = self.state();
        let known = state.messages.get_mut(&message.id).expect("a message that was received");
        known.lease = Arc::downgrade(lease);
        (known.ending, known.settling) = (false, false);
        known.granted = delivery(&message.receipt).1;
        known.safe = known.until >= Some(Instant::now() + VISIBILITY / 2);
    }

    /// The lease that there is has a newer receipt. It is safe once it has been extended by it.
    pub(super) fn replaced(&self, message: &Message) {
        let mut state = self.state();
        let known = state.messages.get_mut(&message.id).expect("a message that was received");
        known.granted = delivery(&message.receipt).1;
    }

    /// A message is about to be settled: it need not be extended any more.
    pub(super) fn ending(&self, id: &str) {
        self.state().messages.get_mut(id).expect("a message that was received").ending = true;
    }

    /// No extension of a message may be sent from now on.
    pub(super) fn settling(&self, id: &str) {
        let mut state = self.state();
        let known = state.messages.get_mut(id).expect("a message that was received");
        known.settling = true;
    }

    /// Until when the queue hides a message, if nobody has meddled with it.
    pub(super) fn hidden_until(&self, id: &str) -> Option<Instant> {
        self.state().messages.get(id).and_then(|known| known.until)
    }

    /// Somebody else has the messages now, or the queue has forgotten that we do.
    pub(super) fn meddle(&self, steal: bool) {
        self.nothing_is_safe();
        let _count = if steal { self.real.steal(VISIBILITY) } else { self.real.forget() };
    }

    /// The worker stood still: nothing was extended in time.
    pub(super) fn nothing_is_safe(&self) {
        self.state().messages.values_mut().for_each(|known| known.safe = false);
    }

    /// Checks that the keeper may extend this now.
    fn check_extension(&self, receipt: &Receipt) {
        let (id, number) = delivery(receipt);
        let state = self.state();
        let known = state.messages.get(&id).expect("a message that was received");
        assert!(!known.settling, "{id} is extended while it is being settled: {known:?}");
        assert!(number >= known.granted, "{id} is extended by an old receipt: {known:?}");
    }

    /// Takes the time of a call.
    async fn wait(&self, time: Duration) {
        others(STEPS).await;
        if !time.is_zero() {
            sleep(time).await;
        }
    }

    fn is_keeper(&self) -> bool {
        self.state().keeper == Some(thread::current().id())
    }

    /// What goes wrong with a call: of the keeper's one in a visibility timeout at most, since it has time for that.
    fn trouble(&self, keeper: bool) -> usize {
        let now = Instant::now();
        let mut state = self.state();
        let spared = keeper && state.bad.is_some_and(|bad| now < bad + VISIBILITY);
        if self.fails == 0 || spared || draw(0..self.fails) > 0 {
            return 0;
        }
        if keeper {
            state.bad = Some(now);
        }
        draw(1..if keeper { 7 } else { 5 })
    }

    async fn extended(&self, receipts: &[Receipt], timeout: Duration) -> Result<Vec<Outcome>, ServiceError> {
        let keeper = self.is_keeper();
        if keeper {
            receipts.iter().for_each(|receipt| self.check_extension(receipt));
        }
        let trouble = self.trouble(keeper);
        if !keeper && trouble == 1 && draw(0..2) == 0 {
            // Whoever asks gives up some time.
            std::future::pending::<()>().await;
        }
        // Too late to be heard of: before it has arrived, or after.
        let late = |when| if trouble == when { GIVEN_UP + LOOK } else { STEP * draw(0..2) as u32 };
        self.wait(late(1)).await;
        // The keeper panics while it extends, before the queue has its call or after.
        let dies = |when| {
            if trouble == when {
                resume_unwind(Box::new(Drawn))
            }
        };
        dies(5);
        if trouble == 2 {
            return Err(failure());
        }
        let outcomes = self.real.extend(receipts, timeout).await?;
        for (receipt, outcome) in receipts.iter().zip(&outcomes) {
            let until = Instant::now() + timeout;
            let (id, number) = delivery(receipt);
            let mut state = self.state();
            let known = state.messages.get_mut(&id).expect("a message that was received");
            match outcome {
                Ok(()) => {
                    let longest = known.received.expect("a time") + self.longest;
                    assert!(until <= longest, "{id} was extended beyond what a queue allows");
                    known.until = Some(until);
                    known.safe |= keeper && number == known.granted;
                }
                Err(_) => known.safe = false,
            }
        }
        self.wait(late(3)).await;
        dies(6);
        if trouble == 4 { Err(failure()) } else { Ok(outcomes) }
    }
}

impl JobQueue for Checked {
    fn name(&self) -> &str {
        self.real.name()
    }

    /// Only the keeper asks, at each look.
    fn max_batch(&self) -> usize {
        let mut state = self.state();
        state.keeper = Some(thread::current().id());
        BATCH
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.real.send(messages)
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        async move {
            self.wait(STEP * draw(0..2) as u32).await;
            let messages = self.real.receive(max, wait, visibility).await?;
            let now = Instant::now();
            for message in &messages {
                let mut state = self.state();
                let known = state.messages.entry(message.id.clone()).or_default();
                (known.received, known.until, known.safe) = (Some(now), Some(now + visibility), false);
            }
            self.wait(STEP * draw(0..2) as u32).await;
            Ok(messages)
        }
        .boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        self.extended(receipts, timeout).boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            self.wait(STEP * draw(0..4) as u32).await;
            match self.trouble(false) {
                0 => self.real.delete(receipts).await,
                _ => Err(failure()),
            }
        }
        .boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        self.real.counts()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        self.real.policy()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        self.real.dead_letters()
    }
}
