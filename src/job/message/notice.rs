//! CloudTrail's own notices: a list of log files that it has written to a bucket,
//! `{"s3Bucket":…,"s3ObjectKey":[…]}`.
//!
//! Each key of the list is a record, and is literal: it is never decoded. AWS Config's notices have the same two
//! fields with one key instead of a list. When a topic is set up, CloudTrail tests it with one fixed sentence, which
//! asks for nothing
//! (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html>).
//!
//! This file also recognises a message that looks like a job to its sender but is not: the pointer that the SQS
//! extended client leaves in the queue for a message that is stored as an S3 object. The pointer is named in the
//! error but not followed, because a message must not choose where messages come from.

use super::checks::{malformed, object_in, quote};
use super::json::{Fields, Node};
use super::{Format, Record, Request, Wrapping};
use crate::error::{Code, JobError};

/// The field that holds the keys.
pub(super) const LIST: &str = "s3ObjectKey";

/// The sentence with which CloudTrail tests a topic.
const SENTENCE: &str = "CloudTrail validation message.";

/// The kind of that sentence, as people read it.
pub(super) const TRIAL: &str = "CloudTrail's trial of a topic";

/// Whether a text is CloudTrail's test of a topic, which comes only through SNS.
pub(super) fn is_trial(text: &str, wrapping: &[Wrapping]) -> bool {
    wrapping.last() == Some(&Wrapping::Sns) && text.trim() == SENTENCE
}

/// Reads a notice with the keys `keys`.
pub(super) fn read(notice: &Fields<'_>, keys: &Node) -> Result<Vec<Record>, JobError> {
    let bucket = notice.needed("s3Bucket")?;
    let one = |key: &Node| match key {
        Node::Text(key) => Ok(Record::Job(Request::new(Format::CloudTrailNotice, object_in(bucket, key, "input")?))),
        _ => Err(notice.wrong(LIST, "expected a list of strings")),
    };
    match keys {
        Node::Array(keys) if keys.is_empty() => {
            Err(malformed(Code::UnsupportedEvent, "CloudTrail notice has no log files"))
        }
        Node::Array(keys) => Ok(keys.iter().map(|key| one(key).unwrap_or_else(Record::Refused)).collect()),
        key => Ok(vec![one(key)?]),
    }
}

/// The error about a pointer of the extended client, `["…PayloadS3Pointer",{"s3BucketName":…,"s3Key":…}]`, if this is
/// one (<https://github.com/awslabs/payload-offloading-java-common-lib-for-aws>).
pub(super) fn pointer(items: &[Node]) -> Option<JobError> {
    let [Node::Text(class), Node::Object(pointer)] = items else { return None };
    if !class.ends_with("S3Pointer") {
        return None;
    }
    let fields = Fields::new(pointer, "").ok()?;
    let (bucket, key) = (fields.peek("s3BucketName")?, fields.peek("s3Key")?);
    let place = quote(&format!("s3://{bucket}/{key}"));
    Some(malformed(
        Code::PointerMessage,
        format!("the message is a pointer of the SQS extended client to a message in {place}"),
    ))
}
