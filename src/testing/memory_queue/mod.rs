//! A queue in memory that passes the conformance suite.
//!
//! As strict as SQS may be: only the newest receipt can extend or delete, and a message that is visible again can't be
//! extended. A queue whose name ends in `.fifo` is a FIFO queue: every message has a group; a receive may return
//! several messages of a group, in order, and no more of the group until those are deleted or visible again. Cheap, so
//! that benchmarks measure the pipeline and not the queue: the cost of a receive depends only on what it returns, and
//! there is a timer only while a long poll waits.

mod hasty;
mod state;
mod test_access;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use hasty::Hasty;
use state::{Entry, State, lost, refused};

use super::log::{Log, Operation};
use crate::services::ServiceFuture;
use crate::services::queue::{Counts, JobQueue, MAX_MESSAGE, Message, Outcome, Outgoing, Policy, Receipt};
use crate::stages::acknowledge::dead_letter;

/// A queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    name: String,
    dead_letters: Option<Arc<Self>>,
    log: Option<Log>,
    state: Mutex<State>,
    /// Something became visible.
    arrived: Notify,
}

impl MemoryQueue {
    /// An empty queue without dead letters.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), dead_letters: None, log: None, state: Mutex::default(), arrived: Notify::new() }
    }

    /// The same queue with a place for dead letters.
    #[must_use]
    pub fn with_dead_letters(self, dead_letters: Arc<Self>) -> Self {
        Self { dead_letters: Some(dead_letters), ..self }
    }

    /// The same queue, which logs its operations.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }

    /// This queue for the code that settles messages: a message that is given back is delivered again after at most
    /// `longest`, so that a test need not wait for the back-off. The log has the requested delay. Receives, and
    /// extensions through the queue itself, use the requested times.
    pub fn with_longest_back_off(self: &Arc<Self>, longest: Duration) -> Arc<dyn JobQueue> {
        Arc::new(Hasty { queue: Arc::clone(self), longest })
    }

    fn hide(&self, receipts: &[Receipt], asked: Duration, until: Instant) -> Vec<Outcome> {
        let now = Instant::now();
        let mut state = self.lock();
        state.wake(now);
        let (mut outcomes, mut ids) = (Vec::new(), Vec::new());
        for receipt in receipts {
            let held = state.held(receipt).and_then(|(id, entry)| match entry {
                Some(entry) if entry.hidden.is_some() => Ok(id),
                Some(_) => Err(lost("the message is visible again")),
                None => Err(lost("the message is deleted")),
            });
            outcomes.push(held.map(|id| {
                let State { entries, ready, hidden, .. } = &mut *state;
                if let Some(entry) = entries.get_mut(&id) {
                    entry.hidden = (until > now).then_some(until);
                }
                if until > now {
                    hidden.push(Reverse((until, id)));
                } else {
                    ready.push_back(id);
                }
                ids.push(self.id(id));
            }));
        }
        self.note(|| Operation::Extend { ids, timeout: asked });
        drop(state);
        if until <= now {
            self.arrived.notify_waiters();
        }
        outcomes
    }

    /// Sends one message; returns its id.
    pub fn push(&self, body: impl Into<String>) -> String {
        self.push_all([Outgoing { body: body.into(), ..Outgoing::default() }]).remove(0)
    }

    /// Sends one message of a group; returns its id.
    pub fn push_in(&self, group: &str, body: impl Into<String>) -> String {
        self.push_all([Outgoing { body: body.into(), group: Some(group.into()), ..Outgoing::default() }]).remove(0)
    }

    fn push_all(&self, messages: impl IntoIterator<Item = Outgoing>) -> Vec<String> {
        let mut state = self.lock();
        let (mut ids, mut letters) = (Vec::new(), Vec::new());
        for outgoing in messages {
            let id = state.next;
            state.next += 1;
            if let Some(group) = outgoing.group.as_ref().filter(|_| self.is_fifo()) {
                state.groups.entry(group.clone()).or_default().insert(id);
            }
            letters.extend(outgoing.attributes.get(dead_letter::MESSAGE_ID).cloned());
            state.entries.insert(id, Entry { outgoing, sent: SystemTime::now(), delivered: 0, hidden: None });
            state.ready.push_back(id);
            ids.push(self.id(id));
        }
        self.note(|| Operation::Send { to: self.name.clone(), ids: ids.clone(), letters });
        drop(state);
        self.arrived.notify_waiters();
        ids
    }

    fn id(&self, id: u64) -> String {
        format!("{}-{id}", self.name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, operation: impl FnOnce() -> Operation) {
        if let Some(log) = &self.log {
            log.note(operation());
        }
    }

    /// The messages visible now, or if there are none, when to check again.
    fn take(&self, max: usize, visibility: Duration) -> Result<Vec<Message>, Option<Instant>> {
        let now = Instant::now();
        let until = now + visibility;
        let mut state = self.lock();
        state.wake(now);
        let (mut messages, mut taken, mut locked) = (Vec::new(), BTreeSet::new(), Vec::new());
        while messages.len() < max {
            let Some(id) = state.ready.pop_front() else { break };
            // Deleted, or already taken through another entry of the list.
            if state.entries.get(&id).is_none_or(|entry| entry.hidden.is_some()) {
                continue;
            }
            let Some(next) = state.next_of_group(id, &taken) else {
                locked.push(id);
                continue;
            };
            if next != id {
                state.ready.push_front(id);
            }
            let id = next;
            let Some(entry) = state.entries.get_mut(&id) else { continue };
            taken.insert(id);
            entry.delivered += 1;
            entry.hidden = Some(until);
            messages.push(Message {
                id: self.id(id),
                body: entry.outgoing.body.clone(),
                receipt: Receipt(format!("{id}#{}", entry.delivered)),
                attempt: entry.delivered,
                sent: Some(entry.sent),
                group: entry.outgoing.group.clone().filter(|_| self.is_fifo()),
                intact: true,
                attributes: entry.outgoing.attributes.clone(),
            });
            state.hidden.push(Reverse((until, id)));
        }
        locked.into_iter().rev().for_each(|id| state.ready.push_front(id));
        if messages.is_empty() && max > 0 {
            return Err(state.hidden.peek().map(|Reverse((until, _))| *until));
        }
        self.note(|| Operation::Receive {
            asked: max,
            ids: messages.iter().map(|message| message.id.clone()).collect(),
        });
        Ok(messages)
    }
}

