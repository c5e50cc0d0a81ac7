//! The contents of the store: its objects, and the uploads in progress.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::content::Content;
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::store::{ObjectInfo, Version, Writing};

#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) objects: BTreeMap<Location, Object>,
    pub(super) uploads: BTreeMap<u64, Pending>,
    /// The next number for ETags and uploads.
    next: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) to: Location,
    pub(super) how: Writing,
    pub(super) begun: SystemTime,
    pub(super) parts: BTreeMap<u32, (String, Bytes, u64)>,
}

impl Inside {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn insert(&mut self, at: Location, size: u64, content: Content, metadata: BTreeMap<String, String>) {
        // Stricter than S3: writing the same bytes again makes a new ETag.
        let etag = format!("{:016x}", self.number());
        self.objects.insert(at, Object { content, size, etag, modified: SystemTime::now(), metadata });
    }
}

pub(super) fn refused() -> ServiceError {
    ServiceError::new(ServiceErrorKind::Denied, "AccessDenied", "there may be an object by that name, or none")
}

pub(super) fn missing(code: &str, reason: Reason) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Missing, code, "there is nothing by that name").because(reason)
}

pub(super) fn info(at: &Location, object: &Object, metadata: BTreeMap<String, String>) -> ObjectInfo {
    ObjectInfo {
        location: at.clone(),
        size: object.size,
        version: Version { etag: Some(object.etag.clone()), version_id: None },
        modified: Some(object.modified),
        metadata,
    }
}
