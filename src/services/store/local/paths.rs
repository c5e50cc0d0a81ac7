//! Which paths may be touched: those under the roots that the operator named, and no others.
//!
//! A location's path is taken as it stands. One with an empty, `.` or `..` component, or with a name that batchpipe
//! keeps for itself, is refused as invalid and so is one that leaves the roots, by its text or through a symbolic
//! link: what a message asks for is the message's fault (`Invalid`, which rejects its job) and not a missing
//! right of ours (`Denied`, which would stop the worker). Links that stay under the roots are followed.
//!
//! The check holds against messages, not against somebody who can write in the roots and swaps a directory for
//! a link between the check and the use; such a person has the files already.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::fault::{fault, invalid};
use super::{access, staged, staging};
use crate::error::ServiceError;
use crate::job::Location;

/// The longest name of ext4, XFS, Btrfs and APFS alike, and NAME_MAX of Linux (linux/limits.h).
const MAX_NAME: usize = 255;

/// The directories (or single files) under which everything is.
#[derive(Debug)]
pub(super) struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    /// As it was named, made absolute.
    path: PathBuf,
    /// Without symbolic links; known once it exists.
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

impl Roots {
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self(roots.into_iter().map(|path| Root { path: absolute(path), real: OnceLock::new() }).collect())
    }

    /// The roots whose own paths, with a slash, begin with `prefix`; none of them inside another.
    pub(super) fn beginning_with(&self, prefix: &str) -> Vec<PathBuf> {
        let begins = |path: &PathBuf| path.to_str().is_some_and(|text| format!("{text}/").starts_with(prefix));
        let mut roots: Vec<PathBuf> = self.0.iter().map(|root| root.path.clone()).filter(begins).collect();
        roots.sort();
        roots.dedup_by(|later, earlier| later.starts_with(earlier));
        roots
    }

    /// Checks the text of a path, and finds the root that it is under.
    fn check<'a>(&self, path: &'a str) -> Result<(&Root, &'a Path), ServiceError> {
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
        // Said before the work is done: the system would say it only when the object is complete.
        if rest.split('/').any(|name| name.len() > MAX_NAME) {
            return Err(invalid(
                "ENAMETOOLONG",
                path,
                "a name between two slashes has at most 255 bytes in a file system",
            ));
        }
        let within = self.0.iter().filter_map(|root| Some((root, Path::new(path).strip_prefix(&root.path).ok()?)));
        let (root, rest) = within.min_by_key(|(_, rest)| rest.as_os_str().len()).ok_or_else(|| outside(path))?;
        if rest.iter().any(|name| name.to_str().is_some_and(staged::is_reserved)) {
            return Err(invalid("reserved", path, "names like this one are batchpipe's own"));
        }
        Ok((root, Path::new(path)))
    }

    /// Whether a path without symbolic links is under a root.
    pub(super) fn hold(&self, real: &Path) -> bool {
        self.0.iter().filter_map(Root::real).any(|root| real.starts_with(root))
    }

    /// The real path of something that exists; `None` if it does not.
    pub(super) fn existing(&self, path: &str) -> Result<Option<PathBuf>, ServiceError> {
        let (_, checked) = self.check(path)?;
        match checked.canonicalize() {
            Ok(real) if self.hold(&real) => Ok(Some(real)),
            Ok(_) => Err(outside(path)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(fault(checked, &error)),
        }
    }

    /// The real path at which an object is to appear, its directory made if need be. The name itself is not followed if
    /// it is a link: it will be replaced.
    pub(super) fn destination(&self, path: &str, input: Option<&Location>) -> Result<PathBuf, ServiceError> {
        let (root, checked) = self.check(path)?;
        let (Some(parent), Some(name)) = (checked.parent(), checked.file_name()) else {
            return Err(outside(path));
        };
        let real = match parent.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => self.make(root, parent, input)?,
            Err(error) => return Err(fault(parent, &error)),
        };
        if self.hold(&real) { Ok(real.join(name)) } else { Err(outside(path)) }
    }

    /// Makes a directory under a root one component at a time, so that nothing is ever made beyond a link that leaves
    /// the roots. The root itself was named by the operator and is made without questions.
    fn make(&self, root: &Root, directory: &Path, input: Option<&Location>) -> Result<PathBuf, ServiceError> {
        let below = directory.strip_prefix(&root.path).map_err(|_| outside(&directory.to_string_lossy()))?;
        // Its parent has changed only if it was made: one that was there may lie in what we can't even list.
        if !root.path.is_dir() {
            fs::create_dir_all(&root.path).map_err(|error| fault(&root.path, &error))?;
            staging::sync_directory(root.path.parent().unwrap_or(&root.path))?;
        }
        let mut real = root.path.canonicalize().map_err(|error| fault(&root.path, &error))?;
        let input = input.and_then(|input| text(input).ok()).map(Path::new);
        let deep = below.iter().count();
        for (nth, name) in below.iter().enumerate() {
            let next = real.join(name);
            // The folder that is as far above the input as this one is above the output.
            let alike = input.and_then(|input| input.ancestors().nth(deep - nth));
            match fs::DirBuilder::new().mode(access::of_folder(alike, &real)).create(&next) {
                Ok(()) => {
                    staging::sync_directory(&real)?;
                    real = next;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    real = next.canonicalize().map_err(|error| fault(&next, &error))?;
                    if !self.hold(&real) {
                        return Err(outside(&directory.to_string_lossy()));
                    }
                }
                Err(error) => return Err(fault(&next, &error)),
            }
        }
        Ok(real)
    }
}
