//! The job queue in SQS.
//!
//! A thin layer: it packs batches to the service's limits, gives each entry of a batch its own outcome, and makes
//! two checks that the SDK does not make: that a body is as it was sent, and that an answer contains what was asked
//! for. Nothing here retries. Bounded by the service's limits and by the receipts that are remembered for a short
//! time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::FutureExt;
use tokio::sync::OnceCell;

use self::batch::{MAX_BATCH, no_answer};
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
mod calls;
mod message;
mod open;

/// An attribute that every queue has.
const VISIBILITY: &str = "VisibilityTimeout";

/// A queue in SQS, or in a server that speaks its protocol.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
    name: String,
    dead: Arc<OnceCell<Option<Arc<dyn JobQueue>>>>,
    deleted: Arc<Mutex<VecDeque<u64>>>,
}

// The SDK's own debug text contains the access key.
impl std::fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqsQueue").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

impl SqsQueue {
    /// Opens the queue at `address`; a queue that is missing or not accessible is an error at once.
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

    /// The same queue with connections of its own, for work on another runtime: a connection belongs to the runtime
    /// that opened it, and waits while that runtime is busy.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self { client: aws::with_own_connections(&self.client), ..self.clone() }
    }

    /// The queue's URL.
    pub fn url(&self) -> &str {
        &self.url
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
        // The answer for a queue without a policy does not mention the policy. An attribute that every queue has proves
        // that the answer is valid.
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

    /// The URL, which names the region and account at AWS. For a server that replaces SQS the URL does not always name
    /// the region.
    fn address(&self) -> String {
        let region = self.client.config().region().map_or("", |region| region.as_ref());
        format!("{region} {}", self.url)
    }

    /// The account and the name in the URL: a name or an ARN is resolved to the service's URL, whose host may differ
    /// from that of a URL that the user types.
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

/// Makes a call that changes nothing, and retries it: one reset connection must not keep a worker from starting. Only
/// three attempts, because a user who typed the wrong endpoint may be waiting.
async fn asked<T, F>(call: impl FnMut() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    Retry { attempts: 3, ..Retry::default() }.run(&Meters::default(), retry::Call::queue("open"), call).await
}

/// The ARN of the dead-letter queue and the maximum receive count from a redrive policy.
fn redrive(policy: &str) -> (Option<String>, Option<u32>) {
    let Ok(policy) = serde_json::from_str::<serde_json::Value>(policy) else { return (None, None) };
    let arn = policy["deadLetterTargetArn"].as_str().map(str::to_owned);
    // SQS returns a number or a string, as it was set.
    let receives = &policy["maxReceiveCount"];
    let receives = receives.as_u64().or_else(|| receives.as_str()?.parse().ok());
    (arn, receives.and_then(|receives| u32::try_from(receives).ok()))
}

fn number(attributes: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    attributes.get(name)?.parse().ok()
}

/// Reads a number that every queue has. An answer without it is an error, and must not be taken for zero.
fn told(attributes: &BTreeMap<String, String>, name: &str) -> Result<u64, ServiceError> {
    number(attributes, name).ok_or_else(|| no_answer(format!("the queue did not tell its {name}")))
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
}
