//! A multipart upload to S3.
//!
//! Every part carries its checksum, and the completion carries the checksum of the whole object, combined from those
//! of the parts, with its length: S3 makes the object visible only if it matches what we read. An answer without the
//! ETag of the object proves nothing (`proof.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use futures::FutureExt;
use md5::{Digest, Md5};

use super::proof::{self, Written};
use super::{checksum, condition, opaque};
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;
use crate::services::aws::classify::{Asked, service_error};
use crate::services::store::{Condition, Part, Unfinished, Upload, Writer};

/// An upload that was begun.
pub(super) struct S3Upload {
    pub(super) client: Client,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) id: String,
    /// Whether the server accepts our checksums.
    pub(super) checked: bool,
    /// Whether it also accepts the checksum of the whole object.
    pub(super) whole: bool,
    pub(super) condition: Condition,
    /// The marks that were written with the object.
    pub(super) marks: BTreeMap<String, String>,
    /// The name of the server in errors.
    pub(super) server: Arc<str>,
    /// Set once the server has refused a condition.
    pub(super) unconditional: Arc<AtomicBool>,
}

// The SDK's own debug text contains the access key.
impl std::fmt::Debug for S3Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Upload")
            .field("bucket", &self.bucket)
            .field("key", &self.key)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Discards an upload; an upload that is gone counts as discarded.
pub(super) async fn abort(client: &Client, bucket: &str, key: &str, id: &str) -> Result<(), ServiceError> {
    let aborted = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
    match aborted.map_err(|error| service_error(error, Asked::Write, "s3:AbortMultipartUpload")) {
        Err(error) if error.kind == ServiceErrorKind::Missing => Ok(()),
        other => other.map(|_| ()),
    }
}

impl S3Upload {
    async fn upload_part(&self, number: u32, body: Bytes) -> Result<Part, ServiceError> {
        let size = body.len() as u64;
        let sum = self.checked.then(|| checksum::of(&body));
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(part_number(number)?)
            .set_checksum_crc64_nvme(sum.clone())
            .body(ByteStream::from(body));
        // As for a whole object, the signed checksum replaces the payload's hash.
        let sent = match self.checked {
            true => request.customize().disable_payload_signing().send().await,
            false => request.send().await,
        };
        let answer = sent.map_err(|error| service_error(error, Asked::Write, "s3:PutObject"))?;
        let etag = answer.e_tag.filter(|etag| proof::is_named(Some(etag)));
        let etag = etag.ok_or_else(|| proof::none(&self.server, format_args!("gave part {number} no ETag")))?;
        Ok(Part { number, etag, size, checksum: sum })
    }

    async fn finish(&self, parts: &[Part]) -> Result<(), ServiceError> {
        let condition = condition::asked(&self.condition, &self.unconditional);
        match self.complete_if(parts, condition).await {
            Err(error) if condition::is_refused(&error, condition) => {
                self.complete_if(parts, &Condition::Always).await?;
                condition::go_on_without(&self.unconditional);
                Ok(())
            }
            result => result,
        }
    }

    async fn complete_if(&self, parts: &[Part], condition: &Condition) -> Result<(), ServiceError> {
        let mut completed = CompletedMultipartUpload::builder();
        for part in parts {
            let part = CompletedPart::builder()
                .part_number(part_number(part.number)?)
                .e_tag(&part.etag)
                .set_checksum_crc64_nvme(part.checksum.clone())
                .build();
            completed = completed.parts(part);
        }
        let whole = self.whole.then(|| checksum::of_parts(parts)).flatten();
        let size: u64 = parts.iter().map(|part| part.size).sum();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(completed.build())
            .set_checksum_type(whole.is_some().then_some(ChecksumType::FullObject))
            .set_checksum_crc64_nvme(whole.clone())
            .set_mpu_object_size(i64::try_from(size).ok())
            .set_if_none_match(condition::if_none_match(condition))
            .set_if_match(condition::if_match(condition));
        let sent = request.send().await.map_err(|error| service_error(error, Asked::Write, "s3:PutObject"));
        match sent.map_err(|error| condition::unmet(error, condition)) {
            Ok(answer) if proof::is_named(answer.e_tag()) => Ok(()),
            // An earlier call whose answer was lost completed the upload, if the existing object is the one that these
            // parts make. An older output of the same job has the same marks, so marks count only after a success.
            Err(error) if error.reason == Some(Reason::UploadMissing) => {
                self.look(parts, whole.as_deref(), &BTreeMap::new()).await.map_err(|_| error)
            }
            Err(error) if !proof::is_unreadable(&error) => Err(error),
            _ => self.look(parts, whole.as_deref(), &self.marks).await.map_err(|why| {
                let (bucket, key) = (&self.bucket, &self.key);
                let what = format_args!("without the ETag of what it completed as s3://{bucket}/{key}, and {why}");
                proof::none(&self.server, what)
            }),
        }
    }

