//! Limits the length of responses: every body except an object's is cut off at a bound.
//!
//! The SDK reads the body of an error, and of every response that is not an object, into memory before any other code
//! sees it. A server that never ends such a body would use up all memory of the machine, whatever `--memory` says. The
//! bound is applied between the HTTP client and the SDK, so it covers S3, SQS and the services that provide
//! credentials.
//!
//! The bytes of an object are not bounded here: they are streamed, and their reader knows how many were requested
//! (`body.rs`). hyper bounds the head of a response: 100 headers, about 400 KiB.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// The most bytes of an error, and of every response that is not named below. Errors of AWS have a few hundred bytes; a
/// page of a proxy and credentials have a few KiB.
const USUAL: usize = 1 << 20;

/// The most bytes of a listing: a page has 1,000 entries
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>), and an entry has a key of at most 1,024
/// bytes (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>), each byte written as at most six
/// bytes (`&quot;`), and less than 2 KiB of tags, upload id and owner.
const LISTING: usize = 1_000 * (1_024 * 6 + 2_048);

/// The most bytes of received messages: a response has at most 10 messages
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>) of 1 MiB,
/// attributes included
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>), each byte
/// written as at most six bytes (`\u0022`). 1 MiB is for receipts and names.
const MESSAGES: usize = 10 * (1 << 20) * 6 + (1 << 20);

/// A response was longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is longer than {0} bytes, which such an answer never is")]
pub(super) struct TooLong(usize);

/// The same client, with bounded responses.
pub(super) fn bounded(client: impl HttpClient + 'static) -> SharedHttpClient {
    SharedHttpClient::new(Bounded(client))
}

#[derive(Debug)]
struct Bounded<C>(C);

impl<C: HttpClient + 'static> HttpClient for Bounded<C> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(BoundedConnector(self.0.http_connector(settings, components)))
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_base_client_config(components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        self.0.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct BoundedConnector(SharedHttpConnector);

impl HttpConnector for BoundedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wanted = Wanted::by(&request);
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move { answer.await.map(|answer| wanted.bound(answer)) })
    }
}

/// The kind of a request, as far as it changes how long the response may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Object,
    Listing,
    Messages,
    Other,
}

impl Wanted {
    fn by(request: &HttpRequest) -> Self {
        let headers = request.headers();
        // Every read of an object names a range, and no other request does.
        if headers.get("range").is_some() {
            return Self::Object;
        }
        if headers.get("x-amz-target") == Some("AmazonSQS.ReceiveMessage") {
            return Self::Messages;
        }
        let query = request.uri().split_once('?').map_or("", |(_, query)| query);
        let lists = |part: &str| part == "uploads" || part.starts_with("uploads=") || part.starts_with("list-type=");
        if request.method() == "GET" && query.split('&').any(lists) { Self::Listing } else { Self::Other }
    }

    /// The most bytes of a response with this status; `None` for an object.
    fn most(self, is_success: bool) -> Option<usize> {
        match self {
            _ if !is_success => Some(USUAL),
            Self::Object => None,
            Self::Listing => Some(LISTING),
            Self::Messages => Some(MESSAGES),
            Self::Other => Some(USUAL),
        }
    }

    fn bound(self, answer: HttpResponse) -> HttpResponse {
        let Some(most) = self.most(answer.status().is_success()) else { return answer };
        answer.map(|body| {
            let limited = Limited::new(body, most);
            SdkBody::from_body_1_x(limited.map_err(move |error| match error.is::<LengthLimitError>() {
                true => TooLong(most).into(),
                false => error,
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str, header: Option<(&'static str, &'static str)>) -> HttpRequest {
        let mut request = HttpRequest::empty();
        request.set_method(method).unwrap();
        request.set_uri(url).unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value);
        }
        request
    }

    #[test]
    fn a_request_tells_how_long_its_answer_may_be() {
        let receive = Some(("x-amz-target", "AmazonSQS.ReceiveMessage"));
        let table = [
            (request("GET", "http://h/b/k?x-id=GetObject", Some(("range", "bytes=0-9"))), Wanted::Object),
            (request("GET", "http://h/b?list-type=2&prefix=a", None), Wanted::Listing),
            (request("GET", "http://h/b?uploads", None), Wanted::Listing),
            (request("GET", "http://h/b?uploads=&prefix=a", None), Wanted::Listing),
            (request("POST", "http://h/b/k?uploads", None), Wanted::Other),
            (request("GET", "http://h/b/list-type=2", None), Wanted::Other),
            (request("POST", "http://h/", receive), Wanted::Messages),
            (request("POST", "http://h/", Some(("x-amz-target", "AmazonSQS.DeleteMessageBatch"))), Wanted::Other),
            (request("GET", "http://169.254.169.254/latest/meta-data/", None), Wanted::Other),
        ];
        for (request, wanted) in table {
            assert_eq!(Wanted::by(&request), wanted, "{request:?}");
            assert_eq!(wanted.most(false), Some(USUAL), "an error is short, whatever was asked");
        }
        assert_eq!(Wanted::Object.most(true), None);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_no_further() {
        let answer = |status: u16, length: usize| {
            let body = SdkBody::from_body_1_x(http_body_util::Full::new(bytes::Bytes::from(vec![b'x'; length])));
            HttpResponse::new(status.try_into().unwrap(), body)
        };
        for (wanted, status, most) in [
            (Wanted::Other, 200, USUAL),
            (Wanted::Object, 503, USUAL),
            (Wanted::Messages, 200, MESSAGES),
            (Wanted::Listing, 200, LISTING),
        ] {
            let whole = wanted.bound(answer(status, most)).into_body().collect().await.unwrap();
            assert_eq!(whole.to_bytes().len(), most, "{wanted:?}");
            let error = wanted.bound(answer(status, most + 1)).into_body().collect().await.unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&TooLong(most)), "{wanted:?}");
        }
        let object = Wanted::Object.bound(answer(206, MESSAGES + 1)).into_body().collect().await.unwrap();
        assert_eq!(object.to_bytes().len(), MESSAGES + 1);
    }
}
