//! The two calls that a small job makes of S3, without the SDK: signed by its own signer, sent by hyper.
//!
//! What a request path of our own could gain at most. Nothing else that the SDK does is done: no credentials that are
//! fetched and renewed, no retries, no timeouts, no errors but the status, no region of a bucket, no proxy, no TLS.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::Failure;

/// Where the requests go, and who signs them.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    http: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    credentials: Credentials,
}

impl Raw {
    pub(crate) fn new(endpoint: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Self { http, endpoint: endpoint.into(), credentials: crate::credentials() }
    }

    pub(crate) async fn copy(&self, from: (&str, &str), to: (&str, &str), part: u64) -> Result<(), Failure> {
        let range = [("range", format!("bytes=0-{}", part - 1)), ("x-amz-checksum-mode", "ENABLED".into())];
        let (answer, bytes) = self.call(Method::GET, from, &range, Bytes::new()).await?;
        let range = answer.get("content-range").ok_or("no range")?.to_str()?;
        let size: u64 = range.rsplit('/').next().unwrap_or_default().parse()?;
        if bytes.len() as u64 != size {
            return Err("only objects of one part".into());
        }
        let checksum = base64::encode(crc_fast::checksum(Crc64Nvme, &bytes).to_be_bytes());
        if answer.get("x-amz-checksum-crc64nvme").is_some_and(|said| said.as_bytes() != checksum.as_bytes()) {
            return Err("other bytes than their checksum".into());
        }
        self.call(Method::PUT, to, &[("x-amz-checksum-crc64nvme", checksum)], bytes).await?;
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        (bucket, key): (&str, &str),
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes), Failure> {
        let uri = format!("{}/{bucket}/{key}", self.endpoint);
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let with = v4::SigningParams::builder().identity(&identity).region("us-east-1").name("s3");
        let with = with.time(SystemTime::now()).settings(settings).build()?.into();
        let signed = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let request = SignableRequest::new(method.as_str(), uri.as_str(), signed, SignableBody::UnsignedPayload)?;
        let (instructions, _) = sign(request, &with)?.into_parts();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(Full::new(body))?;
        instructions.apply_to_request_http1x(&mut request);
        let (parts, body) = self.http.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        if !parts.status.is_success() {
            return Err(format!("{}", parts.status).into());
        }
        Ok((parts.headers, body))
    }
}
