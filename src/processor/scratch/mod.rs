//! The work directory: files for programs that can't work on a stream.
//!
//! The work directory is often `/tmp`, so it is full of other people's files. batchpipe has one folder of its own
//! there, `batchpipe-<uid>`, which only this user may open (`own`). Each worker has a folder in it,
//! `w-<pid>-<random>`, with a lock that the kernel releases when the process ends, and with files whose names we
//! make: no key ever becomes a path. A file is removed when its owner is dropped, and the worker's folder is removed
//! with the worker. The files of a killed worker are removed by the next start, which tests the lock (the pid alone
//! could belong to another process by then, or to a process in another container).
//!
//! Only names that we make are ever removed, one by one; a folder is removed only if it is empty. Anything else,
//! such as a file that a program wrote beside its `{output}`, stays where it is and is reported in a warning
//! (`left`).
//!
//! Bounded: one folder and one lock for each worker, the files of the jobs in flight, and `TRIES` attempts at the
//! start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Code, ErrorKind, JobError, Stage, UserError, again};
use crate::record::Meters;

mod left;
mod own;

/// How often a start begins again because another worker, which cleans up, has just removed the empty folder that was
/// to be used. Two workers that start or end at the same moment collide once; more collisions than this are not a
/// coincidence.
const TRIES: u32 = 20;

/// This worker's folder.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// The folder of all workers of this user.
    base: PathBuf,
    meters: Arc<Meters>,
    _lock: File,
}

impl Scratch {
    /// Makes this worker's folder in `work_dir`, which is made if it is missing, and removes what dead workers left.
    pub fn new(work_dir: &Path, meters: &Arc<Meters>) -> Result<Arc<Self>, UserError> {
        let refused = |error: io::Error| {
            UserError::new(
                Code::WorkDirectory,
                format!("cannot use the work directory {work_dir:?}"),
                error.to_string(),
                "choose another with  --work-dir DIR , or use stdin and stdout instead of {input} and {output}",
            )
            .with_source(error)
        };
        fs::create_dir_all(work_dir).map_err(refused)?;
        let work_dir = std::path::absolute(work_dir).map_err(refused)?;
        left::remove_old(&work_dir).map_err(refused)?;
        for _ in 0..TRIES {
            let base = own::base(&work_dir).map_err(refused)?;
            left::remove_dead(&base);
            if let Some((folder, lock)) = own::folder(&base).map_err(refused)? {
                return Ok(Arc::new(Self { folder, base, meters: Arc::clone(meters), _lock: lock }));
            }
        }
        Err(refused(io::Error::other("other processes removed each folder that was made in it")))
    }

    /// A name for a new file, ending in `extension`, which comes from the operator.
    pub fn reserve(self: &Arc<Self>, extension: &str) -> ScratchFile {
        let path = self.folder.join(own::file(extension));
        ScratchFile { path, scratch: Arc::clone(self), counted: 0 }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        left::remove_own(&self.folder);
        // This fails, and the folder stays, while other workers or foreign files are in it.
        drop(fs::remove_dir(&self.base));
    }
}

/// The folders in `work_dir` that contain the files of this user's workers: never inputs.
pub fn folders(work_dir: &Path) -> Vec<PathBuf> {
    own::bases(work_dir)
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
    scratch: Arc<Scratch>,
    counted: u64,
}

impl ScratchFile {
    /// The path of the file, which may not exist yet.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file, which must not exist yet.
    pub fn create(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)
    }

    /// Opens the file that a program wrote; an error unless it is a regular file.
    pub fn open(&self) -> io::Result<File> {
        if !fs::symlink_metadata(&self.path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "not a regular file"));
        }
        File::open(&self.path)
    }

    /// Counts `bytes` more as used in the work directory, until the file is removed.
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

/// The job error for a failure in the work directory. A full disk is not the job's fault, and passes.
pub fn failed(error: &io::Error) -> JobError {
    let cause = format!("the work directory: {error}");
    let failed = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            JobError::new(Stage::Process, ErrorKind::NoSpace, Code::NoSpace, cause)
        }
        _ => JobError::new(Stage::Process, ErrorKind::Failed, Code::WorkDirectory, cause),
    };
    failed.with_source(again(error))
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
        let link = scratch.reserve("");
        std::os::unix::fs::symlink("/etc/hostname", link.path()).unwrap();
        assert!(link.open().is_err(), "a link that a program made instead of its output is no output");
        drop((file, link));
        assert!(!path.exists());
        assert_eq!(meters.temp_bytes.load(Relaxed), 0);
        drop(scratch);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_nobodys_fault() {
        let full = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert_eq!(failed(&full).disposition(), crate::error::Disposition::Release);
        assert_eq!(failed(&full).code.to_string(), "BP501");
    }
}
