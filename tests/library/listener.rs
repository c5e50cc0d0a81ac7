//! The status listener over real sockets: what it answers, and that no client can hold it up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use batchpipe::error::{Code, Exit, Stage};
use batchpipe::observe::listener::{CONNECTIONS, Listener, Place, check_addr, serve, serve_at};
use batchpipe::observe::{About, Sources, export};
use batchpipe::record::metrics;
use batchpipe::record::{Ended, Meters};
use batchpipe::services::queue::Counts;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const SECRET: &str = "s3://acme-out/private/";

fn sources() -> Sources {
    let about = About {
        command: "run",
        queue: "jobs".into(),
        process: "convert --password x".into(),
        output: SECRET.into(),
        ..About::default()
    };
    let sources = Sources::new(Arc::new(Meters::default()), about);
    sources.meters.received(Some(SystemTime::now()), 1, 1);
    sources.meters.turn(Stage::Download).ended(true);
    sources.meters.ended(Ended::Ok);
    sources.queue.set(Counts { visible: 7, in_flight: 2, delayed: 1 });
    sources
}

async fn listen(prometheus: Option<PrometheusHandle>) -> (Listener, watch::Sender<bool>) {
    let (ready, is_ready) = watch::channel(false);
    (serve(([127, 0, 0, 1], 0).into(), sources(), is_ready, prometheus).await.unwrap(), ready)
}

/// Sends a request and returns the head and the body of the answer.
async fn request(addr: SocketAddr, line: &str, headers: &str) -> (String, String) {
    asked(addr, &format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")).await
}

/// The same for a request as it stands.
async fn asked(addr: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_string(), body.to_string())
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_path_answers_and_no_other() {
    let (listener, ready) = listen(None).await;
    let addr = listener.addr();
    for (line, expected) in [
        ("GET /", 200),
        ("GET /?x=1", 200),
        ("GET /healthz", 200),
        ("GET /readyz", 503),
        ("GET /api/v1/state", 200),
        ("GET /metrics", 404),
        ("GET /../etc/passwd", 404),
        ("POST /", 405),
        ("DELETE /api/v1/state", 405),
    ] {
        let (head, _) = request(addr, line, "").await;
        assert_eq!(status(&head), expected, "{line}: {head}");
    }
    ready.send_replace(true);
    assert_eq!(status(&request(addr, "GET /readyz", "").await.0), 200, "receiving");
    ready.send_replace(false);
    assert_eq!(status(&request(addr, "GET /readyz", "").await.0), 503, "draining");
    assert!(request(addr, "POST /", "").await.0.to_lowercase().contains("allow: get, head"));
}

#[tokio::test]
async fn a_head_request_gets_the_head_of_the_answer_only() {
    let (listener, _ready) = listen(None).await;
    let (head, body) = request(listener.addr(), "HEAD /", "accept: text/html\r\n").await;
    assert_eq!((status(&head), body.as_str()), (200, ""));
    let length: usize =
        head.to_lowercase().split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert_eq!(length, request(listener.addr(), "GET /", "accept: text/html\r\n").await.1.len());
}

#[tokio::test]
async fn a_browser_gets_the_page_and_curl_a_table() {
    let (listener, _ready) = listen(None).await;
    let (head, page) = request(listener.addr(), "GET /", "accept: text/html,*/*\r\n").await;
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(page.starts_with("<!doctype html>") && !page.contains("://"), "no outside assets");
    let (head, table) = request(listener.addr(), "GET /", "accept: */*\r\n").await;
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(table.starts_with("batchpipe run · queue jobs · 1 slots\n") && table.contains("  download "), "{table}");
    assert!(!table.contains('\x1b'));
}

#[tokio::test]
async fn the_state_is_json_without_outputs_or_programs() {
    let (listener, _ready) = listen(None).await;
    let (_, body) = request(listener.addr(), "GET /api/v1/state", "").await;
    let state: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(state["command"], "run");
    assert_eq!(state["jobs"]["received"], 1);
    assert_eq!(state["queue"]["waiting"], 7);
    assert_eq!(state["stages"].as_array().unwrap().len(), 5);
    for path in ["GET /", "GET /api/v1/state"] {
        let (_, body) = request(listener.addr(), path, "").await;
        assert!(!body.contains("acme-out") && !body.contains("password"), "{path}: {body}");
    }
}

/// Requires that every line is valid: HELP and TYPE before the first sample of a metric, no series twice.
fn check_exposition(page: &str) -> BTreeMap<String, f64> {
    let (mut helped, mut typed, mut series) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(rest.split(' ').next().unwrap()), "helped twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name, kind).is_none(), "typed twice: {line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let of_histogram = |suffix| bare.strip_suffix(suffix).filter(|name| typed.get(name) == Some(&"histogram"));
            let metric = ["_bucket", "_sum", "_count"].into_iter().find_map(of_histogram).unwrap_or(bare);
            assert!(typed.contains_key(metric) && helped.contains(metric), "a sample before its TYPE or HELP: {line}");
            assert!(name == bare || name.ends_with("\"}"), "{line}");
            assert!(series.insert(name.to_string(), value.parse().unwrap()).is_none(), "twice: {line}");
        }
    }
    series
}

