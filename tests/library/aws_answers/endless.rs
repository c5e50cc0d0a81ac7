//! Answers without end: none may take memory without end, or hold a call beyond its deadline.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use batchpipe::record::Meters;

use super::*;

/// The most that a server here sends before it gives up: far more than any bound.
const MOST: u64 = 1 << 30;

/// A server that begins every answer with `head` and then sends `more` for ever, pausing `pause` each time.
struct Endless {
    url: String,
    sent: Arc<AtomicU64>,
}

impl Endless {
    fn start(head: &'static str, more: Vec<u8>, pause: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (more, counted) = (more.clone(), Arc::clone(&counted));
                std::thread::spawn(move || serve(stream, head, &more, pause, &counted));
            }
        });
        Self { url, sent }
    }

    fn aws(&self) -> Aws {
        aws_at(&self.url)
    }
}

fn serve(stream: TcpStream, head: &str, more: &[u8], pause: Duration, sent: &AtomicU64) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::from("-"), 0);
    while !matches!(line.as_str(), "" | "\r\n") {
        line.clear();
        reader.read_line(&mut line).unwrap_or(0);
        let told = line.to_lowercase();
        length = told.strip_prefix("content-length: ").map_or(length, |told| told.trim().parse().unwrap());
    }
    std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap_or(0);
    let stream = reader.get_mut();
    let mut ended = stream.write_all(head.as_bytes());
    while ended.is_ok() && sent.load(Relaxed) < MOST {
        ended = stream.write_all(more).and_then(|()| stream.flush());
        sent.fetch_add(more.len() as u64, Relaxed);
        std::thread::sleep(pause);
    }
}

/// One chunk of 64 KiB of a body without a length.
fn chunk() -> Vec<u8> {
    [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat()
}

const ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n";
const SUCCESS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sockets and hyper hold some more than what the SDK has read.
const IN_BETWEEN: u64 = 32 << 20;

/// Every call of the store that is made beside reading the bytes of an object.
async fn every_call(store: &S3Store) -> Vec<(&'static str, Result<(), ServiceError>)> {
    let (at, how) = (at(), Writing::default());
    let unfinished = batchpipe::services::store::Unfinished {
        location: at.clone(),
        id: "u".to_owned(),
        begun: None,
        bytes: None,
        writer: batchpipe::services::store::Writer::Unknown,
    };
    vec![
        ("get", store.get(&at, 0..10, &Version::default()).await.map(drop)),
        ("put", store.put(&at, Bytes::from_static(b"x"), &how).await),
        ("begin", store.begin(&at, &how).await.map(drop)),
        ("list", store.list(&at).try_collect::<Vec<_>>().await.map(drop)),
        ("unfinished", store.unfinished(&at).await.map(drop)),
        ("discard", store.discard(&unfinished).await),
    ]
}

#[tokio::test]
async fn an_error_without_end_is_read_up_to_a_bound() {
    let server = Endless::start(ERROR, chunk(), Duration::ZERO);
    let store = S3Store::new(&server.aws());
    let before = server.sent.load(Relaxed);
    for (call, ended) in every_call(&store).await {
        let error = ended.expect_err(call);
        assert_eq!(error.kind, ServiceErrorKind::Unavailable, "{call}: {error}");
        assert!(error.message.contains("longer than 1048576 bytes"), "{call}: {error}");
    }
    assert!(server.sent.load(Relaxed) - before < 6 * IN_BETWEEN, "{}", server.sent.load(Relaxed));
}

#[tokio::test]
async fn a_success_without_end_is_read_up_to_a_bound() {
    let server = Endless::start(SUCCESS, chunk(), Duration::ZERO);
    let store = S3Store::new(&server.aws());
    for (call, ended) in every_call(&store).await.into_iter().filter(|(call, _)| *call != "get") {
        let error = ended.expect_err(call);
        assert!(error.is_transient(), "{call}: {error}");
    }
    assert!(server.sent.load(Relaxed) < 6 * IN_BETWEEN, "{}", server.sent.load(Relaxed));
}

#[tokio::test]
async fn an_answer_of_a_queue_without_end_is_read_up_to_a_bound() {
    let server = Endless::start(JSON, chunk(), Duration::ZERO);
    let address = QueueAddress::parse(&format!("{}/1/jobs", server.url)).unwrap();
    let error = SqsQueue::open(&address, &server.aws()).await.unwrap_err();
    assert!(error.cause.contains("longer than 1048576 bytes"), "{error}");
    assert!(server.sent.load(Relaxed) < 6 * IN_BETWEEN, "{}", server.sent.load(Relaxed));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Endless::start("HTTP/1.1 200 OK\r\n", b"x-filler: 0123456789abcdef\r\n".repeat(1000), Duration::ZERO);
    let error = S3Store::new(&server.aws()).head(&at()).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Unavailable, "{error}");
    assert!(server.sent.load(Relaxed) < IN_BETWEEN, "{}", server.sent.load(Relaxed));
}

/// hyper passes over every such line and waits for the answer. What ends it is the deadline of the call.
#[tokio::test]
async fn interim_answers_without_end_hold_nothing_beyond_the_deadline() {
    let server = Endless::start("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100), Duration::from_millis(1));
    let store = S3Store::new(&server.aws());
    let retry =
        batchpipe::services::retry::Retry { attempts: 1, deadline: Duration::from_secs(1), ..Default::default() };
    let call = batchpipe::services::retry::Call::store("head");
    let error = retry.attempt(&Meters::default(), call, store.head(&at())).await.unwrap_err();
    assert_eq!(error.code, "Timeout");
    // The connection is given up with the call: soon nothing more is taken from it.
    let began = Instant::now();
    loop {
        let before = server.sent.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if server.sent.load(Relaxed) == before {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the connection is still read");
    }
}

#[tokio::test]
async fn an_answer_that_trickles_is_given_up_at_the_deadline() {
    let server = Endless::start(SUCCESS, b"1\r\n \r\n".to_vec(), Duration::from_millis(20));
    let store = S3Store::new(&server.aws());
    let retry =
        batchpipe::services::retry::Retry { attempts: 1, deadline: Duration::from_secs(1), ..Default::default() };
    let began = Instant::now();
    let call = batchpipe::services::retry::Call::store("begin");
    let error = retry.attempt(&Meters::default(), call, store.begin(&at(), &Writing::default())).await;
    assert_eq!(error.unwrap_err().code, "Timeout");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// What a browser would unpack is what the object is.
#[tokio::test]
async fn a_packed_object_is_not_unpacked_on_the_way() {
    let headers = ["Content-Range: bytes 0-4/5", "ETag: \"e\"", "Content-Encoding: gzip"];
    let server = Scripted::start(&[&answer("206 Partial Content", &headers, "01234")]);
    assert_eq!(get(&server, 0..5).await.unwrap(), b"01234");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = Scripted::start(&[&answer(status, &["Location: /bucket/key"], "")]);
        assert!(get(&server, 0..5).await.is_err(), "{status}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}
