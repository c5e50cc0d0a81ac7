//! One message, from lease to result: what its records ask for, worked one after the other.
//!
//! Records are jobs of their own that happen to share a message. One that is rejected, or fails, does not keep those
//! behind it from being worked; what becomes of the message is decided at its end, by all of them
//! (`stages/acknowledge`). Only what is everybody's matter ends the work on a message early: a lease that is lost, a
//! stop, and services that refuse or don't answer one record after the other.
//!
//! A message of several records that comes again, for the sake of one of them, finds the others done. They are known by
//! the marks of their outputs ([`origin`](crate::job::origin)), and left; an output without marks is made again. That
//! costs a HEAD a record, and only where a message of several was received before.
//!
//! Bounded: the records of a message share its slot and its room, which they use in turn, and each has `--job-timeout`
//! for itself.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use crate::capacity::budget::Room;
use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::job::Job;
use crate::job::message::{self, Record, Rules};
use crate::lease::Lease;
use crate::processor::panics;
use crate::runtime::failpoint;
use crate::services::queue::Message;
use crate::stages::{Finished, Intake, Settled};
use crate::stop::cancel::Cut;
use crate::stop::refusal::Judge;

/// Records in a row that a service refused, or did not answer to, after which the rest of the message is not tried: as
/// many as jobs in a row stop a worker (`stop/circuit.rs`).
const REFUSALS: usize = 3;

/// What one record asks for: a job, or nothing.
type Asked = Result<Option<Job>, JobError>;

/// What does one job.
pub(crate) trait Jobs: Sync {
    /// One job; false if there was nothing to do. It may have been done before if it comes `again`.
    fn work(
        &self,
        job: Job,
        room: &Room,
        cut: &Cut<'_>,
        again: bool,
    ) -> impl Future<Output = Result<bool, JobError>> + Send;
}

/// What it takes to work the records of a message.
pub(crate) struct Records<'a, J> {
    pub(crate) intake: &'a Intake,
    pub(crate) rules: &'a Rules,
    pub(crate) job_timeout: Option<Duration>,
    pub(crate) judge: Judge<'a>,
    pub(crate) jobs: &'a J,
}

impl<J: Jobs> Records<'_, J> {
    /// One message, from lease to result.
    pub(crate) async fn finish(&self, message: Message, lease: Lease, room: &Room) -> Finished {
        let records = match unless_it_panics(async { self.asked(&message) }).await {
            Ok(asked) => self.each(asked, &message, &lease, room).await,
            Err(error) => vec![Err(error)],
        };
        if records.iter().all(Result::is_ok) {
            failpoint::point("CP9");
        }
        // Of several, one success tells enough: neither the worker's rights nor the store are at fault.
        let failed = records.iter().find(|record| record.is_err());
        let telling = records.iter().find(|record| matches!(record, Ok(true))).or(failed);
        telling.or(records.first()).into_iter().for_each(|result| self.intake.circuit.note(result));
        Finished { message, lease, records, before: Settled::default() }
    }

    /// What the records of a message ask for, as far as the operator allows it.
    fn asked(&self, message: &Message) -> Result<Vec<Asked>, JobError> {
        if !message.intact {
            let cause = "the body does not match the checksum that came with it";
            return Err(JobError::new(Stage::Receive, ErrorKind::Unavailable, Code::MessageDamaged, cause));
        }
        let asked = |record| match record {
            Record::Job(request) => {
                if request.output.is_none() {
                    self.intake.meters.notices.used_output();
                }
                match self.rules.job(&request, &message.id, message.attempt) {
                    Ok(job) => {
                        if request.output.is_some() {
                            self.intake.meters.notices.named_output();
                        }
                        Ok(Some(job))
                    }
                    Err(error) => Err(self.judge.judge_message(message, &request, error)),
                }
            }
            Record::Nothing(kind) => {
                self.tell_skipped(message, kind);
                Ok(None)
            }
            Record::Refused(error) => Err(error),
        };
        Ok(message::parse(&message.body)?.into_iter().map(asked).collect())
    }

    /// Tells of an event that asks for nothing: aloud of the first of its kind, since somebody may have meant it to be
    /// worked.
    fn tell_skipped(&self, message: &Message, kind: &'static str) {
        let id = &message.id;
        if self.intake.meters.is_first_of_kind(kind) {
            tracing::info!(
                target: "batchpipe::records", ?id,
                kind,
                "an event of this kind asks for nothing; it is skipped, as are all others of the kind"
            );
        } else {
            tracing::debug!(target: "batchpipe::records", ?id, kind, "an event that asks for nothing is skipped");
        }
    }

    /// Works on what the records ask for, in their order. Returns how each ended.
    async fn each(
        &self,
        asked: Vec<Asked>,
        message: &Message,
        lease: &Lease,
        room: &Room,
    ) -> Vec<Result<bool, JobError>> {
        let several = asked.len() > 1;
        if several {
            room.keep();
            self.intake.meters.more_jobs(asked.len() - 1);
        }
        let again = several && message.attempt > 1;
        let (mut ended, mut in_a_row) = (Vec::with_capacity(asked.len()), 0);
        let mut over: Option<JobError> = None;
        for one in asked {
            let result = match (one, &over) {
                (Err(error), _) => Err(error),
                (Ok(None), _) => Ok(false),
                (Ok(Some(job)), Some(over)) => Err(over.clone().of(job)),
                (Ok(Some(job)), None) => {
                    // One that the clock can't tell never comes.
                    let deadline = self.job_timeout.and_then(|longest| Instant::now().checked_add(longest));
                    let cut = Cut { lease: Some(lease), shutdown: &self.intake.shutdown, deadline };
                    let worked = unless_it_panics(self.jobs.work(job.clone(), room, &cut, again)).await;
                    worked.map_err(|error| error.of(job))
                }
            };
            over = over.or_else(|| ends_all(&result, &mut in_a_row));
            ended.push(result);
        }
        ended
    }
}

/// The failure of all records behind one that ended so, if there is no use in trying them.
fn ends_all(result: &Result<bool, JobError>, in_a_row: &mut usize) -> Option<JobError> {
    let error = match result {
        Ok(done) => {
            *in_a_row = if *done { 0 } else { *in_a_row };
            return None;
        }
        Err(error) => error,
    };
    match error.kind {
        ErrorKind::LeaseLost | ErrorKind::Stopped => Some(error.clone()),
        ErrorKind::Denied | ErrorKind::NoSpace | ErrorKind::Unavailable => {
            *in_a_row += 1;
            let cause = format!("not tried, since {REFUSALS} records before it failed like this: {}", error.cause);
            (*in_a_row >= REFUSALS).then(|| JobError { cause, stderr: None, ..error.clone() })
        }
        _ => None,
    }
}

/// A panic is a fault of ours that this job has brought out: the job's failure, and nobody else's.
async fn unless_it_panics<T>(work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn Any + Send)) -> JobError {
    let cause = format!("a stage panicked: {}", panics::message(panic));
    JobError::new(Stage::Process, ErrorKind::Panicked, Code::InternalPanic, cause)
}
