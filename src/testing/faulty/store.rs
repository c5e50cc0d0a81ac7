//! A store that obeys [`Faults`]: it breaks, shortens and garbles bodies, loses answers and fails.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use super::{Fault, Faults, On, injected, obey};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;
use crate::services::store::{ObjectInfo, ObjectStore, Part, Reading, Unfinished, Upload, Version, Writing};

/// A store with injected faults.
#[derive(Clone, Debug)]
pub struct Faulty {
    store: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl Faulty {
    /// `store`, failing as `faults` says.
    pub fn new(store: Arc<dyn ObjectStore>, faults: Faults) -> Self {
        Self { store, faults }
    }
}

impl ObjectStore for Faulty {
    fn part_bounds(&self) -> (u64, u64) {
        self.store.part_bounds()
    }

    fn max_parts(&self) -> u32 {
        self.store.max_parts()
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        async move {
            let start = range.start;
            self.faults.spend(On::Get).await;
            let fault = self.faults.decide(On::Get, Some(&range));
            let anything = Version::default();
            let pin = if matches!(fault, Some(Fault::Unpinned)) { &anything } else { pin };
            let call = self.store.get(from, range, pin);
            match fault {
                None | Some(Fault::Unpinned) => call.await,
                Some(Fault::Break(at)) => cut_short(call.await?, at - start, Some(broken())),
                Some(Fault::End(at)) => cut_short(call.await?, at - start, None),
                Some(Fault::Stall(at)) => {
                    let reading = cut_short(call.await?, at - start, None)?;
                    Ok(Reading { body: reading.body.chain(stream::pending()).boxed(), ..reading })
                }
                Some(Fault::Garble(at)) => {
                    let reading = cut_short(call.await?, at - start, Some(broken()))?;
                    Ok(untrue(reading))
                }
                Some(Fault::Corrupt) => Ok(untrue(call.await?)),
                Some(fault) => obey(fault, call).await,
            }
        }
        .boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        self.faults.call(On::Put, self.store.put(to, body, how)).boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        async move {
            let upload = self.faults.call(On::Begin, self.store.begin(to, how)).await?;
            Ok(Box::new(FaultyUpload { upload, faults: self.faults.clone() }) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        self.faults.call(On::Head, self.store.head(at)).boxed()
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        self.store.list(prefix)
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        self.store.unfinished(prefix)
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        self.faults.call(On::Abort, self.store.discard(upload)).boxed()
    }
}

fn broken() -> ServiceError {
    injected(ServiceErrorKind::Unavailable)
}

/// The first `length` bytes of a body, and then an error or silence. A shorter body is not changed.
fn cut_short(reading: Reading, length: u64, then: Option<ServiceError>) -> Result<Reading, ServiceError> {
    let mut left = length as usize;
    let mut then = then;
    let body = reading.body.map(move |frame| {
        let frame = frame?;
        if left == usize::MAX {
            return Ok(Vec::new());
        }
        if frame.len() <= left {
            left -= frame.len();
            return Ok(vec![Ok(frame)]);
        }
        let whole = Ok(frame.slice(..left));
        left = usize::MAX;
        Ok([Some(whole), then.take().map(Err)].into_iter().flatten().collect())
    });
    let body = body
        .flat_map(|frames: Result<Vec<_>, ServiceError>| stream::iter(frames.unwrap_or_else(|error| vec![Err(error)])));
    Ok(Reading { body: body.boxed(), ..reading })
}

/// The body with a wrong byte, which a checksum detects unless the body breaks before its end.
fn untrue(reading: Reading) -> Reading {
    let told = stream::iter([Err(injected(ServiceErrorKind::Corrupt))]);
    Reading { checked: true, body: reading.body.map(garble).chain(told).boxed(), ..reading }
}

/// Changes the first byte.
fn garble(frame: Result<Bytes, ServiceError>) -> Result<Bytes, ServiceError> {
    let mut bytes = frame?.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x5a;
    }
    Ok(bytes.into())
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn Upload>,
    faults: Faults,
}

impl Upload for FaultyUpload {
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        self.faults.call(On::Part, self.upload.part(number, body)).boxed()
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        self.faults.call(On::Complete, self.upload.complete(parts)).boxed()
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        self.faults.call(On::Abort, self.upload.abort()).boxed()
    }

    fn unfinished(&self) -> Unfinished {
        self.upload.unfinished()
    }
}
