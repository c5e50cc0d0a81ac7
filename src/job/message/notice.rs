//! CloudTrail's own notices: a list of log files that it has put into a bucket, `{"s3Bucket":…,"s3ObjectKey":[…]}`.
//!
//! Each key of the list is a record, and stands as it is: it is never decoded. AWS Config's notices have the same two
//! fields with one key instead of a list. When a topic is set up, CloudTrail tries it by one fixed sentence, which asks
//! for nothing
//! (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html>).
//!
//! Here, too, is what is no job but looks like one to its sender: the pointer that the extended client of SQS leaves in
//! the queue for a message which is an object of S3. It is named, and not followed: a message must not say where
//! messages come from.

use super::checks::{malformed, object_in, quote};
use super::json::{Fields, Node};
use super::{Format, Record, Request, Wrapping};
use crate::error::{Code, JobError};

/// The field that holds the keys.
pub(super) const LIST: &str = "s3ObjectKey";

/// The sentence by which CloudTrail tries a topic.
const SENTENCE: &str = "CloudTrail validation message.";

/// The kind of that sentence, as people read it.
pub(super) const TRIAL: &str = "CloudTrail's trial of a topic";

/// Whether a text is CloudTrail's trial of a topic: it comes through SNS alone.
pub(super) fn is_trial(text: &str, wrapping: &[Wrapping]) -> bool {
    wrapping.last() == Some(&Wrapping::Sns) && text.trim() == SENTENCE
}

/// Reads a notice, whose keys are `keys`.
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

/// The complaint about a pointer of the extended client, `["…PayloadS3Pointer",{"s3BucketName":…,"s3Key":…}]`, if this
/// is one (<https://github.com/awslabs/payload-offloading-java-common-lib-for-aws>).
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
