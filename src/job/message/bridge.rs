//! Events from EventBridge: S3's own, CloudTrail's records of calls to S3, and S3's own as Security Lake forwards
//! them.
//!
//! One difference from a notification could cost objects: a key is literal here, and is never decoded. CloudTrail's
//! record of a copy names the object that was written (`bucketName`, `key`); a record with an `errorCode` is about a
//! call that wrote nothing. Security Lake forwards only created objects, and omits the `detail-type`.

use super::checks::{check_etag, check_name, malformed, object_in, quote};
use super::json::Fields;
use super::kinds::{self, Kind};
use super::{Format, Record, Request, events};
use crate::error::{Code, JobError};

/// The `source` of all S3 events.
const S3: &str = "aws.s3";

/// The `detail-type` of a call that CloudTrail has recorded
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-aws-service-specific-topics.html>).
const CALL: &str = "AWS API Call via CloudTrail";

/// Reads an event.
pub(super) fn read(event: &Fields<'_>) -> Result<(Format, Record), JobError> {
    let (source, detail_type) = (event.needed("source")?, event.text("detail-type")?);
    if source != S3 {
        return Err(malformed(Code::UnsupportedEvent, format!("an event of {} is not a job", quote(source))));
    }
    let format = if detail_type == Some(CALL) { Format::CloudTrailCall } else { Format::EventBridge };
    let record = match detail_type {
        Some(CALL) => read_call(event),
        Some(detail_type) => match kinds::of_bridge(detail_type) {
            Kind::Creation => read_creation(event),
            Kind::Nothing(kind) => Ok(Record::Nothing(kind)),
            Kind::Unknown => Err(kinds::unknown("an EventBridge event", detail_type)),
        },
        None => read_creation(event),
    };
    // As for one record among several, the failure belongs to the record, because the format is known.
    Ok((format, record.unwrap_or_else(Record::Refused)))
}

fn read_creation(event: &Fields<'_>) -> Result<Record, JobError> {
    let detail = event.object("detail", "detail.")?;
    let bucket = detail.object("bucket", "detail.bucket.")?.needed("name")?;
    let object = detail.object("object", "detail.object.")?;
    let (input, size) = (object_in(bucket, object.needed("key")?, "input")?, object.number("size")?);
    if events::is_folder(&input, size) {
        return Ok(Record::Nothing(kinds::FOLDER));
    }
    Ok(Record::Job(Request {
        size,
        etag: check_etag(&object, "etag")?,
        version_id: check_name(&object, "version-id")?,
        ..Request::new(Format::EventBridge, input)
    }))
}

/// Reads CloudTrail's record of a call, which has neither the size nor the ETag of the written object.
fn read_call(event: &Fields<'_>) -> Result<Record, JobError> {
    let detail = event.object("detail", "detail.")?;
    let name = detail.needed("eventName")?;
    match kinds::of_call(name) {
        Kind::Creation => {}
        Kind::Nothing(kind) => return Ok(Record::Nothing(kind)),
        Kind::Unknown => return Err(kinds::unknown("CloudTrail's record of a call", name)),
    }
    if detail.get("errorCode").is_some() {
        return Ok(Record::Nothing(kinds::FAILED_CALL));
    }
    let asked = detail.object("requestParameters", "detail.requestParameters.")?;
    let input = object_in(asked.needed("bucketName")?, asked.needed("key")?, "input")?;
    Ok(Record::Job(Request::new(Format::CloudTrailCall, input)))
}
