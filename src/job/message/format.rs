//! The formats of messages, the possible wrappings, and their names for people.

use serde::Serialize;

/// The formats of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// batchpipe's own job.
    Own,
    /// The array of the 2013 sample.
    Sample2013,
    /// An S3 event notification, from S3 itself or from a store that imitates it (MinIO, Ceph).
    S3Event,
    /// The test event that S3 sends when a notification is configured.
    S3TestEvent,
    /// An S3 event that came through EventBridge, possibly forwarded by Security Lake.
    EventBridge,
    /// CloudTrail's record of a call to S3, which came through EventBridge.
    CloudTrailCall,
    /// CloudTrail's notice of new log files, or the message with which it tests a topic.
    CloudTrailNotice,
}

impl Format {
    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "batchpipe job",
            Self::Sample2013 => "2013 sample job",
            Self::S3Event => "S3 event notification",
            Self::S3TestEvent => "S3 test event",
            Self::EventBridge => "EventBridge S3 event",
            Self::CloudTrailCall => "CloudTrail record of an S3 call",
            Self::CloudTrailNotice => "CloudTrail notice",
        }
    }
}

/// What a message can be wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrapping {
    /// An SNS notification whose subscription has raw delivery off.
    Sns,
    /// Base64, as the 2013 sample's SQS library encoded every body.
    Base64,
}

impl Wrapping {
    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sns => "SNS envelope",
            Self::Base64 => "base64",
        }
    }

    /// What the wrapping contains.
    pub(super) const fn inner(self) -> &'static str {
        match self {
            Self::Sns => "SNS message",
            Self::Base64 => "base64 text",
        }
    }
}
