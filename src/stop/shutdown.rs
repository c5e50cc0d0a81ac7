//! How far a stop has gone. One value, watched by `receive` (which stops receiving) and by each job's cut.
//!
//! `Running → Draining` on the first signal, `--max-jobs` or an idle exit: no more messages are received, and jobs
//! in flight are finished. `→ Cutting` when the drain has taken too long or a second signal came: jobs are cut
//! before they publish, and their messages given back.
//!
//! This is a phase and a notify instead of a `watch` channel, because a `watch` channel wakes its waiters in a
//! random order (it spreads them over eight lists), and every job waits here. The messages of jobs that are cut
//! together would be given back in a different order each time, and the same seed of a simulation would not give the
//! same run.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::runtime::failpoint;
use crate::runtime::sync::{Mutex, MutexGuard};

/// How far a stop has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Working.
    #[default]
    Running,
    /// Receiving has stopped; jobs in flight are finished.
    Draining,
    /// Jobs are cut and given back.
    Cutting,
}

/// Stops all parts of a run; also used to request a stop. Clones share one phase.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: Mutex<Phase>,
    moved: Notify,
}

impl Shutdown {
    /// Advances to `phase`; never goes back.
    pub fn advance(&self, phase: Phase) {
        let mut current = self.0.lock();
        *current = phase.max(*current);
        drop(current);
        self.0.moved.notify_waiters();
    }

    /// How far the stop has gone.
    pub fn phase(&self) -> Phase {
        *self.0.lock()
    }

    /// Resolves when the stop has reached `phase`.
    pub async fn reached(&self, phase: Phase) {
        loop {
            // Registered before looking, as in the budget.
            let moved = self.0.moved.notified();
            if self.phase() >= phase {
                return;
            }
            moved.await;
        }
    }

    /// Drains; after `patience`, cuts what is still running.
    pub async fn drain(&self, patience: Duration) {
        self.advance(Phase::Draining);
        failpoint::point("CP12");
        tokio::time::sleep(patience).await;
        self.advance(Phase::Cutting);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_for_a_stop_hear_of_it_in_the_order_in_which_they_came() {
        let (shutdown, heard) = (Shutdown::default(), Arc::new(Mutex::new(Vec::new())));
        let waiting: Vec<_> = (0..32)
            .map(|number| {
                let (shutdown, heard) = (shutdown.clone(), Arc::clone(&heard));
                tokio::spawn(async move {
                    shutdown.reached(Phase::Cutting).await;
                    heard.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        shutdown.advance(Phase::Draining);
        tokio::task::yield_now().await;
        assert!(heard.lock().unwrap().is_empty(), "a drain is not a cut");
        shutdown.advance(Phase::Cutting);
        shutdown.advance(Phase::Draining);
        assert_eq!(shutdown.phase(), Phase::Cutting, "never back");
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*heard.lock().unwrap(), (0..32).collect::<Vec<_>>());
    }
}
