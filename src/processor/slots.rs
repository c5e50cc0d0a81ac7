//! Hands out processors: a job waits for a processor and for the memory to work there without waiting for more.
//!
//! A job that has a processor never waits for memory, and a job that waits for memory has no processor (`budget`),
//! so they can't wait for each other. This is a file of its own because `tests/schedules` explores the orders of its
//! tasks.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::capacity::budget::{Lent, Room};
use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::link::{Kept, Outlet};
use crate::record::{Present, State, Turn};

/// The `--processors`, as one job sees them.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    room: Option<Room>,
}

/// A processor, and the memory to work there without waiting for more. The processor is released with this; the memory
/// is released when the output is used up, too.
#[derive(Debug)]
pub(crate) struct Slot {
    _room: Option<Arc<Lent>>,
    _taken: Present,
    _place: OwnedSemaphorePermit,
}

impl Slots {
    /// The processors for a job with this room.
    pub fn of(free: &Arc<Semaphore>, room: &Room) -> Self {
        Self { free: Arc::clone(free), room: Some(room.clone()) }
    }

    /// Waits for a processor, for work that writes to `output`. If there is no memory for the job, the next job goes
    /// first, because the next job may hold that memory.
    pub(crate) async fn take(&self, turn: &Turn, output: &Outlet) -> Result<Slot, JobError> {
        let (mut waiting, mut growing) = (None, None);
        loop {
            // Registered before looking, as in the budget.
            let changed = self.room.as_ref().map(Room::changed);
            let place = match Arc::clone(&self.free).try_acquire_owned() {
                Ok(place) => place,
                Err(_) => {
                    waiting.get_or_insert_with(|| turn.waits(State::WaitPermit));
                    let _short = turn.meters().short_of_processors.enter();
                    let place = Arc::clone(&self.free).acquire_owned().await;
                    place.map_err(|closed| {
                        JobError::new(Stage::Process, ErrorKind::Stopped, Code::NeighbourEnded, closed.to_string())
                    })?
                }
            };
            let (Some(room), Some(changed)) = (&self.room, changed) else {
                return Ok(Slot { _room: None, _taken: turn.meters().processors.enter(), _place: place });
            };
            if let Some(lent) = room.try_lend().map(Arc::new) {
                let kept: Kept = Arc::clone(&lent) as Kept;
                output.keep(kept).await.map_err(|gone| gone.at(Stage::Process))?;
                return Ok(Slot { _room: Some(lent), _taken: turn.meters().processors.enter(), _place: place });
            }
            drop(place);
            waiting.get_or_insert_with(|| turn.waits(State::WaitPermit));
            growing.get_or_insert_with(|| room.growing());
            changed.await;
        }
    }
}

/// Processors for a job whose memory is not counted.
impl From<Arc<Semaphore>> for Slots {
    fn from(free: Arc<Semaphore>) -> Self {
        Self { free, room: None }
    }
}
