//! Removes the files that workers left in the work directory, name by name, and only files that are ours.
//!
//! A worker is dead if we get the lock of its folder. We hold that lock until all is removed, and never touch a
//! folder whose lock is taken or can't be tried. Files with names that we do not make stay, with their folders, and
//! are reported in one warning.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::own::{self, LOCK};

/// Files found that are not ours.
#[derive(Debug, Default)]
struct Foreign {
    count: u64,
    first: Option<PathBuf>,
}

impl Foreign {
    fn note(&mut self, path: PathBuf) {
        self.count += 1;
        self.first.get_or_insert(path);
    }

    fn tell(&self) {
        if let Some(first) = &self.first {
            let count = self.count;
            tracing::warn!(
                target: "batchpipe::scratch", count, ?first,
                "files that batchpipe did not make lie in its scratch folder; they were left there"
            );
        }
    }
}

/// Removes the folders of dead workers inside the folder of this user.
pub(super) fn remove_dead(base: &Path) {
    let mut foreign = Foreign::default();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_worker = entry.file_name().to_str().is_some_and(own::is_folder)
            && entry.file_type().is_ok_and(|found| found.is_dir());
        if is_worker {
            remove_if_dead(&entry.path(), &mut foreign);
        } else {
            foreign.note(entry.path());
        }
    }
    foreign.tell();
}

/// Removes this worker's own folder, whose lock it holds.
pub(super) fn remove_own(folder: &Path) {
    let mut foreign = Foreign::default();
    empty(folder, &mut foreign);
    foreign.tell();
}

/// Removes what dead workers of version 0.1 left in the work directory itself: folders of exactly the form that version
/// made, containing only files that it made. That version would remove them at its next start; this version replaces
/// it.
pub(super) fn remove_old(work_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(work_dir)? {
        let entry = entry?;
        let folder = entry.path();
        if !entry.file_name().to_str().is_some_and(own::is_old_folder) || !own::is_private(&folder) {
            continue;
        }
        let mut inside = fs::read_dir(&folder).into_iter().flatten();
        let is_ours = |entry: &fs::DirEntry| entry.file_name() == LOCK || is_job_file(entry);
        if inside.all(|entry| entry.is_ok_and(|entry| is_ours(&entry)))
            && let Ok(Some(_lock)) = lock(&folder)
        {
            empty(&folder, &mut Foreign::default());
        }
    }
    Ok(())
}

fn remove_if_dead(folder: &Path, foreign: &mut Foreign) {
    match lock(folder) {
        Ok(Some(_lock)) => {
            empty(folder, foreign);
            if !folder.exists() {
                tracing::info!(target: "batchpipe::scratch", ?folder, "removed what a dead worker left");
            }
        }
        // The folder is new, or its worker died right after making it. It is empty, and if its worker lives, the worker
        // makes another.
        Ok(None) => {
            if let Err(error) = fs::remove_dir(folder)
                && error.kind() == ErrorKind::DirectoryNotEmpty
            {
                // By now it may contain its lock.
                if !folder.join(LOCK).exists() {
                    foreign.note(folder.to_owned());
                }
            }
        }
        // Its owner lives, or its state is unknown.
        Err(_) => {}
    }
}

/// The lock of a folder whose owner is dead; `None` if it has no lock file; an error if its owner lives or its state is
/// unknown.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().write(true).custom_flags(flags).open(folder.join(LOCK)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let found = file.metadata()?;
    // Our lock files are empty.
    if !found.is_file() || found.len() > 0 || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(ErrorKind::InvalidData.into());
    }
    file.try_lock()?;
    Ok(Some(file))
}

/// Removes the files of jobs, then the lock and the folder if nothing else is in it.
fn empty(folder: &Path, foreign: &mut Foreign) {
    let before = foreign.count;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() == LOCK {
            continue;
        }
        if !is_job_file(&entry) {
            // A program may make a directory where its output should be. Such a directory is removed if it is empty.
            let is_empty_output = entry.file_name().to_str().is_some_and(own::is_file)
                && entry.file_type().is_ok_and(|found| found.is_dir())
                && fs::remove_dir(entry.path()).is_ok();
            if !is_empty_output {
                foreign.note(entry.path());
            }
        } else if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(target: "batchpipe::scratch", path = ?entry.path(), %error, "cannot remove a scratch file");
        }
    }
    if foreign.count > before {
        return;
    }
    let removed = fs::remove_file(folder.join(LOCK)).and_then(|()| fs::remove_dir(folder));
    if let Err(error) = removed
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(target: "batchpipe::scratch", ?folder, %error, "cannot remove a scratch folder");
    }
}

