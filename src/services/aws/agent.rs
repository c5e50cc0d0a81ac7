//! The `User-Agent` of every request.
//!
//! For each request, the SDK builds two such headers, from the environment and from the features that it has used, and
//! signs one of them: this takes 7 % of the instructions of a small job. Here the header is one text, made once with
//! the client. In access logs and CloudTrail it distinguishes batchpipe and its version from other users of the SDK.

use aws_runtime::user_agent::UserAgentInterceptor;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, disable_interceptor, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_types::app_name::AppName;

/// Replaces the SDK's header with ours.
#[derive(Debug)]
pub(super) struct Agent(String);

impl Agent {
    /// For requests to `service` by this version of its SDK. `application` is the operator's name for this application
    /// (`AWS_SDK_UA_APP_ID`), as in every SDK.
    pub(super) fn new(service: &str, sdk: &str, application: Option<&AppName>) -> Self {
        let application = application.map(|name| format!(" app/{name}")).unwrap_or_default();
        Self(format!("batchpipe/{} aws-sdk-rust/{sdk} api/{service}{application}", env!("CARGO_PKG_VERSION")))
    }
}

#[dyn_dispatch_hint]
impl Intercept for Agent {
    fn name(&self) -> &'static str {
        "Agent"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(disable_interceptor::<UserAgentInterceptor>("one text for all requests"));
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert("user-agent", self.0.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_give_the_fleet_a_name() {
        assert_eq!(Agent::new("s3", "1.2.3", None).0, "batchpipe/0.1.0 aws-sdk-rust/1.2.3 api/s3");
        let named = Agent::new("sqs", "1.2.3", Some(&AppName::new("nightly").unwrap())).0;
        assert_eq!(named, "batchpipe/0.1.0 aws-sdk-rust/1.2.3 api/sqs app/nightly");
    }
}
