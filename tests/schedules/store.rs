//! A store at which every call takes its time, and may fail, and which knows how many bytes are on their way.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use batchpipe::Location;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::services::ServiceFuture;
use batchpipe::services::store::{ObjectInfo, ObjectStore, Part, Reading, Unfinished, Upload, Version, Writing};
use batchpipe::testing::MemoryStore;
use batchpipe_schedules::capacity::budget::{Budget, LINK_BYTES};
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;

use super::budget::PART;
use super::{draw, others};

/// The longest a call takes, in steps of others.
const STEPS: usize = 3;

/// The twin in memory, behind time and failures. Not `testing::Faulty`: what fails here is the schedule's to draw, and
/// the model must not lean on more of the product than it explores.
#[derive(Clone, Debug)]
pub(super) struct Slow {
    pub(super) store: MemoryStore,
    budget: Arc<Budget>,
    /// Bytes in calls under way.
    carried: Arc<AtomicU64>,
    /// Those of them that are written.
    written: Arc<AtomicU64>,
    /// Bytes that processors made and nobody has used up.
    made: Arc<AtomicU64>,
    /// One call of so many fails for good; 0 for none.
    fails: usize,
}

impl Slow {
    pub(super) fn new(budget: &Arc<Budget>, fails: usize) -> Self {
        Self {
            store: MemoryStore::new(),
            budget: Arc::clone(budget),
            carried: Arc::default(),
            written: Arc::default(),
            made: Arc::default(),
            fails,
        }
    }

    /// A chunk of a processor, counted until it is used up.
    pub(super) fn chunk(made: &Arc<AtomicU64>, bytes: usize) -> Bytes {
        made.fetch_add(bytes as u64, SeqCst);
        Bytes::from_owner(Made { bytes: vec![7; bytes], made: Arc::clone(made) })
    }

    /// What processors made.
    pub(super) fn made(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.made)
    }

    /// A call that carries so many bytes takes its time.
    async fn call(&self, bytes: u64) -> Result<(), ServiceError> {
        let carried = self.carried.fetch_add(bytes, SeqCst) + bytes;
        // Ends with the call, even if that is dropped midway.
        let _carrying = Carrying(&self.carried, bytes);
        let total = self.budget.total();
        assert!(carried <= total, "{carried} bytes are on their way, of {total}");
        others(STEPS).await;
        if self.fails > 0 && draw(0..self.fails) == 0 {
            return Err(ServiceError::new(ServiceErrorKind::Denied, "AccessDenied", "the model says so"));
        }
        Ok(())
    }

    /// The same for bytes that are written, which hold their room wherever they are. A read that was cut may end later
    /// than its room.
    async fn write(&self, bytes: u64) -> Result<(), ServiceError> {
        // Looked at before and after, since each look is a step at which others go on: what was written and granted at
        // the first may have been given back by the second.
        let before = self.budget.reserved();
        let written = self.written.fetch_add(bytes, SeqCst) + bytes;
        let _writing = Carrying(&self.written, bytes);
        let (made, total) = (self.made.load(SeqCst), self.budget.total());
        let reserved = self.budget.reserved().max(before);
        assert!(reserved <= total, "{reserved} bytes are granted, of {total}");
        // A budget of two parts that are smaller than a link has no room for one, and a chunk may be longer than a
        // part.
        if total >= 2 * PART + LINK_BYTES {
            assert!(written <= reserved, "{written} bytes are written, and {reserved} are granted");
            assert!(made <= reserved, "{made} bytes of processors lie about, and {reserved} are granted");
        }
        self.call(bytes).await
    }
}

struct Made {
    bytes: Vec<u8>,
    made: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.made.fetch_sub(self.bytes.len() as u64, SeqCst);
    }
}

struct Carrying<'a>(&'a AtomicU64, u64);

impl Drop for Carrying<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, SeqCst);
    }
}

impl ObjectStore for Slow {
    fn part_bounds(&self) -> (u64, u64) {
        self.store.part_bounds()
    }

    fn max_parts(&self) -> u32 {
        self.store.max_parts()
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        async move {
            let end = range.end.min(self.store.size(from).unwrap_or_default());
            self.call(end.saturating_sub(range.start)).await?;
            self.store.get(from, range, pin).await
        }
        .boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        async move {
            self.write(body.len() as u64).await?;
            // What the twin keeps is no part of what is in flight.
            self.store.put(to, Bytes::copy_from_slice(&body), how).await
        }
        .boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        async move {
            self.call(0).await?;
            let upload = SlowUpload { upload: self.store.begin(to, how).await?, store: self.clone() };
            Ok(Box::new(upload) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        self.store.head(at)
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        self.store.list(prefix)
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        self.store.unfinished(prefix)
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        self.store.discard(upload)
    }
}

#[derive(Debug)]
struct SlowUpload {
    upload: Box<dyn Upload>,
    store: Slow,
}

impl Upload for SlowUpload {
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        async move {
            self.store.write(body.len() as u64).await?;
            self.upload.part(number, Bytes::copy_from_slice(&body)).await
        }
        .boxed()
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        async move {
            self.store.call(0).await?;
            self.upload.complete(parts).await
        }
        .boxed()
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        async move {
            // Whether an abort that fails is remembered is the leftovers' matter.
            others(STEPS).await;
            self.upload.abort().await
        }
        .boxed()
    }

    fn unfinished(&self) -> Unfinished {
        self.upload.unfinished()
    }
}
