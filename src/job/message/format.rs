//! The formats of messages and what a message can be wrapped in, with the names that people read.

use serde::Serialize;

/// The formats of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// batchpipe's own job.
    Own,
    /// The array of the 2013 sample.
    Sample2013,
    /// An S3 event notification, of S3 itself or of a store like it (MinIO, Ceph).
    S3Event,
    /// The test event S3 sends when a notification is configured.
    S3TestEvent,
    /// An S3 event that came through EventBridge, or such an event as Security Lake passes it on.
    EventBridge,
    /// CloudTrail's record of a call to S3, which came through EventBridge.
    CloudTrailCall,
    /// CloudTrail's notice of new log files, and the message with which it tries a topic.
    CloudTrailNotice,
}

impl Format {
    /// The name people read.
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
    /// The name people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sns => "SNS envelope",
            Self::Base64 => "base64",
        }
    }

    /// What it holds.
    pub(super) const fn inner(self) -> &'static str {
        match self {
            Self::Sns => "SNS message",
            Self::Base64 => "base64 text",
        }
    }
}
