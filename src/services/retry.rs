//! Retries service calls, with a deadline for each attempt.
//!
//! The SDK's own retry is switched off: it gives up on a throttled call after 0.75 s and three tries, shares one
//! bucket of retry tokens among all jobs (300 failing calls got 89 retries between them), and waits forever for a
//! silent server (all measured). Here every attempt has a deadline, and between attempts we wait with full jitter,
//! so that a thousand jobs that failed together do not retry together
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
//!
//! A call that still fails does not end the job for good: its message is given back and retried later.

use std::time::Duration;

use crate::capacity::limit::Lane;
use crate::error::{ServiceError, ServiceErrorKind, Stage};
use crate::record::Meters;

/// The name of a service call, for counting. Both words are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// `store` or `queue`.
    pub service: &'static str,
    /// The method of the trait.
    pub op: &'static str,
}

impl Call {
    /// A call of the object store.
    pub const fn store(op: &'static str) -> Self {
        Self { service: "store", op }
    }

    /// A call of the queue.
    pub const fn queue(op: &'static str) -> Self {
        Self { service: "queue", op }
    }

    /// The stage that makes the call, whose time it counts as.
    fn stage(&self) -> Stage {
        match (self.service, self.op) {
            ("store", "get" | "head") => Stage::Download,
            ("store", _) => Stage::Upload,
            (_, "receive") => Stage::Receive,
            (_, "send") => Stage::Send,
            _ => Stage::Acknowledge,
        }
    }
}

/// How long and how often a call is tried.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts before the failure is reported.
    pub attempts: u32,
    /// The longest first wait; each later wait may be twice as long as the one before.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// How long one attempt may take before it counts as failed, excluding the bytes of a body.
    pub deadline: Duration,
}

/// The slowest body that is not given up, in bytes a second. A slower connection is practically dead: S3 gives 85-90
/// MB/s on one connection.
pub const SLOWEST: u64 = 64 * 1024;

impl Default for Retry {
    /// Five attempts over at most about 15 s of waiting: longer than a connection reset or a short 503 storm, and far
    /// shorter than the time for which leases are extended. Ten seconds for a first byte is 100 times what S3 usually
    /// takes.
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(8),
            deadline: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// The same settings, with time for a request body of `bytes`.
    #[must_use]
    pub fn carrying(self, bytes: usize) -> Self {
        self.longer(Duration::from_secs(bytes as u64 / SLOWEST))
    }

    /// The same settings, with `more` time for each attempt.
    #[must_use]
    pub fn longer(self, more: Duration) -> Self {
        Self { deadline: self.deadline + more, ..self }
    }

    /// How long to wait after failure number `failures`, counted from 1: a random time between zero and the doubled
    /// base.
    pub fn delay(&self, failures: u32) -> Duration {
        let longest = self.base.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(self.cap);
        longest.mul_f64(fastrand::f64())
    }

