//! Walks a tree in the order of keys.
//!
//! Keys are compared as bytes, and `/` comes after `-` and `.`: `a-b`, `a.txt`, `a/b`, `a0`. So a directory is
//! sorted by its name with a slash, which makes a walk in the order of names a walk in the order of keys.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;

use nix::errno::Errno;

use super::fault::{fault, invalid};
use super::paths::Roots;
use super::{read, staged};
use crate::error::ServiceError;
use crate::job::Location;
use crate::services::store::ObjectInfo;

/// Entries that one call on a blocking thread returns, as many as a page of ListObjectsV2
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
pub(super) const PAGE: usize = 1000;

/// A walk under way.
pub(super) struct Walk {
    prefix: String,
    /// Whether to skip names that are not UTF-8.
    lenient: bool,
    /// The directories from the root to the current one.
    open: Vec<Directory>,
}

/// The remaining entries of a directory, the next one last.
struct Directory {
    /// Its path, with a slash at the end.
    path: String,
    names: Vec<String>,
}

/// What a walk finds.
pub(super) enum Found {
    /// A file or a link.
    File(String),
    /// A staged file or directory of ours, which is not an object.
    Staged(String),
}

impl Walk {
    /// A walk over everything that begins with `prefix` under the roots; an error if nothing under a root can begin so.
    pub(super) fn new(roots: &Roots, prefix: &str, lenient: bool) -> Result<Self, ServiceError> {
        let mut walk = Self { prefix: prefix.to_owned(), lenient, open: Vec::new() };
        let directory = match prefix.rfind('/') {
            Some(0) | None => "/",
            Some(slash) => &prefix[..slash],
        };
        match roots.existing(directory) {
            Ok(Some(_)) => {
                walk.enter(format!("{}/", directory.trim_end_matches('/')))?;
                return Ok(walk);
            }
            Ok(None) => return Ok(walk),
            Err(error) if roots.beginning_with(prefix).is_empty() => return Err(error),
            Err(_) => {}
        }
        // The prefix is a root, or the beginning of several: the last root comes first, because the last of `open` is
        // walked first.
        for root in roots.beginning_with(prefix).iter().rev().filter_map(|root| root.to_str()) {
            let is_file = Path::new(root).metadata().is_ok_and(|metadata| metadata.is_file());
            match root.rsplit_once('/') {
                Some((parent, name)) if is_file => {
                    walk.open.push(Directory { path: format!("{parent}/"), names: vec![name.to_owned()] });
                }
                _ => walk.enter(format!("{}/", root.trim_end_matches('/')))?,
            }
        }
        Ok(walk)
    }

    /// Reads a directory, whose path ends in a slash. A directory that is gone is empty.
    fn enter(&mut self, path: String) -> Result<(), ServiceError> {
        let failed = |error: &std::io::Error| fault(Path::new(&path), error);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            let Ok(mut name) = entry.file_name().into_string() else {
                if self.lenient {
                    continue;
                }
                let name = entry.path().to_string_lossy().into_owned();
                return Err(invalid("name", &name, "the name is not UTF-8, and a key must be"));
            };
            let kind = entry.file_type().map_err(|error| failed(&error))?;
            if kind.is_dir() && !staged::is_reserved(&name) {
                name.push('/');
            }
            // Pipes, sockets and devices are not objects.
            if kind.is_dir() || kind.is_file() || kind.is_symlink() {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.open.push(Directory { path, names });
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Found>, ServiceError> {
        while let Some(directory) = self.open.last_mut() {
            let Some(name) = directory.names.pop() else {
                self.open.pop();
                continue;
            };
            let path = format!("{}{name}", directory.path);
            if staged::is_reserved(&name) {
                if staged::is_staged(&name) {
                    return Ok(Some(Found::Staged(path)));
                }
            } else if name.ends_with('/') {
                if path.starts_with(&self.prefix) || self.prefix.starts_with(&path) {
                    self.enter(path)?;
                }
            } else if path.starts_with(&self.prefix) {
                return Ok(Some(Found::File(path)));
            }
        }
        Ok(None)
    }
}

/// Some objects, and the walk to continue with.
pub(super) type Page = (Vec<ObjectInfo>, Option<Walk>);

/// The next page of objects; `None` when there are no more.
pub(super) fn page(roots: &Roots, walk: Option<Walk>, prefix: &str) -> Result<Option<Page>, ServiceError> {
    let mut walk = match walk {
        Some(walk) => walk,
        None => Walk::new(roots, prefix, false)?,
    };
    let mut page = Vec::new();
    while page.len() < PAGE {
        match walk.next()? {
            Some(Found::File(path)) => {
                if let Some(metadata) = object(roots, &path)? {
                    page.push(read::info(Location::file(path), &metadata));
                }
            }
            Some(Found::Staged(_)) => {}
            None if page.is_empty() => return Ok(None),
            None => break,
        }
    }
    Ok(Some((page, Some(walk))))
}

/// The file at `path`, through a link if it stays under the roots; `None` if there is none (any more).
fn object(roots: &Roots, path: &str) -> Result<Option<Metadata>, ServiceError> {
    let at = Path::new(path);
    // A link to itself counts as broken, like a link to nothing.
    let absent = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
            || error.raw_os_error() == Some(Errno::ELOOP as i32)
    };
    let metadata = match at.symlink_metadata() {
        Ok(metadata) if !metadata.is_symlink() => return Ok(Some(metadata).filter(Metadata::is_file)),
        Ok(_) => at.canonicalize().and_then(|real| Ok(roots.hold(&real).then_some(real.metadata()?))),
        Err(error) => Err(error),
    };
    match metadata {
        Ok(metadata) => Ok(metadata.filter(Metadata::is_file)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(fault(at, &error)),
    }
}
