//! Decides whether a failure concerns one job or all jobs.
//!
//! **A refused input.** S3 answers 403 for a missing object to roles that may not list the bucket. A worker without
//! that permission must not stop because a few inputs in a row were deleted, but a worker that may not read at all
//! must stop before it uses up the receives of all messages. One answer can't tell these cases apart, but another
//! question can: whether an object beside it that was read before can still be read. If so, the refusal concerns
//! only this object, and its job fails like any other, and goes to the dead-letter queue with BP313 in the end. If
//! not, or if nothing was ever read there, the refusal counts (`stop/circuit.rs`).
//!
//! "Beside" means in the same folder, because permissions are given by prefix. Each file has its own permissions, so
//! for files any file that was read will do; before a file was read, the files beside the refused one are tried,
//! which costs little. Otherwise, if the first three files of a tree belonged to another user, a `map` would never
//! process the others. Bounded: the last object of `FOLDERS` folders; one HEAD for each refused input, and
//! `LOOKED_AT` files.
//!
//! **What a worker was not given.** A message without an output is either the sender's mistake, or the worker lacks
//! `--output`; likewise a message about files, if the worker has no `--allow` at all. A worker that has completed a
//! job is set up correctly for this queue, so the message goes to the dead-letter queue (BP210, BP207). Before that
//! it counts as a refusal: three in a row stop the worker, and no message is lost. A sender can stop a fresh worker
//! in this way, but could do the same by naming a bucket that the worker may not read. A message that was received
//! too often is rejected all the same.
//!
//! **A store that does not answer** is waited for, or ends the run (`stop/circuit.rs`). Before it ends the run, one
//! more plain HEAD asks about the object: a store that fails on only one object still answers that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;

use crate::error::{Code, ErrorKind, JobError, ServiceErrorKind, Stage};
use crate::job::message::{Request, Rules};
use crate::job::{Job, Location};
use crate::record::Meters;
use crate::services::queue::Message;
use crate::services::retry::{Call, Retry};
use crate::services::store::{ObjectStore, Version};
use crate::stop::cancel::Cut;
use crate::stop::circuit::Circuit;

/// Folders remembered: more than a batch that is split by day or by shard mixes at one time. If there is one more
/// folder, all are forgotten, and each is learned again from its next job.
const FOLDERS: usize = 64;

/// Files beside a refused file that are tried: at most as many as one directory read lists, which takes a few ms.
const LOOKED_AT: usize = 100;

/// The inputs that were read recently, one for each folder.
#[derive(Debug, Default)]
pub struct Readable(Mutex<HashMap<Location, Location>>);

impl Readable {
    /// Records an input that was read.
    pub fn note(&self, input: &Location) {
        let mut known = self.lock();
        let folder = input.folder();
        if known.len() >= FOLDERS && !known.contains_key(&folder) {
            known.clear();
        }
        known.insert(folder, input.clone());
    }

    /// Another object in the folder of `input` that was read.
    pub fn beside(&self, input: &Location) -> Option<Location> {
        self.lock().get(&input.folder()).filter(|known| *known != input).cloned()
    }

    /// A file that was read, the first by name.
    fn file(&self) -> Option<Location> {
        self.lock().values().filter(|known| is_file(known)).min().cloned()
    }

    /// Whether nothing was read at all.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Location, Location>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is needed to decide whom a failure concerns.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) store: &'a Arc<dyn ObjectStore>,
    pub(crate) retry: &'a Retry,
    pub(crate) meters: &'a Arc<Meters>,
    pub(crate) circuit: &'a Circuit,
    pub(crate) readable: &'a Readable,
    pub(crate) rules: &'a Rules,
    pub(crate) max_receives: Option<u32>,
}