    /// Makes one attempt, which ends at the deadline and is counted.
    pub async fn attempt<T>(
        &self,
        meters: &Meters,
        call: Call,
        attempt: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        let mut asked = Asked { meters, call, code: DROPPED };
        let answer = match tokio::time::timeout(self.deadline, attempt).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out(self.deadline)),
        };
        asked.code = answer.as_ref().err().map_or("ok", |error| error.kind.as_str());
        answer
    }

    /// Makes attempts until one succeeds, fails permanently, or too many have failed.
    pub async fn run<T, F>(&self, meters: &Meters, call: Call, attempt: impl FnMut() -> F) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        self.run_in(&Lane::default(), 0, meters, call, attempt).await
    }

    /// Like [`run`](Self::run), in a lane, which counts a success as `bytes` bytes. Waiting for the lane does not count
    /// against the deadline.
    pub async fn run_in<T, F>(
        &self,
        lane: &Lane,
        bytes: usize,
        meters: &Meters,
        call: Call,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        meters.allowed(self.deadline);
        let mut failures = 0;
        loop {
            let passing = lane.enter().await;
            let answer = self.attempt(meters, call, attempt()).await;
            passing.ended(&answer, bytes as u64);
            match answer {
                Err(error) if error.is_transient() => {
                    failures += 1;
                    self.pause(meters, call, failures, error).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Waits before the next attempt; returns the failure if there is to be no further attempt.
    pub async fn pause(
        &self,
        meters: &Meters,
        call: Call,
        failures: u32,
        error: ServiceError,
    ) -> Result<(), ServiceError> {
        let throttled = error.kind == ServiceErrorKind::Throttled;
        if throttled {
            meters.throttled(call.service);
        }
        if failures >= self.attempts {
            return Err(error);
        }
        let _throttled = throttled.then(|| meters.stage(call.stage()).throttled.enter());
        meters.retried(call.service, call.op, error.kind.as_str());
        tracing::debug!(
            target: "batchpipe::retry",
            failures, code = ?error.code, cause = ?error.message, "trying again"
        );
        tokio::time::sleep(self.delay(failures)).await;
        Ok(())
    }
}

/// The outcome of a call whose result nobody awaits any more: its read was overtaken, or its job was cut.
const DROPPED: &str = "dropped";

/// A call under way, counted when it ends: a request that was sent costs, whatever became of it.
struct Asked<'a> {
    meters: &'a Meters,
    call: Call,
    code: &'static str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.meters.called(self.call.service, self.call.op, self.code);
    }
}

/// The failure of a call that did not answer in time.
pub fn timed_out(after: Duration) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Unavailable, "Timeout", format!("no answer within {after:?}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn unavailable() -> ServiceError {
        ServiceError::new(ServiceErrorKind::Unavailable, "503", "busy")
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_tried_again_and_a_lasting_one_is_reported() {
        let retry = Retry::default();
        let (meters, calls) = (Meters::default(), Cell::new(0));
        let answer = retry.run(&meters, Call::store("get"), || {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() < 3 { Err(unavailable()) } else { Ok(7) })
        });
        assert_eq!(answer.await.unwrap(), 7);
        calls.set(0);
        let answer = retry.run(&meters, Call::store("get"), || {
            calls.set(calls.get() + 1);
            std::future::ready(Err::<(), _>(unavailable()))
        });
        assert_eq!((answer.await.unwrap_err().code.as_str(), calls.get()), ("503", 5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_never_work_is_not_tried_again() {
        let calls = Cell::new(0);
        let denied = || {
            calls.set(calls.get() + 1);
            std::future::ready(Err::<(), _>(ServiceError::new(ServiceErrorKind::Denied, "AccessDenied", "no")))
        };
        assert!(Retry::default().run(&Meters::default(), Call::store("get"), denied).await.is_err());
        assert_eq!(calls.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_is_counted_once_by_how_it_ended_and_one_that_is_dropped_too() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let counted = || {
            let counters = recorder.snapshotter().snapshot().into_vec();
            let code =
                |key: &metrics::Key| key.labels().find(|label| label.key() == "code").unwrap().value().to_owned();
            let mut codes: Vec<_> = counters.iter().map(|(key, ..)| code(key.key())).collect();
            codes.sort();
            codes
        };
        // Not a guard, because a guard would be held across an await.
        let recorded = |future| metrics::with_local_recorder(&recorder, || futures::FutureExt::now_or_never(future));
        let retry = Retry::default();
        let attempt = |answer: Option<Result<(), ServiceError>>| async move {
            let call = async {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            };
            retry.attempt(&Meters::default(), Call::store("get"), call).await
        };
        recorded(attempt(Some(Ok(()))));
        assert_eq!(counted(), ["ok"]);
        recorded(attempt(Some(Err(unavailable()))));
        recorded(attempt(None));
        assert_eq!(counted(), ["dropped", "ok", "unavailable"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_at_the_deadline() {
        let started = tokio::time::Instant::now();
        let answer = Retry::default()
            .attempt(&Meters::default(), Call::store("get"), std::future::pending::<Result<(), _>>())
            .await;
        assert_eq!(answer.unwrap_err().code, "Timeout");
        assert_eq!(started.elapsed(), Duration::from_secs(10));
    }
    #[test]
    fn more_time_comes_on_top_of_an_attempts_and_changes_nothing_else() {
        let retry = Retry { attempts: 2, deadline: Duration::from_secs(1), ..Retry::default() };
        let longer = retry.longer(Duration::from_secs(20));
        assert_eq!((longer.attempts, longer.deadline, longer.cap), (2, Duration::from_secs(21), retry.cap));
    }
}
