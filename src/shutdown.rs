//! How far a stop has gone. One value, watched by `receive` (which stops asking) and by each job's cut.
//!
//! `Running → Draining` on the first signal, `--max-jobs` or an idle exit: nothing more is received, what is in
//! flight is finished. `→ Cutting` when the drain has taken too long or a second signal came: jobs are cut before
//! they publish, and their messages given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::crash;

/// How far a stop has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Working.
    Running,
    /// Receiving has stopped; jobs are finished.
    Draining,
    /// Jobs are cut and given back.
    Cutting,
}

/// Tells everybody to stop; and tells everybody's wish to stop. Clones share one phase.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<Phase>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::channel(Phase::Running).0))
    }
}

impl Shutdown {
    /// Goes on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let forward = *current < phase;
            *current = (*current).max(phase);
            forward
        });
    }

    /// How far the stop has gone.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Resolves when the stop has gone as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut watching = self.0.subscribe();
        // The sender lives in self, so this can only end well.
        watching.wait_for(|current| *current >= phase).await.ok();
    }

    /// Drains; cuts what is still running after `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.advance(Phase::Draining);
        crash::point("CP12");
        tokio::time::sleep(patience).await;
        self.advance(Phase::Cutting);
    }
}
