//! The folders that we make in the work directory, and the names in them.
//!
//! Anybody may make a folder in `/tmp` before us. So the folder of this user is used only if it is a directory and
//! not a link, belongs to us, and is closed to everybody else; otherwise the next name is tried.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The prefix of a user's folder, before the user id.
pub(super) const BASE: &str = "batchpipe-";

/// The file in a worker's folder that is locked for as long as the worker lives.
pub(super) const LOCK: &str = "owner";

/// Names for a user's folder: more than one is needed only if somebody else has taken the first.
const NAMES: u32 = 16;

/// The folder of this user, made if needed: `batchpipe-<uid>`, or `batchpipe-<uid>-2` and so on if that folder is not
/// ours.
pub(super) fn base(work_dir: &Path) -> io::Result<PathBuf> {
    let uid = nix::unistd::geteuid();
    for nth in 1..=NAMES {
        let path = work_dir.join(base_name(uid, nth));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_private(&path) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let said = format!("{BASE}{uid} and the {} names after it are taken by what is not our private folder", NAMES - 1);
    Err(io::Error::new(ErrorKind::AlreadyExists, said))
}

/// The folders in `work_dir` that contain the files of this user's workers.
pub(super) fn bases(work_dir: &Path) -> Vec<PathBuf> {
    let uid = nix::unistd::geteuid();
    (1..=NAMES).map(|nth| work_dir.join(base_name(uid, nth))).filter(|path| is_private(path)).collect()
}

fn base_name(uid: nix::unistd::Uid, nth: u32) -> String {
    if nth == 1 { format!("{BASE}{uid}") } else { format!("{BASE}{uid}-{nth}") }
}

/// Whether this is a directory (not a link) of this user that nobody else may open.
pub(super) fn is_private(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| {
        found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o777 == 0o700
    })
}

/// Makes a worker's folder and locks it. `None` if another process has cleaned it up first, because it looked empty or
/// its lock was not taken yet.
pub(super) fn folder(base: &Path) -> io::Result<Option<(PathBuf, File)>> {
    let folder = base.join(format!("w-{}-{:016x}", std::process::id(), fastrand::u64(..)));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => return Ok(None),
        made => made?,
    }
    let path = folder.join(LOCK);
    let lock = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => {
            drop(fs::remove_file(&path));
            drop(fs::remove_dir(&folder));
            return Err(error);
        }
    }
    // A lock on a file that was removed before it was locked protects nothing.
    let inode = lock.metadata()?.ino();
    let is_there = path.symlink_metadata().is_ok_and(|found| found.ino() == inode);
    Ok(is_there.then_some((folder, lock)))
}

/// A name for a job's file.
pub(super) fn file(extension: &str) -> String {
    format!("j-{:016x}{extension}", fastrand::u64(..))
}

/// Whether a name is one that [`file()`] makes, or one that a program made from it by appending to it.
pub(super) fn is_file(name: &str) -> bool {
    name.strip_prefix("j-").and_then(|rest| rest.get(..16)).is_some_and(is_random)
}

/// Whether a name is one that [`folder`] makes.
pub(super) fn is_folder(name: &str) -> bool {
    name.strip_prefix("w-").is_some_and(is_pid_and_random)
}

/// Whether a name is one that version 0.1 gave to a worker's folder, directly in the work directory.
pub(super) fn is_old_folder(name: &str) -> bool {
    name.strip_prefix(BASE).is_some_and(is_pid_and_random)
}

fn is_pid_and_random(text: &str) -> bool {
    text.split_once('-').is_some_and(|(pid, random)| {
        !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) && random.len() == 16 && is_random(random)
    })
}

fn is_random(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_that_is_open_to_others_or_a_link_or_a_file_is_not_used_and_the_next_name_is() {
        let root = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid();
        let at = |end: &str| root.path().join(format!("batchpipe-{uid}{end}"));
        fs::create_dir(at("")).unwrap();
        fs::set_permissions(at(""), fs::Permissions::from_mode(0o750)).unwrap();
        symlink(root.path(), at("-2")).unwrap();
        fs::write(at("-3"), "mine").unwrap();
        assert_eq!(base(root.path()).unwrap(), at("-4"));
        assert_eq!(fs::metadata(at("-4")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(base(root.path()).unwrap(), at("-4"), "what is ours is used again");
        assert_eq!(fs::metadata(at("")).unwrap().permissions().mode() & 0o777, 0o750, "and nothing else is changed");
    }

    #[test]
    fn when_every_name_is_taken_the_work_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid();
        fs::write(root.path().join(format!("batchpipe-{uid}")), "").unwrap();
        for nth in 2..=NAMES {
            fs::write(root.path().join(format!("batchpipe-{uid}-{nth}")), "").unwrap();
        }
        assert_eq!(base(root.path()).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), NAMES as usize);
    }

    #[test]
    fn only_names_of_our_making_are_taken_for_ours() {
        assert!(is_file(&file("")) && is_file(&file(".png")) && is_file("j-0123456789abcdef.png.tmp"));
        for name in ["j-0123456789ABCDEF", "j-0123456789abcde", "j-", "photos", "owner", "0123456789abcdef", "j-é"] {
            assert!(!is_file(name), "{name}");
        }
        assert!(is_folder("w-12-0123456789abcdef") && is_old_folder("batchpipe-12-0123456789abcdef"));
        for name in
            ["w-12", "w--0123456789abcdef", "w-12-0123456789abcdeg", "w-12-0123456789abcdef0", "w-1x-0123456789abcdef"]
        {
            assert!(!is_folder(name) && !is_old_folder(&name.replace("w-", BASE)), "{name}");
        }
        assert!(!is_old_folder("batchpipe-photos") && !is_old_folder("batchpipe-out"));
    }
}
