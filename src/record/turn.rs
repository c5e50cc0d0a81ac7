//! A stage's work on one item, and what it waits for.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::stage::Leaving;
use super::{Meters, StageMeter, State};
use crate::error::{ErrorKind, JobError, Stage};

/// One stage's work on one item, shared by the stage and the ends of its links.
#[derive(Debug)]
pub struct Turn {
    meters: Arc<Meters>,
    stage: Stage,
    began: Instant,
    /// None after the turn has ended. Work that still runs, on a thread that can't be stopped, no longer counts.
    state: Mutex<Option<State>>,
}

impl Turn {
    /// Begins a stage's work on one item.
    pub(super) fn begin(meters: Arc<Meters>, stage: Stage) -> Arc<Self> {
        meters.stage(stage).begin();
        Arc::new(Self { meters, stage, began: Instant::now(), state: Mutex::new(Some(State::Busy)) })
    }

    /// The stage that this turn belongs to.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The numbers of the stage.
    pub fn meter(&self) -> &StageMeter {
        self.meters.stage(self.stage)
    }

    /// The numbers of all stages.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Counts the time as spent in `state` until the guard is dropped; then the stage is busy again.
    pub fn waits(&self, state: State) -> Waiting<'_> {
        self.switch(state);
        Waiting(self)
    }

    /// Drives the stage's work on the item and counts how it ends. The turn ends with the work, so a stage that has
    /// finished does not look busy while its neighbours still work.
    pub async fn through<T>(self: Arc<Self>, work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
        let result = work.await;
        // An echo of a neighbour's failure is not a failure of this stage.
        if result.as_ref().is_err_and(|error| error.kind == ErrorKind::Disconnected) {
            self.over(Leaving::Dropped);
        } else {
            self.ended(result.is_ok());
        }
        result
    }

    /// Ends the turn. Counts how the item ended, and how long it took since the turn began.
    pub fn ended(&self, well: bool) {
        self.ended_after(Some(self.began.elapsed()), well);
    }

    /// Ends the turn. Counts how the item ended, and how long the item took, which may be less than the turn: a
    /// receiver waits for slots before it makes its call. `None` if the time says nothing about the stage.
    pub fn ended_after(&self, took: Option<Duration>, well: bool) {
        if !self.over(if well { Leaving::Out } else { Leaving::Failed }) {
            return;
        }
        let meter = self.meter();
        if let Some(took) = took {
            self.meters.recording(|| super::metrics::stage_duration(self.stage, took));
            if well {
                meter.durations.record(took);
            }
        }
        if well {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            meter.last_success.store(now, Relaxed);
        }
    }

    /// Ends the turn unless it has ended already; returns whether it ended now.
    fn over(&self, how: Leaving) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(state) = state {
            self.meter().end(state, how);
        }
        state.is_some()
    }

    fn switch(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = state.replace(to) {
            self.meter().switch(before, to);
        } else {
            *state = None;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.over(Leaving::Dropped);
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
    use super::*;

    #[tokio::test(start_paused = true)]
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
        assert_eq!(meters.stage(Stage::Download).time()[State::Busy as usize], Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn time_passes_into_the_state_a_turn_is_in_and_stops_with_the_turn() {
        let meters = Arc::new(Meters::default());
        let turn = meters.turn(Stage::Upload);
        let pass = |millis| tokio::time::sleep(Duration::from_millis(millis));
        {
            let _waiting = turn.waits(State::WaitUpstream);
            pass(30).await;
        }
        pass(7).await;
        turn.ended(true);
        let after = meters.stage(Stage::Upload).time();
        assert_eq!(after, [7, 30, 0, 0].map(Duration::from_millis));
        pass(5).await;
        drop(turn.waits(State::WaitPermit));
        assert_eq!(after, meters.stage(Stage::Upload).time(), "what goes on after the end counts no more");
        assert_eq!(meters.stage(Stage::Upload).in_progress(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_enters_a_stage_leaves_it_once_in_one_of_three_ways() {
        let meters = Arc::new(Meters::default());
        let turns: Vec<_> = (0..5).map(|_| meters.turn(Stage::Process)).collect();
        turns[0].ended(true);
        turns[0].ended(false);
        turns[1].ended(false);
        let gone: Result<(), _> =
            Arc::clone(&turns[2]).through(async { Err(JobError::disconnected(Stage::Process)) }).await;
        assert!(gone.is_err());
        let [out, failed, dropped, here] = meters.stage(Stage::Process).left();
        assert_eq!([out, failed, dropped, here], [1, 1, 1, 2]);
        drop(turns);
        assert_eq!(meters.stage(Stage::Process).left(), [1, 1, 3, 0]);
    }
}
