//! The object store in S3, and in servers that speak its protocol.
//!
//! Requests and answers only: no retry, no deadline, no read-ahead. Reads are ranged and pinned; writes carry one
//! checksum, computed here once, in place of a signed hash of the payload. A server that refuses the checksum gets
//! none from then on, and signed payloads. Holds nothing but what a caller has in hand.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType};
use aws_smithy_types::DateTime;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use md5::{Digest, Md5};

use self::proof::Written;
use self::upload::S3Upload;
use super::{Condition, ObjectInfo, ObjectStore, Reading, Unfinished, Upload, Version, Writing, opaque};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::job::origin::DATED;
use crate::runtime::redact::concealed;
use crate::services::ServiceFuture;
use crate::services::aws::Aws;
use crate::services::aws::body::{self, Window};
use crate::services::aws::classify::{Asked, service_error};

mod checksum;
mod condition;
mod listing;
mod proof;
mod upload;

/// Objects in S3 buckets.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    /// Whether the server is not AWS, so that it may know less.
    elsewhere: bool,
    /// What errors call the server.
    server: Arc<str>,
    /// Set once the server has refused a checksum.
    plain: Arc<AtomicBool>,
    /// Set once the server has refused a condition.
    unconditional: Arc<AtomicBool>,
}

// The SDK's own text holds the access key.
impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Store").field("elsewhere", &self.elsewhere).finish_non_exhaustive()
    }
}

impl S3Store {
    /// The sizes of parts: 5 MiB to 5 GiB, the last one may be smaller
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    pub const PART_BOUNDS: (u64, u64) = (5 * 1024 * 1024, 5 * 1024 * 1024 * 1024);

    /// The most parts of one object (the same page).
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

    /// Whether `error` may mean that the server does not know our checksum, so that trying without tells.
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

