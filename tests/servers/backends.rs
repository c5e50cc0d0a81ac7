//! S3 and SQS, against a server on the loopback: the conformance suites, and what is peculiar to the two adapters.
//!
//! Needs the lab servers: `cargo test --test servers -- --ignored` installs and starts them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::lab::Server;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::types::QueueAttributeName;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::job::Location;
use batchpipe::services::aws::Aws;
use batchpipe::services::aws::address::QueueAddress;
use batchpipe::services::queue::sqs::SqsQueue;
use batchpipe::services::queue::{JobQueue, Message, Outgoing, Receipt};
use batchpipe::services::store::s3::S3Store;
use batchpipe::services::store::{ObjectStore, Upload, Version, Writing};
use bytes::Bytes;
use futures::TryStreamExt;

const MIB: usize = 1024 * 1024;

fn configuration(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}

fn aws(url: &str) -> Aws {
    Aws::from_config(configuration(url)).unwrap()
}

/// A name that no other test uses, of this process or of an earlier one.
fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A store with a bucket of its own.
async fn store(server: &Server) -> (S3Store, Location) {
    let aws = aws(&server.url());
    let bucket = fresh("bucket");
    aws.s3().create_bucket().bucket(&bucket).send().await.unwrap();
    (S3Store::new(&aws), Location::s3(bucket, ""))
}

async fn create_queue(aws: &Aws, attributes: &[(QueueAttributeName, String)]) -> String {
    let name = fresh("queue");
    let attributes = attributes.iter().cloned().collect();
    aws.sqs("us-east-1", None).create_queue().queue_name(&name).set_attributes(Some(attributes)).send().await.unwrap();
    name
}

async fn arn(aws: &Aws, name: &str) -> String {
    let client = aws.sqs("us-east-1", None);
    let url = client.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
    let attributes = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::QueueArn);
    attributes.send().await.unwrap().attributes.unwrap()[&QueueAttributeName::QueueArn].clone()
}

async fn open(aws: &Aws, address: &str) -> SqsQueue {
    SqsQueue::open(&QueueAddress::parse(address).unwrap(), aws).await.unwrap()
}

/// A queue of its own, with dead letters after five receives.
async fn queue(server: &Server) -> SqsQueue {
    let aws = aws(&server.url());
    let dead = create_queue(&aws, &[]).await;
    let arn = arn(&aws, &dead).await;
    let redrive = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":5}}"#);
    let name = create_queue(&aws, &[(QueueAttributeName::RedrivePolicy, redrive)]).await;
    open(&aws, &name).await
}

