//! Whether an object was written: what counts as proof.
//!
//! S3 answers every write with the ETag of the object (or of the part). A success without an ETag may come from a
//! proxy, a sign-on page or a server that broke off, and says nothing about the object. Then a HEAD decides: the
//! object is there if it has the size of what was sent, and also either the marks of this very job (`origin.rs`), or
//! the checksum or ETag that follows from the bytes. If none of these can be seen, the write has failed, whatever
//! its status was.
//!
//! Costs nothing with a server that answers as S3 does, and one HEAD for each answer that proves nothing.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::ChecksumMode;

use super::read::size;
use super::{object, opaque};
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::aws::classify::{Asked, service_error};

/// What must be found if a write happened.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) at: &'a Location,
    pub(super) size: u64,
    /// CRC-64/NVME of the whole object, base64.
    pub(super) sum: Option<&'a str>,
    /// The ETag that S3 gives an object of these bytes, if that ETag is computed from them.
    pub(super) etag: Option<&'a str>,
    /// The marks that were written with the object; empty if marks must not count.
    pub(super) marks: &'a BTreeMap<String, String>,
}

impl Written<'_> {
    /// Fails, with the reason, unless the object is seen to exist.
    pub(super) async fn look(&self, client: &Client) -> Result<(), String> {
        let (bucket, key) = object(self.at).map_err(|error| error.to_string())?;
        let request = client.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let found = match request.send().await {
            Ok(found) => found,
            Err(error) => match service_error(error, Asked::Read, "s3:GetObject") {
                error if error.kind == ServiceErrorKind::Missing => return Err("there is no such object".to_owned()),
                error => return Err(format!("a HEAD of the object failed ({error})")),
            },
        };
        let there = size(found.content_length());
        if there != Some(self.size) {
            let there = there.map_or_else(|| "an unknown number of".to_owned(), |size| size.to_string());
            return Err(format!("the object there has {there} bytes, not {}", self.size));
        }
        let metadata = found.metadata();
        let is_marked = !self.marks.is_empty()
            && self.marks.iter().all(|(name, value)| metadata.and_then(|metadata| metadata.get(name)) == Some(value));
        let same_sum = self.sum.is_some() && found.checksum_crc64_nvme() == self.sum;
        let same_tag = self.etag.is_some() && found.e_tag().map(opaque) == self.etag;
        if is_marked || same_sum || same_tag {
            return Ok(());
        }
        Err("the object there has neither this job's marks nor the checksum of what was sent".to_owned())
    }
}

/// Whether an answer contains an ETag.
pub(super) fn is_named(etag: Option<&str>) -> bool {
    etag.is_some_and(|etag| !opaque(etag).is_empty())
}

/// Whether an answer was a success that proves nothing, because it could not be read.
pub(super) fn is_unreadable(error: &ServiceError) -> bool {
    error.kind == ServiceErrorKind::Unavailable && error.reason == Some(Reason::Unreadable)
}

/// The failure for a success without proof, from the server `server`.
pub(super) fn none(server: &str, why: impl std::fmt::Display) -> ServiceError {
    ServiceError::no_proof(format!("{server} answered with success, but {why}"))
}