impl Judge<'_> {
    /// The error of a request that can't become a job here, turned into this worker's refusal if the worker may be at
    /// fault.
    pub(crate) fn judge_message(&self, message: &Message, request: &Request, error: JobError) -> JobError {
        let received_enough = self.max_receives.is_some_and(|most| message.attempt >= most);
        let lacking = match error.code {
            Code::NoOutputNamed => true,
            Code::PlaceNotAllowed => self.rules.allow.is_empty() && is_on_files(request),
            _ => false,
        };
        if lacking && self.readable.is_empty() && !received_enough {
            return JobError { kind: ErrorKind::Denied, ..error };
        }
        error
    }

    /// The error of a job, turned into a failure of this one object if only the object is refused.
    pub(crate) async fn judge_job(&self, job: &Job, error: JobError, cut: &Cut<'_>) -> JobError {
        if error.code == Code::Unreachable && self.circuit.stops_rather_than_waits() {
            self.ask_once_more(job, &error, cut).await;
            return error;
        }
        // Only BP106, because expired credentials and a wrong region concern all jobs.
        let refused =
            error.kind == ErrorKind::Denied && error.code == Code::AccessDenied && error.stage == Stage::Download;
        if !refused || !cut.or(async { Ok(self.can_read_others(&job.input).await) }).await.is_ok_and(|can| can) {
            return error;
        }
        let why = match &job.input {
            Location::S3 { .. } => {
                "this object is refused and others beside it are not: it is missing, and without s3:ListBucket S3 does \
                not say so, or it has an owner or a key of its own"
            }
            Location::File { .. } => "this file is refused and others are not",
        };
        let cause = format!("{why}; {}", error.cause);
        JobError { kind: ErrorKind::Failed, code: Code::ObjectRefused, cause, ..error }
    }

    /// Whether the objects beside a refused input can be read.
    async fn can_read_others(&self, refused: &Location) -> bool {
        let known = self.readable.beside(refused);
        if !is_file(refused) {
            return match known {
                Some(known) => self.can_read(&known).await,
                None => false,
            };
        }
        if let Some(known) = known.or_else(|| self.readable.file().filter(|known| known != refused))
            && self.can_read(&known).await
        {
            return true;
        }
        let folder = refused.folder();
        let mut beside = self.store.list(&folder).take(LOOKED_AT);
        while let Some(Ok(other)) = beside.next().await {
            if other.location != *refused && self.can_read(&other.location).await {
                return true;
            }
        }
        false
    }

    async fn can_read(&self, object: &Location) -> bool {
        let anything = Version::default();
        let asked = || self.store.get(object, 0..0, &anything);
        self.retry.run(self.meters, Call::store("head"), asked).await.is_ok()
    }

    /// Tells the circuit if the store does not answer a question about the object either.
    async fn ask_once_more(&self, job: &Job, error: &JobError, cut: &Cut<'_>) {
        let at = match error.stage {
            Stage::Download => &job.input,
            Stage::Upload => &job.output,
            _ => return,
        };
        let away = is_away(self.store, self.retry, self.meters, at);
        if cut.or(async { Ok(away.await) }).await.is_ok_and(|away| away) {
            self.circuit.unanswered(error);
        }
    }
}

fn is_file(place: &Location) -> bool {
    matches!(place, Location::File { .. })
}

/// Whether a job reads or writes files.
fn is_on_files(request: &Request) -> bool {
    is_file(&request.input) || request.output.as_ref().is_some_and(is_file)
}

/// Whether nobody answers a question about an object that could not be reached.
pub(crate) async fn is_away(store: &Arc<dyn ObjectStore>, retry: &Retry, meters: &Meters, at: &Location) -> bool {
    let asked = retry.attempt(meters, Call::store("head"), store.head(at)).await;
    asked.is_err_and(|error| error.kind == ServiceErrorKind::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_by_folder_and_does_not_speak_for_itself() {
        let readable = Readable::default();
        let at = |key: &str| Location::s3("in", key);
        readable.note(&at("a/1"));
        assert_eq!(readable.beside(&at("a/2")), Some(at("a/1")));
        assert_eq!(readable.beside(&at("a/1")), None, "it may have been deleted since");
        assert_eq!(readable.beside(&at("a/b/2")), None);
        assert_eq!(readable.beside(&at("2")), None);
        assert_eq!(readable.beside(&Location::s3("other", "a/2")), None);
        (0..FOLDERS).for_each(|number| readable.note(&at(&format!("{number}/x"))));
        assert!(readable.lock().len() <= FOLDERS);
        assert!(readable.beside(&at(&format!("{}/y", FOLDERS - 1))).is_some(), "the last one is known");
    }
}
