//! Messages asked for ahead of the slots they will need, so that the next is here when a job ends.
//!
//! A receive takes a round trip. A slot reserved through it is empty meanwhile: where receive, read and write take 20
//! ms each, a third of the slots. So a receive may also ask for messages that hold nothing but their lease when they
//! arrive, and begin, in order, as slots and room come free. What waits holds nothing that a job needs, so it can block
//! none.
//!
//! How many: [`LEADS`] times what begins in a round trip, both measured. So a message waits for about a round trip,
//! whatever the number of slots; jobs that take long need none ahead, and get none; and a worker short of memory, which
//! begins less, asks for less. Never more than there are slots. A message that has waited for a whole visibility
//! timeout, behind jobs that have become slow, is given back untried, since others may have time for it. So is all that
//! waits when the worker is told to stop.
//!
//! Where room is short, a message that is here has one thing more for it: it may tell the size of its input. A small
//! one begins in the room that needs, where one that is still to come must find that of an input of unknown size.
//!
//! Giving back counts as a receive. Where the first receive is the last, nothing is asked for ahead.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, futures::Notified, mpsc};
use tokio::time::Instant;

use super::Intake;
use super::dispatch::{Delivery, give_back};
use super::pool::Shared;
use super::reserve::GATHER;
use crate::capacity::budget::Room;
use crate::capacity::limit::Permit;
use crate::job::message::{self, Record};
use crate::lease::Lease;
use crate::record::Meters;
use crate::services::queue::Message;
use crate::stop::shutdown::Phase;

/// One lot waits while the next is on its way. With one alone a round trip that takes longer than the last ones would
/// leave slots empty, and a rate that is held down by what is asked for would never rise.
const LEADS: f64 = 2.0;

/// How long jobs are counted to know how many begin in a second: a few of the quick ones, on one slot.
const WINDOW: Duration = Duration::from_millis(100);

/// The weight of the newest answer in the usual round trip: S3 and SQS vary by half from call to call.
const NEWEST: f64 = 0.125;

/// No queue is farther away than that. What took longer waited for messages, and slots are free then.
const LONGEST_TRIP: Duration = Duration::from_millis(200);

/// What bounds the messages that have no slot yet.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Whether there may be any.
    allowed: bool,
    state: Mutex<State>,
    /// One of them has begun, or has gone, or has arrived.
    changed: Notify,
    /// Where they are counted.
    meters: Arc<Meters>,
}

#[derive(Debug)]
struct State {
    /// Asked for, or here.
    out: usize,
    /// Here.
    waiting: usize,
    /// Jobs that have begun since an instant, and in a second before it.
    begun: u32,
    since: Instant,
    rate: f64,
    /// The usual round trip of a receive, in seconds.
    trip: f64,
}

impl State {
    /// Brings the rate up to date.
    fn look(&mut self) {
        let passed = self.since.elapsed();
        if passed >= WINDOW {
            self.rate = f64::from(self.begun) / passed.as_secs_f64();
            (self.begun, self.since) = (0, Instant::now());
        }
    }
}

impl Ahead {
    pub(super) fn new(allowed: bool, meters: Arc<Meters>) -> Arc<Self> {
        let state = State { out: 0, waiting: 0, begun: 0, since: Instant::now(), rate: 0.0, trip: 0.0 };
        Arc::new(Self { allowed, state: Mutex::new(state), changed: Notify::new(), meters })
    }

    /// The right to ask for one message more than there are places for.
    pub(super) fn ticket(self: &Arc<Self>, slots: usize) -> Option<Ticket> {
        let mut state = self.lock();
        state.look();
        let most = (state.rate * (LEADS * state.trip + GATHER.as_secs_f64())).round() as usize;
        if !self.allowed || state.out >= most.min(slots) {
            return None;
        }
        state.out += 1;
        Some(Ticket { ahead: Arc::clone(self), here: false })
    }

    /// Whether no message waits for a place, so that a receiver may.
    pub(super) fn is_clear(&self) -> bool {
        self.lock().waiting == 0
    }

