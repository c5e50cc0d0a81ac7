//! Reads of objects in S3: ranged, pinned to a version, and accepted only with proof of what was read.
//!
//! One request for each read. Holds only the answer, whose body the caller takes chunk by chunk.

use std::ops::Range;
use std::time::SystemTime;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_types::DateTime;
use futures::StreamExt;
use futures::stream;

use super::{S3Store, condition, object, proof};
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::job::origin::DATED;
use crate::services::aws::body::{self, Window};
use crate::services::aws::classify::{Asked, service_error};
use crate::services::store::{ObjectInfo, Reading, Version};

impl S3Store {
    pub(super) async fn read(
        &self,
        from: &Location,
        range: Range<u64>,
        pin: &Version,
    ) -> Result<Reading, ServiceError> {
        if range.is_empty() {
            return Box::pin(self.past_the_end(from, u64::MAX, pin)).await;
        }
        let (bucket, key) = object(from)?;
        // The end of a range must be a number that servers can parse.
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
            // There is nothing at or after this offset.
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 416) => {
                return Box::pin(self.past_the_end(from, range.start, pin)).await;
            }
            Err(error) => return Err(service_error(error, Asked::Read, "s3:GetObject")),
        };
        let Some(window) = Window::find(&range, answer.content_range(), answer.content_length()) else {
            let message = format!("asked for {range:?}, got {:?}", answer.content_range());
            return Err(ServiceError::new(ServiceErrorKind::Corrupt, "WrongRange", message));
        };
        let version = dated(version(answer.e_tag(), answer.version_id()), answer.last_modified());
        // Any web page could pass for a whole object.
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

    /// A reading without bytes. The 416 answer has no ETag, and from some servers no size.
    async fn past_the_end(&self, from: &Location, start: u64, pin: &Version) -> Result<Reading, ServiceError> {
        let Some(found) = self.find(from, pin).await? else {
            return Err(ServiceError::new(ServiceErrorKind::Missing, "NoSuchKey", "the object is gone")
                .because(Reason::KeyMissing));
        };
        if found.size > start {
            let message = "the object grew while it was read";
            return Err(ServiceError::new(ServiceErrorKind::Unavailable, "InvalidRange", message));
        }
        Ok(Reading::new(found.size, found.version, stream::empty().boxed()).with_metadata(found.metadata))
    }

    pub(super) async fn find(&self, at: &Location, pin: &Version) -> Result<Option<ObjectInfo>, ServiceError> {
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
            Err(error) => match service_error(error, Asked::Read, "s3:GetObject") {
                error if error.kind == ServiceErrorKind::Missing => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// Whether the body will be verified: S3 sends a checksum with a whole object, but with few parts of an object.
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

pub(super) fn version(etag: Option<&str>, version_id: Option<&str>) -> Version {
    // A weak ETag keeps its mark: `W/"x"` becomes `W/x`.
    let etag = etag.filter(|etag| proof::is_named(Some(etag))).map(|etag| match etag.strip_prefix("W/") {
        Some(weak) => format!("W/{}", weak.trim_matches('"')),
        None => etag.trim_matches('"').to_owned(),
    });
    // In a bucket that was never versioned, the id is "null", and sending it makes no difference.
    Version { etag, version_id: version_id.filter(|id| *id != "null").map(str::to_owned) }
}

/// The version, with the time of the last change as its ETag if the store sends none: enough to notice that an object
/// was replaced while it was read. It looks like a weak ETag, so it is never sent as a condition.
pub(super) fn dated(version: Version, modified: Option<&DateTime>) -> Version {
    let etag = version.etag.or_else(|| modified.map(|modified| format!("{DATED}{}", modified.secs())));
    Version { etag, ..version }
}

/// A reported length; a negative length counts as none.
pub(super) fn size(length: Option<i64>) -> Option<u64> {
    length.and_then(|length| u64::try_from(length).ok())
}

pub(super) fn time(at: Option<&DateTime>) -> Option<SystemTime> {
    SystemTime::try_from(*at?).ok()
}
