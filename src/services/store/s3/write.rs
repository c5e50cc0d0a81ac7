//! Writes of objects in S3: one request for a small object, and the begin of an upload in parts.
//!
//! If a server refuses the checksum or the condition, the request is repeated without it, and later requests leave
//! it out. Holds only the body that the caller has in hand.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use md5::{Digest, Md5};

use super::proof::{self, Written};
use super::upload::S3Upload;
use super::{S3Store, checksum, condition, object};
use crate::error::ServiceError;
use crate::job::Location;
use crate::services::aws::classify::{Asked, service_error};
use crate::services::store::{Condition, Upload, Writing};

impl S3Store {
    pub(super) async fn write(&self, to: &Location, body: Bytes, how: &Writing) -> Result<(), ServiceError> {
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
        // The checksum is part of what is signed, so the payload need not be signed, which would hash it a second time.
        let sent = match checked {
            true => request.customize().disable_payload_signing().send().await,
            false => Box::pin(request.send()).await,
        };
        match sent.map_err(|error| service_error(error, Asked::Write, "s3:PutObject")) {
            Ok(answer) if proof::is_named(answer.e_tag()) => Ok(()),
            Err(error) if !proof::is_unreadable(&error) => Err(condition::unmet(error, condition)),
            _ => Box::pin(self.prove_put(to, &body, how, sum)).await,
        }
    }

    /// Checks whether an object exists for which PutObject returned no proof.
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

    pub(super) async fn begin_upload(&self, to: &Location, how: &Writing) -> Result<Box<dyn Upload>, ServiceError> {
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

    /// The id of a new upload, and whether it accepts the checksum of the whole object.
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
        let created = request.send().await.map_err(|error| service_error(error, Asked::Write, "s3:PutObject"))?;
        // Servers that know only checksums of checksums say so here, or say nothing.
        let whole = checked && (!self.elsewhere || created.checksum_type == Some(ChecksumType::FullObject));
        let id = created.upload_id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| proof::none(&self.server, format_args!("gave the upload to {to} no id")))?;
        Ok((id, whole))
    }
}

fn metadata(how: &Writing) -> Option<HashMap<String, String>> {
    let some = !how.metadata.is_empty();
    some.then(|| how.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}
