//! What the AWS adapters make of answers that no test server gives: cut bodies, checksums that are wrong or of something else,
//! errors in a success, ranges ignored, headers that are no text.

mod endless;
mod listings;
mod proof;
mod queues;

use crate::scripted::Scripted;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::job::Location;
use batchpipe::services::aws::Aws;
use batchpipe::services::aws::address::QueueAddress;
use batchpipe::services::queue::JobQueue;
use batchpipe::services::queue::sqs::SqsQueue;
use batchpipe::services::store::s3::S3Store;
use batchpipe::services::store::{ObjectStore, Part, Version, Writing};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

fn aws(server: &Scripted) -> Aws {
    aws_at(&server.url())
}

fn aws_at(url: &str) -> Aws {
    let credentials = Credentials::new("AKIDCANARY", "SECRETCANARY", Some("TOKENCANARY".to_owned()), None, "tests");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build();
    Aws::from_config(config).unwrap()
}

const CREATED: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";

fn at() -> Location {
    Location::s3("bucket", "key")
}

async fn get(server: &Scripted, range: std::ops::Range<u64>) -> Result<Vec<u8>, ServiceError> {
    let reading = S3Store::new(&aws(server)).get(&at(), range, &Version::default()).await?;
    let all: Vec<Bytes> = reading.body.try_collect().await?;
    Ok(all.concat())
}

/// An answer with a body; `headers` are lines without their ends.
fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

fn error(status: &str, code: &str) -> String {
    answer(
        status,
        &["Content-Type: application/xml"],
        &format!("<Error><Code>{code}</Code><Message>m</Message></Error>"),
    )
}

#[tokio::test]
async fn a_body_that_is_cut_is_corrupt_and_asked_for_once() {
    let cut =
        "HTTP/1.1 206 Partial\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\nConnection: close\r\n\r\n01234";
    let server = Scripted::start(&[cut]);
    let error = get(&server, 0..10).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Corrupt, "{error}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "retries belong to the stages");
    assert!(requests[0].contains("range: bytes=0-9\r\n"), "{requests:?}");
}

#[tokio::test]
async fn requests_name_batchpipe_once_and_its_version() {
    let server = Scripted::start(&[&answer("200 OK", &["ETag: \"e\""], "0123456789")]);
    get(&server, 0..10).await.unwrap();
    let request = server.requests().remove(0);
    let agents: Vec<&str> = request.lines().filter(|line| line.contains("user-agent")).collect();
    let [agent] = agents[..] else { panic!("{agents:?}") };
    assert!(agent.starts_with(concat!("user-agent: batchpipe/", env!("CARGO_PKG_VERSION"), " ")), "{agent}");
}

#[tokio::test]
async fn a_body_that_is_not_what_its_checksum_says_is_corrupt() {
    let altered = answer("200 OK", &["ETag: \"e\"", "x-amz-checksum-crc32: AAAAAA=="], "0123456789");
    let error = get(&Scripted::start(&[&altered]), 0..10).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ServiceErrorKind::Corrupt, "ChecksumMismatch"));
}

#[tokio::test]
async fn a_server_that_ignores_the_range_still_gives_the_bytes_asked_for() {
    let everything = answer("200 OK", &["ETag: \"e\""], "0123456789");
    assert_eq!(get(&Scripted::start(&[&everything]), 3..6).await.unwrap(), b"345");
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_refused() {
    let other = answer("206 Partial Content", &["Content-Range: bytes 0-2/10"], "012");
    let error = get(&Scripted::start(&[&other]), 3..6).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Corrupt);
}

#[tokio::test]
async fn a_throttled_request_is_sent_once_and_read_as_throttled() {
    let server = Scripted::start(&[&error("503 Slow Down", "SlowDown")]);
    let error = get(&server, 0..10).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ServiceErrorKind::Throttled, "SlowDown"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_error_inside_a_success_is_an_error() {
    let created = answer("200 OK", &[], CREATED);
    let server = Scripted::start(&[&created, &error("200 OK", "InternalError")]);
    let store = S3Store::new(&aws(&server));
    let upload = store.begin(&at(), &Writing::default()).await.unwrap();
    let part = Part { number: 1, etag: "e".to_owned(), size: 1, checksum: None };
    assert_eq!(upload.complete(&[part]).await.unwrap_err().kind, ServiceErrorKind::Unavailable);
}

/// Completes an upload of one part of one byte that the server has forgotten, with an object of `etag` there.
async fn complete_forgotten(etag: &str) -> Result<(), ServiceError> {
    let created = answer("200 OK", &[], CREATED);
    let found = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: \"{etag}\"\r\nConnection: close\r\n\r\n");
    let server = Scripted::start(&[&created, &error("404 Not Found", "NoSuchUpload"), &found]);
    let store = S3Store::new(&aws(&server));
    let upload = store.begin(&at(), &Writing::default()).await.unwrap();
    let part = Part { number: 1, etag: "\"0cc175b9c0f1b6a831c399e269772661\"".to_owned(), size: 1, checksum: None };
    upload.complete(&[part]).await
}

