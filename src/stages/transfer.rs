//! How objects move, for the stages that read and write them.

use std::sync::Arc;

use crate::capacity::limit::Lane;
use crate::services::hedge::Hedge;
use crate::services::retry::Retry;

/// How objects move.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Bytes per ranged read and per uploaded part.
    pub part: u64,
    /// Reads, and parts, in flight per job, at the most.
    pub parallel: usize,
    /// How patient a transfer is.
    pub retry: Retry,
    /// What bounds the reads of all jobs together.
    pub reads: Lane,
    /// What bounds the writes of all jobs together.
    pub writes: Lane,
    /// What has a late read asked for again.
    pub hedge: Arc<Hedge>,
}

impl Transfer {
    /// Transfers that nothing bounds but a job's own `part` and `parallel`.
    pub fn new(part: u64, parallel: usize, retry: Retry) -> Self {
        Self { part, parallel, retry, reads: Lane::default(), writes: Lane::default(), hedge: Arc::default() }
    }
}
