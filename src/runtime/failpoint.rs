//! The points at which a worker is killed, or worse, to prove that it loses no job.
//!
//! With the feature `crash-points`, `BATCHPIPE_CRASH_AT=NAME[:NTH[:HOW]]` takes effect when the process reaches the
//! point NAME for the NTH time (default 1). HOW says what happens: `kill`, the default, sends SIGKILL, so that no
//! destructor runs and no buffer is flushed, as after a power cut; `panic` panics there, once; `block` blocks the
//! thread forever, and each thread that comes after it; `hang` never lets the work continue, while its thread does
//! other things. Without the feature, which no release has, the calls are empty.
//!
//! The points, in the order of a job: CP1 received, no lease yet · CP2 in the middle of a download · CP3 downloaded
//! · CP4 in the middle of the processing · CP5 upload begun · CP6 a part sent · CP7 about to put or complete · CP8
//! put or complete sent, no answer yet · CP9 committed, not yet queued for the delete · CP10 in a batch to delete ·
//! CP11 delete sent, no answer yet · CP12 drain or abort begun. In addition there is `leases`, at each look of the
//! keeper.

/// Takes effect here if this point was requested.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// Takes effect while `work` is under way if this point was requested.
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

    /// The variable that names the point.
    const VARIABLE: &str = "BATCHPIPE_CRASH_AT";

    /// The longest time that a call is under way when it is cut: on the loopback some calls are answered by then and
    /// some are not, so both cases are tested.
    const UNDER_WAY: Duration = Duration::from_millis(8);

    static PASSED: AtomicU64 = AtomicU64::new(0);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum How {
        Kill,
        Panic,
        Block,
        Hang,
    }

    /// Takes effect here if this point was requested.
    pub fn point(name: &str) {
        match due(name) {
            Some(How::Kill) => die(name),
            Some(How::Panic) => panic!("crash point {name}"),
            Some(How::Block) => block(name),
            Some(How::Hang) | None => {}
        }
    }

    /// Takes effect while `work` is under way, or has only just ended, if this point was requested.
    pub async fn during<F: Future>(name: &str, work: F) -> F::Output {
        match due(name) {
            None => work.await,
            Some(How::Kill) => {
                // The result of the work is lost with the process.
                drop(tokio::time::timeout(UNDER_WAY.mul_f64(fastrand::f64()), work).await);
                die(name)
            }
            Some(How::Panic) => panic!("crash point {name}"),
            Some(How::Block) => block(name),
            Some(How::Hang) => {
                eprintln!("crash point {name}");
                std::future::pending().await
            }
        }
    }

    fn due(name: &str) -> Option<How> {
        static WANTED: OnceLock<Option<(String, u64, How)>> = OnceLock::new();
        let wanted = WANTED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text)));
        let (_, nth, how) = wanted.as_ref().filter(|(wanted, ..)| wanted == name)?;
        let passed = PASSED.fetch_add(1, SeqCst) + 1;
        let lasts = matches!(how, How::Block | How::Hang);
        (passed == *nth || (lasts && passed > *nth)).then_some(*how)
    }

    fn parse(text: &str) -> (String, u64, How) {
        let mut words = text.split(':');
        let name = words.next().unwrap_or_default().to_owned();
        let nth = words.next().and_then(|nth| nth.parse().ok()).unwrap_or(1);
        let how = match words.next() {
            Some("panic") => How::Panic,
            Some("block") => How::Block,
            Some("hang") => How::Hang,
            _ => How::Kill,
        };
        (name, nth, how)
    }

    fn die(name: &str) -> ! {
        eprintln!("crash point {name}");
        if kill(Pid::this(), Signal::SIGKILL).is_err() {
            std::process::abort();
        }
        // The signal is on its way; nothing more may happen here.
        block(name)
    }

    fn block(name: &str) -> ! {
        eprintln!("crash point {name}");
        loop {
            std::thread::park();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::{How, parse};

        #[test]
        fn a_point_is_named_with_the_time_it_counts_and_with_what_happens() {
            assert_eq!(parse("CP3"), ("CP3".to_owned(), 1, How::Kill));
            assert_eq!(parse("CP11:40"), ("CP11".to_owned(), 40, How::Kill));
            assert_eq!(parse("CP2:2:block"), ("CP2".to_owned(), 2, How::Block));
        }
    }
}
