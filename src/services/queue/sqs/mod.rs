//! The job queue in SQS.
//!
//! A thin layer: it packs batches to the service's limits, gives each entry of a batch its own outcome, and
//! checks what the SDK does not: that a body is the one that was sent, and that an answer tells what was asked. Nothing here retries. Bounded by the
//! service's limits and by the receipts it remembers for a short time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use futures::FutureExt;
use tokio::sync::OnceCell;

use self::batch::{
    Call, MAX_BATCH, attributes_to_send, no_answer, outcomes, pack, position, taken, too_large, unbuilt,
};
use self::message::messages;
use self::open::{find, unopened};
use super::{Counts, JobQueue, MAX_MESSAGE, Message, Outcome, Outgoing, Policy, Receipt};
use crate::error::{ServiceError, ServiceErrorKind, UserError};
use crate::record::Meters;
use crate::services::ServiceFuture;
use crate::services::aws::address::QueueAddress;
use crate::services::aws::classify::{Asked, service_error};
use crate::services::aws::{self, Aws};
use crate::services::retry::{self, Retry};

mod batch;
mod message;
mod open;

/// The longest wait of one receive
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
const MAX_WAIT: u64 = 20;

/// The longest visibility timeout, 12 hours
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>).
const MAX_VISIBILITY: u64 = 43_200;

/// The attribute that every queue has.
const VISIBILITY: &str = "VisibilityTimeout";

/// How many deleted receipts are remembered, so that a delete that is sent again counts as done with servers that
/// refuse the second one. A retry comes within seconds: this is more than a worker deletes in that time.
const REMEMBERED: usize = 2_000;

/// A queue in SQS, or in a server that speaks its protocol.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
    name: String,
    dead: Arc<OnceCell<Option<Arc<dyn JobQueue>>>>,
    deleted: Arc<Mutex<VecDeque<u64>>>,
}

// The SDK's own text holds the access key.
impl std::fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqsQueue").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
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
        let attributes = opened.attributes(&[QueueAttributeName::VisibilityTimeout]).await;
        match attributes.and_then(|found| told(&found, VISIBILITY)) {
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
        let answer = sent.map_err(|error| service_error(error, Asked::Queue, "sqs:SendMessage"))?;
        let mut results = outcomes(messages.len(), answer.successful().iter().map(|entry| entry.id()), answer.failed());
        for entry in answer.successful() {
            let Some(place) = position(entry.id()).filter(|place| *place < messages.len()) else { continue };
            if results[place].is_ok() {
                results[place] = taken(messages[place], entry);
            }
        }
        Ok(results)
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
                MessageSystemAttributeName::SequenceNumber,
            ]));
        let received =
            request.send().await.map_err(|error| service_error(error, Asked::Queue, "sqs:ReceiveMessage"))?;
        messages(received.messages.unwrap_or_default())
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
        let answer =
            call.send().await.map_err(|error| service_error(error, Asked::Queue, "sqs:ChangeMessageVisibility"))?;
        Ok(outcomes(receipts.len(), answer.successful().iter().map(|entry| entry.id()), answer.failed()))
    }

    async fn delete_batch(&self, receipts: &[Receipt]) -> Result<Vec<Outcome>, ServiceError> {
        let entries = receipts.iter().enumerate().map(|(position, receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(position.to_string()).receipt_handle(&receipt.0).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
        let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = call.send().await.map_err(|error| service_error(error, Asked::Queue, "sqs:DeleteMessage"))?;
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
        let answer = asked(|| async {
            call.clone().send().await.map_err(|error| service_error(error, Asked::Queue, "sqs:GetQueueAttributes"))
        });
        let answer = answer.await?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(attributes.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect())
    }

    async fn find_dead_letters(&self) -> Result<Option<Arc<dyn JobQueue>>, ServiceError> {
        // A queue without a policy tells nothing of it. What every queue has shows that this is an answer.
        let asked = [QueueAttributeName::RedrivePolicy, QueueAttributeName::VisibilityTimeout];
        let attributes = self.attributes(&asked).await?;
        told(&attributes, VISIBILITY)?;
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

    /// The URL, which at AWS names region and account; at a server that stands in for it, not always the region.
    fn address(&self) -> String {
        let region = self.client.config().region().map_or("", |region| region.as_ref());
        format!("{region} {}", self.url)
    }

    /// The account and the name in the URL: a name and an ARN become the URL that the service tells, which may have another
    /// host than the URL that somebody types.
    fn identity(&self) -> String {
        let region = self.client.config().region().map_or("", |region| region.as_ref());
        let mut path = self.url.trim_end_matches('/').rsplit('/');
        let (name, account) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
        format!("{region} {account}/{name}")
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
                visible: told(&found, "ApproximateNumberOfMessages")?,
                in_flight: told(&found, "ApproximateNumberOfMessagesNotVisible")?,
                delayed: told(&found, "ApproximateNumberOfMessagesDelayed")?,
            })
        }
        .boxed()
    }

    fn policy(&self) -> ServiceFuture<'_, Policy> {
        async move {
            let found = self.attributes(&[QueueAttributeName::All]).await?;
            let max_body = number(&found, "MaximumMessageSize").and_then(|size| usize::try_from(size).ok());
            Ok(Policy {
                visibility: Duration::from_secs(told(&found, VISIBILITY)?),
                max_receives: found.get("RedrivePolicy").and_then(|policy| redrive(policy).1),
                retention: number(&found, "MessageRetentionPeriod").map(Duration::from_secs),
                fifo: found.get("FifoQueue").is_some_and(|fifo| fifo == "true") || self.name.ends_with(".fifo"),
                max_body: max_body.unwrap_or(MAX_MESSAGE).min(MAX_MESSAGE),
            })
        }
        .boxed()
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        async move { self.dead.get_or_try_init(|| self.find_dead_letters()).await.cloned() }.boxed()
    }
}

/// Asks what changes nothing, again if need be: one reset connection must not keep a worker from starting. Three times
/// only, for a person may wait who typed the wrong endpoint.
async fn asked<T, F>(call: impl FnMut() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    Retry { attempts: 3, ..Retry::default() }.run(&Meters::default(), retry::Call::queue("open"), call).await
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

/// A number that every queue has: an answer without it is none, and must not pass for a zero.
fn told(attributes: &BTreeMap<String, String>, name: &str) -> Result<u64, ServiceError> {
    number(attributes, name).ok_or_else(|| no_answer(format!("the queue did not tell its {name}")))
}

/// Whole seconds, rounded up so that nothing becomes zero unasked, within the service's limit.
fn seconds(duration: Duration, limit: u64) -> i32 {
    let rounded = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(rounded.min(limit)).unwrap_or(i32::MAX)
}

fn fingerprint(receipt: &Receipt) -> u64 {
    let mut hasher = DefaultHasher::new();
    receipt.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(seconds(Duration::MAX, MAX_VISIBILITY), 43_200, "a processor that never wants it again");
    }
}
