//! The job queue in SQS.
//!
//! A thin layer: it packs batches to the service's limits, gives each entry of a batch its own outcome, and
//! checks what the SDK does not, that a body is the one that was sent. Nothing here retries. Bounded by the
//! service's limits and by the receipts it remembers for a short time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    Message as SqsMessage, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use aws_smithy_types::error::operation::BuildError;
use futures::FutureExt;
use md5::{Digest, Md5};
use tokio::sync::OnceCell;

use super::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt, ServiceFuture};
use crate::aws::address::QueueAddress;
use crate::aws::classify::{Asked, entry_error, service_error};
use crate::aws::{self, Aws, Subject};
use crate::error::{ServiceError, ServiceErrorKind, UserError};

/// Entries in one batch call
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html>).
const MAX_BATCH: usize = 10;

/// The largest message, and the largest sum of one batch, attributes included
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const MAX_BYTES: usize = 1024 * 1024;

/// The longest wait of one receive
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
const MAX_WAIT: u64 = 20;

/// The longest visibility timeout, 12 hours
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>).
const MAX_VISIBILITY: u64 = 43_200;

/// How many deleted receipts are remembered, so that a delete that is sent again counts as done with servers that
/// refuse the second one. A retry comes within seconds: this is more than a worker deletes in that time.
const REMEMBERED: usize = 2_000;

/// A queue in SQS, or in a server that speaks its protocol.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    name: String,
    dead: Arc<OnceCell<Option<Arc<dyn JobQueue>>>>,
    deleted: Arc<Mutex<VecDeque<u64>>>,
}

impl SqsQueue {
    /// Opens the queue at `address`; one that is not there or not ours is told at once.
    pub async fn open(address: &QueueAddress, aws: &Aws) -> Result<Self, UserError> {
        let region = address.region.as_deref().unwrap_or(aws.region());
        let client = aws.sqs(region, address.server.as_deref());
        let url = match &address.url {
            Some(url) => Ok(url.clone()),
            None => find(&client, &address.name, address.account.as_deref()).await,
        };
        let opened = match url {
            Ok(url) => Self::at(client.clone(), url, address.name.clone()),
            Err(error) => return Err(unopened(&client, &address.name, &error, region, aws).await),
        };
        match opened.attributes(&[QueueAttributeName::VisibilityTimeout]).await {
            Ok(_) => Ok(opened),
            Err(error) => Err(unopened(&client, &address.name, &error, region, aws).await),
        }
    }

    fn at(client: Client, url: String, name: String) -> Self {
        Self { client, url, name, dead: Arc::default(), deleted: Arc::default() }
    }

