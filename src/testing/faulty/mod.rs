//! Queues and stores that fail, by script or at random, in every way a service can.
//!
//! A call can happen or not, and its success can be reported or not: a lost answer is a call that happened and was
//! reported as failed, and a delete by an old receipt may be reported as done without having happened. [`Faults`]
//! decides for each call; [`Faulty`] and [`FaultyQueue`] wrap any backend and obey. One seed gives one sequence of
//! decisions; which calls they affect depends on the order of the calls.

mod queue;
mod store;

pub use queue::FaultyQueue;
pub use store::Faulty;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Cores;
use crate::error::{ServiceError, ServiceErrorKind};

/// The calls that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum On {
    /// Reading a range.
    Get,
    /// Writing an object whole.
    Put,
    /// Beginning an upload.
    Begin,
    /// Writing a part.
    Part,
    /// Completing an upload.
    Complete,
    /// Aborting an upload, or discarding an unfinished one.
    Abort,
    /// Asking about an object.
    Head,
    /// Sending messages.
    Send,
    /// Receiving messages.
    Receive,
    /// Extending or giving back messages.
    Extend,
    /// Deleting messages.
    Delete,
    /// Counting messages.
    Counts,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen, and fails with this error.
    Fail(ServiceErrorKind),
    /// It happens, and its response is lost.
    Lost,
    /// It does not happen, but is reported as done. Only for deletes; for other calls, a failure.
    Pretended,
    /// Every other entry of the batch fails, beginning with the first. Only for sends, extends and deletes; for other
    /// calls, a failure.
    Partial,
    /// The body breaks at this byte of the object. Waits for a read of that byte.
    Break(u64),
    /// The body ends at this byte as if it were complete. Waits for a read of that byte.
    End(u64),
    /// The body falls silent at this byte. Waits for a read of that byte.
    Stall(u64),
    /// The body arrives with a wrong byte and the store's checksum detects it: the body ends in an error of kind
    /// `Corrupt`.
    Corrupt,
    /// The body arrives with a wrong byte and breaks at this position, before the store's checksum could detect it.
    /// Waits for a read of this position.
    Garble(u64),
    /// The condition is ignored: the current version is read, whatever version was requested.
    Unpinned,
    /// The messages' bodies do not match their checksums.
    Damaged,
    /// It happens later.
    Delay(Duration),
    /// It happens at once, and the response comes later.
    Late(Duration),
    /// It does not happen, and there is never a response.
    Silence,
    /// The backend panics, which no backend should do.
    Panic,
}

/// Decides which calls fail. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Decisions>>);

#[derive(Debug, Default)]
struct Decisions {
    script: Vec<(On, Fault, u32)>,
    dice: Option<(fastrand::Rng, f64)>,
    paces: HashMap<On, Pace>,
    costs: HashMap<On, (Cores, Duration)>,
    counts: HashMap<On, u64>,
}

/// The pace at which a service accepts one kind of call.
#[derive(Debug)]
struct Pace {
    latency: Duration,
    every: Duration,
    /// When the next call may come. Calls for a tenth of a second may come at once.
    next: Instant,
}

impl Faults {
    /// No faults, until there is a script.
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults for a share of all calls (0.08 is 8 %), chosen by `seed`.
    pub fn dice(seed: u64, part: f64) -> Self {
        let faults = Self::default();
        faults.lock().dice = Some((fastrand::Rng::with_seed(seed), part));
        faults
    }

    /// The next `times` calls of this kind get this fault; scripts for the same kind follow each other.
    pub fn next(&self, on: On, fault: Fault, times: u32) {
        self.lock().script.push((on, fault, times));
    }

    /// Every call of this kind gets this fault, until [`clear`](Self::clear).
    pub fn always(&self, on: On, fault: Fault) {
        self.next(on, fault, u32::MAX);
    }

    /// Calls of this kind are answered after `latency`, and calls above `per_second` are throttled, unless a script
    /// says otherwise.
    pub fn pace(&self, on: On, latency: Duration, per_second: u32) {
        let every = Duration::from_secs(1) / per_second.max(1);
        self.lock().paces.insert(on, Pace { latency, every, next: Instant::now() });
    }

