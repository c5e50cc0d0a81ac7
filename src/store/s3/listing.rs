//! Listings: of objects, and of uploads that were begun and not ended. A page at a time.

use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use super::{S3Store, place, size, time, version};
use crate::aws::classify::{Asked, service_error};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::store::{ObjectInfo, Unfinished, Writer};

impl S3Store {
    /// One page of a listing, and where the next begins.
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
            // A key may hold characters that XML can't.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token.clone());
        let page = request.send().await.map_err(|error| service_error(&error, Asked::Read, "s3:ListBucket"))?;
        let encoded = page.encoding_type().is_some();
        let mut objects = Vec::with_capacity(page.contents().len());
        for listed in page.contents() {
            objects.push(ObjectInfo {
                location: Location::s3(bucket, listed_key(listed.key(), encoded)?),
                size: size(listed.size()),
                version: version(listed.e_tag(), None),
                modified: time(listed.last_modified()),
                metadata: Default::default(),
            });
        }
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        if next.is_some() && next == token {
            return Err(repeated());
        }
        Ok((objects, next))
    }

    /// Every upload under `prefix` that was begun and not ended.
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
            let page = request
                .send()
                .await
                .map_err(|error| service_error(&error, Asked::Read, "s3:ListBucketMultipartUploads"))?;
            let encoded = page.encoding_type().is_some();
            for upload in page.uploads() {
                found.push(Unfinished {
                    location: Location::s3(bucket, listed_key(upload.key(), encoded)?),
                    id: upload.upload_id().unwrap_or_default().to_owned(),
                    begun: time(upload.initiated()),
                    bytes: None,
                    writer: Writer::Unknown,
                });
            }
            let next = match page.next_key_marker() {
                Some(marker) if page.is_truncated == Some(true) => listed_key(Some(marker), encoded)?,
                _ => return Ok(found),
            };
            let next = (Some(next), page.next_upload_id_marker);
            if next == markers {
                return Err(repeated());
            }
            markers = next;
        }
    }
}

/// The failure of a listing that gives the same page again, whatever it is asked: it would never end.
fn repeated() -> ServiceError {
    let said = "the server says that there is more, and gives the same page again";
    ServiceError::new(ServiceErrorKind::Invalid, "RepeatedPage", said)
}

/// A key as it is, from a listing that encodes keys as forms do.
fn listed_key(key: Option<&str>, encoded: bool) -> Result<String, ServiceError> {
    let key = key.unwrap_or_default();
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
