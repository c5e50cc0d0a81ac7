//! Jobs whose output may be there already: `--if-exists skip` and `fail`.
//!
//! An output that carries the marks ([`origin`](crate::job::origin)) of this very job is its work: of an earlier
//! submit, or of an earlier delivery whose answer was lost or whose worker was killed before it deleted the message.
//! Any other is somebody else's: of another version of the input, another processor, another tool. `skip` makes such an
//! output again, for an output that is out of date is worse than one made twice; `fail` leaves it and rejects the job.
//!
//! An output of another input is no old version of this one: two inputs have one output, and whichever is later would
//! win. A worker sees one message at a time, so this is the first moment when it can be known. Outputs tell their input
//! (where they were made under `skip` or `fail`), and the job is rejected with both named. `skip` asks first whether
//! the other input is still there: after a move or a rename the output is merely old.
//!
//! What was seen is a condition of the write, so an output that appears meanwhile is never replaced unseen. So a role
//! without s3:ListBucket, to which S3 says "denied" of an output that is not there, is no hindrance: the job is done,
//! and the write decides whether there was nothing.
//!
//! Costs a HEAD of the output a job; and one of the input, only if an output of the same processor is there and the
//! message does not say which version of the input it means.

use std::sync::Arc;

use crate::error::{Code, Disposition, ErrorKind, JobError, Stage};
use crate::job::Job;
use crate::job::message::Rules;
use crate::job::origin::{Origin, OtherInput};
use crate::processor::Work;
use crate::record::Meters;
use crate::services::retry::{Call, Retry};
use crate::services::store::{Condition, ObjectInfo, ObjectStore, Version};
use crate::stop::cancel::Cut;

/// What to do about an output that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Write it again: the same job makes the same bytes.
    #[default]
    Overwrite,
    /// Take the job as done if the output was made from the same version of the input by the same processor; write it
    /// again otherwise.
    Skip,
    /// Reject the job, unless the output is what the same job has made.
    Fail,
}

/// What is in the output's place.
enum There {
    Nothing,
    /// Nothing, or what may not be looked at: S3 refuses a HEAD of a missing object to whoever may not list the bucket.
    Unseen(JobError),
    /// What this job would make.
    Same,
    /// Anything else, and the input that it was made from, if it says so and that is another one.
    Other(ObjectInfo, Option<OtherInput>),
}

/// What it takes to look at inputs and outputs.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a> {
    pub(crate) store: &'a Arc<dyn ObjectStore>,
    pub(crate) retry: &'a Retry,
    pub(crate) meters: &'a Arc<Meters>,
    pub(crate) rules: &'a Rules,
    pub(crate) work: &'a Work,
    pub(crate) if_exists: IfExists,
}

