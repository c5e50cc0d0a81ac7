//! The limit that batchpipe is measured against: the same calls on the same SDK clients with nothing around them.
//!
//! Receive ten, GET, PUT, delete ten; an object above one part goes by ranged GETs and a multipart PUT, eight at a
//! time. No leases, no budget, no retries, no limits on what a message may name: it is not a worker, only its floor.
//!
//! `bare_sdk_loop ENDPOINT QUEUE CONCURRENCY JOBS [raw]` ends after so many jobs. With `raw`, the calls of S3 bypass
//! the SDK ([`raw`]), and objects must fit in one part.

mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use aws_smithy_types::base64;
use aws_smithy_types::byte_stream::ByteStream;
use batchpipe::services::aws;
use batchpipe::services::aws::AwsSettings;
// Its allocator.
use batchpipe_peers as _;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, mpsc};

/// Bytes of one range and of one part, as batchpipe's default.
const PART: u64 = 8 * 1024 * 1024;

/// Ranges and parts in flight for one object, as batchpipe's default.
const PARALLEL: usize = 8;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (arguments, bypass) = match arguments.as_slice() {
        [all @ .., last] if last == "raw" => (all, true),
        all => (all, false),
    };
    let [endpoint, queue, concurrency, jobs] = arguments else {
        return Err("usage: bare_sdk_loop ENDPOINT QUEUE CONCURRENCY JOBS [raw]".into());
    };
    let (concurrency, jobs): (usize, u64) = (concurrency.parse()?, jobs.parse()?);
    let mut settings = AwsSettings::default();
    settings.endpoint_url = Some(endpoint.clone());
    let aws = aws::connect(&settings).await.map_err(|error| error.to_string())?;
    let (s3, sqs) = (as_the_sdk_is(&aws, endpoint), aws.sqs(aws.region(), None));
    let url = sqs.get_queue_url().queue_name(queue).send().await?.queue_url.ok_or("no such queue")?;
    // On the runtime's threads, not on main's: that is where its connections wake.
    let store = if bypass { Store::Raw(Arc::new(raw::Raw::new(endpoint))) } else { Store::Sdk(s3) };
    tokio::spawn(work(store, sqs, url, concurrency, jobs)).await?
}

/// What every server of the harness takes.
fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "bench")
}

/// A client with the connections and settings of batchpipe's own, and none of what that adds to the SDK or turns off in
/// it.
fn as_the_sdk_is(aws: &aws::Aws, endpoint: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(aws.region().to_owned()))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(credentials())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).build())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .http_client(aws.s3().config().http_client().expect("batchpipe sets one"));
    aws_sdk_s3::Client::from_conf(config.build())
}

#[derive(Clone)]
enum Store {
    Sdk(aws_sdk_s3::Client),
    Raw(Arc<raw::Raw>),
}

async fn work(
    store: Store,
    sqs: aws_sdk_sqs::Client,
    url: String,
    concurrency: usize,
    jobs: u64,
) -> Result<(), Failure> {
    let slots = Arc::new(Semaphore::new(concurrency));
    let done = Arc::new(AtomicU64::new(0));
    let (finished, settle) = mpsc::channel::<String>(concurrency.max(10));
    let deleting = tokio::spawn(delete(sqs.clone(), url.clone(), settle, Arc::clone(&done)));
    let mut taken = 0;
    while taken < jobs {
        let room = Arc::clone(&slots).acquire_many_owned(10.min(concurrency as u32)).await?;
        let mut room = Some(room);
        let answer = sqs
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10.min(concurrency as i32))
            .wait_time_seconds(1)
            .visibility_timeout(60)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await?;
        for message in answer.messages.unwrap_or_default() {
            taken += 1;
            let slot = room.as_mut().and_then(|room| room.split(1)).ok_or("more messages than asked for")?;
            let (store, finished) = (store.clone(), finished.clone());
            tokio::spawn(async move {
                let job: serde_json::Value = serde_json::from_str(message.body().unwrap_or_default())?;
                let input = place(&job, "input").ok_or("no input")?;
                let output = place(&job, "output").ok_or("no output")?;
                match &store {
                    Store::Sdk(s3) => copy(s3, input, output).await?,
                    Store::Raw(raw) => raw.copy(input, output, PART).await?,
                }
                drop(slot);
                finished.send(message.receipt_handle.unwrap_or_default()).await?;
                Ok::<(), Failure>(())
            });
        }
    }
    drop(finished);
    deleting.await??;
    match done.load(Relaxed) {
        all if all >= jobs => Ok(()),
        some => Err(format!("{some} of {jobs} jobs were done").into()),
    }
}

