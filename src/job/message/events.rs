//! S3 event notifications, from S3 itself and from stores that imitate S3.
//!
//! A notification's key is form-encoded and is decoded exactly once. Ceph is the exception: it writes the key
//! literally, although everything else is as in S3. Only a creation is a job. Kinds that are known not to be
//! creations are skipped (`kinds.rs`), and so is an empty object whose key ends in a slash, because consoles make
//! folders this way, and a submit skips it as well. An unknown kind is refused with its name, because a new kind of
//! creation must not be deleted unnoticed. Other fields are ignored, because AWS adds fields now and then.

use percent_encoding::percent_decode_str;

use super::checks::{check_etag, check_name, malformed, object_in, quote};
use super::json::{Fields, Node};
use super::{Format, Record, Request, kinds};
use crate::error::{Code, JobError};
use crate::job::Location;

/// The field that holds the records.
pub(super) const LIST: &str = "Records";

/// The store that does not encode the keys in its events
/// (<https://github.com/ceph/ceph/blob/main/src/driver/rados/rgw_notify.cc>, `event.object_key`).
const RAW_KEYS: &str = "ceph:s3";

/// Reads the records of an S3 event notification, each independently of the others.
pub(super) fn read(records: &[Node]) -> Result<Vec<Record>, JobError> {
    if records.is_empty() {
        return Err(malformed(Code::UnsupportedEvent, "event has no records"));
    }
    Ok(records.iter().map(|record| read_record(record).unwrap_or_else(Record::Refused)).collect())
}

fn read_record(record: &Node) -> Result<Record, JobError> {
    let Node::Object(record) = record else {
        return Err(malformed(Code::BadField, "field \"Records\": expected a list of objects"));
    };
    let record = Fields::new(record, "Records[].")?;
    let source = record.needed("eventSource")?;
    if !is_store(source) {
        return Err(malformed(Code::UnsupportedEvent, format!("an event of {} is not a job", quote(source))));
    }
    // Minor versions add fields; a new major version may change the meaning of old fields
    // (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
    let version = record.needed("eventVersion")?;
    if version.split('.').next() != Some("2") {
        return Err(malformed(
            Code::UnsupportedEvent,
            format!("S3 event version {} is not supported, only 2.x", quote(version)),
        ));
    }
    // MinIO keeps the `s3:` prefix, which S3 omits.
    let name = record.needed("eventName")?;
    match kinds::of_event(name.strip_prefix("s3:").unwrap_or(name)) {
        kinds::Kind::Creation => {}
        kinds::Kind::Nothing(kind) => return Ok(Record::Nothing(kind)),
        kinds::Kind::Unknown => return Err(kinds::unknown("an S3 event", name)),
    }
    let s3 = record.object("s3", "Records[].s3.")?;
    let bucket = s3.object("bucket", "Records[].s3.bucket.")?.needed("name")?;
    let object = s3.object("object", "Records[].s3.object.")?;
    let written = object.needed("key")?;
    let key = if source == RAW_KEYS { written.to_owned() } else { decode_key(written)? };
    let (input, size) = (object_in(bucket, &key, "input")?, object.number("size")?);
    if is_folder(&input, size) {
        return Ok(Record::Nothing(kinds::FOLDER));
    }
    Ok(Record::Job(Request {
        size,
        etag: check_etag(&object, "eTag")?,
        version_id: check_name(&object, "versionId")?,
        ..Request::new(Format::S3Event, input)
    }))
}

/// Whether an event is from S3 or from a store that imitates it: `aws:s3`, `minio:s3`, `ceph:s3`.
fn is_store(source: &str) -> bool {
    source.strip_suffix(":s3").is_some_and(|name| !name.is_empty())
}

/// Whether this is the empty object by which a console shows a prefix as a folder.
pub(super) fn is_folder(input: &Location, size: Option<u64>) -> bool {
    size == Some(0) && input.key().ends_with('/')
}

/// Removes the form encoding of a key, once: `+` is a space, then `%XX` is a byte of UTF-8.
fn decode_key(encoded: &str) -> Result<String, JobError> {
    let spaced = encoded.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(key.into_owned()),
        Err(_) => Err(malformed(Code::BadKey, format!("input key {} is not UTF-8 when decoded", quote(encoded)))),
    }
}
