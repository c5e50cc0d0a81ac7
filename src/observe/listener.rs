//! Serves the status page, the metrics and the health of this process over HTTP, for users, Prometheus and load
//! balancers.
//!
//! Read-only and small: it shows no keys, no buckets and no programs, reads no body, and is on loopback unless the
//! operator says otherwise; and it answers only requests for its own names (`host.rs`). It serves what a task samples
//! once a second, so that clients cost only their own bytes. The newest connection is always served, if necessary by
//! closing the oldest.
//!
//! Bounded: [`CONNECTIONS`] connections, each with limits on header size, header time and lifetime.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::{About, Running, Sampler, Snapshot, Sources, export, host, panel, port};
use crate::error::{Code, UserError};
use crate::runtime::task;

/// Concurrent connections. A few users (a browser opens up to 6 connections per page) and a few scrapers need no more.
pub const CONNECTIONS: usize = 64;

/// A header takes one round trip; a client that needs longer only occupies a connection. This also ends idle
/// connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// hyper's minimum; a browser sends less than 8 KiB of headers.
const HEADER_BYTES: usize = 8192;

/// A connection of this age is closed after its current response, so that a slow reader can't stay.
const LIFETIME: Duration = Duration::from_secs(60);

/// The connection is cut if that response has not been read after this time.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// Accepting fails when no file descriptors are left; a pause leaves the CPU to tasks that will close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The page requests the state each second.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Shares and rates cover the last 3 seconds, as on the panel.
const WINDOW: Duration = Duration::from_secs(3);

/// The width of the table, which need not fit a terminal here.
const TEXT_WIDTH: usize = 120;

const PAGE: &str = include_str!("page.html");

/// Refuses an address that other machines can reach, unless the operator allowed it.
pub fn check_addr(addr: SocketAddr, allow: bool) -> Result<(), UserError> {
    if allow || addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(UserError::usage(
        Code::MetricsAddressOpen,
        format!("the metrics address {addr} can be reached from other machines"),
        "the page and the metrics have no password",
        format!("use 127.0.0.1:{}, or add  --metrics-allow  if you trust your network", addr.port()),
    ))
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address and the port.
    pub addr: SocketAddr,
    /// The host names that requests may use, besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// A listener, open until dropped.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    _serving: Running,
}

impl Listener {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// The data that responses are made from.
#[derive(Clone)]
struct Shown {
    sources: Sources,
    now: watch::Receiver<Arc<Snapshot>>,
    ready: watch::Receiver<bool>,
    prometheus: Option<PrometheusHandle>,
    hosts: Arc<[String]>,
    /// The last rendered metrics, and when they were rendered.
    written: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Shown {
    /// The metrics, rendered again if they are older than a second, so that many scrapers cost no more than one.
    fn metrics(&self, prometheus: &PrometheusHandle) -> Bytes {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match &*written {
            Some((at, text)) if at.elapsed() < SAMPLE_EVERY => text.clone(),
            _ => {
                export::export(&self.sources);
                let text = Bytes::from(prometheus.render());
                *written = Some((Instant::now(), text.clone()));
                text
            }
        }
    }
}

/// Listens on `addr`, and answers only requests for addresses and `localhost`. Otherwise like [`serve_at`].
pub async fn serve(
    addr: SocketAddr,
    sources: Sources,
    ready: watch::Receiver<bool>,
    prometheus: Option<PrometheusHandle>,
) -> Result<Listener, UserError> {
    serve_at(Place { addr, hosts: Vec::new() }, sources, ready, prometheus).await
}

/// Listens at a place. `ready` is true while messages are received. Without `prometheus` there is no `/metrics`.
pub async fn serve_at(
    place: Place,
    sources: Sources,
    ready: watch::Receiver<bool>,
    prometheus: Option<PrometheusHandle>,
) -> Result<Listener, UserError> {
    let Place { addr, hosts } = place;
    let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error))?;
    let addr = listener.local_addr().map_err(|error| cannot_listen(addr, &error))?;
    let mut sampler = Sampler::new(sources.clone(), WINDOW);
    let (publish, now) = watch::channel(Arc::new(sampler.snapshot()));
    let shown = Shown { sources, now, ready, prometheus, hosts: hosts.into(), written: Arc::default() };
    let serving = task::spawn(async move {
        let sample = async {
            let mut ticks = tokio::time::interval(SAMPLE_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                publish.send_replace(Arc::new(sampler.snapshot()));
            }
        };
        tokio::select! {
            () = sample => {}
            () = accept(listener, shown) => {}
        }
    });
    Ok(Listener { addr, _serving: Running(serving) })
}

fn cannot_listen(addr: SocketAddr, error: &io::Error) -> UserError {
    let (what, cause) = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = port::holder(addr.port()).map(|holder| format!(": {holder} has it"));
            (format!("the metrics port {} is in use", addr.port()), format!("{error}{}", holder.unwrap_or_default()))
        }
        _ => (format!("cannot serve metrics on {addr}"), error.to_string()),
    };
    let help = "add  --metrics-addr 127.0.0.1:0  for a free port, or  --metrics-addr none";
    UserError::usage(Code::MetricsPortInUse, what, cause, help)
}

async fn accept(listener: TcpListener, shown: Shown) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(target: "batchpipe::status", error = ?error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.is_finished());
        while oldest_first.len() >= CONNECTIONS {
            if let Some(oldest) = oldest_first.pop_front() {
                oldest.abort();
            }
        }
        oldest_first.push_back(connections.spawn(converse(stream, shown.clone())));
    }
}

async fn converse(stream: TcpStream, shown: Shown) {
    let service = service_fn(|request| {
        let response = answer(&request, &shown);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    // It does not matter how a client's connection ends.
    if tokio::time::timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        drop(tokio::time::timeout(LAST_ANSWER, connection).await);
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if !host::is_allowed(request, &shown.hosts) {
        let told = "this page is not served under this host name; use an address, or start with  --metrics-host NAME\n";
        return text(StatusCode::MISDIRECTED_REQUEST, told);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" if wants_html(request) => page(),
        "/" => text(StatusCode::OK, table(&shown.now.borrow())),
        "/metrics" => match &shown.prometheus {
            Some(prometheus) => {
                reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shown.metrics(prometheus))
            }
            None => text(StatusCode::NOT_FOUND, "no Prometheus recorder is installed in this process\n"),
        },
        "/healthz" if shown.sources.stall.is_unwell() => {
            let quiet = shown.sources.stall.quiet().as_secs();
            text(StatusCode::SERVICE_UNAVAILABLE, format!("nothing has progressed for {quiet} s\n"))
        }
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if *shown.ready.borrow() => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not receiving\n"),
        "/api/v1/state" => match serde_json::to_string(&**shown.now.borrow()) {
            Ok(state) => reply(StatusCode::OK, "application/json", state),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "the pages are /, /metrics, /healthz, /readyz and /api/v1/state\n"),
    }
}

fn wants_html(request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accept| accept.contains("text/html"))
}

fn table(now: &Snapshot) -> String {
    let about = About { command: now.command, queue: now.queue_name.clone(), ..About::default() };
    panel::render(now, &panel::head(&about, now.slots), "", TEXT_WIDTH, false) + "\n"
}

fn page() -> Response<Full<Bytes>> {
    let mut response = reply(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    // The page is one file: it loads nothing from elsewhere, and sends requests only to this process.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
        frame-ancestors 'none'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
