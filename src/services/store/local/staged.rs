//! Names of staged files, whether their writer lives, and how they are removed.
//!
//! A staged name is `.batchpipe-<machine>-<random>`: eight digits that identify this boot of this machine, and a
//! random number. The writer holds a lock (flock) on the staged file, or on the `data` of a staged directory, for as
//! long as it has the file open. The kernel releases the lock when the process ends, however it ends, and keeps it
//! for a process that is stopped or runs in another container. So the next run, and `batchpipe gc`, may try the
//! lock:
//!
//! - The lock is taken: the writer lives, and nothing is changed.
//! - The lock is free, and the name is of this boot: the writer is dead, and its files are removed.
//! - The lock is free, and the name is of another boot: the machine was restarted since, or another machine shares
//!   the files. On a local file system the writer is dead. On any other file system the lock may not be visible to
//!   us, so the state of the writer is unknown.
//!
//! If the state is unknown, only `gc` removes the file, by its age. The same holds for names without the first
//! number, which come from version 0.1 or from a writer on a file system without locks. A file of any other name is
//! not ours.
//!
//! Bounded: one lock for each file that is being written, on a file that is open anyway.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::OFlags;

use crate::services::store::Writer;

/// The prefix of staged names.
const PREFIX: &str = ".batchpipe-";

/// Where `map` keeps its queue, in the directory that it writes to.
const STATE: &str = ".batchpipe";

/// In a staged directory: the path that the upload would have had.
pub(super) const TARGET: &str = "target";

/// In a staged directory: the bytes that become the object. The lock on this file tells whether the writer lives.
pub(super) const DATA: &str = "data";

/// How often to try a new name: the name may be in use, with a chance of one in 2^64, or a process that cleans up may
/// have seen the file in the moment before it was locked, and removed it.
const TRIES: u32 = 4;

/// File systems that no other machine can share, by their numbers in statfs(2): ext2 to ext4, XFS, Btrfs, tmpfs,
/// overlayfs, ZFS, F2FS, bcachefs, FAT, exFAT, NTFS (<https://man7.org/linux/man-pages/man2/statfs.2.html>,
/// linux/magic.h).
const LOCAL: [u64; 11] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0x2fc1_2fc1,
    0xf2f5_2010,
    0xca45_1a4e,
    0x4d44,
    0x2011_bab0,
    0x7366_746e,
];

/// Whether batchpipe reserves a name. Case is ignored, because some file systems ignore it.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case(STATE) || name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether [`file()`] or [`directory`] makes such a name, or an earlier version did.
pub(super) fn is_staged(name: &str) -> bool {
    machine_of(name).is_some()
}

/// The machine number in a staged name; empty if the name does not identify its writer.
fn machine_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?;
    let (machine, random) = rest.split_once('-').unwrap_or(("", rest));
    let is_number = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_ours = matches!(machine.len(), 0 | 8) && is_number(machine) && random.len() == 16 && is_number(random);
    (is_ours && !rest.starts_with('-')).then_some(machine)
}

/// Identifies this boot of this machine: containers of one machine share it, and no other boot has it.
fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        use md5::Digest;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Without the number, no process takes the name for one of its own machine.
        if boot.is_empty() { String::new() } else { hex::encode(&md5::Md5::digest(boot.trim().as_bytes())[..4]) }
    })
}

fn fresh(directory: &Path, machine: &str) -> PathBuf {
    let dash = if machine.is_empty() { "" } else { "-" };
    directory.join(format!("{PREFIX}{machine}{dash}{:016x}", fastrand::u64(..)))
}

/// Creates and locks a file with a new name in `directory`. Never follows an existing link, and never opens an existing
/// file.
pub(super) fn file(directory: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    lasting(directory, |path| create(path, mode), |path| drop(fs::remove_file(path)))
}

/// Creates a directory with a new name in `directory`, closed to other users, and in it the locked file for its data.
pub(super) fn directory(directory: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let make = |path: &Path| {
        DirBuilder::new().mode(0o700).create(path)?;
        create(&path.join(DATA), mode).inspect_err(|_| drop(fs::remove_dir(path)))
    };
    lasting(directory, make, |path| drop(remove(path)))
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Creates a staged file or directory until it is certainly locked and still there.
fn lasting(
    directory: &Path,
    make: impl Fn(&Path) -> io::Result<File>,
    unmake: impl Fn(&Path),
) -> io::Result<(File, PathBuf)> {
    let mut machine = machine();
    let mut left = TRIES;
    loop {
        left -= 1;
        let path = fresh(directory, machine);
        let file = match make(&path) {
            Err(error) if left > 0 && is_race(&error, directory) => continue,
            made => made?,
        };
        match file.try_lock() {
            _ if machine.is_empty() => return Ok((file, path)),
            Ok(()) if file.metadata()?.nlink() > 0 => return Ok((file, path)),
            Ok(()) | Err(TryLockError::WouldBlock) if left > 0 => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(ErrorKind::ResourceBusy.into()),
            // The file system has no locks, so the name must not identify its writer.
            Err(TryLockError::Error(_)) => machine = "",
        }
        unmake(&path);
        left = left.max(1);
    }
}

/// Whether a failed creation may succeed the next time: the name was taken, or a process that cleans up removed the
/// directory before there was a file in it.
fn is_race(error: &io::Error, directory: &Path) -> bool {
    error.kind() == ErrorKind::AlreadyExists || error.kind() == ErrorKind::NotFound && directory.is_dir()
}

/// What is known about the writer of the staged file or directory at `path`.
pub(super) fn writer(path: &Path) -> Writer {
    let made_by = path.file_name().and_then(|name| name.to_str()).and_then(machine_of).unwrap_or_default();
    if made_by.is_empty() || (made_by != machine() && !is_local(path)) {
        return Writer::Unknown;
    }
    let Ok(found) = path.symlink_metadata() else { return Writer::Unknown };
    let locked = if found.is_dir() { path.join(DATA) } else { path.to_owned() };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&locked) {
        Ok(file) => file,
        // Either its data has become the object, or there was no data yet; then its writer will notice that the
        // directory is gone.
        Err(error) if found.is_dir() && error.kind() == ErrorKind::NotFound => return Writer::Gone,
        Err(_) => return Writer::Unknown,
    };
    match file.try_lock() {
        _ if !file.metadata().is_ok_and(|found| found.is_file()) => Writer::Unknown,
        Ok(()) => Writer::Gone,
        Err(TryLockError::WouldBlock) => Writer::Alive,
        Err(TryLockError::Error(_)) => Writer::Unknown,
    }
}

