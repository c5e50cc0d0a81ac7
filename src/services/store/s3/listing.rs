//! Listings of objects, and of uploads that were begun and have not ended, one page at a time.
//!
//! A page that lacks what S3 always sends is an error, not a short listing, because what it leaves out would be
//! silently skipped.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::types::EncodingType;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use percent_encoding::percent_decode_str;

use super::read::{size, time, version};
use super::{S3Store, place};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::aws::classify::{Asked, service_error};
use crate::services::retry::timed_out;
use crate::services::store::{ObjectInfo, Unfinished, Writer};

/// The longest time for a page of a listing, including its whole answer. S3 takes some 0.1 s, a slow server with a huge
/// bucket some seconds.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

impl S3Store {
    /// One page of a listing, and where the next page begins.
    pub(super) async fn page(
        &self,
        bucket: &str,
        prefix: &str,
        token: Option<String>,
    ) -> Result<(Vec<ObjectInfo>, Option<String>), ServiceError> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            // A key may contain characters that XML can't represent.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token.clone());
        let page = in_time(request.send(), "s3:ListBucket").await?;
        let truncated = page.is_truncated.ok_or_else(|| unclear("does not say whether there is more"))?;
        let encoded = page.encoding_type().is_some();
        let mut objects = Vec::with_capacity(page.contents().len());
        for listed in page.contents() {
            objects.push(ObjectInfo {
                location: Location::s3(bucket, listed_key(listed.key(), encoded)?),
                size: size(listed.size()).ok_or_else(|| unclear("names an object without its size"))?,
                version: version(listed.e_tag(), None),
                modified: time(listed.last_modified()),
                metadata: Default::default(),
            });
        }
        if !truncated {
            return Ok((objects, None));
        }
        let next = page.next_continuation_token.ok_or_else(|| unclear("says that there is more, and not where"))?;
        if Some(&next) == token.as_ref() {
            return Err(repeated());
        }
        Ok((objects, Some(next)))
    }

    /// Every upload under `prefix` that was begun and has not ended.
    pub(super) async fn uploads_under(&self, prefix: &Location) -> Result<Vec<Unfinished>, ServiceError> {
        let (bucket, key) = place(prefix)?;
        let mut found = Vec::new();
        let mut markers = (None, None);
        loop {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(bucket)
                .prefix(key)
                .encoding_type(EncodingType::Url)
                .set_key_marker(markers.0.clone())
                .set_upload_id_marker(markers.1.clone());
            let page = in_time(request.send(), "s3:ListBucketMultipartUploads").await?;
            let truncated = page.is_truncated.ok_or_else(|| unclear("does not say whether there is more"))?;
            let encoded = page.encoding_type().is_some();
            for upload in page.uploads() {
                found.push(Unfinished {
                    location: Location::s3(bucket, listed_key(upload.key(), encoded)?),
                    id: upload.upload_id().ok_or_else(|| unclear("names an upload without its id"))?.to_owned(),
                    begun: time(upload.initiated()),
                    bytes: None,
                    writer: Writer::Unknown,
                });
            }
            if !truncated {
                return Ok(found);
            }
            let next = page.next_key_marker().ok_or_else(|| unclear("says that there is more, and not where"))?;
            let next = (Some(listed_key(Some(next), encoded)?), page.next_upload_id_marker);
            if next == markers {
                return Err(repeated());
            }
            markers = next;
        }
    }
}

/// The failure of a listing that returns the same page again for a new token: it would never end.
fn repeated() -> ServiceError {
    let said = "the server says that there is more, and gives the same page again";
    ServiceError::new(ServiceErrorKind::Invalid, "RepeatedPage", said)
}

/// The failure of a listing that lacks what S3 always sends. Objects that are not listed would be silently skipped.
fn unclear(what: &str) -> ServiceError {
    ServiceError::no_proof(format!("the listing {what}"))
}

/// The answer of a listing, or an error if it is late.
async fn in_time<T, E>(
    listing: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    right: &str,
) -> Result<T, ServiceError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match tokio::time::timeout(PAGE_TIMEOUT, listing).await {
        Ok(answer) => answer.map_err(|error| service_error(error, Asked::Read, right)),
        Err(_) => Err(timed_out(PAGE_TIMEOUT)),
    }
}

/// The decoded key from a listing, which encodes keys as HTML forms do.
fn listed_key(key: Option<&str>, encoded: bool) -> Result<String, ServiceError> {
    let key = key.ok_or_else(|| unclear("has an entry without a key"))?;
    if !encoded {
        return Ok(key.to_owned());
    }
    let spaced = key.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map(|key| key.into_owned());
    decoded.map_err(|error| ServiceError::new(ServiceErrorKind::Corrupt, "UnreadableKey", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_key_is_decoded_once_and_only_if_it_was_encoded() {
        assert_eq!(listed_key(Some("a+b%2Bc%2541%C3%BC"), true).unwrap(), "a b+c%41ü");
        assert_eq!(listed_key(Some("a+b%2B"), false).unwrap(), "a+b%2B");
        assert!(listed_key(Some("%FF"), true).is_err());
    }
}
