//! A job: one input object and one output object, and their locations.

pub mod message;
pub mod origin;
pub mod suffix;

use std::collections::BTreeMap;
use std::fmt;

use crate::error::FailedJob;

/// Where an object, or a prefix of objects, lives.
///
/// A key is literal: nothing is percent-decoded, and `//`, `..` and spaces have no special meaning.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// An object of an S3 bucket.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The key, without a leading slash added by us. May be empty for a prefix.
        key: String,
    },
    /// A local file.
    File {
        /// An absolute path.
        path: String,
    },
}

/// The longest key in S3, in bytes of UTF-8 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub const MAX_KEY_BYTES: usize = 1024;

impl Location {
    /// An object in S3.
    pub fn s3(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self::S3 { bucket: bucket.into(), key: key.into() }
    }

    /// A local file; `path` is absolute.
    pub fn file(path: impl Into<String>) -> Self {
        Self::File { path: path.into() }
    }

    /// Parses `s3://bucket/key` or `file:///path`. `None` for anything else, and for a bucket or path that can't exist.
    pub fn parse(uri: &str) -> Option<Self> {
        if let Some(rest) = uri.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            return is_bucket_name(bucket).then(|| Self::s3(bucket, key));
        }
        let path = uri.strip_prefix("file://")?;
        path.starts_with('/').then(|| Self::file(path))
    }

    /// The part after the bucket: the key, or the path.
    pub fn key(&self) -> &str {
        match self {
            Self::S3 { key, .. } => key,
            Self::File { path } => path,
        }
    }

    /// The location whose key is this key with `suffix` appended directly.
    #[must_use]
    pub fn join(&self, suffix: &str) -> Self {
        match self {
            Self::S3 { bucket, key } => Self::s3(bucket, format!("{key}{suffix}")),
            Self::File { path } => Self::file(format!("{path}{suffix}")),
        }
    }

    /// The location up to the last slash of its key, which all objects beside it share.
    #[must_use]
    pub fn folder(&self) -> Self {
        let key = self.key();
        let folder = &key[..key.rfind('/').map_or(0, |slash| slash + 1)];
        match self {
            Self::S3 { bucket, .. } => Self::s3(bucket, folder),
            Self::File { .. } => Self::file(folder),
        }
    }

    /// The location as a folder: with a slash at its end, so that `logs` does not match `logs2`. A whole bucket gets no
    /// slash.
    #[must_use]
    pub fn as_folder(&self) -> Self {
        if self.key().is_empty() || self.key().ends_with('/') { self.clone() } else { self.join("/") }
    }

    /// Whether this location belongs to a place that a user has named: it is the object or file of that name, or
    /// anything below the folder of that name. A name that only begins with the same letters does not belong: `logs2/a`
    /// is not in `logs`.
    ///
    /// ```
    /// use batchpipe::Location;
    ///
    /// let logs = Location::s3("acme", "logs");
    /// assert!(Location::s3("acme", "logs/a").is_in(&logs) && Location::s3("acme", "logs").is_in(&logs));
    /// assert!(!Location::s3("acme", "logs2/a").is_in(&logs));
    /// ```
    pub fn is_in(&self, place: &Self) -> bool {
        self == place || self.is_under(&place.as_folder())
    }

    /// Whether this location begins with `prefix`, character by character and in the same bucket.
    pub fn is_under(&self, prefix: &Self) -> bool {
        match (self, prefix) {
            (Self::S3 { bucket, key }, Self::S3 { bucket: theirs, key: prefix }) => {
                bucket == theirs && key.starts_with(prefix)
            }
            (Self::File { path }, Self::File { path: prefix }) => path.starts_with(prefix),
            _ => false,
        }
    }
}

/// S3's rules for a bucket name, as far as they keep a name from being read as something else. An ARN of an access
/// point is refused here because a message must not choose how we reach S3.
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>)
fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_'))
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.contains("..")
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::File { path } => write!(f, "file://{path}"),
        }
    }
}

/// Escaped, so that a key can never forge a line of a log.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_string().escape_debug())
    }
}

/// One unit of work: read the input, run the processor on it, write the output.
///
/// A processor sees what the store says of the input: its size, its version and its metadata, whether or not the
/// message told them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job {
    /// The submitter's name for the job, otherwise the message's id. It is only a name: nothing is looked up by it.
    pub id: String,
    /// The object to read.
    pub input: Location,
    /// The object to write. Writing it again with the same bytes is harmless.
    pub output: Location,
    /// The submit that it belongs to.
    pub batch: Option<String>,
    /// The input's size in bytes, if the message tells; a processor always gets the size.
    pub size: Option<u64>,
    /// The input's ETag without its quotes. A message that tells the ETag means this version, and a changed input is
    /// refused.
    pub etag: Option<String>,
    /// The version of the input to read, in a versioned bucket.
    pub version_id: Option<String>,
    /// Arguments for the `{args}` of a program.
    pub args: Vec<String>,
    /// How often the message was received, this time included.
    pub attempt: u32,
    /// The metadata that the store keeps with the input (`x-amz-meta-…` in S3, without that beginning). Empty before
    /// the input is read, and in a store without metadata.
    pub metadata: BTreeMap<String, String>,
}

impl From<Job> for FailedJob {
    fn from(job: Job) -> Self {
        Self { id: job.id, input: job.input.to_string(), output: job.output.to_string() }
    }
}

impl Job {
    /// A job with only its places, received for the first time: a start for a processor's test.
    ///
    /// ```
    /// use batchpipe::{Job, Location};
    ///
    /// let job = Job::new("1", Location::s3("in", "a.csv"), Location::s3("out", "a.csv"));
    /// let mut again = job.clone();
    /// again.attempt = 2;
    /// assert_eq!((job.attempt, again.attempt, again.key()), (1, 2, "a.csv"));
    /// ```
    pub fn new(id: impl Into<String>, input: Location, output: Location) -> Self {
        Self {
            id: id.into(),
            input,
            output,
            batch: None,
            size: None,
            etag: None,
            version_id: None,
            args: Vec::new(),
            attempt: 1,
            metadata: BTreeMap::new(),
        }
    }

    /// The key of the input in its bucket, or the path of the file.
    pub fn key(&self) -> &str {
        self.input.key()
    }
}
