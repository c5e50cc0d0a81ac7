//! A stage's work on one item, and what the stage waits for in the meantime.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Meters, StageMeter, State};
use crate::error::{ErrorKind, JobError, Stage};

/// One stage at work on one item, shared by the stage and the ends of its links.
#[derive(Debug)]
pub struct Turn {
    meters: Arc<Meters>,
    stage: Stage,
    began: Instant,
    state: Mutex<State>,
}

impl Turn {
    /// Begins a stage's work on one item.
    pub(super) fn begin(meters: Arc<Meters>, stage: Stage) -> Arc<Self> {
        meters.stage(stage).begin();
        Arc::new(Self { meters, stage, began: Instant::now(), state: Mutex::new(State::Busy) })
    }

    /// The stage whose turn it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The numbers of the stage.
    pub fn meter(&self) -> &StageMeter {
        self.meters.stage(self.stage)
    }

    /// From now on the time is spent in `state`, until the guard is dropped: then the stage is busy again.
    pub fn waits(&self, state: State) -> Waiting<'_> {
        self.switch(state);
        Waiting(self)
    }

    /// Drives the stage's work on the item and counts how it ends. The turn is over with it: a stage that is done does
    /// not look busy while its neighbours still work.
    pub async fn through<T>(self: Arc<Self>, work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
        let result = work.await;
        // An echo of a neighbour's failure is no failure of this stage.
        if !result.as_ref().is_err_and(|error| error.kind == ErrorKind::Disconnected) {
            self.ended(result.is_ok());
        }
        result
    }

    /// Counts the end of the item, and how long it took.
    pub fn ended(&self, well: bool) {
        let meter = self.meter();
        let took = self.began.elapsed();
        crate::metrics::stage_duration(self.stage, took);
        if well {
            meter.items_out.fetch_add(1, Relaxed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            meter.last_success.store(now, Relaxed);
            meter.durations.record(took);
        } else {
            meter.failed.fetch_add(1, Relaxed);
        }
    }

    fn switch(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.meter().switch(*state, to);
        *state = to;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let state = *self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.meter().end(state);
    }
}

/// A wait under way.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Turn);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.switch(State::Busy);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_stage_that_is_done_is_not_busy_while_others_work() {
        let meters = Arc::new(Meters::default());
        let (first, second) = (meters.turn(Stage::Download), meters.turn(Stage::Upload));
        let slow = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            assert_eq!(meters.stage(Stage::Download).in_progress(), 0);
            Ok(())
        };
        let (done, also) = tokio::join!(first.through(async { Ok(()) }), second.through(slow));
        done.and(also).unwrap();
        assert!(meters.stage(Stage::Download).time()[State::Busy as usize] < Duration::from_millis(350));
    }

    #[test]
    fn time_passes_into_the_state_a_turn_is_in_and_stops_with_the_turn() {
        let meters = Arc::new(Meters::default());
        let turn = meters.turn(Stage::Upload);
        {
            let _waiting = turn.waits(State::WaitUpstream);
            std::thread::sleep(Duration::from_millis(30));
        }
        let during = meters.stage(Stage::Upload).time();
        assert!(during[State::WaitUpstream as usize] >= Duration::from_millis(30));
        drop(turn);
        let after = meters.stage(Stage::Upload).time();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(after, meters.stage(Stage::Upload).time());
        assert_eq!(meters.stage(Stage::Upload).in_progress(), 0);
    }
}
