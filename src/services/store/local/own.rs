//! The command's own files, needed while it works: its queue, its journal, its log. No output may replace them.
//!
//! These files may be where outputs go, and an input may have the name of such a file. If its queue were replaced,
//! its jobs would be lost. A file is recognised by its device and inode, and by its name in its folder, because some
//! of the files come and go: SQLite makes `queue.db-wal` when the queue is opened. If the name is a link, its target
//! is recognised too, because SQLite puts its other files beside the target.
//!
//! Costs a few calls of `stat` for each output, and none if the command has no such files.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Reason, ServiceError};

/// The suffixes of the files that SQLite puts beside a queue's file.
const BESIDE_A_QUEUE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The suffix, before a number, of the file that a process which receives puts there.
const HOLDER: &str = "-holder-";

/// Whether a file of this name may belong to the queue in the file `queue`.
pub(crate) fn is_beside_a_queue(name: &str, queue: &str) -> bool {
    let rest = name.strip_prefix(queue);
    rest.is_some_and(|rest| BESIDE_A_QUEUE.contains(&rest) || rest.starts_with(HOLDER))
}

/// The path of a file as it was named and, if it is a link, without links.
pub(crate) fn both_names(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let real = path.canonicalize().ok().filter(|real| real.file_name() != path.file_name() || path.is_symlink());
    [Some(path.to_owned()), real].into_iter().flatten()
}

/// The command's own files.
#[derive(Debug, Default)]
pub(super) struct OwnFiles(Vec<PathBuf>);

impl OwnFiles {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self(files.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect())
    }

    /// Refuses the real path `at` (`text` in messages) if one of these files is there or will be there.
    pub(super) fn spare(&self, at: &Path, text: &str) -> Result<(), ServiceError> {
        let there = if self.0.is_empty() { None } else { at.symlink_metadata().ok() };
        if !self.0.iter().flat_map(|own| both_names(own)).any(|own| is_it(at, there.as_ref(), &own)) {
            return Ok(());
        }
        let why = "this is a file that batchpipe itself needs (its queue, its journal or its log), and no output may \
            replace it";
        Err(super::fault::invalid("OwnFile", text, why).because(Reason::OwnFile))
    }
}

/// Whether `at`, which is `there` now, is the file `own` or a file that belongs to a queue in `own`.
fn is_it(at: &Path, there: Option<&Metadata>, own: &Path) -> bool {
    let id = |found: &Metadata| (found.dev(), found.ino());
    let is_there = |suffix: &str| {
        let mut path = OsString::from(own);
        path.push(suffix);
        there.is_some_and(|there| fs::symlink_metadata(path).is_ok_and(|found| id(&found) == id(there)))
    };
    if is_there("") || BESIDE_A_QUEUE.into_iter().any(is_there) {
        return true;
    }
    let (Some(name), Some(ours)) = (at.file_name(), own.file_name()) else { return false };
    let is_named = name == ours
        || matches!((name.to_str(), ours.to_str()), (Some(name), Some(ours)) if is_beside_a_queue(name, ours));
    let folder = |path: &Path| path.parent().and_then(|folder| fs::metadata(folder).ok()).map(|found| id(&found));
    is_named && folder(at).is_some_and(|at| Some(at) == folder(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_our_own_is_spared_by_every_name_and_before_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["a", "real"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for file in ["a/q", "real/far"] {
            fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink("../real/far", at("a/link")).unwrap();
        std::os::unix::fs::symlink("a", at("b")).unwrap();
        fs::hard_link(at("a/q"), at("again")).unwrap();
        let own = OwnFiles::new(["a/q", "b/log", "a/link"].map(at).to_vec());
        let own_ones = [
            "a/q",
            "a/q-wal",
            "a/q-holder-1a2b3c4d",
            "b/q-shm",
            "again",
            "a/log",
            "a/link",
            "real/far",
            "real/far-wal",
        ];
        for name in own_ones {
            assert_eq!(own.spare(&at(name), name).unwrap_err().reason, Some(Reason::OwnFile), "{name}");
        }
        for name in ["q", "a/q-notes", "a/qq", "real/q", "real/log", "a/far"] {
            own.spare(&at(name), name).unwrap();
        }
    }
}
