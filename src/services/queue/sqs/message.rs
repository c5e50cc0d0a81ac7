//! Reads a received message.

use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName};
use md5::{Digest, Md5};

use super::batch::no_answer;
use crate::error::ServiceError;
use crate::services::queue::{Message, Receipt};

/// Reads the messages of an answer. A message without a receipt can be neither held nor deleted, and a message without
/// an id can't be told from another, so such messages are skipped and will be delivered again. If all messages are of
/// this kind, the answer counts as an error.
pub(super) fn messages(received: Vec<SqsMessage>) -> Result<Vec<Message>, ServiceError> {
    let all = received.len();
    let messages: Vec<Message> = received.into_iter().map(message).collect();
    let usable = |message: &Message| !message.id.is_empty() && !message.receipt.0.is_empty();
    let messages: Vec<Message> = messages.into_iter().filter(usable).collect();
    if messages.len() == all {
        return Ok(messages);
    }
    let what = format!("{} of {all} messages came without an id or a receipt", all - messages.len());
    if messages.is_empty() {
        return Err(no_answer(what));
    }
    tracing::warn!(
        target: "batchpipe::queue::sqs::message",
        cause = what, "the queue gave messages that can't be worked on"
    );
    Ok(messages)
}

/// Reads a message, and checks that its body is as it was sent.
fn message(received: SqsMessage) -> Message {
    let system = |name| received.attributes().and_then(|attributes| attributes.get(&name)).cloned();
    let attempt = system(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|count| count.parse().ok());
    let sent = system(MessageSystemAttributeName::SentTimestamp).and_then(|millis| millis.parse().ok());
    // In a standard queue, a group is a tenant that gets a fair share, and implies no order
    // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>).
    let ordered = system(MessageSystemAttributeName::SequenceNumber).is_some();
    let group = system(MessageSystemAttributeName::MessageGroupId).filter(|_| ordered);
    let texts = received.message_attributes().into_iter().flatten();
    let attributes = texts.filter_map(|(name, value)| Some((name.clone(), value.string_value()?.to_owned())));
    let body = received.body().unwrap_or_default();
    Message {
        attributes: attributes.collect(),
        // The SDK does not check this checksum, and SQS has no message without a body.
        intact: received.body().is_some()
            && received.md5_of_body().is_none_or(|sum| sum.eq_ignore_ascii_case(&md5_hex(body))),
        id: received.message_id().unwrap_or_default().to_owned(),
        receipt: Receipt(received.receipt_handle().unwrap_or_default().to_owned()),
        attempt: attempt.unwrap_or(1),
        sent: sent.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis))),
        group,
        body: body.to_owned(),
    }
}

pub(super) fn md5_hex(text: &str) -> String {
    hex::encode(Md5::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_an_order_is_none() {
        let grouped = SqsMessage::builder().attributes(MessageSystemAttributeName::MessageGroupId, "g");
        assert_eq!(message(grouped.clone().build()).group, None, "a tenant of a fair queue");
        let ordered = grouped.attributes(MessageSystemAttributeName::SequenceNumber, "18849496460467696128");
        assert_eq!(message(ordered.build()).group.as_deref(), Some("g"));
    }

    #[test]
    fn a_message_that_can_be_neither_kept_nor_told_from_others_is_left() {
        let built =
            |id: &str, receipt: &str| SqsMessage::builder().message_id(id).receipt_handle(receipt).body("x").build();
        let read = messages(vec![built("1", "r"), built("", "r"), built("2", "")]).unwrap();
        assert_eq!(read.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["1"]);
        assert!(messages(Vec::new()).unwrap().is_empty(), "an empty queue");
        let error = messages(vec![built("", "r"), SqsMessage::builder().build()]).unwrap_err();
        assert_eq!((error.code.as_str(), error.is_transient()), ("NoAnswer", true));
        assert!(!message(SqsMessage::builder().message_id("1").build()).intact, "no body is not the one that was sent");
    }

    #[test]
    fn a_body_that_is_not_the_one_sent_is_not_intact() {
        let sent = |sum: &str| message(SqsMessage::builder().body("hello").md5_of_body(sum).build()).intact;
        assert!(sent("5d41402abc4b2a76b9719d911017c592"));
        assert!(sent("5D41402ABC4B2A76B9719D911017C592"));
        assert!(!sent("5d41402abc4b2a76b9719d911017c593"));
        assert!(message(SqsMessage::builder().body("hello").build()).intact);
    }
}
