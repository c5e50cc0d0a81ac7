//! A store in memory that passes the conformance suite.
//!
//! Cheap, so that benchmarks measure the pipeline and not the store: reading copies nothing, a [`pattern`] object can
//! have any size without storing bytes, and a store made with [`sink`](MemoryStore::sink) keeps the sizes of written
//! objects but not their bytes. Stored bytes are copied once, because uploaded bytes count against a budget for as long
//! as they live.

mod content;
mod inside;
mod upload;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use content::Content;
pub use content::pattern;
use inside::{Inside, Object, Pending, info, missing, refused};
use upload::MemoryUpload;

use super::log::{Log, Operation};
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;
use crate::services::store::{
    Condition, ObjectInfo, ObjectStore, Reading, Unfinished, Upload, Version, Writer, Writing,
};

/// A store in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inside: Arc<Mutex<Inside>>,
    log: Option<Log>,
    sink: bool,
    unlisted: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that keeps only the sizes of written objects; reading them returns [`pattern`].
    pub fn sink() -> Self {
        Self { sink: true, ..Self::default() }
    }

    /// The same store, which logs its operations.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }

    /// The same store, which answers "denied" for missing objects, as S3 does if the role may not list the bucket.
    #[must_use]
    pub fn unlisted(self) -> Self {
        Self { unlisted: true, ..self }
    }

    /// Adds an object, as another program would.
    pub fn insert(&self, at: Location, body: impl Into<Bytes>) {
        let body = body.into();
        self.place(at, body.len() as u64, Content::Kept(body));
    }

    /// Removes an object.
    pub fn remove(&self, at: &Location) {
        self.lock().objects.remove(at);
    }

    /// Adds an object of `size` bytes of [`pattern`], which takes no memory.
    pub fn insert_pattern(&self, at: Location, size: u64) {
        self.place(at, size, Content::Pattern);
    }

    fn place(&self, at: Location, size: u64, content: Content) {
        let mut inside = self.lock();
        inside.insert(at.clone(), size, content, BTreeMap::new());
        self.note(|| Operation::Put { at });
    }

    /// The bytes of an object.
    pub fn contents(&self, at: &Location) -> Option<Bytes> {
        self.lock().objects.get(at).map(|object| object.content.slice(0..object.size))
    }

    /// The size of an object.
    pub fn size(&self, at: &Location) -> Option<u64> {
        self.lock().objects.get(at).map(|object| object.size)
    }

    /// The locations of all objects, in order.
    pub fn locations(&self) -> Vec<Location> {
        self.lock().objects.keys().cloned().collect()
    }

    /// How many uploads were begun and have not ended.
    pub fn uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, operation: impl FnOnce() -> Operation) {
        if let Some(log) = &self.log {
            log.note(operation());
        }
    }

    fn keep(&self, body: &[u8]) -> Bytes {
        if self.sink { Bytes::new() } else { Bytes::copy_from_slice(body) }
    }

    fn write(
        &self,
        inside: &mut Inside,
        to: &Location,
        body: Bytes,
        size: u64,
        how: &Writing,
    ) -> Result<(), ServiceError> {
        let there = inside.objects.get(to).map(|object| object.etag.as_str());
        let holds = match &how.condition {
            Condition::Always => true,
            Condition::Absent => there.is_none(),
            Condition::Unchanged(etag) => there == Some(etag),
        };
        if !holds {
            let said = "there is another object, or none";
            return Err(ServiceError::new(ServiceErrorKind::Exists, "PreconditionFailed", said));
        }
        let content = if self.sink { Content::Pattern } else { Content::Kept(body) };
        inside.insert(to.clone(), size, content, how.metadata.clone());
        Ok(())
    }
}

impl ObjectStore for MemoryStore {
    /// Any non-empty part, up to S3's 5 GiB.
    fn part_bounds(&self) -> (u64, u64) {
        (1, 5 << 30)
    }

    /// As many as S3 accepts.
    fn max_parts(&self) -> u32 {
        10_000
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        async move {
            let object = self.lock().objects.get(from).cloned();
            let object = object
                .ok_or_else(|| if self.unlisted { refused() } else { missing("NoSuchKey", Reason::KeyMissing) })?;
            let other = pin.etag.as_ref().is_some_and(|etag| *etag != object.etag);
            if other || pin.version_id.is_some() {
                let said = "the object is another version";
                return Err(ServiceError::new(ServiceErrorKind::Changed, "PreconditionFailed", said));
            }
            let pinned = pin.etag.clone();
            self.note(|| Operation::Get { at: from.clone(), range: range.clone(), pinned });
            let (start, end) = (range.start.min(object.size), range.end.min(object.size));
            let Object { content, size, etag, metadata, .. } = object;
            let mut at = start;
            let frames = std::iter::from_fn(move || {
                let frame = (at < end).then(|| content.frame(at, end))?;
                at += frame.len() as u64;
                Some(Ok(frame))
            });
            let body = stream::iter(frames).boxed();
            let version = Version { etag: Some(etag), version_id: None };
            Ok(Reading::new(size, version, body).with_metadata(metadata))
        }
        .boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        async move {
            let kept = self.keep(&body);
            let mut inside = self.lock();
            self.write(&mut inside, to, kept, body.len() as u64, how)?;
            self.note(|| Operation::Put { at: to.clone() });
            Ok(())
        }
        .boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        async move {
            let mut inside = self.lock();
            let id = inside.number();
            let pending =
                Pending { to: to.clone(), how: how.clone(), begun: SystemTime::now(), parts: BTreeMap::new() };
            inside.uploads.insert(id, pending);
            self.note(|| Operation::Begin { at: to.clone() });
            Ok(Box::new(MemoryUpload { store: self.clone(), to: to.clone(), id }) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        async move {
            match self.lock().objects.get(at) {
                None if self.unlisted => Err(refused()),
                found => Ok(found.map(|object| info(at, object, object.metadata.clone()))),
            }
        }
        .boxed()
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        let inside = self.lock();
        let under = inside.objects.iter().filter(|(at, _)| at.is_under(prefix));
        let listed: Vec<_> = under.map(|(at, object)| Ok(info(at, object, BTreeMap::new()))).collect();
        stream::iter(listed).boxed()
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        async move {
            let inside = self.lock();
            let under = inside.uploads.iter().filter(|(_, pending)| pending.to.is_under(prefix));
            Ok(under
                .map(|(id, pending)| Unfinished {
                    location: pending.to.clone(),
                    id: id.to_string(),
                    begun: Some(pending.begun),
                    bytes: Some(pending.parts.values().map(|(_, _, size)| size).sum()),
                    writer: Writer::Unknown,
                })
                .collect())
        }
        .boxed()
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        async move {
            let Ok(id) = upload.id.parse::<u64>() else { return Ok(()) };
            self.discard_upload(id);
            Ok(())
        }
        .boxed()
    }
}

impl MemoryStore {
    fn discard_upload(&self, id: u64) {
        let mut inside = self.lock();
        if let Some(pending) = inside.uploads.remove(&id) {
            self.note(|| Operation::Abort { at: pending.to });
        }
    }
}
