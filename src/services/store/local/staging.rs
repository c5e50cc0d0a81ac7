//! Staged files, which are not objects yet: written beside their destination, made durable, and moved into place in
//! one step.
//!
//! A staged name is random and unrelated to the object's name (`staged`). Listings skip such names, and no location
//! may use them.
//!
//! Both the file and, after the move, its directory are synced: a message is deleted because its output is complete,
//! and a power cut must not make that untrue. The price, measured with 10 kB objects on ext4: a single put takes
//! some 5 ms instead of 1 ms, but concurrent puts share the journal's commits, so 16 to 64 jobs write 2,000 to 4,000
//! objects a second, and hardly more without syncing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};
use rustix::io::Errno;

use super::fault::fault;
use super::{access, read, staged};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::services::store::{Condition, Version, Writing};

/// The extended attribute that holds an object's metadata, as JSON.
const METADATA: &str = "user.batchpipe";

/// Writes a whole object. `gone` is asked last, right before the object appears, because nothing is published for a
/// caller that has left.
pub(super) fn put(to: &Path, body: &[u8], how: &Writing, gone: impl Fn() -> bool) -> Result<(), ServiceError> {
    written(to, body, how, gone).map_err(|error| match error.kind {
        // The folder was removed in this moment, so no input of a job is missing.
        ServiceErrorKind::Missing => ServiceError { kind: ServiceErrorKind::Unavailable, ..error },
        _ => error,
    })
}

fn written(to: &Path, body: &[u8], how: &Writing, gone: impl Fn() -> bool) -> Result<(), ServiceError> {
    let directory = to.parent().unwrap_or(Path::new("/"));
    let mode = access::of_output(how.input.as_ref(), directory);
    let staged = Staged::create(directory, access::while_written(mode))?;
    let failed = |error: std::io::Error| fault(to, &error);
    (&staged.file).write_all(body).map_err(failed)?;
    keep_metadata(&staged.file, &how.metadata).map_err(|error| fault(to, &error.into()))?;
    access::finish(&staged.file, mode).map_err(failed)?;
    staged.file.sync_all().map_err(failed)?;
    if gone() {
        return Ok(());
    }
    publish(&staged.path, to, &how.condition)
}

/// A staged file, removed when dropped; after publishing there is nothing left to remove.
struct Staged {
    file: File,
    path: PathBuf,
}

impl Staged {
    fn create(directory: &Path, mode: u32) -> Result<Self, ServiceError> {
        let (file, path) = staged::file(directory, mode).map_err(|error| fault(directory, &error))?;
        Ok(Self { file, path })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The file is gone after publishing; if it can't be removed, `unfinished` will find it.
        drop(fs::remove_file(&self.path));
    }
}

/// Turns the file at `from` into the object at `to`, atomically and durably. An existing file is replaced or, if the
/// condition is not met, stays.
pub(super) fn publish(from: &Path, to: &Path, condition: &Condition) -> Result<(), ServiceError> {
    let failed = |error: std::io::Error| fault(to, &error);
    match condition {
        Condition::Always => fs::rename(from, to).map_err(failed)?,
        Condition::Absent => appear(from, to).map_err(failed)?,
        Condition::Unchanged(etag) => {
            // No file system compares and renames in one step: between these two lines is a gap of some microseconds.
            if version_of(to)?.etag.as_ref() != Some(etag) {
                let said = format!("{to:?}: this is not the file that was to be replaced");
                return Err(ServiceError::new(ServiceErrorKind::Exists, "changed", said));
            }
            fs::rename(from, to).map_err(failed)?;
        }
    }
    sync_directory(to.parent().unwrap_or(Path::new("/")))
}

/// Moves a file to a path where nothing exists.
fn appear(from: &Path, to: &Path) -> std::io::Result<()> {
    // A hard link is made only if nothing exists there; a check before a rename would leave a gap.
    match fs::hard_link(from, to) {
        Err(error) if is_unknown(&error) => appear_without_links(from, to),
        Err(error) => Err(error),
        Ok(()) => fs::remove_file(from),
    }
}

/// Like [`appear`], on file systems without links: FAT and exFAT, which can rename without replacing, and many network
/// file systems, which can't.
fn appear_without_links(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(std::io::Error::from) {
        Err(error) if is_unknown(&error) || error.kind() == ErrorKind::InvalidInput => {}
        other => return other,
    }
    // A gap of some microseconds, as for `Unchanged`.
    match to.symlink_metadata() {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Whether a file system does not support an operation. An operation that is permitted to nobody counts too: link(2) on
/// FAT.
fn is_unknown(error: &std::io::Error) -> bool {
    [Errno::PERM, Errno::NOTSUP, Errno::NOSYS]
        .into_iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The version of the object at `path`, as [`head`](super::read::head) returns it; empty if there is none.
fn version_of(path: &Path) -> Result<Version, ServiceError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(read::version(&metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Version::default()),
        Err(error) => Err(fault(path, &error)),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), ServiceError> {
    match File::open(directory).and_then(|opened| opened.sync_all()) {
        // Some network file systems can't sync a directory, and don't need to.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(|error| fault(directory, &error)),
    }
}

/// Keeps metadata in an extended attribute. It is dropped if the file system has none: an object's bytes must not
/// depend on it, and a second file beside each object would be worse.
pub(super) fn keep_metadata(file: &File, metadata: &BTreeMap<String, String>) -> Result<(), Errno> {
    if metadata.is_empty() {
        return Ok(());
    }
    let json = serde_json::json!(metadata).to_string();
    match rustix::fs::fsetxattr(file, METADATA, json.as_bytes(), XattrFlags::empty()) {
        Err(Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

/// The metadata of a file, empty if there is none.
pub(super) fn metadata(file: &File) -> BTreeMap<String, String> {
    // The largest value that Linux allows (limits.h, XATTR_SIZE_MAX).
    let mut json = vec![0; 64 * 1024];
    let length = rustix::fs::fgetxattr(file, METADATA, &mut json).unwrap_or(0);
    serde_json::from_slice(&json[..length]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_no_links_an_object_appears_where_nothing_is_and_replaces_none() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
        fs::write(&from, "new").unwrap();
        appear_without_links(&from, &to).unwrap();
        assert_eq!((fs::read(&to).unwrap(), from.exists()), (b"new".to_vec(), false));
        fs::write(&from, "newer").unwrap();
        let error = fault(&to, &appear_without_links(&from, &to).unwrap_err());
        assert_eq!((error.kind, fs::read(&to).unwrap()), (ServiceErrorKind::Exists, b"new".to_vec()));
        assert!(
            is_unknown(&Errno::PERM.into()) && !is_unknown(&Errno::ACCESS.into()) && !is_unknown(&Errno::EXIST.into())
        );
    }

    #[test]
    fn a_folder_that_went_away_is_no_missing_input() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("gone/object");
        let error = put(&to, b"x", &Writing::default(), || false).unwrap_err();
        assert_eq!(error.kind, ServiceErrorKind::Unavailable, "the next attempt makes it again");
    }
}
