//! A server for benchmarks that does as little as S3 and SQS can do: the limit of a client, not of a service.
//!
//! Every object exists: its size is the number in its key (`in/4096/7` has 4096 bytes), its bytes come from one ring of
//! compressible text. What is written is summed (CRC-64) and thrown away, and `GET /_check` compares each sum with the
//! ring's, so every byte that arrives is checked though none is kept. No MD5, no signatures, one constant ETag.
//! `--delay MS` makes it answer as late as a service in the same region does: half to one and a half of that.
//! `--late SHARE MS` makes every so manieth read of an object late (`0.01 2000`: each hundredth by 2 s): a service's
//! tail. `--tls CERTIFICATE KEY` (PEM) makes it speak TLS 1.3.
//!
//! Bounded by the benchmark: it remembers a sum for each object and the text of each message.

mod s3;
mod sqs;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// An answer's bytes.
type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

struct Server {
    s3: s3::Objects,
    sqs: sqs::Queues,
    delay: Duration,
    late: Option<Late>,
    /// Reads of objects that were asked for.
    reads: AtomicU64,
}

/// Which reads are late, and by how much. By number and not by chance, so that runs can be compared.
struct Late {
    share: f64,
    by: Duration,
}

impl Server {
    fn lateness(&self) -> Duration {
        self.delay.mul_f64(0.5 + fastrand::f64())
    }

    /// Counts a read, and tells how much later than others it is.
    fn read(&self) -> Duration {
        let number = self.reads.fetch_add(1, Relaxed);
        let due = |reads: u64, share: f64| (reads as f64 * share) as u64;
        match &self.late {
            Some(Late { share, by }) if due(number + 1, *share) > due(number, *share) => *by,
            _ => Duration::ZERO,
        }
    }
}

const USAGE: &str = "usage: null_sink PORT [--delay MILLISECONDS] [--late SHARE MILLISECONDS] [--tls CERTIFICATE KEY]";

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or(USAGE)?.parse()?;
    let (mut delay, mut late, mut tls) = (Duration::ZERO, None, None);
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match option.as_str() {
            "--delay" => delay = Duration::from_millis(value()?.parse()?),
            "--late" => {
                late = Some(Late { share: value()?.parse()?, by: Duration::from_millis(value()?.parse()?) });
            }
            "--tls" => tls = Some(acceptor(&value()?, &value()?)?),
            _ => return Err(USAGE.into()),
        }
    }
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("listening on {}", listener.local_addr()?);
    let (s3, sqs, reads) = (s3::Objects::new(), sqs::Queues::default(), AtomicU64::new(0));
    let server = Arc::new(Server { s3, sqs, delay, late, reads });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (server, tls) = (Arc::clone(&server), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(server, stream).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(server, stream).await;
                    }
                }
            }
        });
    }
}

async fn serve(server: Arc<Server>, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
    let service = service_fn(move |request| answer(Arc::clone(&server), request));
    // A client that hangs up is its own affair.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let certificate = CertificateDer::from_pem_file(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let answered = if request.headers().contains_key("x-amz-target") {
        sqs::answer(&server.sqs, request, server.lateness()).await
    } else if path == "/_fill" {
        sqs::fill(&server.sqs, request).await
    } else if path == "/_check" {
        let mut found = server.s3.check();
        found["reads"] = server.reads.load(Relaxed).into();
        found["working"] = server.sqs.working("jobs").map(|time| time.as_secs_f64()).into();
        Ok(json(StatusCode::OK, &found))
    } else if path == "/_reset" && request.method() == Method::POST {
        server.s3.reset();
        server.reads.store(0, Relaxed);
        server.sqs.reset();
        Ok(text(StatusCode::OK, ""))
    } else {
        let read = request.method() == Method::GET && path.trim_matches('/').contains('/');
        let late = if read { server.read() } else { Duration::ZERO };
        tokio::time::sleep(server.lateness() + late).await;
        s3::answer(&server.s3, request).await
    };
    Ok(answered.unwrap_or_else(|error| text(StatusCode::BAD_REQUEST, &error.to_string())))
}

fn body(chunks: Vec<Bytes>) -> Body {
    StreamBody::new(stream::iter(chunks).map(|chunk| Ok(Frame::data(chunk))).boxed())
}

fn respond(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let length = bytes.len();
    let mut response = Response::new(body(if bytes.is_empty() { Vec::new() } else { vec![bytes] }));
    *response.status_mut() = status;
    response.headers_mut().insert("content-length", length.into());
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    respond(status, "application/xml", Bytes::copy_from_slice(text.as_bytes()))
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    respond(status, "application/x-amz-json-1.0", Bytes::from(value.to_string()))
}
