//! A store of one's own: it passes everything on to another store, and keeps a list of what was written. A store that
//! speaks another protocol has the same functions.
//!
//! ```sh
//! cargo run --example custom_store
//! ```

use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use batchpipe::queue::ServiceError;
use batchpipe::store::{ObjectInfo, ObjectStore, Reading, ServiceFuture, Unfinished, Upload, Version, Writing};
use batchpipe::testing::{MemoryQueue, MemoryStore};
use batchpipe::{Location, Scheme, Worker};
use bytes::Bytes;
use futures::stream::BoxStream;

/// A store that keeps a list of the objects that were written to it.
#[derive(Debug)]
struct Audited {
    inner: MemoryStore,
    written: Mutex<Vec<String>>,
}

impl Audited {
    fn note(&self, to: &Location) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(to.to_string());
    }
}

impl ObjectStore for Audited {
    fn part_bounds(&self) -> (u64, u64) {
        self.inner.part_bounds()
    }

    fn max_parts(&self) -> u32 {
        self.inner.max_parts()
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        self.inner.get(from, range, pin)
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        Box::pin(async move {
            self.inner.put(to, body, how).await?;
            self.note(to);
            Ok(())
        })
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        self.inner.begin(to, how)
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        self.inner.head(at)
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        self.inner.list(prefix)
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        self.inner.unfinished(prefix)
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        self.inner.discard(upload)
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let jobs = Arc::new(MemoryQueue::new("jobs"));
    let store = Arc::new(Audited { inner: MemoryStore::new(), written: Mutex::default() });
    store.inner.insert(Location::s3("acme-in", "a.txt"), "some text");
    jobs.push(r#"{"input":"s3://acme-in/a.txt"}"#);

    // Only for objects in S3. Messages about files would still read files.
    let worker = Worker::builder(jobs).store_for(Scheme::S3, Arc::clone(&store) as _).output("s3://acme-out/");
    let summary = worker.steps("gzip:9").until_empty().build().await?.run().await?;

    let written = store.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!("{} done; written: {written:?}", summary.done);
    assert_eq!(written, ["s3://acme-out/a.txt.gz"]);
    Ok(())
}