async fn delete(
    sqs: aws_sdk_sqs::Client,
    url: String,
    finished: mpsc::Receiver<String>,
    done: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let receipts = tokio_stream::wrappers::ReceiverStream::new(finished);
    let batches = tokio_stream::StreamExt::chunks_timeout(receipts, 10, Duration::from_millis(100));
    let calls = batches.map(|batch| {
        let (sqs, url, count) = (sqs.clone(), url.clone(), batch.len() as u64);
        async move {
            let entries = batch.into_iter().enumerate().map(|(position, receipt)| {
                DeleteMessageBatchRequestEntry::builder().id(position.to_string()).receipt_handle(receipt).build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            sqs.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await?;
            Ok::<u64, Failure>(count)
        }
    });
    let deleted = calls.buffer_unordered(8).try_fold(0, |sum, count| async move { Ok(sum + count) }).await?;
    done.store(deleted, Relaxed);
    Ok(())
}

fn place<'a>(job: &'a serde_json::Value, name: &str) -> Option<(&'a str, &'a str)> {
    job[name].as_str()?.strip_prefix("s3://")?.split_once('/')
}

async fn copy(s3: &aws_sdk_s3::Client, from: (&str, &str), to: (&str, &str)) -> Result<(), Failure> {
    let (first, size) = range(s3, from, 0).await?;
    let checksum = base64::encode(crc_fast::checksum(Crc64Nvme, &first).to_be_bytes());
    if size <= PART {
        let put = s3.put_object().bucket(to.0).key(to.1).checksum_crc64_nvme(checksum).body(ByteStream::from(first));
        put.customize().disable_payload_signing().send().await?;
        return Ok(());
    }
    let begun = s3.create_multipart_upload().bucket(to.0).key(to.1);
    let begun = begun.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).checksum_type(ChecksumType::FullObject);
    let id = begun.send().await?.upload_id.ok_or("no upload id")?;
    let numbers = 1..size.div_ceil(PART);
    let rest = stream::iter(numbers)
        .map(|number| tokio::spawn(move_part(s3.clone(), owned(from), owned(to), id.clone(), number)))
        .buffer_unordered(PARALLEL)
        .map(|joined| joined?);
    let mut parts = vec![put_part(s3, to, &id, 0, first).await?];
    parts.extend(rest.try_collect::<Vec<CompletedPart>>().await?);
    parts.sort_by_key(CompletedPart::part_number);
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    s3.complete_multipart_upload().bucket(to.0).key(to.1).upload_id(id).multipart_upload(parts).send().await?;
    Ok(())
}

fn owned((bucket, key): (&str, &str)) -> (String, String) {
    (bucket.to_owned(), key.to_owned())
}

async fn move_part(
    s3: aws_sdk_s3::Client,
    from: (String, String),
    to: (String, String),
    id: String,
    number: u64,
) -> Result<CompletedPart, Failure> {
    let (bytes, _) = range(&s3, (&from.0, &from.1), number).await?;
    put_part(&s3, (&to.0, &to.1), &id, number, bytes).await
}

/// One range of an object, and the size of the whole.
async fn range(s3: &aws_sdk_s3::Client, from: (&str, &str), number: u64) -> Result<(Bytes, u64), Failure> {
    let range = format!("bytes={}-{}", number * PART, (number + 1) * PART - 1);
    let get = s3.get_object().bucket(from.0).key(from.1).range(range).checksum_mode(ChecksumMode::Enabled);
    let answer = get.send().await?;
    let size = answer.content_range().and_then(|range| range.rsplit('/').next()?.parse().ok()).ok_or("no size")?;
    Ok((answer.body.collect().await?.into_bytes(), size))
}

async fn put_part(
    s3: &aws_sdk_s3::Client,
    to: (&str, &str),
    id: &str,
    number: u64,
    bytes: Bytes,
) -> Result<CompletedPart, Failure> {
    let checksum = base64::encode(crc_fast::checksum(Crc64Nvme, &bytes).to_be_bytes());
    let number = number as i32 + 1;
    let part = s3.upload_part().bucket(to.0).key(to.1).upload_id(id).part_number(number);
    let part = part.checksum_crc64_nvme(checksum.clone()).body(ByteStream::from(bytes));
    let sent = part.customize().disable_payload_signing().send().await?;
    let completed = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).checksum_crc64_nvme(checksum);
    Ok(completed.build())
}