async fn whole(store: &S3Store, at: &Location) -> Result<Vec<u8>, ServiceError> {
    let reading = store.get(at, 0..u64::MAX, &Version::default()).await?;
    let size = reading.size;
    let all: Vec<Bytes> = reading.body.try_collect().await?;
    assert_eq!(size, all.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
    Ok(all.concat())
}

fn bytes(size: usize) -> Bytes {
    (0..size).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>().into()
}

async fn upload(store: &S3Store, at: &Location, data: &Bytes) -> Box<dyn Upload> {
    let upload = store.begin(at, &Writing::default()).await.unwrap();
    let mut parts = Vec::new();
    for (number, start) in (1..).zip((0..data.len()).step_by(5 * MIB)) {
        parts.push(upload.part(number, data.slice(start..data.len().min(start + 5 * MIB))).await.unwrap());
    }
    upload.complete(&parts).await.unwrap();
    upload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the lab servers: run tests/run"]
async fn s3_does_what_every_store_must() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    crate::store_conformance::conforms("S3", Arc::new(store), base).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the lab servers: run tests/run"]
async fn sqs_does_what_every_queue_must() {
    let server = Server::shared();
    let make = {
        let server = Arc::clone(&server);
        move || -> futures::future::BoxFuture<'static, Arc<dyn JobQueue>> {
            let server = Arc::clone(&server);
            Box::pin(async move { Arc::new(queue(&server).await) as Arc<dyn JobQueue> })
        }
    };
    crate::queue_conformance::conforms("SQS", make).await;
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn an_object_of_any_size_comes_back_whole() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    for size in [0, 1, 5 * MIB] {
        let at = base.join(&format!("{size}"));
        let data = bytes(size);
        store.put(&at, data.clone(), &Writing::default()).await.unwrap();
        assert!(whole(&store, &at).await.unwrap() == data, "{size}");
    }
    let at = base.join("parts");
    let data = bytes(12 * MIB);
    upload(&store, &at, &data).await;
    assert!(whole(&store, &at).await.unwrap() == data);
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_checksum_goes_with_every_object() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    let at = base.join("summed");
    store.put(&at, Bytes::from_static(b"123456789"), &Writing::default()).await.unwrap();
    let Location::S3 { bucket, key } = &at else { unreachable!("an S3 location") };
    let client = aws(&server.url()).s3();
    let head = client.head_object().bucket(bucket).key(key).checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
    // The check value of CRC-64/NVME.
    assert_eq!(head.send().await.unwrap().checksum_crc64_nvme(), Some("rosUhgp5mIg="));
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn odd_keys_are_written_read_and_listed_as_they_are() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    let keys =
        ["a b", "a+b", "100%", "%41", "ü", "a//b", "what?", "a#b", "🦀", "a/../b", "./x", "a&b=c;d", "tail/", "'\""];
    for key in keys {
        let at = base.join(key);
        store.put(&at, Bytes::from(key), &Writing::default()).await.unwrap();
        assert_eq!(whole(&store, &at).await.unwrap(), key.as_bytes(), "{key:?}");
        assert_eq!(store.head(&at).await.unwrap().unwrap().size, key.len() as u64, "{key:?}");
    }
    let mut listed: Vec<String> =
        store.list(&base).map_ok(|object| object.location.key().to_owned()).try_collect().await.unwrap();
    listed.sort_unstable();
    let mut expected = keys.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_pinned_read_refuses_a_changed_object() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    let at = base.join("pinned");
    store.put(&at, bytes(100), &Writing::default()).await.unwrap();
    let version = store.get(&at, 0..10, &Version::default()).await.unwrap().version;
    assert!(store.get(&at, 10..20, &version).await.is_ok());
    store.put(&at, bytes(101), &Writing::default()).await.unwrap();
    assert_eq!(store.get(&at, 10..20, &version).await.unwrap_err().kind, ServiceErrorKind::Changed);
    // Past the end the service answers before it compares: the pin must hold there too.
    assert_eq!(store.get(&at, 500..600, &version).await.unwrap_err().kind, ServiceErrorKind::Changed);
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn an_aborted_upload_leaves_nothing_and_may_be_aborted_again() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    let at = base.join("aborted");
    let upload = store.begin(&at, &Writing::default()).await.unwrap();
    upload.part(1, bytes(5 * MIB)).await.unwrap();
    let unfinished = store.unfinished(&base).await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].location, at);
    assert!(unfinished[0].begun.is_some());
    upload.abort().await.unwrap();
    upload.abort().await.unwrap();
    store.discard(&unfinished[0]).await.unwrap();
    assert!(store.unfinished(&base).await.unwrap().is_empty());
    assert_eq!(store.head(&at).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn completing_again_is_done() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    let at = base.join("twice");
    let upload = store.begin(&at, &Writing::default()).await.unwrap();
    let parts = [upload.part(1, bytes(5 * MIB)).await.unwrap(), upload.part(2, bytes(3)).await.unwrap()];
    upload.complete(&parts).await.unwrap();
    upload.complete(&parts).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_listing_goes_over_its_pages() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    // One more than a page holds.
    let puts = (0..1001).map(|number| {
        let (store, at) = (store.clone(), base.join(&format!("many/{number:04}")));
        async move { store.put(&at, Bytes::new(), &Writing::default()).await }
    });
    futures::stream::iter(puts.map(Ok)).try_for_each_concurrent(16, |put| put).await.unwrap();
    store.put(&base.join("other"), Bytes::new(), &Writing::default()).await.unwrap();
    let listed: Vec<Location> =
        store.list(&base.join("many/")).map_ok(|object| object.location).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1001);
    assert!(listed.is_sorted());
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn what_is_not_there_is_missing() {
    let server = Server::shared();
    let (store, base) = store(&server).await;
    let kind = |error: ServiceError| error.kind;
    let nowhere = Location::s3("no-such-bucket", "key");
    assert_eq!(whole(&store, &base.join("absent")).await.map_err(kind), Err(ServiceErrorKind::Missing));
    assert_eq!(whole(&store, &nowhere).await.map_err(kind), Err(ServiceErrorKind::Missing));
    let put = store.put(&nowhere, Bytes::new(), &Writing::default()).await;
    assert_eq!(put.map_err(kind), Err(ServiceErrorKind::Missing));
}

