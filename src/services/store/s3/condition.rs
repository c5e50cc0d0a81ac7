//! Conditions: `If-None-Match: *` and `If-Match`, on PutObject and CompleteMultipartUpload, and `If-Match` on reads.
//!
//! A weak ETag (`W/"..."`, sent by some proxies and S3-compatible servers) never matches in `If-Match` (RFC 9110,
//! 13.1.1), so it is not sent, and such a write has no condition. Every read compares the ETag of its answer,
//! because some servers ignore `If-Match`.
//!
//! A server that does not support conditions answers 501, and gets no conditions from then on; other servers ignore
//! conditions silently. With both, an object that appears between the check and the write is replaced, as by any
//! plain write.
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>)

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{opaque, proof};
use crate::error::{Reason, ServiceError, ServiceErrorKind};
use crate::job::origin::DATED;
use crate::services::store::{Condition, Version};

/// The condition to send to this server: the given one, unless the server has refused a condition before.
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

/// The value of `If-Match` for an ETag; `None` for a weak ETag.
pub(super) fn matching(etag: &str) -> Option<String> {
    (!is_weak(etag)).then(|| format!("\"{etag}\""))
}

/// Whether an answer is of the requested version. A server may ignore `If-Match`, which is not even sent for a weak
/// ETag, so the answer's own ETag decides. A proxy may weaken the ETags of some answers and not of others, for the same
/// object.
pub(super) fn still(pin: &Version, found: &Version, server: &str) -> Result<(), ServiceError> {
    let changed = |what: &str, seen: &str, asked: &str| {
        let message = format!("{server} answered with the {what} {seen:?}, not {asked:?}");
        Err(ServiceError::new(ServiceErrorKind::Changed, "PreconditionFailed", message))
    };
    match (pin.etag.as_deref(), found.etag.as_deref()) {
        // A store that reports no ETag can still honour the condition that it was sent.
        (Some(asked), Some(seen)) if seen.starts_with(DATED) && !is_weak(asked) => {}
        (Some(asked), Some(seen)) if opaque(seen) != opaque(asked) => return changed("ETag", seen, asked),
        (Some(asked), None) => {
            let why = format_args!("told neither ETag nor time of an object that was to have the ETag {asked:?}");
            return Err(proof::none(server, why));
        }
        _ => {}
    }
    match (pin.version_id.as_deref().filter(|id| *id != "null"), found.version_id.as_deref()) {
        (Some(asked), Some(seen)) if seen != asked => changed("version", seen, asked),
        _ => Ok(()),
    }
}

fn is_weak(etag: &str) -> bool {
    etag.starts_with("W/")
}

/// Whether the server may not support conditions, so that a try without one will tell.
pub(super) fn is_refused(error: &ServiceError, condition: &Condition) -> bool {
    *condition != Condition::Always && error.reason == Some(Reason::NotImplemented)
}

pub(super) fn go_on_without(unconditional: &AtomicBool) {
    if !unconditional.swap(true, Relaxed) {
        tracing::warn!(
            target: "batchpipe::store::s3::condition",
            "the server has no conditional writes; an output that appears meanwhile is replaced"
        );
    }
}

/// The failure of a conditional write. A 404 for an object that was to be replaced means that the place has changed
/// since it was checked, not that an input is missing.
pub(super) fn unmet(error: ServiceError, condition: &Condition) -> ServiceError {
    let gone = matches!(condition, Condition::Unchanged(_)) && error.reason == Some(Reason::KeyMissing);
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
        let error = |reason| ServiceError::new(ServiceErrorKind::Missing, "Missing", "gone").because(reason);
        let seen = Condition::Unchanged("1".to_owned());
        assert_eq!(unmet(error(Reason::KeyMissing), &seen).kind, ServiceErrorKind::Exists);
        assert_eq!(unmet(error(Reason::BucketMissing), &seen).kind, ServiceErrorKind::Missing);
        assert_eq!(unmet(error(Reason::UploadMissing), &seen).kind, ServiceErrorKind::Missing);
        assert_eq!(unmet(error(Reason::KeyMissing), &Condition::Absent).kind, ServiceErrorKind::Missing);
    }

    #[test]
    fn an_answer_is_of_the_version_asked_for_or_it_is_refused() {
        let version = |etag: &str, id: &str| Version {
            etag: Some(etag.to_owned()).filter(|etag| !etag.is_empty()),
            version_id: Some(id.to_owned()).filter(|id| !id.is_empty()),
        };
        let kind = |pin: [&str; 2], found: [&str; 2]| {
            still(&version(pin[0], pin[1]), &version(found[0], found[1]), "S3")
                .map_err(|error| (error.kind, error.code))
        };
        let changed = Err((ServiceErrorKind::Changed, "PreconditionFailed".to_owned()));
        let unproved = Err((ServiceErrorKind::Unavailable, "NoProof".to_owned()));
        for pin in [["1", ""], ["W/1", ""], ["1", "v"], ["", ""], ["", "v"]] {
            assert_eq!(kind(pin, ["1", "v"]), Ok(()), "{pin:?}");
            assert_eq!(kind(pin, ["W/1", ""]), Ok(()), "{pin:?}");
        }
        for (pin, found) in [(["1", ""], ["2", ""]), (["W/1", ""], ["W/2", ""]), (["1", "v"], ["1", "w"])] {
            assert_eq!(kind(pin, found), changed, "{pin:?} {found:?}");
        }
        assert_eq!(kind(["1", "v"], ["", "v"]), unproved);
        let dated = ["W/modified-5", ""];
        assert_eq!((kind(dated, dated), kind(["1", ""], dated)), (Ok(()), Ok(())), "a store without ETags");
        assert_eq!(kind(dated, ["W/modified-6", ""]), changed);
        assert_eq!(kind(["W/1", ""], dated), changed, "the condition was not sent");
        assert_eq!(kind(["1", "null"], ["1", "v"]), Ok(()), "an object from before the bucket had versions");
    }

    #[test]
    fn a_server_that_refuses_a_condition_is_asked_for_none_from_then_on() {
        let refused = ServiceError::new(ServiceErrorKind::Invalid, "NotImplemented", "a header");
        let refused = refused.because(Reason::NotImplemented);
        assert!(is_refused(&refused, &Condition::Absent) && !is_refused(&refused, &Condition::Always));
        let unconditional = AtomicBool::new(false);
        assert_eq!(asked(&Condition::Absent, &unconditional), &Condition::Absent);
        go_on_without(&unconditional);
        assert_eq!(asked(&Condition::Absent, &unconditional), &Condition::Always);
    }
}
