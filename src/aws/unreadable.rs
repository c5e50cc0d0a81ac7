//! Headers of answers that are no text: left out, since nobody here wants them.
//!
//! An object's `Content-Disposition` or metadata is what its writer sent, and old tools send names in Latin-1. HTTP allows
//! that (RFC 9110, section 5.5), a `String` does not, and the SDK fails the whole answer for the sake of one header, or panics where
//! it is `Expires`. No attempt would ever read such an object, though its bytes are as good as any.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Takes them out before an answer is read.
#[derive(Debug)]
pub(super) struct LeaveOut;

#[dyn_dispatch_hint]
impl Intercept for LeaveOut {
    fn name(&self) -> &'static str {
        "LeaveOutUnreadableHeaders"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        let unreadable: Vec<String> = headers
            .iter_bytes()
            .filter(|(_, value)| std::str::from_utf8(value).is_err())
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in unreadable {
            headers.remove(&name);
        }
        Ok(())
    }
}
