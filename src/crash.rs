//! The moments at which a worker is killed by the proof that it loses no job.
//!
//! With the feature `crash-points`, `BATCHPIPE_CRASH_AT=NAME[:NTH]` makes the process send itself SIGKILL when it comes
//! to the point NAME for the NTH time (1 if not said): no destructor runs and no buffer is flushed, as after a power
//! cut. Without the feature, which no release has, the calls are empty.
//!
//! The points, in the order of a job: CP1 received, no lease yet · CP2 in the middle of a download · CP3 downloaded ·
//! CP4 in the middle of the processing · CP5 upload begun · CP6 a part sent · CP7 about to put or complete · CP8 put or
//! complete sent, no answer yet · CP9 committed, not yet queued for the delete · CP10 in a batch to delete · CP11 delete
//! sent, no answer yet · CP12 drain or abort begun.

/// Ends the process here if that is what was asked for.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// Ends the process while `work` is under way if that is what was asked for.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn during<F: Future>(_name: &str, work: F) -> F {
    work
}

#[cfg(feature = "crash-points")]
pub use armed::{during, point};

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// The variable that says where to crash.
    const VARIABLE: &str = "BATCHPIPE_CRASH_AT";

    /// The longest a call has been under way when it is cut: on the loopback some are answered by then and some not, so
    /// both are tried.
    const UNDER_WAY: Duration = Duration::from_millis(8);

    static PASSED: AtomicU64 = AtomicU64::new(0);

    /// Ends the process here if that is what was asked for.
    pub fn point(name: &str) {
        if is_due(name) {
            die(name);
        }
    }

    /// Ends the process while `work` is under way, or has only just ended, if that is what was asked for.
    pub async fn during<F: Future>(name: &str, work: F) -> F::Output {
        if !is_due(name) {
            return work.await;
        }
        // What the work gave is lost with the process.
        drop(tokio::time::timeout(UNDER_WAY.mul_f64(fastrand::f64()), work).await);
        die(name)
    }

    fn is_due(name: &str) -> bool {
        static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        let wanted = WANTED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text)));
        wanted.as_ref().is_some_and(|(wanted, nth)| wanted == name && PASSED.fetch_add(1, SeqCst) + 1 == *nth)
    }

    fn parse(text: &str) -> (String, u64) {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        (name.to_owned(), nth.parse().unwrap_or(1))
    }

    fn die(name: &str) -> ! {
        eprintln!("crash point {name}");
        if kill(Pid::this(), Signal::SIGKILL).is_err() {
            std::process::abort();
        }
        // The signal is on its way; nothing more may happen here.
        loop {
            std::thread::park();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::parse;

        #[test]
        fn a_point_is_named_with_the_time_it_counts() {
            assert_eq!(parse("CP3"), ("CP3".to_owned(), 1));
            assert_eq!(parse("CP11:40"), ("CP11".to_owned(), 40));
        }
    }
}
