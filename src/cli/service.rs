//! What a service's failure looks like to the person at the command line.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use nix::unistd::AccessFlags;

use super::output::escaped;
use crate::error::{
    BAD_ENDPOINT, Code, Exit, NO_ANSWER, NO_PROOF, SECRET_ENDPOINT, ServiceError, ServiceErrorKind, UserError,
};
use crate::job::Location;
use crate::record::Meters;
use crate::services::aws;
use crate::services::retry::{Call, Retry};
use crate::services::store::ObjectStore;
use crate::submit::discover::Source;

/// What is asked about where any object will do: S3 knows no object without a name.
const ANY: &str = ".batchpipe";

/// Which kind of service failed: the same failure has another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The queue.
    Queue,
    /// The store.
    Store,
}

/// The error of not being able to do `what` (which completes "cannot …"), for the reason the service gave.
pub fn failed(service: Service, what: &str, error: &ServiceError) -> UserError {
    use ServiceErrorKind::{Credentials, Denied, Missing, NoSpace, Throttled, Unavailable, WrongRegion};
    let queue = service == Service::Queue;
    let (code, exit, help) = match error.kind {
        Missing if queue => {
            (Code::QueueMissing, Exit::Access, "check the name and the region; list them:  aws sqs list-queues")
        }
        Missing => (Code::ObjectMissing, Exit::Access, "check the name and the region; list them:  aws s3 ls"),
        Denied if queue => (
            Code::QueueDenied,
            Exit::Access,
            "the role needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueAttributes",
        ),
        Denied => (Code::AccessDenied, Exit::Access, "run  batchpipe doctor  to see the missing rights"),
        _ if error.code == "NoProfile" => (
            Code::CredentialsMissing,
            Exit::Credentials,
            "see the cause; list your profiles:  aws configure list-profiles",
        ),
        _ if error.code == "NoCredentials" => {
            let signed_out = error.message.contains("is not signed in");
            let sign_in = "sign in with  aws sso login  to the profile named above";
            (
                Code::CredentialsMissing,
                Exit::Credentials,
                if signed_out { sign_in } else { "set AWS_PROFILE=<name>, or run on a machine with a role" },
            )
        }
        _ if error.code == SECRET_ENDPOINT => {
            (Code::SecretInAddress, Exit::Usage, "take the secret out of the endpoint named above")
        }
        _ if error.code == BAD_ENDPOINT => {
            (Code::Unreachable, Exit::Usage, "write the endpoint with its scheme, like  http://127.0.0.1:9000")
        }
        _ if error.code == "NoRegion" => (Code::RegionMissing, Exit::Usage, "add  --region eu-west-1"),
        Credentials => {
            (Code::CredentialsExpired, Exit::Credentials, "set AWS_PROFILE=<name>, or log in again:  aws sso login")
        }
        WrongRegion => (Code::WrongRegion, Exit::Access, "add  --region  with the region named above"),
        Throttled => (Code::Throttled, Exit::Failed, "wait a moment and repeat the command"),
        Unavailable if error.code == NO_PROOF => (
            Code::StoreProvesNothing,
            Exit::Failed,
            "check that the endpoint is the store itself, and no proxy or sign-on page",
        ),
        Unavailable if error.code == NO_ANSWER => (
            Code::QueueAnswerIncomplete,
            Exit::Failed,
            "check that the endpoint is SQS itself, and no proxy or sign-on page",
        ),
        Unavailable => {
            (Code::Unreachable, Exit::Failed, "check the network and --endpoint-url, and repeat the command")
        }
        NoSpace => (Code::NoSpace, Exit::Failed, "make room on the disk and repeat the command"),
        _ => (Code::RequestInvalid, Exit::Failed, "the request is not one the service takes; check the names"),
    };
    let cause = format!("{}: {}", escaped(&error.code), escaped(&error.message));
    UserError::usage(code, format!("cannot {what}"), cause, help).exit(exit)
}

/// Fails if any of the places is in S3 and an endpoint in the environment holds a password: then nothing may be asked.
pub fn endpoints<'a>(places: impl IntoIterator<Item = &'a Location>) -> Result<(), UserError> {
    match places.into_iter().any(|place| matches!(place, Location::S3 { .. })) {
        true => aws::refuse_secrets(),
        false => Ok(()),
    }
}

/// Fails if a prefix that is to be read can't be listed: then no single object is to blame, and there is one thing to repair.
pub async fn readable(source: &Source, store: &Arc<dyn ObjectStore>) -> Result<(), UserError> {
    let Source::Prefix(prefix) = source else { return Ok(()) };
    match store.list(prefix).next().await {
        Some(Err(error)) => Err(failed(Service::Store, &format!("read {}", escaped(&prefix.to_string())), &error)),
        _ => Ok(()),
    }
}

/// Fails if nobody answers where outputs are to go, nobody could be asked for want of keys or of a region, or there is no such
/// bucket, before job after job finds that out. Whether one may write there is for the first of them to see: a look takes other
/// rights, and any answer will do here.
pub async fn answering(dest: &Location, store: &Arc<dyn ObjectStore>, meters: &Meters) -> Result<(), UserError> {
    use ServiceErrorKind::{Credentials, Missing, Unavailable};
    let Location::S3 { .. } = dest else { return Ok(()) };
    let at = dest.join(ANY);
    let cannot = |error| Err(failed(Service::Store, &format!("write to {}", escaped(&dest.to_string())), &error));
    match Retry::default().run(meters, Call::store("head"), || store.head(&at)).await {
        Err(error) if matches!(error.kind, Unavailable | Credentials) || error.code == "NoRegion" => cannot(error),
        // A HEAD has no body to tell a missing bucket from a missing object. A listing tells, if the role may list.
        Ok(None) => match store.list(&at).next().await {
            Some(Err(error)) if error.kind == Missing => cannot(error),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Fails if a folder for outputs neither is there nor can be made beside others that are: whoever mistypes a path, or forgets
/// to mount a disk, must not find the outputs elsewhere. Changes nothing: the first output makes the folder.
pub fn can_be_written(dest: &Location) -> Result<(), UserError> {
    let Location::File { path } = dest else { return Ok(()) };
    // With a slash at its end a file would be as absent as a folder that is to be made.
    let folder = Path::new(if path == "/" { path.as_str() } else { path.trim_end_matches('/') });
    let there = match folder.parent().filter(|_| !folder.exists()) {
        Some(parent) => parent,
        None => folder,
    };
    let cause = match std::fs::metadata(there) {
        Ok(found) if !found.is_dir() => format!("{:?} is not a folder", there.display().to_string()),
        Ok(_) => match nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(error) => format!("{:?}: {}", there.display().to_string(), error.desc()),
        },
        Err(error) => format!("{:?}: {error}", there.display().to_string()),
    };
    let help = "make the folder, or correct --output";
    Err(UserError::usage(Code::CommandLine, format!("cannot write to {path:?}"), cause, help).exit(Exit::Access))
}