    /// Each call of this kind first takes this much CPU time of its caller.
    pub fn cost(&self, on: On, cores: &Cores, time: Duration) {
        self.lock().costs.insert(on, (cores.clone(), time));
    }

    /// Spends the CPU time of a call of this kind.
    async fn spend(&self, on: On) {
        let cost = self.lock().costs.get(&on).cloned();
        if let Some((cores, time)) = cost {
            cores.compute(time).await;
        }
    }

    /// From now on nothing fails.
    pub fn clear(&self) {
        let mut decisions = self.lock();
        decisions.script.clear();
        decisions.dice = None;
        decisions.paces.clear();
    }

    /// Removes the scripts for this kind; random faults continue.
    pub fn cease(&self, on: On) {
        self.lock().script.retain(|(kind, ..)| *kind != on);
    }

    /// The number of calls of a kind so far.
    pub fn calls(&self, on: On) -> u64 {
        self.lock().counts.get(&on).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Decisions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, on: On, range: Option<&Range<u64>>) -> Option<Fault> {
        let mut decisions = self.lock();
        *decisions.counts.entry(on).or_default() += 1;
        let matches = |(kind, fault, _): &(On, Fault, u32)| {
            let here = match fault {
                Fault::Break(at) | Fault::End(at) | Fault::Stall(at) | Fault::Garble(at) => {
                    range.is_some_and(|range| range.contains(at))
                }
                _ => true,
            };
            *kind == on && here
        };
        if let Some(found) = decisions.script.iter().position(matches) {
            let (_, fault, times) = &mut decisions.script[found];
            let fault = *fault;
            *times = if *times == u32::MAX { u32::MAX } else { *times - 1 };
            if *times == 0 {
                decisions.script.remove(found);
            }
            return Some(fault);
        }
        if let Some(pace) = decisions.paces.get_mut(&on) {
            let now = Instant::now();
            if pace.next > now + Duration::from_millis(100) {
                return Some(Fault::Fail(ServiceErrorKind::Throttled));
            }
            pace.next = pace.next.max(now) + pace.every;
            return Some(Fault::Late(pace.latency));
        }
        let (dice, part) = decisions.dice.as_mut()?;
        if dice.f64() >= *part {
            return None;
        }
        let byte =
            |dice: &mut fastrand::Rng| range.map_or(0, |range| dice.u64(range.start..range.end.max(range.start + 1)));
        let kind = if dice.bool() { ServiceErrorKind::Throttled } else { ServiceErrorKind::Unavailable };
        Some(match (on, dice.u8(..4)) {
            (On::Get, 0) => Fault::Corrupt,
            (On::Get, 3) => Fault::Garble(byte(dice)),
            (On::Get, 1) => Fault::Break(byte(dice)),
            (On::Get, 2) => Fault::End(byte(dice)),
            (On::Delete, 0) => Fault::Pretended,
            (On::Send | On::Extend | On::Delete, 2) => Fault::Partial,
            (On::Receive, 0) => Fault::Damaged,
            (_, 0 | 1) => Fault::Lost,
            _ => Fault::Fail(kind),
        })
    }

    /// Makes a call or not, as the faults decide.
    async fn call<T>(&self, on: On, call: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
        self.spend(on).await;
        match self.decide(on, None) {
            None => call.await,
            Some(fault) => obey(fault, call).await,
        }
    }
}

async fn obey<T>(fault: Fault, call: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
    match fault {
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            call.await
        }
        Fault::Late(delay) => {
            let answer = call.await;
            tokio::time::sleep(delay).await;
            answer
        }
        Fault::Silence => std::future::pending().await,
        Fault::Panic => panic!("a fault for a test"),
        Fault::Lost => {
            call.await?;
            Err(injected(ServiceErrorKind::Unavailable))
        }
        Fault::Fail(kind) => Err(injected(kind)),
        Fault::Pretended
        | Fault::Partial
        | Fault::Garble(_)
        | Fault::Unpinned
        | Fault::Break(_)
        | Fault::End(_)
        | Fault::Stall(_)
        | Fault::Corrupt
        | Fault::Damaged => Err(injected(ServiceErrorKind::Unavailable)),
    }
}

fn injected(kind: ServiceErrorKind) -> ServiceError {
    ServiceError::new(kind, "Injected", format!("a fault for a test: {kind:?}"))
}