async fn send(queue: &SqsQueue, bodies: &[&str]) {
    let messages: Vec<Outgoing> =
        bodies.iter().map(|body| Outgoing { body: (*body).to_owned(), ..Outgoing::default() }).collect();
    for outcome in queue.send(&messages).await.unwrap() {
        outcome.unwrap();
    }
}

async fn receive(queue: &SqsQueue, visibility: u64) -> Vec<Message> {
    queue.receive(10, Duration::from_secs(5), Duration::from_secs(visibility)).await.unwrap()
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_batch_of_ten_goes_and_comes_with_all_that_belongs_to_it() {
    let server = Server::shared();
    let queue = queue(&server).await;
    let attributes = BTreeMap::from([("batch".to_owned(), "b-1".to_owned())]);
    let messages: Vec<Outgoing> = (0..10)
        .map(|n| Outgoing { body: format!("job {n} ü"), attributes: attributes.clone(), ..Outgoing::default() })
        .collect();
    assert!(queue.send(&messages).await.unwrap().iter().all(Result::is_ok));
    let received = receive(&queue, 30).await;
    assert_eq!(received.len(), 10);
    for message in &received {
        assert!(message.intact);
        assert_eq!((message.attempt, &message.attributes), (1, &attributes));
        let age = SystemTime::now().duration_since(message.sent.unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(60), "{age:?}");
    }
    assert_eq!(queue.counts().await.unwrap().in_flight, 10);
    let receipts: Vec<Receipt> = received.into_iter().map(|message| message.receipt).collect();
    assert!(queue.delete(&receipts).await.unwrap().iter().all(Result::is_ok));
    assert!(queue.delete(&receipts).await.unwrap().iter().all(Result::is_ok), "deleted before is deleted");
    assert_eq!(queue.counts().await.unwrap(), Default::default());
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_message_too_large_fails_alone() {
    let server = Server::shared();
    let queue = queue(&server).await;
    let body = |size: usize| Outgoing { body: "x".repeat(size), ..Outgoing::default() };
    let outcomes = queue.send(&[body(1), body(MIB + 1), body(MIB), body(MIB / 2), body(MIB / 2)]).await.unwrap();
    let kinds: Vec<_> = outcomes.into_iter().map(|outcome| outcome.err().map(|error| error.kind)).collect();
    assert_eq!(kinds, [None, Some(ServiceErrorKind::Invalid), None, None, None]);
    assert_eq!(queue.counts().await.unwrap().visible, 4);
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_receipt_whose_message_went_to_somebody_else_is_a_lost_lease() {
    let server = Server::shared();
    let queue = queue(&server).await;
    send(&queue, &["a"]).await;
    let old = receive(&queue, 1).await.remove(0);
    let new = receive(&queue, 30).await.remove(0);
    assert_eq!((new.attempt, &new.id), (2, &old.id));
    let lost = |outcome: &Result<(), ServiceError>| outcome.as_ref().unwrap_err().kind;
    let old = [old.receipt];
    assert_eq!(lost(&queue.extend(&old, Duration::from_secs(30)).await.unwrap()[0]), ServiceErrorKind::LeaseLost);
    assert_eq!(lost(&queue.delete(&old).await.unwrap()[0]), ServiceErrorKind::LeaseLost);
    queue.delete(&[new.receipt]).await.unwrap().remove(0).unwrap();
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_queue_finds_its_dead_letters_and_knows_its_policy() {
    let server = Server::shared();
    let queue = queue(&server).await;
    let policy = queue.policy().await.unwrap();
    assert_eq!((policy.max_receives, policy.visibility), (Some(5), Duration::from_secs(30)));
    assert_eq!((policy.fifo, policy.max_body), (false, MIB));
    let dead = queue.dead_letters().await.unwrap().unwrap();
    let letter = Outgoing { body: "dead".to_owned(), ..Outgoing::default() };
    dead.send(&[letter]).await.unwrap().remove(0).unwrap();
    assert_eq!(queue.dead_letters().await.unwrap().unwrap().counts().await.unwrap().visible, 1);
    assert!(dead.dead_letters().await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_queue_is_the_same_by_name_arn_and_url() {
    let server = Server::shared();
    let by_name = queue(&server).await;
    let name = by_name.name().to_owned();
    let aws = aws(&server.url());
    let arn = arn(&aws, &name).await;
    let by_arn = open(&aws, &arn).await;
    let by_url = open(&aws, by_name.url()).await;
    send(&by_arn, &["a"]).await;
    assert_eq!(receive(&by_url, 0).await.len(), 1);
    assert_eq!(receive(&by_name.with_own_connections(), 30).await.len(), 1);
}

#[test]
#[ignore = "needs the lab servers: run tests/run"]
fn connections_of_its_own_outlive_the_runtime_of_the_others() {
    let server = Server::shared();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let queue = first.block_on(queue(&server));
    first.block_on(send(&queue, &["a"]));
    let own = queue.with_own_connections();
    let second = runtime();
    let held = second.block_on(receive(&own, 30)).remove(0);
    // The first runtime stands still from here on, its connections open: nobody drives them.
    let extended = second.block_on(own.extend(std::slice::from_ref(&held.receipt), Duration::from_secs(60)));
    extended.unwrap().remove(0).unwrap();
    drop(first);
    second.block_on(own.delete(&[held.receipt])).unwrap().remove(0).unwrap();
}

#[tokio::test]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_queue_that_is_not_there_is_told_with_the_name_that_was_meant() {
    let server = Server::shared();
    let aws = aws(&server.url());
    aws.sqs("us-east-1", None).create_queue().queue_name("resize-photos").send().await.unwrap();
    let address = QueueAddress::parse("resize-photso").unwrap();
    let error = SqsQueue::open(&address, &aws).await.unwrap_err();
    assert_eq!(error.code.0, 103);
    assert_eq!(error.what, "queue \"resize-photso\" does not exist in us-east-1");
    assert!(error.help.starts_with("did you mean \"resize-photos\"?"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_fifo_queue_of_sqs_keeps_groups() {
    let server = Server::shared();
    let make = {
        let server = Arc::clone(&server);
        move || -> futures::future::BoxFuture<'static, Arc<dyn JobQueue>> {
            let server = Arc::clone(&server);
            Box::pin(async move { Arc::new(fifo(&server).await) as Arc<dyn JobQueue> })
        }
    };
    crate::queue_conformance::keeps_groups("SQS", make).await;
    assert!(fifo(&server).await.policy().await.unwrap().fifo);
}

async fn fifo(server: &Server) -> SqsQueue {
    let aws = aws(&server.url());
    let name = format!("{}.fifo", fresh("ordered"));
    let attributes = [(QueueAttributeName::FifoQueue, "true".to_owned())].into();
    let create = aws.sqs("us-east-1", None).create_queue().queue_name(&name).set_attributes(Some(attributes));
    create.send().await.unwrap();
    open(&aws, &name).await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_told_with_its_address() {
    let url = format!("http://127.0.0.1:{}", crate::lab::free_port());
    let aws = aws(&url);
    let error = SqsQueue::open(&QueueAddress::parse("jobs").unwrap(), &aws).await.unwrap_err();
    assert_eq!((error.code.0, error.what), (107, format!("cannot reach {url}")));
    let store = S3Store::new(&aws);
    let error = store.head(&Location::s3("bucket", "key")).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ServiceErrorKind::Unavailable, "ConnectionRefused"));
}
