//! Which paths may be used: those under the roots that the operator named, and no others.
//!
//! A location's path is taken literally. A path with an empty, `.` or `..` component, or with a name that batchpipe
//! reserves, is refused as invalid, and so is a path that leaves the roots, by its text or through a symbolic link.
//! What a message asks for is the message's fault (`Invalid`, which rejects its job) and not our missing permission
//! (`Denied`, which would stop the worker). Links that stay under the roots are followed.
//!
//! A root may be written to or only read. An output may go only where the innermost root above it is writable, after
//! links and bind mounts are resolved, because a link among the outputs must not lead an output over an input. Nor
//! does an output replace a file that the command itself needs (`own`).
//!
//! The check protects against messages, not against somebody who can write in the roots and swaps a directory for a
//! link between the check and the use; such a person has access to the files already.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::fault::{fault, invalid};
use super::own::OwnFiles;
use super::{access, staged, staging};
use crate::error::ServiceError;
use crate::job::Location;
use crate::runtime::mounts::Mounts;

/// The longest name on ext4, XFS, Btrfs and APFS alike, and NAME_MAX of Linux (linux/limits.h).
const MAX_NAME: usize = 255;

/// Where a command may read and write files.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Directories to read from and write to.
    pub write: Vec<PathBuf>,
    /// Directories or single files to read only.
    pub read: Vec<PathBuf>,
    /// Files that no output may replace, wherever they are, because the command itself needs them.
    pub own: Vec<PathBuf>,
}

/// The directories (or single files) that contain everything.
#[derive(Debug)]
pub(super) struct Roots {
    roots: Vec<Root>,
    own: OwnFiles,
    /// The mounts when the first output was written. A later mount is not noticed, just as a swapped directory is not.
    mounts: OnceLock<Mounts>,
}

#[derive(Debug)]
struct Root {
    /// Whether outputs may be written there.
    written: bool,
    /// The path as named, made absolute.
    path: PathBuf,
    /// The path without symbolic links; known once it exists.
    real: OnceLock<PathBuf>,
}

impl Root {
    fn real(&self) -> Option<&Path> {
        if self.real.get().is_none()
            && let Ok(real) = self.path.canonicalize()
        {
            return Some(self.real.get_or_init(|| real));
        }
        self.real.get().map(PathBuf::as_path)
    }
}

/// The path of a location that is a local file.
pub(super) fn text(location: &Location) -> Result<&str, ServiceError> {
    match location {
        Location::File { path } => Ok(path),
        Location::S3 { .. } => Err(invalid("scheme", &location.to_string(), "this is not a local file")),
    }
}

fn outside(path: &str) -> ServiceError {
    invalid("outside", path, "this is outside the directories that the operator allowed")
}

fn led_out(path: &str) -> ServiceError {
    invalid("outside", path, "a link or a mount leads out of the folder that outputs go to")
}

