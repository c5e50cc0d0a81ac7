//! Shows what the pipeline does: a live panel, a line each ten seconds, events for scripts, and a status page.
//!
//! All of them read one [`Snapshot`], computed from the meters when it is shown. No stage calls anything here, so a
//! slow terminal or client delays only itself.
//!
//! Bounded: the panel is drawn at most 4 times a second, lines and events come every 10 seconds, the listener
//! keeps at most [`listener::CONNECTIONS`] connections.

use crate::runtime::task::Task;

mod bottleneck;
#[cfg(feature = "cli")]
pub mod events;
pub mod export;
#[cfg(feature = "cli")]
mod host;
#[cfg(feature = "cli")]
pub mod lines;
#[cfg(feature = "cli")]
pub mod listener;
mod load;
#[cfg(feature = "cli")]
pub mod panel;
#[cfg(feature = "cli")]
mod port;
#[cfg(feature = "cli")]
mod prometheus;
mod sample;
mod sampler;
#[cfg(feature = "cli")]
mod screen;
#[cfg(feature = "cli")]
mod show;
mod snapshot;
mod sources;
#[cfg(feature = "cli")]
pub mod words;

pub use crate::capacity::tuner::Concurrency;
pub use bottleneck::bottleneck;
pub use load::{CpuLoad, Load, StageLoad};
pub use sampler::Sampler;
#[cfg(feature = "cli")]
pub use screen::Screen;
#[cfg(feature = "cli")]
pub use show::{Mode, colour, show, summary};
pub use snapshot::{Bottleneck, Errors, Ledger, Progress, QueueNow, Snapshot, StageNow};
pub use sources::{About, Leases, Limits, Memory, QueueCounts, Sources, Totals, ask_queue};

/// Something that goes on until it is dropped.
#[derive(Debug)]
pub struct Running(pub(crate) Task<()>);

impl Running {
    /// Waits until the task has ended by itself.
    pub async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::debug!(target: "batchpipe::status", error = ?error, "a display ended early");
        }
    }
}
