//! The object store in S3, and in servers that speak its protocol.
//!
//! Requests and answers only: no retry, no deadline, no read-ahead. Reads are ranged and pinned. Writes carry one
//! checksum, computed here once, instead of a signed hash of the payload. A server that refuses the checksum gets
//! signed payloads without a checksum from then on. Holds only the data that the caller has in hand.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use aws_sdk_s3::Client;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::{ObjectInfo, ObjectStore, Reading, Unfinished, Upload, Version, Writing, opaque};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::runtime::redact::concealed;
use crate::services::ServiceFuture;
use crate::services::aws::Aws;

mod checksum;
mod condition;
mod listing;
mod proof;
mod read;
mod upload;
mod write;

/// Objects in S3 buckets.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    /// Whether the server is not AWS, so that it may support less.
    elsewhere: bool,
    /// The name of the server in errors.
    server: Arc<str>,
    /// Set once the server has refused a checksum.
    plain: Arc<AtomicBool>,
    /// Set once the server has refused a condition.
    unconditional: Arc<AtomicBool>,
}

// The SDK's own debug text contains the access key.
impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Store").field("elsewhere", &self.elsewhere).finish_non_exhaustive()
    }
}

impl S3Store {
    /// The sizes of parts: 5 MiB to 5 GiB; the last part may be smaller
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    pub const PART_BOUNDS: (u64, u64) = (5 * 1024 * 1024, 5 * 1024 * 1024 * 1024);

    /// The maximum number of parts of one object (the same page).
    pub const MAX_PARTS: u32 = 10_000;

    /// The objects that `aws` reaches.
    pub fn new(aws: &Aws) -> Self {
        Self {
            client: aws.s3(),
            elsewhere: aws.s3_endpoint().is_some(),
            server: aws.s3_endpoint().map_or_else(|| "S3".into(), |endpoint| concealed(&endpoint.url).as_ref().into()),
            plain: Arc::default(),
            unconditional: Arc::default(),
        }
    }

    fn checked(&self) -> bool {
        !self.plain.load(Relaxed)
    }

    /// Whether `error` may mean that the server does not support our checksum, so that a try without it will tell.
    fn may_refuse_checksums(&self, error: &ServiceError) -> bool {
        self.elsewhere && self.checked() && error.kind == ServiceErrorKind::Invalid
    }

    fn go_on_without_checksums(&self, error: &ServiceError) {
        if !self.plain.swap(true, Relaxed) {
            tracing::warn!(
                target: "batchpipe::store::s3",
                code = ?error.code, "the server refuses CRC64NVME checksums; writing without them"
            );
        }
    }
}

impl ObjectStore for S3Store {
    fn part_bounds(&self) -> (u64, u64) {
        Self::PART_BOUNDS
    }

    fn max_parts(&self) -> u32 {
        Self::MAX_PARTS
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        self.read(from, range, pin).boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        self.write(to, body, how).boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        self.begin_upload(to, how).boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        async move { self.find(at, &Version::default()).await }.boxed()
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        let (bucket, key) = match place(prefix) {
            Ok((bucket, key)) => (bucket.to_owned(), key.to_owned()),
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        // The state is the token of the next page; the first page has no token.
        let pages = stream::try_unfold((bucket, key, Some(None)), move |(bucket, key, next)| async move {
            let Some(token) = next else { return Ok(None) };
            let (objects, next) = self.page(&bucket, &key, token).await?;
            Ok(Some((stream::iter(objects).map(Ok), (bucket, key, next.map(Some)))))
        });
        pages.try_flatten().boxed()
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        self.uploads_under(prefix).boxed()
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        async move {
            let (bucket, key) = object(&upload.location)?;
            upload::abort(&self.client, bucket, key, &upload.id).await
        }
        .boxed()
    }
}

/// The bucket and the key of an object.
fn object(at: &Location) -> Result<(&str, &str), ServiceError> {
    match place(at)? {
        (_, "") => Err(ServiceError::new(ServiceErrorKind::Invalid, "InvalidKey", "an object needs a key")),
        found => Ok(found),
    }
}

/// The bucket and the prefix of a location, which may be empty.
fn place(at: &Location) -> Result<(&str, &str), ServiceError> {
    match at {
        Location::S3 { bucket, key } => Ok((bucket, key)),
        Location::File { .. } => {
            Err(ServiceError::new(ServiceErrorKind::Invalid, "InvalidLocation", "a local file is not in S3"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_file_is_not_in_s3() {
        assert_eq!(object(&Location::file("/tmp/x")).unwrap_err().kind, ServiceErrorKind::Invalid);
        assert_eq!(object(&Location::s3("bucket", "")).unwrap_err().kind, ServiceErrorKind::Invalid);
        assert_eq!(place(&Location::s3("bucket", "")).unwrap(), ("bucket", ""));
    }
}