impl JobQueue for MemoryQueue {
    fn name(&self) -> &str {
        &self.name
    }

    /// Ten, as on SQS.
    fn max_batch(&self) -> usize {
        10
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            let fifo = self.is_fifo();
            let outcomes: Vec<Outcome> =
                messages.iter().map(|message| refused(message, fifo).map_or(Ok(()), Err)).collect();
            let taken = messages.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            let new = taken.filter(|(message, _)| !self.lock().repeats(message));
            let new: Vec<Outgoing> = new.map(|(message, _)| message.clone()).collect();
            self.push_all(new);
            Ok(outcomes)
        }
        .boxed()
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        async move {
            let deadline = Instant::now() + wait;
            loop {
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                // Registered before the check, so that a message that arrives in between wakes us.
                arrived.as_mut().enable();
                let next = match self.take(max, visibility) {
                    Ok(messages) => return Ok(messages),
                    Err(next) => next.map_or(deadline, |next| next.min(deadline)),
                };
                if deadline <= Instant::now() {
                    self.note(|| Operation::Receive { asked: max, ids: Vec::new() });
                    return Ok(Vec::new());
                }
                tokio::select! {
                    biased;
                    () = arrived => {}
                    () = tokio::time::sleep_until(next) => {}
                }
            }
        }
        .boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        async move { Ok(self.hide(receipts, timeout, Instant::now() + timeout)) }.boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            let mut state = self.lock();
            let (mut outcomes, mut ids, mut freed) = (Vec::new(), Vec::new(), false);
            for receipt in receipts {
                let held = state.held(receipt).map(|(id, _)| id);
                outcomes.push(held.map(|id| {
                    if let Some(entry) = state.entries.remove(&id) {
                        ids.push(self.id(id));
                        let State { groups, .. } = &mut *state;
                        if let Some(group) = entry.outgoing.group.and_then(|group| groups.get_mut(&group)) {
                            group.remove(&id);
                            freed |= !group.is_empty();
                        }
                    }
                }));
            }
            self.note(|| Operation::Delete { ids });
            drop(state);
            if freed {
                self.arrived.notify_waiters();
            }
            Ok(outcomes)
        }
        .boxed()
    }

    /// A message given back with a delay counts as in flight, as on SQS.
    fn counts(&self) -> ServiceFuture<'_, Counts> {
        async move {
            let mut state = self.lock();
            state.wake(Instant::now());
            let in_flight = state.entries.values().filter(|entry| entry.hidden.is_some()).count() as u64;
            Ok(Counts { visible: state.entries.len() as u64 - in_flight, in_flight, delayed: 0 })
        }
        .boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        // The defaults of a new SQS queue, with today's size limit.
        let (visibility, fifo) = (Duration::from_secs(30), self.is_fifo());
        let policy = Policy { visibility, fifo, max_body: MAX_MESSAGE, ..Policy::default() };
        async move { Ok(policy) }.boxed()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        let dead_letters = self.dead_letters.clone().map(|queue| queue as Arc<dyn JobQueue>);
        async move { Ok(dead_letters) }.boxed()
    }
}