/// A stranger's page may give its own name this address; the browser then asks for that name.
#[tokio::test]
async fn only_addresses_localhost_and_allowed_names_are_answered() {
    let (_ready, is_ready) = watch::channel(true);
    let place = Place { addr: ([127, 0, 0, 1], 0).into(), hosts: vec!["worker-1.internal".to_owned()] };
    let listener = serve_at(place, sources(), is_ready, None).await.unwrap();
    let addr = listener.addr();
    let paths = ["/", "/healthz", "/readyz", "/metrics", "/api/v1/state", "/nothing"];
    for host in
        ["evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.nip.io", "", "worker-2.internal"]
    {
        for path in paths {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let (head, body) = asked(addr, &head).await;
            assert_eq!(status(&head), 421, "{host} {path}: {head}");
            assert!(body.contains("--metrics-host NAME") && body.lines().count() == 1, "{body}");
        }
    }
    let (head, _) =
        asked(addr, "GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&head), 421, "a name in the line of the request");
    let port = addr.port();
    for host in ["127.0.0.1", "10.0.0.7", "[::1]", "localhost", "LOCALHOST", "worker-1.internal", "Worker-1.Internal."]
    {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let head = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            assert_eq!(status(&asked(addr, &head).await.0), 200, "{host}");
        }
    }
    // An old probe names no host; no browser leaves it out.
    assert_eq!(status(&asked(addr, "GET /healthz HTTP/1.0\r\n\r\n").await.0), 200);
}

#[tokio::test]
async fn metrics_are_valid_and_rendered_once_a_second_however_many_ask() {
    // The recorder is that of the whole process; no other test here exports.
    let prometheus = export::install().unwrap();
    assert!(export::install().is_err(), "a recorder that is there is left alone");
    let (_ready, ready) = watch::channel(true);
    let sources = sources();
    let listener = serve(([127, 0, 0, 1], 0).into(), sources.clone(), ready, Some(prometheus)).await.unwrap();
    let done = "batchpipe_jobs_total{outcome=\"ok\"}";
    let (head, page) = request(listener.addr(), "GET /metrics", "").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(check_exposition(&page)[done], 1.0);
    sources.meters.ended(Ended::Ok);
    metrics::bad_input(Code::DataDamaged);
    metrics::http_request("store", "get", "throttled");
    // Whoever asks within the second gets the same page, to the byte.
    let began = Instant::now();
    let again = request(listener.addr(), "GET /metrics", "").await.1;
    assert!(again == page || began.elapsed() > Duration::from_millis(500), "{again}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let series = check_exposition(&request(listener.addr(), "GET /metrics", "").await.1);
    assert_eq!(series[done], 2.0);
    assert_eq!(series["batchpipe_bad_inputs_total{code=\"BP303\"}"], 1.0);
    assert_eq!(series["batchpipe_queue_messages{state=\"visible\"}"], 7.0);
    assert!(series.contains_key("batchpipe_lease_lost_total") && series.contains_key("process_resident_memory_bytes"));
}

#[tokio::test]
async fn two_hundred_idle_clients_do_not_hold_up_a_scrape() {
    let (listener, _ready) = listen(None).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(listener.addr()).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(status(&request(listener.addr(), "GET /healthz", "").await.0), 200);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // The oldest had to go: the newest take no more than the limit.
    let mut cut = 0;
    for mut client in idle {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(20), client.read(&mut byte)).await;
        cut += usize::from(read.is_ok());
    }
    assert!(cut >= 200 - CONNECTIONS, "{cut} of 200 were cut");
}

