//! The batch calls of SQS: send, receive, change the visibility, delete.
//!
//! Each call packs its batch to the limits of the service and gives each entry its own outcome. Bounded by a batch
//! and by the receipts that are remembered for a short time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::PoisonError;
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
    SendMessageBatchRequestEntry,
};

use super::SqsQueue;
use super::batch::{Call, MAX_BATCH, attributes_to_send, outcomes, pack, position, taken, too_large, unbuilt};
use super::message::messages;
use crate::error::{ServiceError, ServiceErrorKind};
use crate::services::aws::classify::{Asked, service_error};
use crate::services::queue::{Message, Outcome, Outgoing, Receipt};

/// The longest wait of one receive
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
const MAX_WAIT: u64 = 20;

/// The longest visibility timeout, 12 hours
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>).
const MAX_VISIBILITY: u64 = 43_200;

/// How many deleted receipts are remembered, so that a repeated delete counts as done on servers that refuse the second
/// one. A retry comes within seconds, and a worker deletes fewer messages in that time.
const REMEMBERED: usize = 2_000;

impl SqsQueue {
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

    pub(super) async fn send_all(&self, messages: &[Outgoing]) -> Result<Vec<Outcome>, ServiceError> {
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

    pub(super) async fn receive_batch(
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

    pub(super) async fn change_batch(
        &self,
        receipts: &[Receipt],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, ServiceError> {
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

    pub(super) async fn delete_batch(&self, receipts: &[Receipt]) -> Result<Vec<Outcome>, ServiceError> {
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
}

/// Whole seconds, within the service's limit, rounded up so that only zero becomes zero.
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
    fn part_of_a_second_is_never_rounded_to_nothing() {
        assert_eq!(seconds(Duration::from_millis(1), MAX_WAIT), 1);
        assert_eq!(seconds(Duration::ZERO, MAX_WAIT), 0);
        assert_eq!(seconds(Duration::from_secs(90), MAX_WAIT), 20);
        assert_eq!(seconds(Duration::MAX, MAX_VISIBILITY), 43_200, "a processor that never wants it again");
    }
}
