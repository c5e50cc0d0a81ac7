//! The store at the end of a wire.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::Wire;
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;
use crate::services::store::{ObjectInfo, ObjectStore, Part, Reading, Unfinished, Upload, Version, Writing};

/// What a worker did with an upload that it knows of.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// The store's name for it.
    pub(super) id: String,
    /// The store has confirmed that the upload is an object, or no longer exists.
    pub(super) completed: AtomicBool,
    /// An abort was sent.
    pub(super) aborted: AtomicBool,
    /// The store has confirmed that the upload is discarded.
    pub(super) discarded: AtomicBool,
}

#[derive(Debug)]
pub(super) struct FarStore {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) wire: Wire,
}

impl ObjectStore for FarStore {
    fn part_bounds(&self) -> (u64, u64) {
        self.store.part_bounds()
    }

    fn max_parts(&self) -> u32 {
        self.store.max_parts()
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        let (store, from, pin) = (Arc::clone(&self.store), from.clone(), pin.clone());
        async move {
            let asked = self.wire.ask(&from, &range);
            let late = self.wire.lateness();
            let call = async move {
                let reading = store.get(&from, range, &pin).await;
                tokio::time::sleep(late).await;
                reading
            };
            let reading = self.wire.carry(call).await?;
            asked.answered();
            let wire = self.wire.clone();
            let body = reading.body.then(move |frame| {
                asked.read();
                let way = wire.way();
                async move {
                    tokio::time::sleep(way).await;
                    frame
                }
            });
            Ok(Reading { body: body.boxed(), ..reading })
        }
        .boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        let (store, to, how) = (Arc::clone(&self.store), to.clone(), how.clone());
        let body = sent(&body);
        self.wire.carry(async move { store.put(&to, body, &how).await }).boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        let (store, to, how) = (Arc::clone(&self.store), to.clone(), how.clone());
        async move {
            let upload: Arc<dyn Upload> = self.wire.carry(async move { store.begin(&to, &how).await }).await?.into();
            let fate = Arc::new(Fate { id: upload.unfinished().id, ..Fate::default() });
            self.wire.lock().uploads.push(Arc::clone(&fate));
            Ok(Box::new(FarUpload { upload, wire: self.wire.clone(), fate }) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        let (store, at) = (Arc::clone(&self.store), at.clone());
        self.wire.carry(async move { store.head(&at).await }).boxed()
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        self.store.list(prefix)
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        self.store.unfinished(prefix)
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        let (store, upload) = (Arc::clone(&self.store), upload.clone());
        let fate = self.wire.lock().uploads.iter().find(|fate| fate.id == upload.id).cloned();
        let call = async move {
            let said = store.discard(&upload).await;
            if let (Ok(()), Some(fate)) = (&said, fate) {
                fate.discarded.store(true, SeqCst);
            }
            said
        };
        self.wire.carry(call).boxed()
    }
}

#[derive(Debug)]
struct FarUpload {
    upload: Arc<dyn Upload>,
    wire: Wire,
    fate: Arc<Fate>,
}

impl Upload for FarUpload {
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        let (upload, body) = (Arc::clone(&self.upload), sent(&body));
        self.wire.carry(async move { upload.part(number, body).await }).boxed()
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        let (upload, parts, fate) = (Arc::clone(&self.upload), parts.to_vec(), Arc::clone(&self.fate));
        self.wire
            .carry(async move {
                let said = upload.complete(&parts).await;
                // An upload that no longer exists was completed before, by a call whose response was lost.
                let gone = said.as_ref().is_err_and(|error| error.kind == ServiceErrorKind::Missing);
                fate.completed.fetch_or(said.is_ok() || gone, SeqCst);
                said
            })
            .boxed()
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        let (upload, fate) = (Arc::clone(&self.upload), Arc::clone(&self.fate));
        async move {
            self.fate.aborted.store(true, SeqCst);
            let call = async move {
                let said = upload.abort().await;
                fate.discarded.fetch_or(said.is_ok(), SeqCst);
                said
            };
            self.wire.carry(call).await
        }
        .boxed()
    }

    fn unfinished(&self) -> Unfinished {
        self.upload.unfinished()
    }
}

/// A copy of the bytes, because bytes in transit outlive the sender's memory.
fn sent(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(body)
}
