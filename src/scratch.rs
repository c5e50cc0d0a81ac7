//! The work directory: files for programs that can't work on a stream.
//!
//! A worker's files lie in one folder of its own, `batchpipe-<pid>-<random>`, readable by nobody else, and have names
//! of our making: no key ever becomes a path. A file goes when its owner is dropped, the folder with the worker. What
//! a killed worker left behind is removed by the next start: its lock, which the kernel lets go with the process, is
//! free (a pid alone could be somebody else's by then, or live in another container).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use crate::error::{Code, ErrorKind, Exit, JobError, Stage, UserError};
use crate::meter::Meters;

/// What the folder of a worker is called, before its pid.
const PREFIX: &str = "batchpipe-";

/// The file in it that is locked for as long as the worker lives.
const LOCK: &str = "owner";

/// A folder without a lock file may be one that is being made; after this it is one whose maker died.
const UNOWNED_GRACE: Duration = Duration::from_secs(60);

/// This worker's folder.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    meters: Arc<Meters>,
    _lock: File,
}

impl Scratch {
    /// Makes this worker's folder in `work_dir`, which is made too where it is missing, and removes the folders of
    /// dead workers.
    pub fn new(work_dir: &Path, meters: &Arc<Meters>) -> Result<Arc<Self>, UserError> {
        let refused = |error: io::Error| {
            UserError::usage(
                502,
                format!("cannot use the work directory {work_dir:?}"),
                error.to_string(),
                "choose another with  --work-dir DIR , or use stdin and stdout instead of {input} and {output}",
            )
            .exit(Exit::Access)
        };
        fs::create_dir_all(work_dir).map_err(refused)?;
        remove_dead(work_dir).map_err(refused)?;
        loop {
            let name = format!("{PREFIX}{}-{:016x}", std::process::id(), fastrand::u64(..));
            let folder = std::path::absolute(work_dir).map_err(refused)?.join(name);
            DirBuilder::new().mode(0o700).create(&folder).map_err(refused)?;
            let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(LOCK));
            let lock = lock.map_err(refused)?;
            match lock.try_lock() {
                Ok(()) => return Ok(Arc::new(Self { folder, meters: Arc::clone(meters), _lock: lock })),
                // Somebody who starts right now saw it unlocked, and is about to remove it.
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(refused(error)),
            }
        }
    }

    /// A name for a new file, ending in `extension`, which comes from the operator.
    pub fn reserve(self: &Arc<Self>, extension: &str) -> ScratchFile {
        let name = format!("j-{:016x}{extension}", fastrand::u64(..));
        ScratchFile { path: self.folder.join(name), scratch: Arc::clone(self), counted: 0 }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// A file that goes when this is dropped.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
    scratch: Arc<Scratch>,
    counted: u64,
}

impl ScratchFile {
    /// Where it is, or will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file, which must not be there yet.
    pub fn create(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)
    }

    /// Opens what a program made of it: a regular file, or nothing.
    pub fn open(&self) -> io::Result<File> {
        if !fs::symlink_metadata(&self.path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "not a regular file"));
        }
        File::open(&self.path)
    }

    /// Counts `bytes` more as taken in the work directory, until the file is gone.
    pub fn count(&mut self, bytes: u64) {
        self.counted += bytes;
        self.scratch.meters.temp_bytes.fetch_add(bytes, Relaxed);
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(target: "batchpipe::scratch", path = ?self.path, %error, "cannot remove a scratch file");
        }
        self.scratch.meters.temp_bytes.fetch_sub(self.counted, Relaxed);
    }
}

/// The job error for a failure in the work directory: a full one is nobody's fault, and passes.
pub fn failed(error: &io::Error) -> JobError {
    let cause = format!("the work directory: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            JobError::new(Stage::Process, ErrorKind::NoSpace, Code(501), cause)
        }
        _ => JobError::new(Stage::Process, ErrorKind::Failed, Code(502), cause),
    }
}

fn remove_dead(work_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(work_dir)? {
        let entry = entry?;
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // A link, or another user's folder, is not what a worker of ours left.
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw());
        if named && ours && is_dead(&entry.path()) {
            tracing::info!(target: "batchpipe::scratch", folder = ?entry.path(), "removing what a dead worker left");
            remove(&entry.path());
        }
    }
    Ok(())
}

fn is_dead(folder: &Path) -> bool {
    match OpenOptions::new().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::metadata(folder).and_then(|found| found.modified()).ok();
            let age = made.and_then(|made| SystemTime::now().duration_since(made).ok());
            age.is_some_and(|age| age > UNOWNED_GRACE)
        }
        Err(_) => false,
    }
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(target: "batchpipe::scratch", ?folder, %error, "cannot remove a scratch folder");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_scratch_file_is_private_counted_and_gone_with_its_owner() {
        let (root, meters) = (tempfile::tempdir().unwrap(), Arc::new(Meters::default()));
        let scratch = Scratch::new(root.path(), &meters).unwrap();
        let mut file = scratch.reserve(".png");
        file.create().unwrap().write_all(b"abc").unwrap();
        file.count(3);
        assert!(file.create().is_err());
        let path = file.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(scratch.folder()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(path.to_str().unwrap().ends_with(".png"));
        assert_eq!(meters.temp_bytes.load(Relaxed), 3);
        drop(file);
        assert!(!path.exists());
        assert_eq!(meters.temp_bytes.load(Relaxed), 0);
        drop(scratch);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_start_removes_what_dead_workers_left_and_nothing_else() {
        let (root, meters) = (tempfile::tempdir().unwrap(), Arc::new(Meters::default()));
        let dead = root.path().join("batchpipe-1-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("j-0123456789abcdef"), "left").unwrap();
        let unrelated = root.path().join("batch");
        fs::create_dir(&unrelated).unwrap();
        let being_made = root.path().join("batchpipe-2-new");
        fs::create_dir(&being_made).unwrap();
        let alive = Scratch::new(root.path(), &meters).unwrap();
        assert!(!dead.exists());
        let second = Scratch::new(root.path(), &meters).unwrap();
        assert!(alive.folder().exists() && second.folder().exists() && unrelated.exists() && being_made.exists());
    }

    #[test]
    fn a_link_is_never_followed_to_somebody_elses_files() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let meters = Arc::new(Meters::default());
        fs::write(other.path().join(LOCK), "").unwrap();
        std::os::unix::fs::symlink(other.path(), root.path().join("batchpipe-3-link")).unwrap();
        let scratch = Scratch::new(root.path(), &meters).unwrap();
        assert!(other.path().join(LOCK).exists());
        let file = scratch.reserve("");
        std::os::unix::fs::symlink(other.path().join(LOCK), file.path()).unwrap();
        assert!(file.open().is_err());
    }

    #[test]
    fn a_full_disk_is_nobodys_fault() {
        let full = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert_eq!(failed(&full).disposition(), crate::error::Disposition::Release);
        assert_eq!(failed(&full).code.to_string(), "BP501");
    }
}
