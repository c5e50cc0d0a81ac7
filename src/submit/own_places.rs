//! Our own files and folders that may be in a source: they are not inputs.
//!
//! A source may contain what a command itself writes while it reads: its outputs, the queue in a file, the journal,
//! the log, scratch files. As inputs, they would become outputs, which would be inputs of the next run, and so on.
//! They are recognised by device and inode and not by their path, so links and mounts don't matter.
//!
//! Names that batchpipe reserves are not inputs either, in any folder. If such a name may be another person's file,
//! one line in the log says that it was left out.
//!
//! Bounded: a few places, looked up once for each walk; each folder of the source is looked at once.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use crate::runtime::mounts::Mounts;
use crate::services::store::local::{both_names, is_beside_a_queue};

/// The files and folders that a command knows to be its own.
#[derive(Debug, Default)]
pub struct OwnPlaces {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Whether a skipped name was reported already, because a source is walked more than once.
    told: AtomicBool,
}

impl OwnPlaces {
    /// Everything in this folder is ours.
    #[must_use]
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.folders.push(absolute(path.into()));
        self
    }

    /// This file is ours, and so are the files that belong to a queue in it.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(absolute(path.into()));
        self
    }

    /// The places at this moment, for a walk from `root`, which is never one of them.
    pub(crate) fn look(&self, root: &Path) -> Look<'_> {
        let shown = self.shown_in(root);
        let root = fs::metadata(root).ok().map(|found| id(&found));
        let there = |path: &PathBuf| fs::metadata(path).ok().map(|found| id(&found)).filter(|id| Some(*id) != root);
        let name = |path: PathBuf| {
            let folder = path.parent().and_then(|parent| fs::metadata(parent).ok())?;
            Some((id(&folder), path.file_name()?.to_str()?.to_owned()))
        };
        Look {
            folders: self.folders.iter().chain(&shown).filter_map(there).collect(),
            files: self.files.iter().filter_map(there).collect(),
            names: self.files.iter().flat_map(|path| both_names(path)).filter_map(name).collect(),
            left_out: Mutex::default(),
            told: &self.told,
        }
    }

    /// Mounts below `root` that show the contents of our folders.
    fn shown_in(&self, root: &Path) -> Vec<PathBuf> {
        let Ok(root) = root.canonicalize() else { return Vec::new() };
        let mounts = Mounts::now();
        let ours: Vec<_> = self.folders.iter().filter_map(|path| mounts.place(&path.canonicalize().ok()?)).collect();
        let is_ours =
            |at: &&Path| mounts.place(at).is_some_and(|place| ours.iter().any(|ours| place.below(ours).is_some()));
        mounts.below(&root).filter(is_ours).map(Path::to_owned).collect()
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Identifies a file: its device and its inode.
type Id = (u64, u64);

fn id(found: &Metadata) -> Id {
    (found.dev(), found.ino())
}

/// The places at the time of a walk.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    folders: Vec<Id>,
    files: Vec<Id>,
    /// The folders that contain our files, and the names of the files there.
    names: Vec<(Id, String)>,
    /// How many reserved names were left out that may be other people's, and the first of them.
    left_out: Mutex<(u64, Option<PathBuf>)>,
    told: &'a AtomicBool,
}

impl Look<'_> {
    /// Whether a folder is ours.
    pub(crate) fn has_folder(&self, found: &Metadata) -> bool {
        self.folders.contains(&id(found))
    }

    /// Whether a file is ours, or belongs to a queue of ours.
    pub(crate) fn has_file(&self, path: &Path, found: &Metadata) -> bool {
        if self.files.contains(&id(found)) {
            return true;
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        self.names.iter().any(|(folder, ours)| {
            is_beside_a_queue(name, ours)
                && path.parent().is_some_and(|at| fs::metadata(at).is_ok_and(|at| id(&at) == *folder))
        })
    }

    /// Records that a name was left out because batchpipe reserves such names.
    pub(crate) fn leave_out(&self, path: &Path) {
        let mut left = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left.0 += 1;
        left.1.get_or_insert_with(|| path.to_owned());
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.left_out.lock().unwrap_or_else(PoisonError::into_inner));
        if let (count, Some(first)) = left
            && !self.told.swap(true, Relaxed)
        {
            tracing::warn!(
                target: "batchpipe::own_places", count,
                ?first,
                "left out of the source: .batchpipe and names that begin with .batchpipe- are kept for batchpipe itself"
            );
        }
    }
}

