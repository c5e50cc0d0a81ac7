//! What is to be done with a message at its end, as its records ended, and when it may come again.

use std::time::Duration;

use super::{Finished, Settling};
use crate::error::{Disposition, ErrorKind, JobError};

/// The longest delay before a job is tried again.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

/// The first delay before a job is tried again; doubled with each receive.
const FIRST_DELAY: Duration = Duration::from_secs(2);

impl Settling {
    /// What is to be done with a message, and after what delay it may come again: of its failures the one that forbids
    /// most decides, and the longest delay. So nothing is rejected while a record beside it may still be done.
    pub(super) fn decide(&self, finished: &Finished) -> (Disposition, Duration) {
        if finished.is_done() {
            return (Disposition::Done, Duration::ZERO);
        }
        if finished.lease.is_lost() {
            return (Disposition::Abandon, Duration::ZERO);
        }
        let decisions = finished.failures().map(|error| self.decide_one(error, finished.message.attempt));
        decisions.fold((Disposition::Reject, Duration::ZERO), |all, one| (all.0.max(one.0), all.1.max(one.1)))
    }

    /// What one failure asks for at this receive.
    fn decide_one(&self, error: &JobError, attempt: u32) -> (Disposition, Duration) {
        // Nobody was there to do the job with, and the run ends for that.
        let spared = error.kind == ErrorKind::Unavailable && self.circuit.stopped_unanswered();
        match error.disposition() {
            Disposition::Retry if !spared && self.max_receives.is_some_and(|most| attempt >= most) => {
                (Disposition::Reject, Duration::ZERO)
            }
            Disposition::Retry => (Disposition::Retry, error.retry_after.unwrap_or_else(|| delay(attempt))),
            // Nobody's failure, but asking again at once would only be refused again, or find the disk as full.
            Disposition::Release if matches!(error.kind, ErrorKind::Denied | ErrorKind::NoSpace) => {
                (Disposition::Release, delay(attempt.max(4)))
            }
            disposition => (disposition, Duration::ZERO),
        }
    }
}

/// What becomes of one record of a message in which one failed at least, if `fate` is what becomes of the message.
pub(super) fn fate_of(record: &Result<bool, JobError>, fate: Disposition) -> Disposition {
    match (record, fate) {
        // Somebody else has the message, and does all of it.
        (_, Disposition::Abandon) => Disposition::Abandon,
        (Ok(_), _) => Disposition::Done,
        (Err(error), Disposition::Retry | Disposition::Release) => match error.disposition() {
            Disposition::Release => Disposition::Release,
            // One that can't be done waits with its message, and comes again with it.
            _ => Disposition::Retry,
        },
        (Err(_), fate) => fate,
    }
}

/// A delay that grows with the receive count, with jitter so that what failed together does not return together.
pub(super) fn delay(attempt: u32) -> Duration {
    let longest = FIRST_DELAY.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_DELAY);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_a_job_failed_it_is_tried_again_within_a_quarter_of_an_hour() {
        for attempt in [10, 40, u32::MAX] {
            let (delay, longest) = (delay(attempt), Duration::from_secs(15 * 60));
            assert!(delay >= longest / 2 && delay <= longest, "{delay:?} after {attempt}");
        }
        assert!(delay(0) <= FIRST_DELAY && delay(0) >= FIRST_DELAY / 2, "a queue that counts nothing");
    }
}
