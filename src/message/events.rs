//! What AWS says when an object is created: S3 event notifications, and S3 events of EventBridge.
//!
//! The one difference that costs objects: a notification's key is form-encoded and is decoded exactly once;
//! EventBridge's is the key itself and is never decoded. Events of anything but a creation ask for nothing, nor does an empty
//! object whose key ends in a slash: it is the console's way to make a folder, and a submit leaves it out as well.
//! Other fields are let be, for AWS adds some now and then.

use percent_encoding::percent_decode_str;

use super::checks::{check_etag, check_name, malformed, object_in, quote};
use super::json::{Fields, Node};
use super::{Format, Parsed, Request};
use crate::error::JobError;
use crate::job::Location;

/// Reads the records of an S3 event notification; those that tell of no creation are left out.
pub(super) fn read_s3(records: &[Node]) -> Result<Parsed, JobError> {
    if records.is_empty() {
        return Err(malformed(208, "event has no records"));
    }
    let mut jobs = Vec::new();
    for record in records {
        let Node::Object(record) = record else {
            return Err(malformed(204, "field \"Records\": expected a list of objects"));
        };
        jobs.extend(read_record(&Fields::new(record, "Records[].")?)?);
    }
    if jobs.is_empty() {
        return Ok(Parsed::Nothing("S3 event of no created object"));
    }
    if jobs.len() > 1 {
        jobs.iter_mut().zip(1..).for_each(|(job, nth)| job.nth = Some(nth));
    }
    Ok(Parsed::Jobs(jobs))
}

/// Reads one record; `None` if it tells of no creation.
fn read_record(record: &Fields<'_>) -> Result<Option<Request>, JobError> {
    let source = record.needed("eventSource")?;
    if !matches!(source, "aws:s3" | "minio:s3") {
        return Err(malformed(208, format!("an event of {} is not a job", quote(source))));
    }
    // Minor versions add fields; a new major may change what the old ones mean
    // (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
    let version = record.needed("eventVersion")?;
    if version.split('.').next() != Some("2") {
        return Err(malformed(208, format!("S3 event version {} is not supported, only 2.x", quote(version))));
    }
    // MinIO keeps the `s3:` that S3 leaves out.
    let name = record.needed("eventName")?;
    if !name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated:") {
        return Ok(None);
    }
    let s3 = record.object("s3", "Records[].s3.")?;
    let bucket = s3.object("bucket", "Records[].s3.bucket.")?.needed("name")?;
    let object = s3.object("object", "Records[].s3.object.")?;
    let (input, size) = (object_in(bucket, &decode_key(object.needed("key")?)?, "input")?, object.number("size")?);
    if is_folder(&input, size) {
        return Ok(None);
    }
    Ok(Some(Request {
        size,
        etag: check_etag(&object, "eTag")?,
        version_id: check_name(&object, "versionId")?,
        ..Request::new(Format::S3Event, input)
    }))
}

/// Whether this is what makes a folder of a prefix on the console's screen.
fn is_folder(input: &Location, size: Option<u64>) -> bool {
    size == Some(0) && input.key().ends_with('/')
}

/// Takes the form encoding off a key, once: `+` is a space, then `%XX` is a byte of UTF-8.
fn decode_key(encoded: &str) -> Result<String, JobError> {
    let spaced = encoded.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(key.into_owned()),
        Err(_) => Err(malformed(206, format!("input key {} is not UTF-8 when decoded", quote(encoded)))),
    }
}

/// Reads an S3 event of EventBridge; `kind` is its `detail-type`.
pub(super) fn read_eventbridge(event: &Fields<'_>, kind: &str) -> Result<Parsed, JobError> {
    if kind != "Object Created" {
        return Ok(Parsed::Nothing("EventBridge event of no created object"));
    }
    let detail = event.object("detail", "detail.")?;
    let bucket = detail.object("bucket", "detail.bucket.")?.needed("name")?;
    let object = detail.object("object", "detail.object.")?;
    let (input, size) = (object_in(bucket, object.needed("key")?, "input")?, object.number("size")?);
    if is_folder(&input, size) {
        return Ok(Parsed::Nothing("EventBridge event of a folder"));
    }
    Ok(Parsed::Jobs(vec![Request {
        size,
        etag: check_etag(&object, "etag")?,
        version_id: check_name(&object, "version-id")?,
        ..Request::new(Format::EventBridge, input)
    }]))
}
