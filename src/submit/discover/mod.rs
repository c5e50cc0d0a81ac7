//! Finds what to submit: files below a directory, names in a list, objects under a prefix.
//!
//! Entries are found one at a time, on a separate thread if finding them blocks: a million files are never listed in
//! memory. Bounded by the channel between the two.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures::stream::{self, BoxStream, StreamExt};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use tokio::sync::mpsc;
use walkdir::WalkDir;

use crate::error::{Code, UserError};
use crate::job::Location;
use crate::services::store::local::is_reserved;
use crate::services::store::{ObjectInfo, ObjectStore};
use crate::submit::own_places::{Look, OwnPlaces};
use crate::submit::prefix;

mod names;

pub use names::{Listed, listed};

/// Names found ahead of the uploads: enough to hide a slow directory.
pub(crate) const AHEAD: usize = 1_000;

/// Our own folder below a destination; never an input.
pub const OWN_FOLDER: &str = ".batchpipe";

/// What to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Every file below a directory.
    Directory(PathBuf),
    /// One file.
    File(PathBuf),
    /// The names on standard input, one per line.
    Names,
    /// The names in a file, one per line.
    List(PathBuf),
    /// The objects under a prefix in S3.
    Prefix(Location),
    /// A place in S3 without a slash at its end: the folder of that name or, if that folder is empty, the object of
    /// that name. Only the store can tell ([`settle`](crate::submit::prefix::settle)).
    Named(Location),
    /// One object in S3.
    Object(Location),
}

/// A file or object to submit.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name below the source, with slashes.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Its size in bytes.
    pub size: u64,
    /// Distinguishes one version of it from another.
    pub stamp: String,
}

/// Where something was found.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this machine.
    File(PathBuf),
    /// In a store.
    Object(ObjectInfo),
    /// In a store that was not asked about it, or refused to answer: its size and version are unknown.
    Unseen(Location),
}

/// Which names are selected: those that match an include (if there are any includes) and no exclude.
#[derive(Clone, Debug, Default)]
pub struct Select {
    include: Option<GlobSet>,
    exclude: GlobSet,
    own: Arc<OwnPlaces>,
}

impl Select {
    /// Parses the globs. `*` matches slashes, too, as in the shell's `case`.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, UserError> {
        let include = if include.is_empty() { None } else { Some(globs(include)?) };
        Ok(Self { include, exclude: globs(exclude)?, own: Arc::default() })
    }

    /// The same selection, without batchpipe's own files and folders.
    #[must_use]
    pub fn without(self, own: OwnPlaces) -> Self {
        Self { own: Arc::new(own), ..self }
    }

    /// Whether the name is selected.
    pub fn takes(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(name)) && !self.exclude.is_match(name)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, UserError> {
    let wrong = |error: globset::Error| {
        let what = format!("{:?} is not a glob", error.glob().unwrap_or_default());
        UserError::usage(Code::CommandLine, what, error.kind().to_string(), "for example  --include '*.csv'")
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(false).build().map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// Finds the entries of `source`, in order of their names if the source has an order.
pub fn find(source: &Source, select: Select, store: &Arc<dyn ObjectStore>) -> BoxStream<'static, io::Result<Found>> {
    let (output, found) = mpsc::channel(AHEAD);
    let root = match source {
        Source::Directory(root) => root.clone(),
        _ => PathBuf::new(),
    };
    let walk: Box<dyn FnOnce(&Sink<'_>) + Send> = match source.clone() {
        Source::Prefix(place) | Source::Named(place) => {
            return prefix::list(place.as_folder(), select, Arc::clone(store), None);
        }
        Source::Object(at) => return prefix::one(at, select, Arc::clone(store)),
        Source::Directory(root) => Box::new(move |sink| walk(&root, sink)),
        Source::File(path) => Box::new(move |sink| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sink.file(&name, &path);
        }),
        Source::Names | Source::List(_) => return listed(source, Listed::default(), select, store),
    };
    tokio::task::spawn_blocking(move || walk(&Sink { output, own: select.own.look(&root), select: &select }));
    stream::unfold(found, |mut found| async move { Some((found.recv().await?, found)) }).boxed()
}

/// Where found files go. If the reader is gone, the search soon ends.
struct Sink<'a> {
    output: mpsc::Sender<io::Result<Found>>,
    select: &'a Select,
    own: Look<'a>,
}

impl Sink<'_> {
    /// Returns false if the reader is gone.
    fn file(&self, name: &str, path: &Path) -> bool {
        if !self.select.takes(name) {
            return true;
        }
        match look(name, path, &self.own) {
            Ok(Some(found)) => self.output.blocking_send(Ok(found)).is_ok(),
            Ok(None) => true,
            Err(error) => self.failed(path, &error),
        }
    }

    fn failed(&self, path: &Path, error: &io::Error) -> bool {
        self.output.blocking_send(Err(named(path, error))).is_ok()
    }
}

/// The failure, with the path that it concerns.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{:?}: {error}", path.display().to_string()))
}

/// The file at `path`, whose name is `name`; `None` if the file is batchpipe's own.
fn look(name: &str, path: &Path, own: &Look<'_>) -> io::Result<Option<Found>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if own.has_file(path, &metadata) {
        return Ok(None);
    }
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let stamp = format!("{}-{}", metadata.len(), modified.unwrap_or_default().as_nanos());
    Ok(Some(Found { name: name.to_owned(), place: Place::File(path.to_owned()), size: metadata.len(), stamp }))
}

/// Finds every file below `root`. A link is followed only if it stays below `root`, as in a store that is a directory:
/// files elsewhere were not meant to be submitted, whoever made the link.
fn walk(root: &Path, sink: &Sink<'_>) {
    let whole = root.canonicalize();
    let is_inside =
        |path: &Path| whole.as_ref().is_ok_and(|whole| path.canonicalize().is_ok_and(|path| path.starts_with(whole)));
    let ours = |entry: &walkdir::DirEntry| {
        if entry.depth() == 0 {
            return false;
        }
        if entry.file_type().is_dir() && entry.metadata().is_ok_and(|found| sink.own.has_folder(&found)) {
            return true;
        }
        // Files that a killed writer left beside their destinations have reserved names, too.
        let is_kept = is_reserved(&entry.file_name().to_string_lossy());
        if is_kept {
            sink.own.leave_out(entry.path());
        }
        is_kept
    };
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
    let mut entries = walk.into_iter().filter_entry(|entry| !ours(entry));
    while let Some(entry) = entries.next() {
        let goes_on = match entry {
            Ok(entry) if entry.depth() > 0 && entry.path_is_symlink() && !is_inside(entry.path()) => {
                if entry.file_type().is_dir() {
                    entries.skip_current_dir();
                }
                let name = name_below(entry.path(), root);
                let is_wanted = name.is_none_or(|name| sink.select.takes(&name));
                !is_wanted || sink.failed(entry.path(), &io::Error::other("it is a link that leaves the directory"))
            }
            Ok(entry) if entry.file_type().is_dir() => true,
            Ok(entry) => match name_below(entry.path(), root) {
                Some(name) => sink.file(&name, entry.path()),
                None => sink.failed(entry.path(), &io::Error::other("its name is not UTF-8, as every key must be")),
            },
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                sink.failed(&path, &io::Error::other(error.to_string()))
            }
        };
        if !goes_on {
            return;
        }
    }
}

fn name_below(path: &Path, root: &Path) -> Option<String> {
    path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