    /// The same queue through connections of its own, for work on another runtime: a connection belongs to the
    /// runtime it was opened on and waits when that one is busy.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self { client: aws::with_own_connections(&self.client), ..self.clone() }
    }

    /// The queue's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn send_batch(&self, messages: &[&Outgoing]) -> Result<Vec<Outcome>, ServiceError> {
        let entries = messages.iter().enumerate().map(|(position, message)| {
            SendMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .message_body(&message.body)
                .set_message_attributes(attributes_to_send(message)?)
                .set_message_group_id(message.group.clone())
                .set_message_deduplication_id(message.deduplication.clone())
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
        let sent = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        let answer = sent.map_err(|error| service_error(&error, Asked::Queue))?;
        Ok(outcomes(messages.len(), answer.successful().iter().map(|entry| entry.id()), answer.failed()))
    }

    async fn send_all(&self, messages: &[Outgoing]) -> Result<Vec<Outcome>, ServiceError> {
        let mut results = Vec::with_capacity(messages.len());
        let calls = pack(messages);
        let one_call = calls.len() == 1;
        for call in calls {
            match call {
                Call::TooLarge(size) => results.push(Err(too_large(size))),
                Call::Batch(batch) => match self.send_batch(&batch).await {
                    Ok(outcomes) => results.extend(outcomes),
                    Err(error) if one_call => return Err(error),
                    Err(error) => results.extend(batch.iter().map(|_| Err(error.clone()))),
                },
            }
        }
        Ok(results)
    }

    async fn receive_batch(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, ServiceError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(max.clamp(1, MAX_BATCH) as i32)
            .wait_time_seconds(seconds(wait, MAX_WAIT))
            .visibility_timeout(seconds(visibility, MAX_VISIBILITY))
            .message_attribute_names("All")
            .set_message_system_attribute_names(Some(vec![
                MessageSystemAttributeName::ApproximateReceiveCount,
                MessageSystemAttributeName::SentTimestamp,
                MessageSystemAttributeName::MessageGroupId,
            ]));
        let received = request.send().await.map_err(|error| service_error(&error, Asked::Queue))?;
        Ok(received.messages.unwrap_or_default().into_iter().map(message).collect())
    }

    async fn change_batch(&self, receipts: &[Receipt], timeout: Duration) -> Result<Vec<Outcome>, ServiceError> {
        let entries = receipts.iter().enumerate().map(|(position, receipt)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(&receipt.0)
                .visibility_timeout(seconds(timeout, MAX_VISIBILITY))
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
        let call = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = call.send().await.map_err(|error| service_error(&error, Asked::Queue))?;
        Ok(outcomes(receipts.len(), answer.successful().iter().map(|entry| entry.id()), answer.failed()))
    }

    async fn delete_batch(&self, receipts: &[Receipt]) -> Result<Vec<Outcome>, ServiceError> {
        let entries = receipts.iter().enumerate().map(|(position, receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(position.to_string()).receipt_handle(&receipt.0).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
        let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = call.send().await.map_err(|error| service_error(&error, Asked::Queue))?;
        let mut results = outcomes(receipts.len(), answer.successful().iter().map(|entry| entry.id()), answer.failed());
        for (receipt, outcome) in receipts.iter().zip(&mut results) {
            let lost = matches!(outcome, Err(error) if error.kind == ServiceErrorKind::LeaseLost);
            if lost && self.was_deleted(receipt) {
                *outcome = Ok(());
            } else if outcome.is_ok() {
                self.remember(receipt);
            }
        }
        Ok(results)
    }

    fn remember(&self, receipt: &Receipt) {
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        if deleted.len() == REMEMBERED {
            deleted.pop_front();
        }
        deleted.push_back(fingerprint(receipt));
    }

    fn was_deleted(&self, receipt: &Receipt) -> bool {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).contains(&fingerprint(receipt))
    }

    async fn attributes(&self, names: &[QueueAttributeName]) -> Result<BTreeMap<String, String>, ServiceError> {
        let call = self.client.get_queue_attributes().queue_url(&self.url).set_attribute_names(Some(names.to_vec()));
        let answer = call.send().await.map_err(|error| service_error(&error, Asked::Queue))?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(attributes.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect())
    }

    async fn find_dead_letters(&self) -> Result<Option<Arc<dyn JobQueue>>, ServiceError> {
        let attributes = self.attributes(&[QueueAttributeName::RedrivePolicy]).await?;
        let Some((Some(arn), _)) = attributes.get("RedrivePolicy").map(|policy| redrive(policy)) else {
            return Ok(None);
        };
        let Some(address) = QueueAddress::parse(&arn) else {
            let message = format!("the redrive policy names {arn:?}");
            return Err(ServiceError::new(ServiceErrorKind::Invalid, "BadRedrivePolicy", message));
        };
        let url = find(&self.client, &address.name, address.account.as_deref()).await?;
        Ok(Some(Arc::new(Self::at(self.client.clone(), url, address.name))))
    }
}

impl JobQueue for SqsQueue {
    fn name(&self) -> &str {
        &self.name
    }

    fn max_batch(&self) -> usize {
        MAX_BATCH
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        self.send_all(messages).boxed()
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        self.receive_batch(max, wait, visibility).boxed()
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            if receipts.is_empty() {
                return Ok(Vec::new());
            }
            self.change_batch(receipts, timeout).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        async move {
            if receipts.is_empty() {
                return Ok(Vec::new());
            }
            self.delete_batch(receipts).await
        }
        .boxed()
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        async move {
            let found = self
                .attributes(&[
                    QueueAttributeName::ApproximateNumberOfMessages,
                    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
                    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
                ])
                .await?;
            Ok(Counts {
                visible: number(&found, "ApproximateNumberOfMessages").unwrap_or(0),
                in_flight: number(&found, "ApproximateNumberOfMessagesNotVisible").unwrap_or(0),
                delayed: number(&found, "ApproximateNumberOfMessagesDelayed").unwrap_or(0),
            })
        }
        .boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        async move {
            let found = self.attributes(&[QueueAttributeName::All]).await?;
            let max_body = number(&found, "MaximumMessageSize").and_then(|size| usize::try_from(size).ok());
            Ok(Policy {
                visibility: number(&found, "VisibilityTimeout").map_or(Duration::ZERO, Duration::from_secs),
                max_receives: found.get("RedrivePolicy").and_then(|policy| redrive(policy).1),
                retention: number(&found, "MessageRetentionPeriod").map(Duration::from_secs),
                fifo: found.get("FifoQueue").is_some_and(|fifo| fifo == "true") || self.name.ends_with(".fifo"),
                max_body: max_body.unwrap_or(MAX_BYTES).min(MAX_BYTES),
            })
        }
        .boxed()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        async move { self.dead.get_or_try_init(|| self.find_dead_letters()).await.cloned() }.boxed()
    }
}

async fn find(client: &Client, name: &str, account: Option<&str>) -> Result<String, ServiceError> {
    let call = client.get_queue_url().queue_name(name).set_queue_owner_aws_account_id(account.map(str::to_owned));
    let answer = call.send().await.map_err(|error| service_error(&error, Asked::Queue))?;
    answer.queue_url.ok_or_else(|| ServiceError::new(ServiceErrorKind::Missing, "QueueDoesNotExist", "it has no URL"))
}

/// What to tell of a queue that can't be opened, with the name that was perhaps meant.
async fn unopened(client: &Client, name: &str, error: &ServiceError, region: &str, aws: &Aws) -> UserError {
    let settings = aws.settings();
    let mut told = aws::user_error(error, Subject::Receive(name), settings);
    if error.kind == ServiceErrorKind::Missing {
        told.what = format!("queue {name:?} does not exist in {region}");
        let list = format!("aws sqs list-queues --region {region}");
        told.help = match nearest(client, name).await {
            Some(near) => format!("did you mean {near:?}?  List them:  {list}"),
            None => format!("list the queues there are:  {list}"),
        };
    }
    if let (107, Some(endpoint)) = (told.code.0, aws.sqs_endpoint()) {
        told.what = format!("cannot reach {}", endpoint.url);
        if endpoint.source == "the profile" {
            told.help = "start it with  your local server, or take endpoint_url out of the profile".to_owned();
        }
    }
    told
}

/// The queue whose name is nearest to `name`, if there is one near and we may list them.
async fn nearest(client: &Client, name: &str) -> Option<String> {
    let listed = client.list_queues().max_results(1000).send().await.ok()?;
    let names = listed.queue_urls().iter().filter_map(|url| url.rsplit('/').next());
    let (distance, near) = names.map(|there| (distance(name, there), there)).min()?;
    (distance <= 2.max(name.len() / 3)).then(|| near.to_owned())
}

/// How many characters must be put in, taken out or replaced to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// The dead-letter queue's ARN and the greatest number of receives of a redrive policy.
fn redrive(policy: &str) -> (Option<String>, Option<u32>) {
    let Ok(policy) = serde_json::from_str::<serde_json::Value>(policy) else { return (None, None) };
    let arn = policy["deadLetterTargetArn"].as_str().map(str::to_owned);
    // SQS gives back a number or a text, as it was set.
    let receives = &policy["maxReceiveCount"];
    let receives = receives.as_u64().or_else(|| receives.as_str()?.parse().ok());
    (arn, receives.and_then(|receives| u32::try_from(receives).ok()))
}

fn number(attributes: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    attributes.get(name)?.parse().ok()
}

/// Whole seconds, rounded up so that nothing becomes zero unasked, within the service's limit.
fn seconds(duration: Duration, limit: u64) -> i32 {
    let rounded = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(rounded.min(limit)).unwrap_or(i32::MAX)
}

/// One request, or a message that fits in none.
enum Call<'a> {
    Batch(Vec<&'a Outgoing>),
    TooLarge(usize),
}

/// Packs messages, in order, into as few requests as the limits allow.
fn pack(messages: &[Outgoing]) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let size = size(message);
        let full = batch.len() == MAX_BATCH || bytes + size > MAX_BYTES;
        if full && !batch.is_empty() {
            calls.push(Call::Batch(std::mem::take(&mut batch)));
            bytes = 0;
        }
        if size > MAX_BYTES {
            calls.push(Call::TooLarge(size));
        } else {
            batch.push(message);
            bytes += size;
        }
    }
    if !batch.is_empty() {
        calls.push(Call::Batch(batch));
    }
    calls
}

