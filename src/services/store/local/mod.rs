//! Objects as files: for one machine, what S3 is for the cloud.
//!
//! An object is a file under one of the roots that the operator named, found by its literal path (`paths`). It
//! appears whole or not at all: it is written beside its destination under a random name, synced, and moved
//! (`staging`). It is read by range, with a version that changes when the file does (`read`). Parts of an upload are
//! written where they will end up, so that completing is a rename and not a copy (`upload`).
//!
//! Differences from S3: a name can't be both a file and a directory, a component has at most 255 bytes, and a path
//! has no empty, `.` or `..` component. `.batchpipe` and names that begin with `.batchpipe-`, in any case, are
//! reserved for batchpipe. Metadata is kept if the file system has extended attributes (on ext4 in a block of its
//! own: 4 KiB for each object, in no measurable time). `Condition::Unchanged` is checked right before the move and
//! not within it; so is `Absent` if a file system has neither links nor a rename that never replaces. Whoever may
//! not read a local input may not read its output (`access`). Directories that an aborted upload made stay, empty,
//! and no listing shows them.
//!
//! Everything here blocks, so it runs on tokio's blocking threads; one request uses one thread, and only while it
//! runs.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{ObjectInfo, ObjectStore, Reading, Unfinished, Upload, Version, Writing};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;

mod access;
mod fault;
mod layout;
mod list;
mod own;
mod paths;
mod read;
mod staged;
mod staging;
mod upload;

use paths::Roots;

#[cfg(feature = "cli")]
pub(crate) use access::of_folder;
#[cfg(feature = "cli")]
pub(crate) use own::{both_names, is_beside_a_queue};
pub use paths::Places;
#[cfg(feature = "cli")]
pub(crate) use staged::is_reserved;

/// The largest part of S3, so that an upload is split alike for both
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MAX_PART: u64 = 5 * 1024 * 1024 * 1024;

/// The maximum number of parts in S3, from the same page.
const MAX_PARTS: u32 = 10_000;

/// The files under some directories, as objects.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use batchpipe::Location;
/// use batchpipe::services::store::local::LocalStore;
/// use batchpipe::services::store::{ObjectStore, Version, Writing};
/// use futures::TryStreamExt;
///
/// let directory = tempfile::tempdir()?;
/// let store = LocalStore::new(vec![directory.path().to_owned()]);
/// let greeting = Location::file(format!("{}/greetings/a.txt", directory.path().display()));
/// store.put(&greeting, "hello".into(), &Writing::default()).await?;
///
/// let reading = store.get(&greeting, 1..100, &Version::default()).await?;
/// assert_eq!(reading.size, 5);
/// assert_eq!(reading.body.map_ok(Vec::from).try_concat().await?, b"ello");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalStore {
    roots: Arc<Roots>,
    chunks: read::Chunks,
}

impl LocalStore {
    /// A store of the files under `roots`, which need not exist yet. A root may be a single file, which can be read.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self::of(Places { write: roots, ..Places::default() })
    }

    /// A store of the files at these places.
    pub fn of(places: Places) -> Self {
        Self { roots: Arc::new(Roots::new(places)), chunks: read::Chunks::default() }
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Roots, &Caller) -> Result<T, ServiceError> + Send + 'static,
    ) -> ServiceFuture<'static, T> {
        let roots = Arc::clone(&self.roots);
        Box::pin(blocking(move |caller| work(&roots, caller)))
    }
}

/// The caller that waits for blocking work.
struct Caller(Weak<()>);

impl Caller {
    /// Whether the caller has stopped waiting: a job that was cut must not publish any more.
    fn gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Runs `work` on a blocking thread. The work runs to its end even if the caller no longer waits, so it can ask whether
/// the caller is gone.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Caller) -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    let waiting = Arc::new(());
    let caller = Caller(Arc::downgrade(&waiting));
    let done = tokio::task::spawn_blocking(move || work(&caller)).await;
    drop(waiting);
    done.unwrap_or_else(|error| Err(ServiceError::new(ServiceErrorKind::Unavailable, "thread", error.to_string())))
}

impl ObjectStore for LocalStore {
    fn part_bounds(&self) -> (u64, u64) {
        (1, MAX_PART)
    }

    fn max_parts(&self) -> u32 {
        MAX_PARTS
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        let (from, pin, chunks) = (from.clone(), pin.clone(), self.chunks.clone());
        self.run(move |roots, _| read::get(roots, &chunks, paths::text(&from)?, range, &pin))
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        let (to, how) = (to.clone(), how.clone());
        self.run(move |roots, caller| {
            let text = paths::text(&to)?;
            let destination = roots.destination(text, how.input.as_ref())?;
            access::check_place(&destination, text, how.input.as_ref())?;
            staging::put(&destination, &body, &how, || caller.gone())
        })
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        let (to, how) = (to.clone(), how.clone());
        self.run(move |roots, _| {
            let text = paths::text(&to)?;
            let upload = upload::LocalUpload::begin(roots.destination(text, how.input.as_ref())?, text, how)?;
            Ok(Box::new(upload) as Box<dyn Upload>)
        })
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        let at = at.clone();
        self.run(move |roots, _| read::head(roots, &at, paths::text(&at)?))
    }

    /// Holds the names of the directories above the current entry, and 1,000 entries. Links to files are followed,
    /// links to directories are not. A name that is not UTF-8 can't be a key, and ends the listing with an error.
    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        let (roots, prefix) = (Arc::clone(&self.roots), prefix.clone());
        let pages = stream::try_unfold(None, move |walk| {
            let (roots, prefix) = (Arc::clone(&roots), prefix.clone());
            blocking(move |_| list::page(&roots, walk, paths::text(&prefix)?))
        });
        pages.map_ok(|page| stream::iter(page.into_iter().map(Ok::<_, ServiceError>))).try_flatten().boxed()
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        let prefix = prefix.clone();
        self.run(move |roots, _| upload::unfinished(roots, &prefix))
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        let id = upload.id.clone();
        self.run(move |roots, _| upload::discard(roots, &id))
    }
}
