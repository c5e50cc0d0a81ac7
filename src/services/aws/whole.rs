//! Checks that an XML response is complete, which means that it ends with the end tag of its first element.
//!
//! The SDK's parser treats the end of the text as the end of every open element. So a listing that a proxy cut short
//! was read as a shorter listing, and a truncated response to a completion as success. HTTP does not detect this,
//! because the proxy sends the length of the truncated body.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Fails a truncated response.
#[derive(Debug)]
pub(super) struct Whole;

#[derive(Debug, thiserror::Error)]
#[error("the answer ends before its XML does")]
struct Cut;

#[dyn_dispatch_hint]
impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "WholeXml"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A response that the parser has refused needs no second error.
        if context.output_or_error().is_err() {
            return Ok(());
        }
        let answer = context.response();
        // The bytes of an object are streamed, so there are none here. An error stays an error, complete or not.
        match answer.body().bytes() {
            Some(bytes) if answer.status().is_success() && !is_whole(bytes) => Err(Cut.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a text is empty, or ends with the end tag of its first element.
fn is_whole(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let is_name = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let Some(start) = text.windows(2).position(|pair| pair[0] == b'<' && is_name(pair[1])) else {
        return text.is_empty();
    };
    let element = &text[start + 1..];
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
    let name = &element[..element.iter().position(ends).unwrap_or(element.len())];
    let closed = text.strip_suffix(b">").map(<[u8]>::trim_ascii_end).and_then(|text| text.strip_suffix(name));
    let is_empty_element = element.ends_with(b"/>") && !element[..element.len() - 2].contains(&b'>');
    is_empty_element || closed.is_some_and(|text| text.ends_with(b"</"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_is_whole_if_it_ends_with_the_end_of_its_first_element() {
        for whole in [
            "",
            " \n",
            "<a/>",
            "<a b='c' />",
            "<a></a>",
            "<?xml version=\"1.0\"?>\n<a xmlns=\"x\"><b>1</b></a>\n",
            "<s:a><s:b/></s:a >",
        ] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for cut in [
            "<",
            "text",
            "<?xml version=\"1.0\"?>",
            "<a",
            "<a>",
            "<a><b>1</b>",
            "<a><b>1</b></a",
            "<a><b/>",
            "<a><a></b>",
            "<ab></b>",
        ] {
            assert!(!is_whole(cut.as_bytes()), "{cut}");
        }
    }

    #[test]
    fn a_listing_cut_at_any_byte_is_not_whole() {
        let listing = "<L><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents></L>";
        for end in 1..listing.len() {
            assert!(!is_whole(&listing.as_bytes()[..end]), "{}", &listing[..end]);
        }
    }
}