impl Roots {
    pub(super) fn new(places: Places) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let root = |path, written| Root { written, path: absolute(path), real: OnceLock::new() };
        let written = places.write.into_iter().map(|path| root(path, true));
        let roots = written.chain(places.read.into_iter().map(|path| root(path, false))).collect();
        Self { roots, own: OwnFiles::new(places.own), mounts: OnceLock::new() }
    }

    /// The roots whose own paths, with a slash, begin with `prefix`; none of them inside another.
    pub(super) fn beginning_with(&self, prefix: &str) -> Vec<PathBuf> {
        let begins = |path: &PathBuf| path.to_str().is_some_and(|text| format!("{text}/").starts_with(prefix));
        let mut roots: Vec<PathBuf> = self.roots.iter().map(|root| root.path.clone()).filter(begins).collect();
        roots.sort();
        roots.dedup_by(|later, earlier| later.starts_with(earlier));
        roots
    }

    /// Checks the text of a path, and finds the root above it; only among the writable roots if `to_write` is set.
    fn check<'a>(&self, path: &'a str, to_write: bool) -> Result<(&Root, &'a Path), ServiceError> {
        let Some(rest) = path.strip_prefix('/') else {
            return Err(invalid("relative", path, "a local path must be absolute"));
        };
        if !rest.is_empty() && rest.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(invalid(
                "component",
                path,
                "a path with an empty, \".\" or \"..\" component names no file here",
            ));
        }
        if path.contains('\0') {
            return Err(invalid("component", path, "a path can't hold a NUL"));
        }
        // Checked before the work is done, because the system would refuse the name only when the object is complete.
        if rest.split('/').any(|name| name.len() > MAX_NAME) {
            return Err(invalid(
                "ENAMETOOLONG",
                path,
                "a name between two slashes has at most 255 bytes in a file system",
            ));
        }
        let roots = self.roots.iter().filter(|root| root.written || !to_write);
        let within = roots.filter_map(|root| Some((root, Path::new(path).strip_prefix(&root.path).ok()?)));
        let (root, rest) = within.min_by_key(|(_, rest)| rest.as_os_str().len()).ok_or_else(|| outside(path))?;
        if rest.iter().any(|name| name.to_str().is_some_and(staged::is_reserved)) {
            return Err(invalid("reserved", path, "names like this one are batchpipe's own"));
        }
        Ok((root, Path::new(path)))
    }

    /// Whether a path without symbolic links is under a root.
    pub(super) fn hold(&self, real: &Path) -> bool {
        self.roots.iter().filter_map(Root::real).any(|root| real.starts_with(root))
    }

    /// Whether outputs may be written to a folder, given without symbolic links: the innermost root above it, both by
    /// its path and by its place in its file system, must be writable.
    fn takes_outputs(&self, folder: &Path) -> bool {
        let reals = || self.roots.iter().filter_map(|root| Some((root.real()?, root.written)));
        let above = reals().filter(|(root, _)| folder.starts_with(root));
        let innermost = above.map(|(root, written)| (root.components().count(), written)).max();
        if !innermost.is_some_and(|(_, written)| written) {
            return false;
        }
        if self.roots.iter().all(|root| root.written) {
            return true;
        }
        let mounts = self.mounts.get_or_init(Mounts::now);
        let Some(place) = mounts.place(folder) else { return true };
        let above = reals().filter_map(|(root, written)| {
            let root = mounts.place(root)?;
            place.below(&root).map(|_| (root.depth(), written))
        });
        // A disk that is mounted among the outputs is under no root by its place, which is fine.
        above.max().is_none_or(|(_, written)| written)
    }

    /// The real path of something that exists; `None` if it does not.
    pub(super) fn existing(&self, path: &str) -> Result<Option<PathBuf>, ServiceError> {
        let (_, checked) = self.check(path, false)?;
        match checked.canonicalize() {
            Ok(real) if self.hold(&real) => Ok(Some(real)),
            Ok(_) => Err(outside(path)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(fault(checked, &error)),
        }
    }

    /// The real path at which an object is to appear; makes its directory if needed. If the last component is a link,
    /// the link is not followed: it will be replaced.
    pub(super) fn destination(&self, path: &str, input: Option<&Location>) -> Result<PathBuf, ServiceError> {
        let (root, checked) = self.check(path, true)?;
        let (Some(parent), Some(name)) = (checked.parent(), checked.file_name()) else {
            return Err(outside(path));
        };
        let real = match parent.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => self.make(root, parent, input)?,
            Err(error) => return Err(fault(parent, &error)),
        };
        if !self.takes_outputs(&real) {
            return Err(led_out(path));
        }
        let to = real.join(name);
        self.own.spare(&to, path)?;
        Ok(to)
    }

    /// Makes a directory under a root one component at a time, so that nothing is ever made beyond a link that leaves
    /// the roots. The root itself was named by the operator and is made without checks.
    fn make(&self, root: &Root, directory: &Path, input: Option<&Location>) -> Result<PathBuf, ServiceError> {
        let below = directory.strip_prefix(&root.path).map_err(|_| outside(&directory.to_string_lossy()))?;
        // The parent has changed only if the root was made. A root that existed may be in a directory that we can't
        // even list.
        if !root.path.is_dir() {
            fs::create_dir_all(&root.path).map_err(|error| fault(&root.path, &error))?;
            staging::sync_directory(root.path.parent().unwrap_or(&root.path))?;
        }
        let mut real = root.path.canonicalize().map_err(|error| fault(&root.path, &error))?;
        let input = input.and_then(|input| text(input).ok()).map(Path::new);
        let deep = below.iter().count();
        for (nth, name) in below.iter().enumerate() {
            let next = real.join(name);
            self.own.spare(&next, &directory.to_string_lossy())?;
            // The folder that is as far above the input as this folder is above the output.
            let alike = input.and_then(|input| input.ancestors().nth(deep - nth));
            match fs::DirBuilder::new().mode(access::of_folder(alike, &real)).create(&next) {
                Ok(()) => {
                    staging::sync_directory(&real)?;
                    real = next;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    real = next.canonicalize().map_err(|error| fault(&next, &error))?;
                    if !self.takes_outputs(&real) {
                        return Err(led_out(&directory.to_string_lossy()));
                    }
                }
                Err(error) => return Err(fault(&next, &error)),
            }
        }
        Ok(real)
    }
}
