//! Headers of answers that must not be read: left out before the SDK fails the whole answer for the sake of one; and a
//! header that must not be missing.
//!
//! **What is no text.** An object's `Content-Disposition` or metadata is what its writer sent, and old tools send names
//! in Latin-1. HTTP allows that (RFC 9110, section 5.5), a `String` does not, and the SDK fails or, where it is
//! `Expires`, panics. No attempt would ever read such an object, though its bytes are as good as any, and nobody here
//! wants such a header.
//!
//! **Checksums of other bytes.** What a header calls a checksum may be one of three things. Of the bytes that follow:
//! that is the rule. Of the checksums of an object's parts: S3 marks that with `-N`, but not where a range covers the
//! whole object (`x-amz-checksum-type` says `COMPOSITE` then, <https://github.com/boto/botocore/issues/3346>), and
//! every first read here is a range. Or of the whole object where a part of it was asked for: some servers did that for
//! years (<https://github.com/ceph/ceph/pull/61901>, <https://github.com/minio/minio/pull/17105>), S3 never. Without
//! one the length is checked, as for the many objects that have none.
//!
//! **The range of a part.** An answer without `Content-Range` is the whole object, but the SDK does not tell its
//! status, and a 206 without the header is some part of it, nobody knows which. Taken for the whole, it would make a
//! short output.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The header that tells which bytes of an object an answer holds.
const RANGE: &str = "content-range";

/// The status of an answer that holds some bytes of an object.
const PARTIAL: u16 = 206;

/// What stands in for the range that such an answer does not tell. It matches no range that was asked for.
const NO_RANGE: &str = "none";

/// How the headers of checksums begin.
const PREFIX: &str = "x-amz-checksum-";

/// The one of them that tells what the others are of.
const KIND: &str = "x-amz-checksum-type";

/// Takes them out before an answer is read.
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

/// Whether the checksum of an answer with such a range is that of its bytes.
fn is_of_these(range: Option<&str>, kind: Option<&str>, elsewhere: bool) -> bool {
    let Some(range) = range else { return true };
    if is_whole(range) { kind != Some("COMPOSITE") } else { !elsewhere }
}

/// Whether a range is all of an object.
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
            // S3 tells the checksum of a part where the range is that part.
            for kind in [None, Some("FULL_OBJECT"), Some("COMPOSITE")] {
                assert_eq!(is_of_these(part, kind, elsewhere), !elsewhere);
                assert_eq!(is_of_these(Some("bytes 1-4/5"), kind, elsewhere), !elsewhere);
            }
        }
        assert!(!is_whole("bytes 0-18446744073709551615/0") && !is_whole("bytes */5") && !is_whole("0-4/5"));
    }
}
