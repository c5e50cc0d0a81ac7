//! What a service's failure looks like to the person at the command line.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use nix::unistd::AccessFlags;

use super::output::escaped;
use crate::error::{Code, Reason, Role, ServiceError, ServiceErrorKind, Subject, UserError};
use crate::job::Location;
use crate::record::Meters;
use crate::services::aws;
use crate::services::retry::{Call, Retry};
use crate::services::store::ObjectStore;
use crate::submit::discover::Source;

/// What is asked about where any object will do: S3 knows no object without a name.
const ANY: &str = ".batchpipe";

/// The error of not being able to do `what` (which completes "cannot …"), for the reason the service gave.
pub fn failed(role: Role, what: &str, error: &ServiceError) -> UserError {
    error.told(&Subject::new(role, what))
}

/// The code of a file or folder of the command's own that can't be used.
pub fn of_file(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::NotFound => Code::ObjectMissing,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::AccessDenied,
    }
}

/// Fails if any of the places is in S3 and an endpoint in the environment holds a password: then nothing may be asked.
pub fn endpoints<'a>(places: impl IntoIterator<Item = &'a Location>) -> Result<(), UserError> {
    match places.into_iter().any(|place| matches!(place, Location::S3 { .. })) {
        true => aws::refuse_secrets(),
        false => Ok(()),
    }
}

/// Fails if a prefix that is to be read can't be listed: then no single object is to blame, and there is one thing to
/// repair.
pub async fn readable(source: &Source, store: &Arc<dyn ObjectStore>) -> Result<(), UserError> {
    let Source::Prefix(prefix) = source else { return Ok(()) };
    match store.list(prefix).next().await {
        Some(Err(error)) => Err(failed(Role::Read, &format!("read {}", escaped(&prefix.to_string())), &error)),
        _ => Ok(()),
    }
}

/// Fails if nobody answers where outputs are to go, nobody could be asked for want of keys or of a region, or there is
/// no such bucket, before job after job finds that out. Whether one may write there is for the first of them to see: a
/// look takes other rights, and any answer will do here.
pub async fn answering(dest: &Location, store: &Arc<dyn ObjectStore>, meters: &Meters) -> Result<(), UserError> {
    use ServiceErrorKind::{Credentials, Missing, Unavailable};
    let Location::S3 { .. } = dest else { return Ok(()) };
    let at = dest.join(ANY);
    let cannot = |error| Err(failed(Role::Write, &format!("write to {}", escaped(&dest.to_string())), &error));
    match Retry::default().run(meters, Call::store("head"), || store.head(&at)).await {
        Err(error) if matches!(error.kind, Unavailable | Credentials) || error.reason == Some(Reason::NotConnected) => {
            cannot(error)
        }
        // A HEAD has no body to tell a missing bucket from a missing object. A listing tells, if the role may list.
        Ok(None) => match store.list(&at).next().await {
            Some(Err(error)) if error.kind == Missing => cannot(error),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Fails if a folder for outputs neither is there nor can be made beside others that are: whoever mistypes a path, or
/// forgets to mount a disk, must not find the outputs elsewhere. Changes nothing: the first output makes the folder.
pub fn can_be_written(dest: &Location) -> Result<(), UserError> {
    let Location::File { path } = dest else { return Ok(()) };
    // With a slash at its end a file would be as absent as a folder that is to be made.
    let folder = Path::new(if path == "/" { path.as_str() } else { path.trim_end_matches('/') });
    let there = match folder.parent().filter(|_| !folder.exists()) {
        Some(parent) => parent,
        None => folder,
    };
    let shown = there.display().to_string();
    let (code, cause) = match std::fs::metadata(there) {
        Ok(found) if !found.is_dir() => (Code::AccessDenied, format!("{shown:?} is not a folder")),
        Ok(_) => match nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(error) => (Code::AccessDenied, format!("{shown:?}: {}", error.desc())),
        },
        Err(error) => (of_file(&error), format!("{shown:?}: {error}")),
    };
    let help = "make the folder, or correct --output";
    Err(UserError::new(code, format!("cannot write to {path:?}"), cause, help))
}