#[tokio::test]
async fn an_upload_whose_completion_was_lost_is_done_if_its_object_is_there() {
    assert!(complete_forgotten("another-object").await.is_err());
    let sum: String = {
        use md5::{Digest, Md5};
        let part = Md5::digest(b"a");
        Md5::digest(part).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    complete_forgotten(&format!("{sum}-1")).await.unwrap();
}

#[tokio::test]
async fn a_server_without_our_checksum_gets_objects_without_it() {
    let refused = error("501 Not Implemented", "NotImplemented");
    let taken = answer("200 OK", &["ETag: \"e\""], "");
    let server = Scripted::start(&[&refused, &taken, &taken]);
    let store = S3Store::new(&aws(&server));
    for _ in 0..2 {
        store.put(&at(), Bytes::from_static(b"x"), &Writing::default()).await.unwrap();
    }
    let requests = server.requests();
    let checked: Vec<bool> = requests.iter().map(|head| head.contains("x-amz-checksum-crc64nvme")).collect();
    assert_eq!(checked, [true, false, false], "it is refused once and not tried again");
    // What no checksum protects is signed.
    assert!(requests[0].contains("x-amz-content-sha256: unsigned-payload"));
    assert!(!requests[2].contains("unsigned-payload"));
}

#[tokio::test]
async fn a_message_that_was_altered_on_its_way_is_marked() {
    let json = ["Content-Type: application/x-amz-json-1.0"];
    let attributes = answer("200 OK", &json, r#"{"Attributes":{"VisibilityTimeout":"30"}}"#);
    let sum = "5d41402abc4b2a76b9719d911017c592";
    let message =
        |body: &str| format!(r#"{{"MessageId":"m","ReceiptHandle":"r","Body":"{body}","MD5OfBody":"{sum}"}}"#);
    let body = format!(r#"{{"Messages":[{},{}]}}"#, message("hello"), message("hullo"));
    let server = Scripted::start(&[&attributes, &answer("200 OK", &json, &body)]);
    let address = QueueAddress::parse(&format!("{}/1/jobs", server.url())).unwrap();
    let queue = SqsQueue::open(&address, &aws(&server)).await.unwrap();
    let second = std::time::Duration::from_secs(1);
    let received = queue.receive(10, second, second).await.unwrap();
    assert_eq!(received.iter().map(|message| message.intact).collect::<Vec<_>>(), [true, false]);
    assert!(!format!("{queue:?}").contains("CANARY"));
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_in_what_is_logged_of_a_store() {
    let words = "The Canonical String for this request should have been x-amz-security-token:TOKENCANARY AKIDCANARY";
    let xml = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{words}</Message></Error>");
    let server = Scripted::start(&[&answer("403 Forbidden", &[], &xml)]);
    let aws = aws(&server);
    let shown = format!("{aws:?} {:?}", S3Store::new(&aws));
    assert!(!shown.contains("CANARY"), "{shown}");
    let error = get(&server, 0..10).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Credentials);
    assert!(!format!("{error:?} {error}").contains("CANARY"), "{error:?}");
}

#[tokio::test]
async fn a_refusal_in_another_format_is_still_a_refusal() {
    let xml = answer("403 Forbidden", &["Content-Type: text/xml"], "<ErrorResponse><Error/></ErrorResponse>");
    let server = Scripted::start(&[&xml]);
    let address = QueueAddress::parse(&format!("{}/1/jobs", server.url())).unwrap();
    let error = SqsQueue::open(&address, &aws(&server)).await.unwrap_err();
    assert_eq!(error.code.0, 104, "{error}");
}

/// A server that forgets the marker it is given would be asked for the same page for ever.
#[tokio::test]
async fn a_listing_that_does_not_go_on_is_an_error_and_not_without_end() {
    let xml = ["Content-Type: application/xml"];
    let object = "<Contents><Key>k</Key><Size>1</Size></Contents>";
    let page = format!(
        "<ListBucketResult><IsTruncated>true</IsTruncated>{object}<NextContinuationToken>t</NextContinuationToken>\
        </ListBucketResult>"
    );
    let server = Scripted::start(&[answer("200 OK", &xml, &page).as_str(); 20]);
    let store = S3Store::new(&aws(&server));
    let prefix = Location::s3("bucket", "");
    let listed: Vec<_> = store.list(&prefix).take(10).collect().await;
    let error = listed.into_iter().find_map(Result::err).expect("it does not go on");
    assert_eq!((error.kind, error.code.as_str()), (ServiceErrorKind::Invalid, "RepeatedPage"));
    let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>\
                <NextUploadIdMarker>u</NextUploadIdMarker><Upload><Key>k</Key><UploadId>u</UploadId></Upload>\
                </ListMultipartUploadsResult>";
    let server = Scripted::start(&[answer("200 OK", &xml, page).as_str(); 20]);
    let error = S3Store::new(&aws(&server)).unfinished(&prefix).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ServiceErrorKind::Invalid, "RepeatedPage"));
}

/// What a tool stored that writes names in Latin-1, and what many a web page says of its own expiry.
#[tokio::test]
async fn an_object_whose_headers_are_no_text_or_no_date_is_read_all_the_same() {
    let latin = |header: &str| {
        let text = answer("206 Partial Content", &["Content-Range: bytes 0-4/5", "ETag: \"e\"", header], "hello");
        text.chars().map(|char| u8::try_from(char).unwrap()).collect::<Vec<u8>>()
    };
    for header in [
        "Content-Disposition: attachment; filename=caf\u{e9}",
        "x-amz-meta-name: caf\u{e9}",
        "Expires: caf\u{e9}",
        "Expires: 0",
        "Content-Language: \u{fc}, de",
    ] {
        let server = Scripted::start_with_bytes(vec![latin(header)]);
        assert_eq!(get(&server, 0..5).await.unwrap(), b"hello", "{header}");
        let server = Scripted::start_with_bytes(vec![latin(header)]);
        let found = S3Store::new(&aws(&server)).head(&at()).await.unwrap().unwrap();
        assert_eq!((found.version.etag.as_deref(), found.metadata.len()), (Some("e"), 0), "{header}");
    }
}

/// S3 sends the checksum of the parts' checksums where a range covers an object that was uploaded in parts, and some servers that of
/// the whole object with any range.
#[tokio::test]
async fn a_checksum_that_is_not_that_of_the_bytes_is_none() {
    let wrong = "x-amz-checksum-crc32: AAAAAA==";
    let read = |range: &'static str, kind: &'static str| async move {
        let kind = format!("x-amz-checksum-type: {kind}");
        let headers = [&format!("Content-Range: bytes {range}"), "ETag: \"e-2\"", wrong, &kind];
        get(&Scripted::start(&[&answer("206 Partial Content", &headers, "hello")]), 0..5).await
    };
    assert_eq!(read("0-4/5", "COMPOSITE").await.unwrap(), b"hello");
    assert_eq!(read("0-4/50", "FULL_OBJECT").await.unwrap(), b"hello");
    assert_eq!(read("0-4/5", "FULL_OBJECT").await.unwrap_err().kind, ServiceErrorKind::Corrupt);
}

#[tokio::test]
async fn a_weak_etag_is_not_sent_as_a_condition_and_a_changed_object_is_still_noticed() {
    let part = |range: &str, etag: &str| {
        let (range, etag) = (format!("Content-Range: bytes {range}/10"), format!("ETag: {etag}"));
        answer("206 Partial Content", &[&range, &etag], "01234")
    };
    let answers = [part("0-4", "W/\"v1\""), part("5-9", "W/\"v1\""), part("5-9", "\"v1\""), part("5-9", "W/\"v2\"")];
    let server = Scripted::start(&answers.each_ref().map(String::as_str));
    let store = S3Store::new(&aws(&server));
    let pin = store.get(&at(), 0..5, &Version::default()).await.unwrap().version;
    // A proxy may weaken one answer and not another: the object is the same.
    for _ in 0..2 {
        assert_eq!(store.get(&at(), 5..10, &pin).await.unwrap().size, 10);
    }
    let changed = store.get(&at(), 5..10, &pin).await.map(|reading| reading.size).unwrap_err();
    assert_eq!(changed.kind, ServiceErrorKind::Changed, "{changed:?}");
    let sent = format!("{:?}", server.requests()).to_lowercase();
    assert!(sent.contains("range") && !sent.contains("if-match"), "{sent}");
}
