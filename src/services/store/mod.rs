//! The object store, as small as the pipeline needs it: read a range, write whole or in parts, list.
//!
//! An object appears whole or not at all, and is replaced in the same way. Each adapter knows the limits of its
//! service and how to read its errors; one conformance suite (`tests/library/backends`) runs on every adapter.
//! Nothing here retries: deadlines, resuming and retries belong to the stages.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::ServiceError;
use crate::job::Location;
use crate::services::ServiceFuture;

pub mod local;
pub mod s3;

/// Identifies one version of an object's contents; an empty version matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The ETag, without its quotes.
    pub etag: Option<String>,
    /// The version, in a versioned bucket.
    pub version_id: Option<String>,
}

impl Version {
    /// Whether `found` is the same version, as far as both can tell. A weak ETag matches a strong one with the same
    /// text (RFC 9110, 8.8.3.2). A missing ETag matches only a missing ETag.
    pub fn agrees(&self, found: &Self) -> bool {
        let same_etag = self.etag.as_deref().map(opaque) == found.etag.as_deref().map(opaque);
        let other_id = self.version_id.is_some() && found.version_id.is_some() && self.version_id != found.version_id;
        same_etag && !other_id
    }
}

/// An ETag without its quotes and without the mark of a weak ETag.
pub(crate) fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// Some bytes of an object, and what the store says of the whole.
#[non_exhaustive]
pub struct Reading {
    /// The size of the whole object, in bytes.
    pub size: u64,
    /// The version the bytes belong to.
    pub version: Version,
    /// Whether the store sent a checksum of these bytes. The checksum is verified only at the end of the body, so it
    /// says nothing about a body that broke off.
    pub checked: bool,
    /// The requested bytes, or fewer at the end of the object. If the store sent a checksum for them, it is verified:
    /// the stream then ends in an error of kind `Corrupt` instead of returning wrong bytes unnoticed.
    pub body: BoxStream<'static, Result<Bytes, ServiceError>>,
    /// The metadata of the object, where the store tells.
    pub metadata: BTreeMap<String, String>,
}

impl Reading {
    /// Bytes without a checksum of the store, of an object of `size` bytes without metadata. `body` is the range that
    /// was asked for.
    pub fn new(size: u64, version: Version, body: BoxStream<'static, Result<Bytes, ServiceError>>) -> Self {
        Self { size, version, checked: false, body, metadata: BTreeMap::new() }
    }

    /// The same bytes, `checked` if the store sent a checksum of them that the body verifies.
    #[must_use]
    pub fn checked(mut self, checked: bool) -> Self {
        self.checked = checked;
        self
    }

    /// The same bytes, of an object with this metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }
}

impl Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("size", &self.size)
            .field("version", &self.version)
            .field("checked", &self.checked)
            .finish_non_exhaustive()
    }
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Where it is.
    pub location: Location,
    /// Its size in bytes.
    pub size: u64,
    /// Its version.
    pub version: Version,
    /// When it was written, if the store tells.
    pub modified: Option<SystemTime>,
    /// Its metadata; empty in listings.
    pub metadata: BTreeMap<String, String>,
}

impl ObjectInfo {
    /// An object of this size and version, without metadata; the store does not tell when it was written.
    pub fn new(location: Location, size: u64, version: Version) -> Self {
        Self { location, size, version, modified: None, metadata: BTreeMap::new() }
    }
}

/// How an object is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// Metadata to keep with the object.
    pub metadata: BTreeMap<String, String>,
    /// What may be replaced. The store checks this in the moment the object appears, and fails with `Exists` if the
    /// condition is not met.
    pub condition: Condition,
    /// The local file that the object is made from, if there is one. A store of local files lets only those read the
    /// object who may read that file, and never overwrites that file.
    pub input: Option<Location>,
}

/// What may exist in the place of an object when it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Anything, or nothing.
    #[default]
    Always,
    /// Nothing.
    Absent,
    /// Only the object with this ETag.
    Unchanged(String),
}

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The object it would have become.
    pub location: Location,
    /// The store's name for the upload.
    pub id: String,
    /// When it was begun.
    pub begun: Option<SystemTime>,
    /// Bytes that it holds, if the store tells.
    pub bytes: Option<u64>,
    /// Whether its writer is still at work.
    pub writer: Writer,
}

/// What is known of the process that began an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// Nothing is known: only the age of the upload can tell.
    #[default]
    Unknown,
    /// The writer is alive and holds the upload.
    Alive,
    /// The writer is dead, and nobody continues the upload.
    Gone,
}

/// Objects, read by range and written in parts.
pub trait ObjectStore: Debug + Send + Sync + 'static {
    /// The smallest part (except the last) and the largest part, in bytes.
    fn part_bounds(&self) -> (u64, u64);

    /// The most parts one object can have.
    fn max_parts(&self) -> u32;

    /// Reads `range` of an object, clamped to its end. A range that begins at or after the end, including any range of
    /// an empty object, gives a reading without bytes. Fails with `Changed` if the object is not the version in `pin`.
    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading>;

    /// Writes a whole object at once.
    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()>;

    /// Begins an upload in parts. Nothing is visible until it completes.
    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>>;

    /// The information about an object; `None` if there is none.
    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>>;

    /// Every object whose location begins with `prefix`, in order of their keys.
    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>>;

    /// The uploads under `prefix` that were begun and have not ended.
    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>>;

    /// Discards an unfinished upload; an upload that is gone counts as discarded.
    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()>;
}

/// An object being written in parts. Any call may be repeated. Dropping the upload does not abort it.
pub trait Upload: Debug + Send + Sync {
    /// Writes part `number`, counted from 1, in any order; if a number is written repeatedly, the last write counts.
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part>;

    /// Makes the object visible, atomically. `parts` are in the order of their numbers.
    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()>;

    /// Discards the parts; an upload that is gone counts as discarded.
    fn abort(&self) -> ServiceFuture<'_, ()>;

    /// The value with which [`ObjectStore::discard`] can discard the upload later.
    fn unfinished(&self) -> Unfinished;
}

/// A part the store has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, counted from 1.
    pub number: u32,
    /// The store's receipt for the part.
    pub etag: String,
    /// Its size in bytes.
    pub size: u64,
    /// The checksum that we sent with the part, in base64, in the algorithm of the upload.
    pub checksum: Option<String>,
}