impl Outputs<'_> {
    /// Does a job by `transfer` unless it has been done; false if there was nothing to do.
    pub(crate) async fn unless_done<F>(
        &self,
        job: &Job,
        cut: &Cut<'_>,
        transfer: impl FnOnce(Condition) -> F,
    ) -> Result<bool, JobError>
    where
        F: Future<Output = Result<(), JobError>>,
    {
        let condition = match (self.look(job, cut).await?, self.if_exists) {
            // The write tells which: it is refused where there is something, and takes no right to look.
            (There::Nothing | There::Unseen(_), _) => Condition::Absent,
            // For `fail` as well: it is about what others have made, not about a message that came twice.
            (There::Same, _) => return Ok(false),
            (There::Other(_, other), IfExists::Fail) => return Err(there_already(job, other)),
            (There::Other(_, Some(other)), _) if self.is_there(&other, cut).await? => return Err(shared(job, &other)),
            (There::Other(output, _), _) => {
                tracing::debug!(
                    target: "batchpipe::careful",
                    output = ?output.location, "made again: the output there is not this job's"
                );
                // Without an ETag there is nothing to hold on to.
                output.version.etag.map_or(Condition::Always, Condition::Unchanged)
            }
        };
        // Boxed: three stages are too much to move about.
        match Box::pin(transfer(condition)).await {
            Err(error) if error.kind == ErrorKind::Exists => match (self.look(job, cut).await?, self.if_exists) {
                // Our own, the answer to which was lost, or that of a worker who has the message as well.
                (There::Same, _) => Ok(true),
                (There::Other(_, other), IfExists::Fail) => Err(there_already(job, other)),
                (There::Unseen(refused), _) => Err(blind(refused)),
                _ => Err(appeared(&error)),
            },
            result => result.map(|()| true),
        }
    }

    /// Whether the job was done before, as far as its output's marks can be seen.
    pub(crate) async fn is_done(&self, job: &Job, cut: &Cut<'_>) -> bool {
        matches!(self.look(job, cut).await, Ok(There::Same))
    }

    async fn look(&self, job: &Job, cut: &Cut<'_>) -> Result<There, JobError> {
        let (retry, meters) = (self.retry, self.meters);
        let head = retry.run(meters, Call::store("head"), || self.store.head(&job.output));
        let output = match cut.or(async { head.await.map_err(|error| error.at(Stage::Upload)) }).await {
            Ok(Some(output)) => output,
            Ok(None) => return Ok(There::Nothing),
            // 106 alone, as for inputs (`stop/refusal.rs`): expired credentials hide nothing.
            Err(error) if error.kind == ErrorKind::Denied && error.code == Code::AccessDenied => {
                return Ok(There::Unseen(error));
            }
            Err(error) => return Err(error),
        };
        let origin = Origin::new(job, self.work.id());
        if origin.is_by_same(&output.metadata) {
            let (version, size) = self.version(job, cut).await?;
            origin.found(version.etag.as_deref(), size);
        }
        Ok(if origin.is_same(&output.metadata) {
            There::Same
        } else {
            let other = origin.other_input(&output.metadata);
            There::Other(output, other)
        })
    }

    /// Whether the other input is there. One that can't be looked at counts as there: rejecting a job loses nothing.
    /// The name comes from the output, which others may have written, so no place is looked at that messages may not
    /// name.
    async fn is_there(&self, other: &OtherInput, cut: &Cut<'_>) -> Result<bool, JobError> {
        let Some(location) = other.location.as_ref().filter(|location| self.rules.allows(location)) else {
            return Ok(true);
        };
        let (retry, meters) = (self.retry, self.meters);
        let head = retry.run(meters, Call::store("head"), || self.store.head(location));
        let head = cut.or(async { head.await.map_err(|error| error.at(Stage::Download)) }).await;
        match head {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind == ErrorKind::Missing => Ok(false),
            // Not for us to look at, now or later.
            Err(error) if error.code == Code::AccessDenied || error.disposition() == Disposition::Reject => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The version of the input that the job means, or the one there is.
    async fn version(&self, job: &Job, cut: &Cut<'_>) -> Result<(Version, u64), JobError> {
        let pin = Version { etag: job.etag.clone(), version_id: job.version_id.clone() };
        if let (Some(_), Some(size)) = (&pin.etag, job.size) {
            return Ok((pin, size));
        }
        // A reading of no bytes: the size and the version alone.
        let asked = || self.store.get(&job.input, 0..0, &pin);
        let reading = self.retry.run(self.meters, Call::store("head"), asked);
        let reading = cut.or(async { reading.await.map_err(|error| error.at(Stage::Download)) }).await?;
        Ok((reading.version, job.size.unwrap_or(reading.size)))
    }
}

/// A missing right, and everybody's matter: no output that is there can be told from another.
fn blind(refused: JobError) -> JobError {
    let cause = format!("there is an output that may not be looked at, as --if-exists has to: {}", refused.cause);
    JobError { cause, ..refused }
}

fn there_already(job: &Job, other: Option<OtherInput>) -> JobError {
    let Some(other) = other else {
        let cause = "there is an output already that is not this job's, and --if-exists says fail";
        return JobError::new(Stage::Upload, ErrorKind::Exists, Code::OutputExists, cause);
    };
    shared(job, &other)
}

/// Two inputs, one output.
fn shared(job: &Job, other: &OtherInput) -> JobError {
    let (input, output) = (job.input.to_string(), job.output.to_string());
    let cause = format!("{input:?} and {:?} have one output, {output:?}, and the other was first", other.text);
    JobError::new(Stage::Upload, ErrorKind::Exists, Code::OutputOfAnotherInput, cause)
}

/// Another attempt looks at what is there then, and reads the input anew.
fn appeared(error: &JobError) -> JobError {
    let cause =
        format!("another output appeared, or the one there went away, while this one was made: {}", error.cause);
    let error = JobError::new(Stage::Upload, ErrorKind::Failed, Code::DestinationChanged, cause);
    JobError { retry_after: Some(std::time::Duration::ZERO), ..error }
}
