//! The HTTP client below the SDK: hyper with rustls, a short idle time, and a spread over addresses.
//!
//! It is handed to every SDK client and to the credential chain by name, because the tree holds no default
//! TLS for the SDK to find. Each call makes a client with connections of its own. Bounded by its callers:
//! the pool keeps a connection for each request that was in flight, for [`IDLE`].

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How long an unused connection is kept. S3 closes idle connections at about 20 s, and a request sent on one
/// that is being closed stalls or fails (<https://github.com/awslabs/aws-sdk-rust/issues/1417>); hyper's own 90 s is too long.
const IDLE: Duration = Duration::from_secs(15);

/// Whether this machine has certificates of authorities: a bare container has none. They come from the system, or
/// from `SSL_CERT_FILE`; the SDK does not read `AWS_CA_BUNDLE`.
pub(crate) static HAS_AUTHORITIES: LazyLock<bool> =
    LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());

/// A client with a connection pool of its own.
pub(crate) fn http_client() -> SharedHttpClient {
    // Plain http needs no certificates, and where there are none the client must not insist on them.
    let trust = TrustStore::empty().with_native_roots(*HAS_AUTHORITIES);
    let builder = Builder::new().pool_idle_timeout(IDLE).tls_provider(Provider::Rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(trust).build() {
        Ok(context) => builder.tls_context(context).build_with_resolver(Spread),
        Err(_) => builder.build_with_resolver(Spread),
    }
}

/// Resolves a name to its addresses in random order: S3 answers with many, and all connections would else go
/// to the first.
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