#[tokio::test]
async fn a_client_that_dribbles_its_header_is_cut_and_so_is_one_that_sends_too_much() {
    let (listener, _ready) = listen(None).await;
    let mut slow = TcpStream::connect(listener.addr()).await.unwrap();
    let dribble = async {
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if slow.write_all(b"a: b\r\n").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        began.elapsed()
    };
    let flood = async {
        let mut client = TcpStream::connect(listener.addr()).await.unwrap();
        let megabyte = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
        // Refused while it is still being written.
        let written = client.write_all(&megabyte).await;
        let mut answer = Vec::new();
        let read = client.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(written.is_err() || read.is_err() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    };
    let (lasted, ()) = tokio::join!(dribble, flood);
    assert!(lasted < Duration::from_secs(10), "still there after {lasted:?}");
    assert_eq!(status(&request(listener.addr(), "GET /healthz", "").await.0), 200);
}

#[tokio::test]
async fn a_port_in_use_is_a_mistake_with_a_way_out() {
    let (first, _ready) = listen(None).await;
    let (_unready, ready) = watch::channel(true);
    let error = serve(first.addr(), sources(), ready, None).await.unwrap_err();
    assert_eq!((error.code, error.exit), (Code::MetricsPortInUse, Exit::Usage));
    assert!(error.help.contains("--metrics-addr none"), "{error}");
    let ours = format!("(pid {})", std::process::id());
    assert!(!cfg!(target_os = "linux") || error.cause.contains(&ours), "{error}");
}

#[tokio::test]
async fn dropping_the_listener_frees_its_port() {
    let (listener, _ready) = listen(None).await;
    let addr = listener.addr();
    drop(listener);
    let began = Instant::now();
    while TcpStream::connect(addr).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "still listening");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn an_address_that_others_can_reach_must_be_allowed() {
    for addr in ["127.0.0.1:9464", "[::1]:9464", "127.9.9.9:1", "[::ffff:127.0.0.1]:9464"] {
        assert!(check_addr(addr.parse().unwrap(), false).is_ok(), "{addr}");
    }
    for addr in ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464", "[::ffff:10.0.0.1]:9464"] {
        assert_eq!(check_addr(addr.parse().unwrap(), false).unwrap_err().code, Code::MetricsAddressOpen, "{addr}");
        assert!(check_addr(addr.parse().unwrap(), true).is_ok(), "{addr}");
    }
}

#[tokio::test]
async fn health_fails_when_nothing_has_moved_for_half_of_what_ends_the_worker() {
    let (_ready, is_ready) = watch::channel(true);
    let sources = sources();
    let stall = sources.stall.clone();
    let listener = serve(([127, 0, 0, 1], 0).into(), sources, is_ready, None).await.unwrap();
    let limit = Duration::from_secs(800);
    for (quiet, expected) in [(0, 200), (399, 200), (400, 503), (3, 200)] {
        stall.set(Duration::from_secs(quiet), limit);
        let (head, body) = request(listener.addr(), "GET /healthz", "").await;
        assert_eq!(status(&head), expected, "after {quiet} s: {body}");
        assert!(expected == 200 || body.contains("for 400 s"), "{body}");
    }
}