/// Whether no other machine can write to the file system of `path`.
fn is_local(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(path);
    rustix::fs::statfs(parent).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64)))
}

/// Removes the staged file at `path`, or the staged directory with the files in it that an upload makes. Any other file
/// in such a directory stays, and the directory with it, which is an error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.is_dir() {
        return if found.is_file() { gone(fs::remove_file(path)) } else { Err(ErrorKind::InvalidInput.into()) };
    }
    // The data goes last, because its lock tells whether the writer lives.
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_part = entry.file_name().to_str().is_some_and(is_part);
        if is_part && entry.file_type()?.is_file() {
            gone(fs::remove_file(entry.path()))?;
        }
    }
    gone(fs::remove_file(path.join(DATA)))?;
    gone(fs::remove_dir(path))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name of part `number` in write `writing`, if the part is outside the data file.
pub(super) fn part(number: u32, writing: u64) -> String {
    format!("{number}-{writing}")
}

/// Whether a file in a staged directory is one that an upload makes beside its data.
fn is_part(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name == TARGET || name.split_once('-').is_some_and(|(number, writing)| is_number(number) && is_number(writing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_tells_the_living_from_the_dead_and_a_name_without_one_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (alive, path) = file(folder.path(), 0o600).unwrap();
        let (held, upload) = directory(folder.path(), 0o600).unwrap();
        assert_eq!((writer(&path), writer(&upload)), (Writer::Alive, Writer::Alive));
        drop((alive, held));
        assert_eq!((writer(&path), writer(&upload)), (Writer::Gone, Writer::Gone));
        let old = folder.path().join(".batchpipe-0123456789abcdef");
        fs::write(&old, "").unwrap();
        assert_eq!(writer(&old), Writer::Unknown);
        let made = folder.path().join(format!("{PREFIX}{}-0123456789abcdef", machine()));
        fs::create_dir(&made).unwrap();
        assert_eq!(writer(&made), Writer::Gone, "an empty directory holds nothing that could be lost");
        fs::remove_dir(&made).unwrap();
        std::os::unix::fs::symlink(&path, &made).unwrap();
        assert_eq!(writer(&made), Writer::Unknown, "a link is not ours");
        assert!(remove(&made).is_err() && path.exists());
    }

    #[test]
    fn a_name_of_another_run_of_the_kernel_is_told_only_where_no_other_machine_can_write() {
        let name = |machine: &str| format!("{PREFIX}{machine}-0123456789abcdef");
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join(name("00000000"));
        fs::write(&other, "").unwrap();
        let expected = if is_local(&other) { Writer::Gone } else { Writer::Unknown };
        assert_eq!(writer(&other), expected);
        assert!(!is_local(Path::new("/proc/self")), "procfs stands for all that is not in the list");
        let far = Path::new("/proc/self").join(name("00000000"));
        assert_eq!(writer(&far), Writer::Unknown);
    }

    #[test]
    fn only_names_of_our_making_are_staged_and_those_kept_for_us_are_so_in_any_case() {
        for name in [".batchpipe-0123456789abcdef", ".batchpipe-01234567-0123456789abcdef"] {
            assert!(is_staged(name) && is_reserved(name), "{name}");
        }
        for name in [
            ".batchpipe",
            ".batchpipe-",
            ".batchpipe--0123456789abcdef",
            ".batchpipe-notes",
            ".BATCHPIPE-0123456789abcdef",
            ".batchpipe-0123456789ABCDEF",
            ".batchpipe-01234567-0123456789abcdef.txt",
            ".batchpipe-1-0123456789abcdef",
        ] {
            assert!(!is_staged(name) && is_reserved(name), "{name}");
        }
        for name in [".batchpipes", "batchpipe", ".batch", ".BatchPipe_"] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(is_reserved(".BatchPipe") && is_reserved(".BatchPipe-x"));
    }

    #[test]
    fn what_somebody_put_into_a_staged_directory_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (held, upload) = directory(folder.path(), 0o600).unwrap();
        drop(held);
        fs::write(upload.join(TARGET), "x").unwrap();
        fs::write(upload.join(part(3, 12)), "x").unwrap();
        fs::write(upload.join("photo.jpg"), "x").unwrap();
        assert!(remove(&upload).is_err());
        let names: Vec<_> = fs::read_dir(&upload).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["photo.jpg"]);
        fs::remove_file(upload.join("photo.jpg")).unwrap();
        remove(&upload).unwrap();
        remove(&upload).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