/// Whether `inner`, which need not exist yet, is `outer` or is inside it, after links and mounts are resolved.
pub(crate) fn lies_in(inner: &Path, outer: &Path) -> bool {
    let Ok(outer_found) = fs::metadata(outer) else { return false };
    // A path that does not exist is where its existing part leads.
    let Some(real) = inner.ancestors().find_map(|part| part.canonicalize().ok()) else { return false };
    let is_outer = |part: &Path| fs::metadata(part).is_ok_and(|found| id(&found) == id(&outer_found));
    real.ancestors().any(is_outer) || way_by_mounts(outer, &real).is_some()
}

/// The path from `outer` down to `inner` on their common file system, if a bind mount hides it; empty if they are the
/// same.
fn way_by_mounts(outer: &Path, inner: &Path) -> Option<PathBuf> {
    let mounts = Mounts::now();
    let (outer, inner) = (mounts.place(&outer.canonicalize().ok()?)?, mounts.place(&inner.canonicalize().ok()?)?);
    inner.below(&outer).map(Path::to_owned)
}

/// The path from `outer` down to `inner`, both of which exist, with a slash at its end; `None` if `inner` is not inside
/// `outer`.
pub(crate) fn way_down(outer: &Path, inner: &Path) -> Option<String> {
    let (outer, inner) = (outer.canonicalize().ok()?, inner.canonicalize().ok()?);
    let way = inner.strip_prefix(&outer).ok().map(Path::to_owned).or_else(|| way_by_mounts(&outer, &inner))?;
    let way = way.to_str()?;
    (!way.is_empty()).then(|| format!("{way}/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_lies_in_a_folder_is_seen_through_links_and_before_it_exists() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("in/deep")).unwrap();
        fs::create_dir(at("inner")).unwrap();
        symlink("in", at("link")).unwrap();
        symlink("../in/deep", at("inner/far")).unwrap();
        for inner in ["in", "in/out", "link", "link/out/new", "inner/far", "inner/far/new"] {
            assert!(lies_in(&at(inner), &at("in")), "{inner}");
            assert!(lies_in(&at(inner), &at("link")), "{inner}");
        }
        for inner in ["inner", "inner/new", "out", ""] {
            assert!(!lies_in(&at(inner), &at("in")), "{inner}");
        }
        assert_eq!(way_down(root.path(), &at("link/deep")).as_deref(), Some("in/deep/"));
        assert_eq!(way_down(&at("in"), &at("link")), None);
        assert_eq!(way_down(&at("in"), &at("inner")), None);
    }

    #[test]
    fn a_queue_is_known_with_all_that_lies_beside_it_and_by_any_name() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("other")).unwrap();
        for name in ["q", "q-wal", "q-shm", "q-holder-0123abcd", "q-notes", "qq", "other/q", "other/q-wal"] {
            fs::write(at(name), "").unwrap();
        }
        fs::hard_link(at("q"), at("again")).unwrap();
        let own = OwnPlaces::default().file(at("q")).file(at("journal"));
        let look = own.look(root.path());
        let is_own = |name: &str| look.has_file(&at(name), &fs::metadata(at(name)).unwrap());
        for name in ["q", "q-wal", "q-shm", "q-holder-0123abcd", "again"] {
            assert!(is_own(name), "{name}");
        }
        for name in ["q-notes", "qq", "other/q", "other/q-wal"] {
            assert!(!is_own(name), "{name}");
        }
    }
}
