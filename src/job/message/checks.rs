//! Checks of the values that several formats share, and the errors for refused values.
//!
//! Bounds are checked where a value enters, so that no later stage meets a key that S3 can't have, an ETag that
//! would split a header, or a name that moves a terminal's cursor.

use super::json::Fields;
use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::job::{Location, MAX_KEY_BYTES};

/// How much of an untrusted text is shown in a cause: enough to recognise it, too little to flood a log.
const QUOTED_CHARS: usize = 80;

/// The longest path that Linux accepts, without the NUL that ends it there (`PATH_MAX`, limits.h).
const MAX_PATH_BYTES: usize = 4095;

/// An object in S3, named by a bucket and a key.
pub(super) fn object_in(bucket: &str, key: &str, role: &str) -> Result<Location, JobError> {
    let location = match Location::parse(&format!("s3://{bucket}/")) {
        Some(Location::S3 { bucket: parsed, .. }) if parsed == bucket => Location::s3(bucket, key),
        _ => {
            // Escaped to ASCII, so that a single letter from another alphabet exposes a look-alike name.
            let shown: String = bucket.chars().take(QUOTED_CHARS).flat_map(char::escape_default).collect();
            let cause = format!("bucket \"{shown}\" is not in the allow-list: it is not a bucket's name");
            return Err(JobError::new(Stage::Receive, ErrorKind::Forbidden, Code::PlaceNotAllowed, cause));
        }
    };
    check_key(&location, role)?;
    Ok(location)
}

/// Checks the length of a key or a path; a key may contain any bytes.
pub(super) fn check_key(location: &Location, role: &str) -> Result<(), JobError> {
    let (most, what) = match location {
        Location::S3 { .. } => (MAX_KEY_BYTES, "key"),
        Location::File { .. } => (MAX_PATH_BYTES, "path"),
    };
    match location.key().len() {
        0 => Err(malformed(Code::BadKey, format!("{role} {what} is empty"))),
        long if long > most => {
            Err(malformed(Code::BadKey, format!("{role} {what} has {long} bytes; the most is {most}")))
        }
        _ => Ok(()),
    }
}

/// An ETag that is safe in a header, without quotes, or the error about it; an empty ETag counts as none.
pub(super) fn check_etag(fields: &Fields<'_>, name: &str) -> Result<Option<String>, JobError> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let etag = text.trim_matches('"');
    match etag.bytes().all(|byte| byte.is_ascii_graphic()) && etag.len() <= MAX_KEY_BYTES {
        true => Ok((!etag.is_empty()).then(|| etag.to_owned())),
        false => Err(fields.wrong(name, "not an ETag")),
    }
}

/// A name chosen by others: short, and without characters that move a cursor or can't be in an environment variable.
pub(super) fn check_name(fields: &Fields<'_>, name: &str) -> Result<Option<String>, JobError> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    match text.len() <= MAX_KEY_BYTES && !text.chars().any(char::is_control) {
        true => Ok((!text.is_empty()).then(|| text.to_owned())),
        false => Err(fields.wrong(name, "expected at most 1024 bytes without control characters")),
    }
}

/// The error for a message that is not a job, or is malformed.
pub(super) fn malformed(code: Code, cause: impl Into<String>) -> JobError {
    JobError::new(Stage::Receive, ErrorKind::Malformed, code, cause)
}

/// An untrusted text, quoted, escaped and shortened.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
