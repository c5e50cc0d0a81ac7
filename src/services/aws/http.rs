//! The HTTP client below the SDK: hyper with rustls, a short idle time, and connections spread over addresses.
//!
//! It is passed explicitly to every SDK client and to the credential chain, because the dependencies include no default
//! TLS that the SDK could use. Each call makes a client with its own connections. Bounded by its callers: the pool
//! keeps a connection for each request that was in flight, for [`IDLE`].
//!
//! Certificates are read and parsed for the first request that needs them. The SDK's own client reads them when it is
//! made, and again for each pair of timeouts: if S3 and SQS are reached by http, this was half of the cost of a start.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::bound::bounded;

/// How long an unused connection is kept. S3 closes idle connections after about 20 s, and a request sent on a
/// connection that is being closed stalls or fails (<https://github.com/awslabs/aws-sdk-rust/issues/1417>); hyper's own
/// 90 s is too long.
const IDLE: Duration = Duration::from_secs(15);

/// Whether this machine has certificates of authorities; a minimal container has none. They come from the system, or
/// from `SSL_CERT_FILE`; the SDK does not read `AWS_CA_BUNDLE`.
pub(crate) static HAS_AUTHORITIES: LazyLock<bool> =
    LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());

/// A client with its own connection pool and bounded responses.
pub(crate) fn http_client() -> SharedHttpClient {
    bounded(Client::default())
}

/// Connectors by their timeouts: a client uses one pair of timeouts, the credential chain a few.
#[derive(Debug, Default)]
struct Client(Mutex<HashMap<[Option<Duration>; 2], SharedHttpConnector>>);

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.connector(settings)
    }
}

impl Client {
    fn connector(&self, settings: &HttpConnectorSettings) -> SharedHttpConnector {
        let timeouts = [settings.connect_timeout(), settings.read_timeout()];
        let mut connectors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connectors.entry(timeouts).or_insert_with(|| SharedHttpConnector::new(ByScheme::new(settings.clone()))).clone()
    }
}

/// Two pools of connections; the pool for TLS is made when it is needed.
#[derive(Debug)]
struct ByScheme {
    plain: Connector,
    secure: LazyLock<Connector, Box<dyn FnOnce() -> Connector + Send>>,
}

impl ByScheme {
    fn new(settings: HttpConnectorSettings) -> Self {
        let plain = connector(settings.clone(), TrustStore::empty());
        // If there are no certificates, the client must not require them.
        let secure = move || connector(settings, TrustStore::empty().with_native_roots(*HAS_AUTHORITIES));
        Self { plain, secure: LazyLock::new(Box::new(secure)) }
    }
}

impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.uri().starts_with("http:") { self.plain.call(request) } else { self.secure.call(request) }
    }
}

fn connector(settings: HttpConnectorSettings, trust: TrustStore) -> Connector {
    let builder = Connector::builder()
        .pool_idle_timeout(IDLE)
        .connector_settings(settings)
        .tls_provider(Provider::Rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(trust).build() {
        Ok(context) => builder.tls_context(context).build_with_resolver(Spread),
        Err(_) => builder.build_with_resolver(Spread),
    }
}

/// Resolves a name to its addresses in random order: S3 has many addresses, and otherwise all connections would go to
/// the first.
#[derive(Clone, Copy, Debug)]
struct Spread;

impl ResolveDns for Spread {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            fastrand::shuffle(&mut addresses);
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn settings(seconds: u64) -> HttpConnectorSettings {
        HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(seconds)).build()
    }

    fn get(url: &str) -> HttpRequest {
        let mut request = HttpRequest::empty();
        request.set_uri(url).unwrap();
        request
    }

    #[tokio::test]
    async fn certificates_are_read_for_the_first_request_that_needs_them() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            // The first byte that a TLS client sends.
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut first = [0];
            stream.read_exact(&mut first).await.unwrap();
            (read > 0, first)
        });
        let both = ByScheme::new(settings(5));
        let answer = both.call(get(&format!("http://{address}/"))).await.unwrap();
        assert_eq!(answer.status().as_u16(), 204);
        assert!(LazyLock::get(&both.secure).is_none(), "nothing was reached by https");

        both.call(get(&format!("https://{address}/"))).await.unwrap_err();
        assert!(LazyLock::get(&both.secure).is_some());
        assert_eq!(serving.await.unwrap(), (true, [0x16]), "a handshake");
    }

    #[test]
    fn connections_are_shared_by_the_requests_of_a_client_with_equal_timeouts() {
        let client = Client::default();
        for seconds in [5, 5, 7] {
            client.connector(&settings(seconds));
        }
        assert_eq!(client.0.lock().unwrap().len(), 2);
    }
}
