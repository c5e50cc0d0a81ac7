//! The object store, as small as the pipeline needs it: read a range, write whole or in parts, list.
//!
//! An object appears whole or not at all, and is replaced the same way. The limits of a service and
//! the reading of its errors live in its adapter; one conformance suite (`tests/library/backends`) runs on
//! every adapter. Nothing here retries: deadlines, resuming and trying again belong to the stages.

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

/// Identifies one version of an object's contents; empty matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The ETag, without its quotes.
    pub etag: Option<String>,
    /// The version, in a versioned bucket.
    pub version_id: Option<String>,
}

impl Version {
    /// Whether what was found is of this version, as far as the two tell: a weak ETag is that of a strong one with the
    /// same text (RFC 9110, 8.8.3.2), and one side without an ETag agrees with none.
    pub fn agrees(&self, found: &Self) -> bool {
        let same_etag = self.etag.as_deref().map(opaque) == found.etag.as_deref().map(opaque);
        let other_id = self.version_id.is_some() && found.version_id.is_some() && self.version_id != found.version_id;
        same_etag && !other_id
    }
}

/// An ETag without its quotes and without the mark of a weak one.
pub(crate) fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// Some bytes of an object, and what the store says of the whole.
pub struct Reading {
    /// The size of the whole object, in bytes.
    pub size: u64,
    /// The version the bytes belong to.
    pub version: Version,
    /// Whether the store sent a checksum of these bytes. It is known to be right only at the end of the body: what came
    /// of one that broke is of no use.
    pub checked: bool,
    /// The bytes asked for, fewer at the end of the object. A checksum that the store sent for them is
    /// verified: the stream then ends in an error of kind `Corrupt` rather than in wrong bytes unnoticed.
    pub body: BoxStream<'static, Result<Bytes, ServiceError>>,
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
pub struct ObjectInfo {
    /// Where it is.
    pub location: Location,
    /// Its size in bytes.
    pub size: u64,
    /// Its version.
    pub version: Version,
    /// When it was written, where the store tells.
    pub modified: Option<SystemTime>,
    /// Its metadata; empty in listings.
    pub metadata: BTreeMap<String, String>,
}

/// How an object is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// Metadata to keep with the object.
    pub metadata: BTreeMap<String, String>,
    /// What may be replaced. The store looks at the moment the object appears, and fails with `Exists` otherwise.
    pub condition: Condition,
    /// The local file that the object is made from, if it is made from one: a store of local files lets nobody read the
    /// object who may not read that file, and never writes over it.
    pub input: Option<Location>,
}

/// What may be in the place of an object when it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Anything, or nothing.
    #[default]
    Always,
    /// Nothing.
    Absent,
    /// The object with this ETag, and no other.
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
    /// Bytes it holds, where the store tells.
    pub bytes: Option<u64>,
    /// Whether somebody is still at work on it.
    pub writer: Writer,
}

/// What is known of the process that began an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// Nothing: only the age of the upload speaks.
    #[default]
    Unknown,
    /// It holds the upload.
    Alive,
    /// It is dead, and nobody goes on with the upload.
    Gone,
}

/// Objects, read by range and written in parts.
pub trait ObjectStore: Debug + Send + Sync + 'static {
    /// The smallest part that is not the last, and the largest part, in bytes.
    fn part_bounds(&self) -> (u64, u64);

    /// The most parts one object can have.
    fn max_parts(&self) -> u32;

    /// Reads `range` of an object, clamped to its end. A range that begins at or after the end, an empty
    /// object's first range included, is a reading without bytes. Fails with `Changed` if the object is
    /// not the version in `pin`.
    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading>;

    /// Writes a whole object at once.
    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()>;

    /// Begins an upload in parts. Nothing is visible until it completes.
    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>>;

    /// What is known of an object; `None` if there is none.
    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>>;

    /// Every object whose location begins with `prefix`, in order of their keys.
    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>>;

    /// The uploads under `prefix` that were begun and not ended.
    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>>;

    /// Discards an unfinished upload; one that is gone counts as discarded.
    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()>;
}

/// An object being written in parts. Any call may be repeated. Dropping it does not abort it.
pub trait Upload: Debug + Send + Sync {
    /// Writes part `number`, counted from 1, in any order; the last write of a number counts.
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part>;

    /// Makes the object visible, atomically. `parts` are in the order of their numbers.
    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()>;

    /// Discards the parts; an upload that is gone counts as discarded.
    fn abort(&self) -> ServiceFuture<'_, ()>;

    /// What [`ObjectStore::discard`] takes to discard it later.
    fn unfinished(&self) -> Unfinished;
}

/// A part the store has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, counted from 1.
    pub number: u32,
    /// The store's receipt for it.
    pub etag: String,
    /// Its size in bytes.
    pub size: u64,
    /// The checksum we sent with it, base64, in the algorithm of the upload.
    pub checksum: Option<String>,
}
