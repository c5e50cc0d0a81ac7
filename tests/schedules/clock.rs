//! Time, which stands still until a model moves it.
//!
//! A task of the model moves it by half a look of the keeper, and not while that is behind: what the keeper promises,
//! it promises to whoever lets it run. All others may be as late as the schedule likes. Nobody moves it for ever: after
//! [`MOMENTS`] whoever still waits does so for good, and that is a standstill.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use batchpipe_schedules::busy;
use shuttle::future::yield_now;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::others;

/// How long a message is hidden at a time. The number itself means nothing here.
pub(super) const VISIBILITY: Duration = Duration::from_secs(8);

/// The keeper looks eight times a visibility timeout.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// So that things happen between two looks.
pub(super) const STEP: Duration = Duration::from_millis(500);

/// The models' cases take tens of visibility timeouts at most, of 16 moments each; this is several times that.
const MOMENTS: usize = 4000;

/// Steps of others between two moments.
const BETWEEN: usize = 6;

thread_local! {
    static CLOCK: Cell<Option<&'static Runtime>> = const { Cell::new(None) };
}

/// Makes `runtime`, whose time is paused, the one whose time is moved on this thread.
pub(super) fn install(runtime: &'static Runtime) {
    CLOCK.set(Some(runtime));
}

/// Time passes in which nobody did anything.
pub(super) fn jump(time: Duration) {
    CLOCK.get().expect("a clock").block_on(tokio::time::advance(time));
}

/// Moves time until the model is `done`, each time to a moment that is `checked` first.
pub(super) async fn run(checked: impl Fn(Instant), done: Arc<AtomicBool>) {
    for _ in 0..MOMENTS {
        others(BETWEEN).await;
        while !done.load(SeqCst) && busy::tasks() > 0 {
            yield_now().await;
        }
        if done.load(SeqCst) {
            return;
        }
        checked(Instant::now() + STEP);
        jump(STEP);
    }
}