/// What the service counts of a message: its body, and names, types and values of its attributes.
fn size(message: &Outgoing) -> usize {
    let attributes = message.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len());
    message.body.len() + attributes.sum::<usize>()
}

fn too_large(size: usize) -> ServiceError {
    let message = format!("the message has {size} bytes, SQS takes {MAX_BYTES}");
    ServiceError::new(ServiceErrorKind::Invalid, "MessageTooLong", message)
}

type SentAttributes = std::collections::HashMap<String, MessageAttributeValue>;

fn attributes_to_send(message: &Outgoing) -> Result<Option<SentAttributes>, BuildError> {
    if message.attributes.is_empty() {
        return Ok(None);
    }
    let built = message.attributes.iter().map(|(name, value)| {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build()?;
        Ok((name.clone(), value))
    });
    built.collect::<Result<_, BuildError>>().map(Some)
}

fn unbuilt(error: BuildError) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Invalid, "InvalidRequest", error.to_string())
}

fn message(received: SqsMessage) -> Message {
    let system = |name| received.attributes().and_then(|attributes| attributes.get(&name)).cloned();
    let attempt = system(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|count| count.parse().ok());
    let sent = system(MessageSystemAttributeName::SentTimestamp).and_then(|millis| millis.parse().ok());
    let group = system(MessageSystemAttributeName::MessageGroupId);
    let texts = received.message_attributes().into_iter().flatten();
    let attributes = texts.filter_map(|(name, value)| Some((name.clone(), value.string_value()?.to_owned())));
    let body = received.body().unwrap_or_default();
    Message {
        attributes: attributes.collect(),
        // The SDK does not check this sum.
        intact: received.md5_of_body().is_none_or(|sum| sum.eq_ignore_ascii_case(&md5_hex(body))),
        id: received.message_id().unwrap_or_default().to_owned(),
        receipt: Receipt(received.receipt_handle().unwrap_or_default().to_owned()),
        attempt: attempt.unwrap_or(1),
        sent: sent.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis))),
        group,
        body: body.to_owned(),
    }
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fingerprint(receipt: &Receipt) -> u64 {
    let mut hasher = DefaultHasher::new();
    receipt.hash(&mut hasher);
    hasher.finish()
}

