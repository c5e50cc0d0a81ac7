//! Conditions: `If-None-Match: *` and `If-Match`, on PutObject and CompleteMultipartUpload, and `If-Match` on reads.
//!
//! A weak ETag (`W/"..."`, of some proxies and look-alikes of S3) never matches in `If-Match` (RFC 9110, 13.1.1): it is not sent.
//! A read compares the ETag of the answer instead; a write goes without a condition.
//!
//! A server that does not know them says 501, and is written to without from then on; others ignore them in silence. Then
//! an object that appears between the look and the write is replaced, as by any plain write.
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>)

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{ServiceError, ServiceErrorKind};
use crate::store::{Condition, Version};

/// What is asked of this server: the condition, unless it has refused one.
pub(super) fn asked<'a>(condition: &'a Condition, unconditional: &AtomicBool) -> &'a Condition {
    if unconditional.load(Relaxed) { &Condition::Always } else { condition }
}

pub(super) fn if_none_match(condition: &Condition) -> Option<String> {
    (*condition == Condition::Absent).then(|| "*".to_owned())
}

pub(super) fn if_match(condition: &Condition) -> Option<String> {
    match condition {
        Condition::Unchanged(etag) => matching(etag),
        Condition::Always | Condition::Absent => None,
    }
}

/// What `If-Match` says for an ETag; nothing for a weak one.
pub(super) fn matching(etag: &str) -> Option<String> {
    (!is_weak(etag)).then(|| format!("\"{etag}\""))
}

/// Whether an answer is of the version that was asked for, where the server could not be told which.
pub(super) fn still(pin: &Version, found: &Version) -> Result<(), ServiceError> {
    let Some(asked) = pin.etag.as_deref().filter(|etag| is_weak(etag)) else { return Ok(()) };
    let seen = found.etag.as_deref();
    // A proxy weakens the ETags of some answers and not of others: the object is the same (RFC 9110, 8.8.3.2).
    if seen.is_some_and(|seen| opaque(seen) == opaque(asked)) {
        return Ok(());
    }
    let message = format!("the object has the ETag {seen:?}, not {asked:?}");
    Err(ServiceError::new(ServiceErrorKind::Changed, "PreconditionFailed", message))
}

fn is_weak(etag: &str) -> bool {
    etag.starts_with("W/")
}

fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// Whether the server does not know conditions, so that trying without tells.
pub(super) fn is_refused(error: &ServiceError, condition: &Condition) -> bool {
    *condition != Condition::Always && (error.code == "NotImplemented" || error.code == "HTTP 501")
}

pub(super) fn go_on_without(unconditional: &AtomicBool) {
    if !unconditional.swap(true, Relaxed) {
        tracing::warn!("the server has no conditional writes; an output that appears meanwhile is replaced");
    }
}

/// The failure of a conditional write. An object that was to be replaced and is gone is a 404: another place than was
/// seen, not an input that is missing.
pub(super) fn unmet(error: ServiceError, condition: &Condition) -> ServiceError {
    let gone = matches!(condition, Condition::Unchanged(_)) && error.code == "NoSuchKey";
    if gone { ServiceError { kind: ServiceErrorKind::Exists, ..error } } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_one_header_and_an_etag_has_quotes() {
        let seen = Condition::Unchanged("0cc1-2".to_owned());
        assert_eq!((if_none_match(&Condition::Absent).as_deref(), if_match(&Condition::Absent)), (Some("*"), None));
        assert_eq!((if_none_match(&seen), if_match(&seen).as_deref()), (None, Some("\"0cc1-2\"")));
        assert_eq!((if_none_match(&Condition::Always), if_match(&Condition::Always)), (None, None));
    }

    #[test]
    fn an_object_that_was_to_be_replaced_and_is_gone_is_no_missing_input() {
        let error = |code: &str| ServiceError::new(ServiceErrorKind::Missing, code, "gone");
        let seen = Condition::Unchanged("1".to_owned());
        assert_eq!(unmet(error("NoSuchKey"), &seen).kind, ServiceErrorKind::Exists);
        assert_eq!(unmet(error("NoSuchBucket"), &seen).kind, ServiceErrorKind::Missing);
        assert_eq!(unmet(error("NoSuchUpload"), &seen).kind, ServiceErrorKind::Missing);
        assert_eq!(unmet(error("NoSuchKey"), &Condition::Absent).kind, ServiceErrorKind::Missing);
    }

    #[test]
    fn a_server_that_refuses_a_condition_is_asked_for_none_from_then_on() {
        let refused = ServiceError::new(ServiceErrorKind::Invalid, "NotImplemented", "a header");
        assert!(is_refused(&refused, &Condition::Absent) && !is_refused(&refused, &Condition::Always));
        let unconditional = AtomicBool::new(false);
        assert_eq!(asked(&Condition::Absent, &unconditional), &Condition::Absent);
        go_on_without(&unconditional);
        assert_eq!(asked(&Condition::Absent, &unconditional), &Condition::Always);
    }
}