    /// Checks whether the object that `parts` make exists.
    async fn look(&self, parts: &[Part], whole: Option<&str>, marks: &BTreeMap<String, String>) -> Result<(), String> {
        let (at, etag) = (Location::s3(&self.bucket, &self.key), multipart_etag(parts));
        let size = parts.iter().map(|part| part.size).sum();
        let written = Written { at: &at, size, sum: whole, etag: etag.as_deref(), marks };
        Box::pin(written.look(&self.client)).await
    }
}

impl Upload for S3Upload {
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        self.upload_part(number, body).boxed()
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        self.finish(parts).boxed()
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        abort(&self.client, &self.bucket, &self.key, &self.id).boxed()
    }

    fn unfinished(&self) -> Unfinished {
        let location = Location::s3(&self.bucket, &self.key);
        Unfinished { location, id: self.id.clone(), begun: None, bytes: None, writer: Writer::Unknown }
    }
}

fn part_number(number: u32) -> Result<i32, ServiceError> {
    i32::try_from(number)
        .map_err(|_| ServiceError::new(ServiceErrorKind::Invalid, "InvalidPart", "the number of a part is too large"))
}

/// The ETag that S3 gives an object made of parts whose ETags are MD5 sums: the MD5 of those sums, and the number of
/// parts. `None` if the parts' ETags are something else, as with KMS keys, because then the ETag says nothing about the
/// bytes.
fn multipart_etag(parts: &[Part]) -> Option<String> {
    let mut sums = Md5::new();
    for part in parts {
        let etag = opaque(&part.etag);
        let bytes = (etag.len() == 32 && etag.is_ascii()).then_some(etag.as_bytes())?;
        for pair in bytes.chunks(2) {
            let pair = std::str::from_utf8(pair).ok()?;
            sums.update([u8::from_str_radix(pair, 16).ok()?]);
        }
    }
    Some(format!("{}-{}", hex::encode(sums.finalize()), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_an_object_in_parts_follows_from_those_of_the_parts() {
        let part = |etag: &str| Part { number: 1, etag: etag.to_owned(), size: 1, checksum: None };
        // md5(md5("a") || md5("b")), as S3 gives it.
        let parts = [part("\"0cc175b9c0f1b6a831c399e269772661\""), part("92eb5ffee6ae2fec3ad71c777531578f")];
        let sums = [
            &[0x0c, 0xc1, 0x75, 0xb9, 0xc0, 0xf1, 0xb6, 0xa8, 0x31, 0xc3, 0x99, 0xe2, 0x69, 0x77, 0x26, 0x61][..],
            &[0x92, 0xeb, 0x5f, 0xfe, 0xe6, 0xae, 0x2f, 0xec, 0x3a, 0xd7, 0x1c, 0x77, 0x75, 0x31, 0x57, 0x8f],
        ];
        let hex = hex::encode(Md5::digest(sums.concat()));
        assert_eq!(multipart_etag(&parts), Some(format!("{hex}-2")));
        assert_eq!(multipart_etag(&[part("not-an-md5")]), None);
    }
}
