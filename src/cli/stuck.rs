//! The end of a worker in which nothing moves: the last words, and exit code 7.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::output;
use crate::config::values::show;
use crate::error::{Code, Exit, UserError};
use crate::stop::watchdog::Stuck;

/// How long the last words may take: stderr may be what is stuck.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Says what is stuck and ends the process. Nothing is cleaned up: whatever would have to do it may be what is stuck.
pub(super) fn end(stuck: Stuck) -> ! {
    let error = UserError::new(
        Code::Stuck,
        format!("{}, for {} and beyond every deadline", stuck.what, show(stuck.quiet)),
        stuck.seen,
        "start it again; the messages come back by their visibility timeout. Please report this with the cause",
    );
    let (told, is_told) = channel();
    let tell = move || {
        output::say_error(&error);
        told.send(()).unwrap_or(());
    };
    if std::thread::Builder::new().name("last-words".into()).spawn(tell).is_ok() {
        is_told.recv_timeout(LAST_WORDS).unwrap_or(());
    }
    std::process::exit(Exit::Watchdog as i32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lease::Leases;
    use crate::record::Meters;
    use crate::stop::watchdog::{self, Stall, Watched};
    use crate::testing::MemoryQueue;

    const SECOND: Duration = Duration::from_secs(1);

    /// Says to its own process that it is the one to be ended.
    const TO_BE_ENDED: &str = "BATCHPIPE_TEST_WATCHDOG";

    /// Not a test by itself: the process that [`a_worker_that_is_stuck_is_ended_with_7_after_its_limit_and_not_before`]
    /// starts.
    #[test]
    #[ignore = "runs in a process of its own, which it ends"]
    fn watches_a_stuck_worker() {
        if std::env::var_os(TO_BE_ENDED).is_none() {
            return;
        }
        let meters = Arc::new(Meters::default());
        let queue = Arc::new(MemoryQueue::new("jobs"));
        let leases = Leases::new(queue, Duration::from_secs(60), Arc::clone(&meters)).unwrap();
        // Nobody runs this runtime, so none of its tasks is ever run.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let watched = Watched { meters, leases, patience: SECOND, waits: SECOND };
        let _watchdog = watchdog::start(watched, Stall::default(), |stuck| end(stuck)).unwrap();
        // A watchdog that never ends the process is an end with another code.
        std::thread::sleep(20 * SECOND);
    }

    #[test]
    fn a_worker_that_is_stuck_is_ended_with_7_after_its_limit_and_not_before() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "cli::stuck::tests::watches_a_stuck_worker"])
            .env(TO_BE_ENDED, "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(7), "{said}");
        // Looks are counted: the third is the first beyond a patience of one second and waits of another.
        assert!(said.contains("error[BP701]: the runtime runs no task, for 3s and beyond every deadline"), "{said}");
    }
}
