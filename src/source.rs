//! Finds what is to be submitted: files below a directory, names in a list, objects under a prefix.
//!
//! Found one at a time, on a thread of its own where it blocks: a million files are never listed in memory. Bounded by
//! the channel between the two.

use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures::stream::{self, BoxStream, StreamExt};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use tokio::sync::mpsc;
use walkdir::WalkDir;

use crate::config::Source;
use crate::error::UserError;
use crate::prefix;
use crate::store::{ObjectInfo, ObjectStore};

/// Names found ahead of the uploads: enough to hide a slow directory.
pub(crate) const AHEAD: usize = 1_000;

/// Our own folder below a destination; never an input.
pub const OWN_FOLDER: &str = ".batchpipe";

/// How the names of files begin that a store has not finished; never inputs.
const HALF_WRITTEN: &[u8] = b".batchpipe-";

/// A file or object to submit.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name below the source, with slashes.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Its size in bytes.
    pub size: u64,
    /// Tells one version of it from another.
    pub stamp: String,
}

/// Where something was found.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this machine.
    File(PathBuf),
    /// In a store.
    Object(ObjectInfo),
}

/// Which names are taken: those that match an include, if there are any, and no exclude.
#[derive(Clone, Debug, Default)]
pub struct Select {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Select {
    /// Reads the globs. `*` matches slashes, too, as in the shell's `case`.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, UserError> {
        let include = if include.is_empty() { None } else { Some(globs(include)?) };
        Ok(Self { include, exclude: globs(exclude)? })
    }

    /// Whether the name is taken.
    pub fn takes(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(name)) && !self.exclude.is_match(name)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, UserError> {
    let wrong = |error: globset::Error| {
        let what = format!("{:?} is not a glob", error.glob().unwrap_or_default());
        UserError::usage(110, what, error.kind().to_string(), "for example  --include '*.csv'")
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(false).build().map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// Finds what `source` holds, in order of its names where the source has an order.
pub fn find(source: &Source, select: Select, store: &Arc<dyn ObjectStore>) -> BoxStream<'static, io::Result<Found>> {
    let (output, found) = mpsc::channel(AHEAD);
    let walk: Box<dyn FnOnce(&Sink) + Send> = match source.clone() {
        Source::Prefix(place) | Source::Named(place) => {
            return prefix::list(place.as_folder(), select, Arc::clone(store), None);
        }
        Source::Object(at) => return prefix::one(at, select, Arc::clone(store)),
        Source::Directory(root) => Box::new(move |sink| walk(&root, sink)),
        Source::File(path) => Box::new(move |sink| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sink.file(&name, &path);
        }),
        Source::Names => Box::new(|sink| names(io::stdin().lock(), sink)),
        Source::List(path) => Box::new(move |sink| match std::fs::File::open(&path) {
            Ok(file) => names(BufReader::new(file), sink),
            Err(error) => {
                sink.failed(&path, &error);
            }
        }),
    };
    tokio::task::spawn_blocking(move || walk(&Sink { output, select }));
    stream::unfold(found, |mut found| async move { Some((found.recv().await?, found)) }).boxed()
}

/// Where found files go. A gone reader ends the search by and by.
struct Sink {
    output: mpsc::Sender<io::Result<Found>>,
    select: Select,
}

impl Sink {
    /// False when nobody wants more.
    fn file(&self, name: &str, path: &Path) -> bool {
        if !self.select.takes(name) {
            return true;
        }
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.failed(path, &error),
        };
        if !metadata.is_file() {
            return self.failed(path, &io::Error::other("it is not a regular file"));
        }
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let stamp = format!("{}-{}", metadata.len(), modified.unwrap_or_default().as_nanos());
        let place = Place::File(path.to_owned());
        self.output.blocking_send(Ok(Found { name: name.to_owned(), place, size: metadata.len(), stamp })).is_ok()
    }

    fn failed(&self, path: &Path, error: &io::Error) -> bool {
        let error = io::Error::new(error.kind(), format!("{:?}: {error}", path.display().to_string()));
        self.output.blocking_send(Err(error)).is_ok()
    }
}

/// Every file below `root`. A link is followed as far as it stays there, as a store that is a directory does it: what lies
/// elsewhere was not meant to leave, whoever has put the link there.
fn walk(root: &Path, sink: &Sink) {
    let whole = root.canonicalize();
    let is_inside =
        |path: &Path| whole.as_ref().is_ok_and(|whole| path.canonicalize().is_ok_and(|path| path.starts_with(whole)));
    // A killed writer's half-written files have names of our own, too, beside their places.
    let half = |entry: &walkdir::DirEntry| entry.file_name().as_bytes().starts_with(HALF_WRITTEN);
    let ours = |entry: &walkdir::DirEntry| (entry.depth() == 1 && entry.file_name() == OWN_FOLDER) || half(entry);
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

/// One name a line, as they come. Absolute names and `./` keep their places without the leading part.
fn names(lines: impl BufRead, sink: &Sink) {
    for line in lines.lines() {
        let line = match line {
            Ok(line) if line.is_empty() => continue,
            Ok(line) => line,
            Err(error) => {
                sink.failed(Path::new("the list of names"), &error);
                return;
            }
        };
        let path = Path::new(&line);
        let mut name = PathBuf::new();
        let mut climbs = false;
        for component in path.components() {
            match component {
                Component::Normal(part) => name.push(part),
                Component::ParentDir => climbs = true,
                _ => {}
            }
        }
        let goes_on = match name.to_str() {
            Some(name) if !climbs && !name.is_empty() => sink.file(name, path),
            _ => sink.failed(path, &io::Error::other("a name with .. has no place below the input prefix")),
        };
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::LocalStore;

    #[tokio::test]
    async fn a_link_is_followed_as_far_as_it_stays_in_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("in/real")).unwrap();
        std::fs::create_dir_all(at("outside/deeper")).unwrap();
        for name in ["in/real/a", "outside/secret", "outside/deeper/secret"] {
            std::fs::write(at(name), "x").unwrap();
        }
        for (to, from) in [("real", "inner"), ("real/a", "b"), ("../outside", "tree"), ("../outside/secret", "file")] {
            std::os::unix::fs::symlink(to, at("in").join(from)).unwrap();
        }
        std::os::unix::fs::symlink("in", at("link")).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::new(vec![folder.path().into()]));
        for root in ["in", "link"] {
            for (exclude, leaving) in [(vec![], 2), (vec!["file".to_owned()], 1)] {
                let select = Select::new(&[], &exclude).unwrap();
                let found: Vec<_> = find(&Source::Directory(at(root)), select, &store).collect().await;
                let names: Vec<_> = found.iter().flatten().map(|found| found.name.as_str()).collect();
                assert_eq!(names, ["b", "inner/a", "real/a"]);
                let errors: Vec<_> = found.iter().filter_map(|found| found.as_ref().err()).collect();
                assert!(errors.iter().all(|error| error.to_string().ends_with("leaves the directory")), "{errors:?}");
                assert_eq!(errors.len(), leaving, "{errors:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_a_killed_writer_left_half_written_is_no_input() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/.batchpipe-0123.parts")).unwrap();
        for name in ["a/.batchpipe-0123", "a/.batchpipe-0123.parts/1", "a/b", "a/.batchpipes"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::new(vec![folder.path().into()]));
        let source = Source::Directory(folder.path().into());
        let found: Vec<_> = find(&source, Select::default(), &store).collect().await;
        let names: Vec<_> = found.into_iter().map(|found| found.unwrap().name).collect();
        assert_eq!(names, ["a/.batchpipes", "a/b"]);
    }
}