/// One outcome for each entry, by position. An entry the service said nothing about may or may not have happened.
fn outcomes<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Outcome> {
    let silence =
        ServiceError::new(ServiceErrorKind::Unavailable, "NoAnswer", "the service did not mention this entry");
    let mut outcomes: Vec<Outcome> = vec![Err(silence); count];
    let position = |id: &str| id.parse::<usize>().ok();
    for id in successful {
        if let Some(outcome) = position(id).and_then(|position| outcomes.get_mut(position)) {
            *outcome = Ok(());
        }
    }
    for entry in failed {
        if let Some(outcome) = position(entry.id()).and_then(|position| outcomes.get_mut(position)) {
            *outcome = Err(entry_error(entry.code(), entry.message(), entry.sender_fault()));
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(bytes: usize) -> Outgoing {
        Outgoing { body: "x".repeat(bytes), ..Outgoing::default() }
    }

    fn shape(messages: &[Outgoing]) -> Vec<usize> {
        let count = |call: &Call<'_>| match call {
            Call::Batch(batch) => batch.len(),
            Call::TooLarge(_) => 0,
        };
        pack(messages).iter().map(count).collect()
    }

    #[test]
    fn a_batch_is_split_by_bytes_as_well_as_by_ten() {
        assert_eq!(shape(&vec![of_size(10); 10]), [10]);
        assert_eq!(shape(&vec![of_size(10); 25]), [10, 10, 5]);
        assert_eq!(shape(&vec![of_size(MAX_BYTES / 2); 3]), [2, 1]);
        assert_eq!(shape(&[of_size(1), of_size(MAX_BYTES + 1), of_size(1)]), [1, 0, 1]);
        let mut attributed = of_size(MAX_BYTES - 10);
        attributed.attributes.insert("batch".to_owned(), "x".repeat(10));
        assert_eq!(shape(&[attributed]), [0]);
    }

    #[test]
    fn every_entry_has_the_outcome_of_its_position() {
        let failed = BatchResultErrorEntry::builder().id("1").code("ReceiptHandleIsInvalid").sender_fault(true).build();
        let read = outcomes(3, ["2"].into_iter(), &[failed.unwrap()]);
        assert_eq!(read[0].as_ref().unwrap_err().kind, ServiceErrorKind::Unavailable);
        assert_eq!(read[1].as_ref().unwrap_err().kind, ServiceErrorKind::LeaseLost);
        assert!(read[2].is_ok());
    }

    #[test]
    fn a_body_that_is_not_the_one_sent_is_not_intact() {
        let sent = |sum: &str| message(SqsMessage::builder().body("hello").md5_of_body(sum).build()).intact;
        assert!(sent("5d41402abc4b2a76b9719d911017c592"));
        assert!(sent("5D41402ABC4B2A76B9719D911017C592"));
        assert!(!sent("5d41402abc4b2a76b9719d911017c593"));
        assert!(message(SqsMessage::builder().body("hello").build()).intact);
    }

    #[test]
    fn a_redrive_policy_is_read_with_its_count_as_number_or_text() {
        let arn = "arn:aws:sqs:eu-west-1:1:dead";
        let read = |count: &str| redrive(&format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{count}}}"#));
        assert_eq!(read("5"), (Some(arn.to_owned()), Some(5)));
        assert_eq!(read("\"5\""), (Some(arn.to_owned()), Some(5)));
        assert_eq!(redrive("not json"), (None, None));
    }

    #[test]
    fn part_of_a_second_is_never_rounded_to_nothing() {
        assert_eq!(seconds(Duration::from_millis(1), MAX_WAIT), 1);
        assert_eq!(seconds(Duration::ZERO, MAX_WAIT), 0);
        assert_eq!(seconds(Duration::from_secs(90), MAX_WAIT), 20);
    }

    #[test]
    fn the_distance_of_names_counts_their_differences() {
        assert_eq!(distance("jbos", "jobs"), 2);
        assert_eq!(distance("jobs", "jobs"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}