    /// Resolves when more may be asked for, or a message waits.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Notes that a receive has brought something.
    pub(super) fn answered(&self, took: Duration) {
        let took = took.min(LONGEST_TRIP).as_secs_f64();
        let mut state = self.lock();
        state.trip = if state.trip == 0.0 { took } else { state.trip + NEWEST * (took - state.trip) };
    }

    /// Notes that a job begins.
    pub(super) fn begun(&self) {
        let mut state = self.lock();
        state.look();
        state.begun += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One message that has no place yet: asked for, or here. Dropping it lets another be asked for.
#[derive(Debug)]
pub(super) struct Ticket {
    ahead: Arc<Ahead>,
    here: bool,
}

impl Ticket {
    /// The message is here.
    pub(super) fn arrived(mut self) -> Self {
        self.ahead.lock().waiting += 1;
        self.ahead.meters.ahead.fetch_add(1, Relaxed);
        self.here = true;
        self.ahead.changed.notify_waiters();
        self
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.ahead.lock();
        state.out -= 1;
        state.waiting -= usize::from(self.here);
        drop(state);
        self.ahead.meters.ahead.fetch_sub(self.here.into(), Relaxed);
        self.ahead.changed.notify_waiters();
    }
}

/// A message that waits for its place, and those of its group behind it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Message,
    pub(super) lease: Lease,
    pub(super) behind: Vec<(Message, Lease)>,
    pub(super) ticket: Ticket,
    pub(super) since: Instant,
}

impl Waiting {
    /// A slot and memory: the minimum of any job, or where that is not free, of this one.
    async fn place(&self, intake: &Intake) -> (Permit, Room) {
        let slot = intake.slots.acquire().await;
        let room = match intake.budget.try_reserve() {
            Some(room) => room,
            None => match self.size() {
                size @ Some(_) => intake.budget.admit(size).await,
                None => intake.budget.reserve().await,
            },
        };
        (slot, room)
    }

    /// The size of the input, if the message tells it and the room is for no other. What is larger than told fails as
    /// it is read.
    fn size(&self) -> Option<u64> {
        if !self.behind.is_empty() {
            return None;
        }
        match message::parse(&self.message.body).as_deref() {
            Ok([Record::Job(job)]) => job.size,
            _ => None,
        }
    }

    fn messages(self) -> Vec<(Message, Lease)> {
        [(self.message, self.lease)].into_iter().chain(self.behind).collect()
    }
}

/// Lets what waits begin, in order, until no more can come.
pub(super) async fn begin(
    intake: Intake,
    shared: Arc<Shared>,
    mut line: mpsc::UnboundedReceiver<Waiting>,
    output: mpsc::Sender<Delivery>,
) {
    while let Some(next) = line.recv().await {
        let slow = async {
            tokio::time::sleep_until(next.since + intake.leases.visibility()).await;
            // A run that has all that it wanted wants this one, too.
            if intake.shutdown.phase() > Phase::Running {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stopped(&intake) => {
                let mut all = next.messages();
                while let Ok(more) = line.try_recv() {
                    all.extend(more.messages());
                }
                release(&intake, all).await;
            }
            () = slow => {
                let messages = next.messages();
                shared.gone(messages.len());
                release(&intake, messages).await;
            }
            (slot, room) = next.place(&intake) => {
                let Waiting { message, lease, behind, ticket, .. } = next;
                let delivery = Delivery { message, lease, room, slot, behind };
                delivery.begin(&intake, &shared);
                drop(ticket);
                if output.send(delivery).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Resolves when what has not begun is not to begin. A run that ends by itself still wants it.
async fn stopped(intake: &Intake) {
    intake.shutdown.reached(Phase::Draining).await;
    if intake.circuit.why().is_some() {
        intake.shutdown.reached(Phase::Cutting).await;
    }
}

/// Gives back messages that have not begun.
async fn release(intake: &Intake, messages: Vec<(Message, Lease)>) {
    for batch in messages.chunks(intake.queue.max_batch()) {
        let receipts = batch.iter().filter_map(|(_, lease)| lease.release()).collect();
        batch.iter().for_each(|(message, _)| intake.meters.received(message.sent, message.attempt, 0));
        give_back(intake, receipts).await;
    }
}
