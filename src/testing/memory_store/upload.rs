//! A multipart upload in progress, in memory.

use bytes::Bytes;
use futures::FutureExt;

use super::{MemoryStore, missing};
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;
use crate::services::store::{Part, Unfinished, Upload, Writer};
use crate::testing::log::Operation;

#[derive(Debug)]
pub(super) struct MemoryUpload {
    pub(super) store: MemoryStore,
    pub(super) to: Location,
    pub(super) id: u64,
}

impl Upload for MemoryUpload {
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        async move {
            let size = body.len() as u64;
            let kept = self.store.keep(&body);
            let mut inside = self.store.lock();
            let etag = format!("{:016x}", inside.number());
            let pending =
                inside.uploads.get_mut(&self.id).ok_or_else(|| missing("NoSuchUpload", Reason::UploadMissing))?;
            pending.parts.insert(number, (etag.clone(), kept, size));
            let at = pending.to.clone();
            self.store.note(|| Operation::Part { at, number, size });
            Ok(Part { number, etag, size, checksum: None })
        }
        .boxed()
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        async move {
            let mut inside = self.store.lock();
            let pending = inside.uploads.get(&self.id).ok_or_else(|| missing("NoSuchUpload", Reason::UploadMissing))?;
            let ordered = parts.is_sorted_by(|a, b| a.number < b.number) && !parts.is_empty();
            let mut all = Vec::new();
            let mut size = 0;
            for part in parts {
                match pending.parts.get(&part.number) {
                    Some((etag, bytes, length)) if *etag == part.etag && ordered => {
                        all.extend_from_slice(bytes);
                        size += length;
                    }
                    _ => {
                        // S3's error is treated the same: a part that was sent twice may have arrived in the other
                        // order, and starting the upload again helps.
                        let said = "a part is missing, out of order or not the last of its number";
                        return Err(ServiceError::new(ServiceErrorKind::Unavailable, "InvalidPart", said));
                    }
                }
            }
            let (to, how) = (pending.to.clone(), pending.how.clone());
            self.store.write(&mut inside, &to, all.into(), size, &how)?;
            inside.uploads.remove(&self.id);
            self.store.note(|| Operation::Complete { at: to });
            Ok(())
        }
        .boxed()
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        async move {
            self.store.discard_upload(self.id);
            Ok(())
        }
        .boxed()
    }

    fn unfinished(&self) -> Unfinished {
        Unfinished {
            location: self.to.clone(),
            id: self.id.to_string(),
            begun: None,
            bytes: None,
            writer: Writer::Unknown,
        }
    }
}
