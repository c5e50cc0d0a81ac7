//! Removes headers that the SDK must not read, before the SDK fails the whole response because of one of them; and adds
//! a header that must not be missing.
//!
//! **Headers that are not UTF-8.** An object's `Content-Disposition` and metadata come from its writer, and old tools
//! send names in Latin-1. HTTP allows this (RFC 9110, section 5.5), a `String` does not, and the SDK fails or, for
//! `Expires`, panics. No attempt could ever read such an object, although its bytes are fine, and batchpipe does not
//! use such headers.
//!
//! **Checksums of other bytes.** The checksum in a header may be one of three things. It may be the checksum of the
//! bytes that follow, which is the rule. It may be the checksum of the checksums of an object's parts: S3 marks it with
//! `-N`, but not if a range covers the whole object (`x-amz-checksum-type` is `COMPOSITE` then,
//! <https://github.com/boto/botocore/issues/3346>), and every first read here is a range. Or it may be the checksum of
//! the whole object although a part was requested: some servers did this for years
//! (<https://github.com/ceph/ceph/pull/61901>, <https://github.com/minio/minio/pull/17105>), S3 never does. Without a
//! checksum the length is checked, as for the many objects that have none.
//!
//! **The range of a part.** A response without `Content-Range` is the whole object. But the SDK does not reveal the
//! status, and a 206 without this header is an unknown part of the object. If this part were taken for the whole
//! object, the output would be too short.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The header that says which bytes of an object a response contains.
const RANGE: &str = "content-range";

/// The status of a response that contains a part of an object.
const PARTIAL: u16 = 206;

/// A substitute for the missing range of such a response. It matches no requested range.
const NO_RANGE: &str = "none";

/// How the headers of checksums begin.
const PREFIX: &str = "x-amz-checksum-";

/// The header that says which bytes the checksums cover.
const KIND: &str = "x-amz-checksum-type";

/// Removes these headers before a response is read.
#[derive(Debug)]
pub(super) struct LeaveOut {
    /// Whether the server is not AWS.
    pub(super) elsewhere: bool,
}

#[dyn_dispatch_hint]
impl Intercept for LeaveOut {
    fn name(&self) -> &'static str {
        "LeaveOutHeaders"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let is_part = response.status().as_u16() == PARTIAL;
        let headers = response.headers_mut();
        if is_part && headers.get(RANGE).is_none() {
            headers.insert(RANGE, NO_RANGE);
        }
        let sums = is_of_these(headers.get(RANGE), headers.get(KIND), self.elsewhere);
        let left_out: Vec<String> = headers
            .iter_bytes()
            .filter(|(name, value)| {
                std::str::from_utf8(value).is_err() || !sums && name.starts_with(PREFIX) && *name != KIND
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in left_out {
            headers.remove(&name);
        }
        Ok(())
    }
}

/// Whether the checksum of a response with this range is the checksum of the response's bytes.
fn is_of_these(range: Option<&str>, kind: Option<&str>, elsewhere: bool) -> bool {
    let Some(range) = range else { return true };
    if is_whole(range) { kind != Some("COMPOSITE") } else { !elsewhere }
}

/// Whether a range covers a whole object.
fn is_whole(range: &str) -> bool {
    let bytes = range.strip_prefix("bytes 0-").and_then(|rest| rest.split_once('/'));
    bytes.is_some_and(|(last, size)| {
        last.parse::<u64>().is_ok_and(|last| size.parse::<u64>().is_ok_and(|size| last.checked_add(1) == Some(size)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_counts_where_it_is_that_of_the_bytes() {
        let (whole, part) = (Some("bytes 0-4/5"), Some("bytes 0-4/6"));
        for elsewhere in [false, true] {
            assert!(is_of_these(None, None, elsewhere) && is_of_these(whole, None, elsewhere));
            assert!(is_of_these(whole, Some("FULL_OBJECT"), elsewhere));
            assert!(!is_of_these(whole, Some("COMPOSITE"), elsewhere), "of the checksums of its parts");
            // S3 returns the checksum of a part if the range is exactly that part.
            for kind in [None, Some("FULL_OBJECT"), Some("COMPOSITE")] {
                assert_eq!(is_of_these(part, kind, elsewhere), !elsewhere);
                assert_eq!(is_of_these(Some("bytes 1-4/5"), kind, elsewhere), !elsewhere);
            }
        }
        assert!(!is_whole("bytes 0-18446744073709551615/0") && !is_whole("bytes */5") && !is_whole("0-4/5"));
    }
}