/// Whether this is a job's file: a name that we make, and not a directory.
fn is_job_file(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(own::is_file) && entry.file_type().is_ok_and(|found| !found.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt, symlink};
    use std::sync::Arc;

    use super::super::Scratch;
    use super::*;
    use crate::record::Meters;

    const RANDOM: &str = "0123456789abcdef";

    fn start(root: &Path) -> Arc<Scratch> {
        Scratch::new(root, &Arc::new(Meters::default())).unwrap()
    }

    fn folder(path: PathBuf, inside: &[&str]) -> PathBuf {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).unwrap();
        for name in inside {
            fs::write(path.join(name), if *name == LOCK { "" } else { "left" }).unwrap();
        }
        path
    }

    fn age(path: &Path) {
        let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::open(path).unwrap().set_times(times).unwrap();
    }

    #[test]
    fn a_folder_of_photos_whose_name_begins_like_ours_is_never_touched() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let foreign = [
            folder(at("batchpipe-photos"), &["p"]),
            folder(at("batchpipe-out"), &["owner", "j-0123456789abcdef"]),
            folder(at(&format!("batchpipe-1-{RANDOM}")), &["owner", "photo.jpg"]),
            folder(at(&format!("batchpipe-2-{RANDOM}")), &["j-0123456789abcdef"]),
            folder(at("batchpipe-1-dead"), &["owner"]),
        ];
        fs::write(at("batchpipe-notes"), "mine").unwrap();
        foreign.iter().for_each(|folder| age(folder));
        let count = |folder: &PathBuf| fs::read_dir(folder).unwrap().count();
        let before: Vec<_> = foreign.iter().map(count).collect();
        drop(start(root.path()));
        assert_eq!(before, foreign.iter().map(count).collect::<Vec<_>>());
        assert_eq!(fs::read(at("batchpipe-notes")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 6, "and nothing of ours is left");
    }

    #[test]
    fn a_start_removes_what_dead_workers_left_and_nothing_of_the_living() {
        let root = tempfile::tempdir().unwrap();
        let alive = start(root.path());
        let working = alive.reserve(".png");
        fs::write(working.path(), "at work").unwrap();
        let base = alive.folder().parent().unwrap().to_owned();
        let dead =
            folder(base.join(format!("w-1-{RANDOM}")), &["owner", "j-0123456789abcdef", "j-0123456789abcdef.png.tmp"]);
        let torn = folder(base.join(format!("w-2-{RANDOM}")), &[]);
        let old = folder(root.path().join(format!("batchpipe-3-{RANDOM}")), &["owner", "j-0123456789abcdef.png"]);
        let held = folder(root.path().join(format!("batchpipe-4-{RANDOM}")), &["owner", "j-0123456789abcdef"]);
        let lock = File::open(held.join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        let second = start(root.path());
        assert!(!dead.exists() && !torn.exists() && !old.exists());
        assert!(alive.folder().exists() && second.folder().exists() && held.join("j-0123456789abcdef").exists());
        drop(second);
        assert_eq!(fs::read_dir(alive.folder()).unwrap().count(), 2, "its lock and its file");
    }

    #[test]
    fn what_a_program_left_beside_its_files_stays_with_the_folder_that_it_is_in() {
        let root = tempfile::tempdir().unwrap();
        let scratch = start(root.path());
        let kept = scratch.folder().to_owned();
        fs::write(kept.join("core.1234"), "somebody's").unwrap();
        fs::create_dir_all(kept.join("j-0123456789abcdef_files/one")).unwrap();
        fs::create_dir(kept.join("j-0123456789abcdef")).unwrap();
        fs::write(kept.join("j-0123456789abcdef.tmp"), "made of a name of ours").unwrap();
        drop(scratch);
        let names = || {
            let mut names: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["core.1234", "j-0123456789abcdef_files", LOCK]);
        drop(start(root.path()));
        assert_eq!(names(), ["core.1234", "j-0123456789abcdef_files", LOCK], "by the next start, too");
    }

    #[test]
    fn a_link_is_never_followed_to_somebody_elses_files() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = folder(other.path().join("theirs"), &["owner", "j-0123456789abcdef"]);
        symlink(&theirs, root.path().join(format!("batchpipe-3-{RANDOM}"))).unwrap();
        let scratch = start(root.path());
        symlink(&theirs, scratch.folder().parent().unwrap().join(format!("w-3-{RANDOM}"))).unwrap();
        drop((start(root.path()), scratch));
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 2);
    }
}