    async fn read(&self, from: &Location, range: Range<u64>, pin: &Version) -> Result<Reading, ServiceError> {
        if range.is_empty() {
            return Box::pin(self.past_the_end(from, u64::MAX, pin)).await;
        }
        let (bucket, key) = object(from)?;
        // The end of a range has to be a number that servers can read.
        let range_header = match i64::try_from(range.end) {
            Ok(end) => format!("bytes={}-{}", range.start, end - 1),
            Err(_) => format!("bytes={}-", range.start),
        };
        let request = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .range(range_header)
            .set_if_match(pin.etag.as_deref().and_then(condition::matching))
            .set_version_id(pin.version_id.clone())
            .checksum_mode(ChecksumMode::Enabled);
        let answer = match request.send().await {
            Ok(answer) => answer,
            // Nothing at or after this offset.
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 416) => {
                return Box::pin(self.past_the_end(from, range.start, pin)).await;
            }
            Err(error) => return Err(service_error(&error, Asked::Read, "s3:GetObject")),
        };
        let Some(window) = Window::find(&range, answer.content_range(), answer.content_length()) else {
            let message = format!("asked for {range:?}, got {:?}", answer.content_range());
            return Err(ServiceError::new(ServiceErrorKind::Corrupt, "WrongRange", message));
        };
        let version = dated(version(answer.e_tag(), answer.version_id()), answer.last_modified());
        // Any web page would do as the whole of an object.
        if !proof::is_named(answer.e_tag()) && answer.content_range().is_none() {
            return Err(proof::none(&self.server, "told neither ETag nor range of what it sent"));
        }
        condition::still(pin, &version, &self.server)?;
        if version.etag.is_none() && window.is_part() {
            return Err(proof::none(&self.server, "told neither ETag nor time of an object that is read in parts"));
        }
        let checked = is_checked(&answer);
        let metadata = answer.metadata.unwrap_or_default().into_iter().collect();
        let body = body::read(answer.body, window);
        Ok(Reading::new(window.size, version, body).checked(checked).with_metadata(metadata))
    }

    /// A reading without bytes. The answer that says so tells neither ETag nor, with every server, the size.
    async fn past_the_end(&self, from: &Location, start: u64, pin: &Version) -> Result<Reading, ServiceError> {
        let Some(found) = self.find(from, pin).await? else {
            return Err(ServiceError::new(ServiceErrorKind::Missing, "NoSuchKey", "the object is gone"));
        };
        if found.size > start {
            let message = "the object grew while it was read";
            return Err(ServiceError::new(ServiceErrorKind::Unavailable, "InvalidRange", message));
        }
        Ok(Reading::new(found.size, found.version, stream::empty().boxed()).with_metadata(found.metadata))
    }

    async fn find(&self, at: &Location, pin: &Version) -> Result<Option<ObjectInfo>, ServiceError> {
        let (bucket, key) = object(at)?;
        let request = self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .set_if_match(pin.etag.as_deref().and_then(condition::matching))
            .set_version_id(pin.version_id.clone());
        match request.send().await {
            Ok(found) => {
                let version = dated(version(found.e_tag(), found.version_id()), found.last_modified());
                condition::still(pin, &version, &self.server)?;
                let size = size(found.content_length())
                    .ok_or_else(|| proof::none(&self.server, "did not tell the length of the object"))?;
                Ok(Some(ObjectInfo {
                    location: at.clone(),
                    size,
                    version,
                    modified: time(found.last_modified()),
                    metadata: found.metadata.unwrap_or_default().into_iter().collect(),
                }))
            }
            Err(error) => match service_error(&error, Asked::Read, "s3:GetObject") {
                error if error.kind == ServiceErrorKind::Missing => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn write(&self, to: &Location, body: Bytes, how: &Writing) -> Result<(), ServiceError> {
        let condition = condition::asked(&how.condition, &self.unconditional);
        match self.write_if(to, body.clone(), how, condition).await {
            Err(error) if condition::is_refused(&error, condition) => {
                Box::pin(self.write_if(to, body, how, &Condition::Always)).await?;
                condition::go_on_without(&self.unconditional);
                Ok(())
            }
            result => result,
        }
    }

    async fn write_if(
        &self,
        to: &Location,
        body: Bytes,
        how: &Writing,
        condition: &Condition,
    ) -> Result<(), ServiceError> {
        let checked = self.checked();
        match self.put_object(to, body.clone(), how, condition, checked).await {
            Err(error) if checked && self.may_refuse_checksums(&error) => {
                Box::pin(self.put_object(to, body, how, condition, false)).await?;
                self.go_on_without_checksums(&error);
                Ok(())
            }
            result => result,
        }
    }

    async fn put_object(
        &self,
        to: &Location,
        body: Bytes,
        how: &Writing,
        condition: &Condition,
        checked: bool,
    ) -> Result<(), ServiceError> {
        let (bucket, key) = object(to)?;
        let sum = checked.then(|| checksum::of(&body));
        let request = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .set_checksum_crc64_nvme(sum.clone())
            .set_metadata(metadata(how))
            .set_if_none_match(condition::if_none_match(condition))
            .set_if_match(condition::if_match(condition))
            .body(ByteStream::from(body.clone()));
        // The checksum is part of what is signed, so the payload need not be: that would hash it a second time.
        let sent = match checked {
            true => request.customize().disable_payload_signing().send().await,
            false => Box::pin(request.send()).await,
        };
        match sent.map_err(|error| service_error(&error, Asked::Write, "s3:PutObject")) {
            Ok(answer) if proof::is_named(answer.e_tag()) => Ok(()),
            Err(error) if !proof::is_unreadable(&error) => Err(condition::unmet(error, condition)),
            _ => Box::pin(self.prove_put(to, &body, how, sum)).await,
        }
    }

    /// Looks whether an object is there that PutObject gave no proof of.
    async fn prove_put(
        &self,
        to: &Location,
        body: &Bytes,
        how: &Writing,
        sum: Option<String>,
    ) -> Result<(), ServiceError> {
        let etag = hex::encode(Md5::digest(body));
        let size = body.len() as u64;
        let written = Written { at: to, size, sum: sum.as_deref(), etag: Some(&etag), marks: &how.metadata };
        written.look(&self.client).await.map_err(|why| {
            proof::none(&self.server, format_args!("without the ETag of what it wrote to {to}, and {why}"))
        })
    }

    async fn begin_upload(&self, to: &Location, how: &Writing) -> Result<Box<dyn Upload>, ServiceError> {
        let checked = self.checked();
        let ((id, whole), checked) = match self.create_upload(to, how, checked).await {
            Err(error) if checked && self.may_refuse_checksums(&error) => {
                let begun = self.create_upload(to, how, false).await?;
                self.go_on_without_checksums(&error);
                (begun, false)
            }
            created => (created?, checked),
        };
        let (bucket, key) = object(to)?;
        Ok(Box::new(S3Upload {
            client: self.client.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id,
            checked,
            whole,
            condition: how.condition.clone(),
            marks: how.metadata.clone(),
            server: Arc::clone(&self.server),
            unconditional: Arc::clone(&self.unconditional),
        }))
    }

    /// The id of a new upload, and whether it takes the sum of the whole object.
    async fn create_upload(&self, to: &Location, how: &Writing, checked: bool) -> Result<(String, bool), ServiceError> {
        let (bucket, key) = object(to)?;
        let request = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .set_metadata(metadata(how))
            .set_checksum_algorithm(checked.then_some(ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_type(checked.then_some(ChecksumType::FullObject));
        let created = request.send().await.map_err(|error| service_error(&error, Asked::Write, "s3:PutObject"))?;
        // Servers that know only sums of sums say so here, or say nothing.
        let whole = checked && (!self.elsewhere || created.checksum_type == Some(ChecksumType::FullObject));
        let id = created.upload_id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| proof::none(&self.server, format_args!("gave the upload to {to} no id")))?;
        Ok((id, whole))
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
        // The state is the token of the next page; the first page has none.
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

/// Whether the body will be verified: S3 sends a checksum with a whole object, and with few parts of one.
fn is_checked(answer: &GetObjectOutput) -> bool {
    let sums = [
        answer.checksum_crc64_nvme(),
        answer.checksum_crc32(),
        answer.checksum_crc32_c(),
        answer.checksum_sha1(),
        answer.checksum_sha256(),
    ];
    sums.iter().any(Option::is_some)
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

fn version(etag: Option<&str>, version_id: Option<&str>) -> Version {
    // A weak one keeps its mark: `W/"x"` is told as `W/x`.
    let etag = etag.filter(|etag| proof::is_named(Some(etag))).map(|etag| match etag.strip_prefix("W/") {
        Some(weak) => format!("W/{}", weak.trim_matches('"')),
        None => etag.trim_matches('"').to_owned(),
    });
    // In a bucket that has never been versioned the word is "null", and naming it changes nothing.
    Version { etag, version_id: version_id.filter(|id| *id != "null").map(str::to_owned) }
}

/// The same version, known by the time of its last change where the store tells no ETag: enough to notice that an object was replaced
/// while it was read. It looks like a weak ETag, so it is never sent as a condition.
fn dated(version: Version, modified: Option<&DateTime>) -> Version {
    let etag = version.etag.or_else(|| modified.map(|modified| format!("{DATED}{}", modified.secs())));
    Version { etag, ..version }
}

fn metadata(how: &Writing) -> Option<HashMap<String, String>> {
    let some = !how.metadata.is_empty();
    some.then(|| how.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// A length that was told; one that can't be is none.
fn size(length: Option<i64>) -> Option<u64> {
    length.and_then(|length| u64::try_from(length).ok())
}

fn time(at: Option<&DateTime>) -> Option<SystemTime> {
    SystemTime::try_from(*at?).ok()
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
