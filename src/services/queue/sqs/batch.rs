//! Batches: what fits into one request, and what became of each entry.

use std::collections::HashMap;

use aws_sdk_sqs::types::{BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchResultEntry};
use aws_smithy_types::error::operation::BuildError;

use super::message::md5_hex;
use crate::error::{ServiceError, ServiceErrorKind};
use crate::services::aws::classify::entry_error;
use crate::services::queue::{MAX_MESSAGE, Outcome, Outgoing};

/// Entries in one batch call
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html>).
pub(super) const MAX_BATCH: usize = 10;

/// One request, or a message that fits into no request.
pub(super) enum Call<'a> {
    Batch(Vec<&'a Outgoing>),
    TooLarge(usize),
}

/// Packs messages, in order, into as few requests as the limits allow.
pub(super) fn pack(messages: &[Outgoing]) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let size = message.size();
        let full = batch.len() == MAX_BATCH || bytes + size > MAX_MESSAGE;
        if full && !batch.is_empty() {
            calls.push(Call::Batch(std::mem::take(&mut batch)));
            bytes = 0;
        }
        if size > MAX_MESSAGE {
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

pub(super) fn too_large(size: usize) -> ServiceError {
    let message = format!("the message has {size} bytes, SQS takes {MAX_MESSAGE}");
    ServiceError::new(ServiceErrorKind::Invalid, "MessageTooLong", message)
}

type SentAttributes = HashMap<String, MessageAttributeValue>;

pub(super) fn attributes_to_send(message: &Outgoing) -> Result<Option<SentAttributes>, BuildError> {
    if message.attributes.is_empty() {
        return Ok(None);
    }
    let built = message.attributes.iter().map(|(name, value)| {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build()?;
        Ok((name.clone(), value))
    });
    built.collect::<Result<_, BuildError>>().map(Some)
}

pub(super) fn unbuilt(error: BuildError) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Invalid, "InvalidRequest", error.to_string())
}

/// The failure of an answer that lacks what was asked for.
pub(super) fn no_answer(what: impl Into<String>) -> ServiceError {
    ServiceError::no_answer(what)
}

/// The outcome of a message that the service reports as accepted: the answer has the checksum of the body that it
/// stored.
pub(super) fn taken(message: &Outgoing, entry: &SendMessageBatchResultEntry) -> Outcome {
    let sum = entry.md5_of_message_body();
    if sum.is_empty() && entry.message_id().is_empty() {
        return Err(no_answer("the queue gave a message neither an id nor the checksum of its body"));
    }
    if sum.is_empty() || sum.eq_ignore_ascii_case(&md5_hex(&message.body)) {
        return Ok(());
    }
    let what = "the queue keeps a message with another body than was sent";
    Err(ServiceError::new(ServiceErrorKind::Corrupt, "ChecksumMismatch", what))
}

/// One outcome for each entry, by position. If the service did not mention an entry, it may or may not have been
/// carried out.
pub(super) fn outcomes<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = vec![Err(no_answer("the queue did not mention this entry")); count];
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

/// The position of an entry in its request.
pub(super) fn position(id: &str) -> Option<usize> {
    id.parse().ok()
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
        assert_eq!(shape(&vec![of_size(MAX_MESSAGE / 2); 3]), [2, 1]);
        assert_eq!(shape(&[of_size(1), of_size(MAX_MESSAGE + 1), of_size(1)]), [1, 0, 1]);
        let mut attributed = of_size(MAX_MESSAGE - 10);
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
}
