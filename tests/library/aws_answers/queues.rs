//! Answers of a queue that lack what was asked for: never taken for success, nor for an empty queue.

use std::time::Duration;

use batchpipe::error::{Code, Stage};
use batchpipe::services::queue::{Outgoing, Receipt};

use super::*;

fn json(body: &str) -> String {
    answer("200 OK", &["Content-Type: application/x-amz-json-1.0"], body)
}

const OPENED: &str = r#"{"Attributes":{"VisibilityTimeout":"30"}}"#;

/// A queue of a server that gives these answers once it is open.
async fn queue(answers: &[String]) -> SqsQueue {
    let answers: Vec<String> = std::iter::once(json(OPENED)).chain(answers.iter().cloned()).collect();
    let server = Scripted::start(&answers.iter().map(String::as_str).collect::<Vec<_>>());
    let address = QueueAddress::parse(&format!("{}/1/jobs", server.url())).unwrap();
    SqsQueue::open(&address, &aws(&server)).await.unwrap()
}

fn message(body: &str) -> Outgoing {
    Outgoing { body: body.to_owned(), ..Outgoing::default() }
}

/// The codes of failures, `ok` for a success.
fn codes(outcomes: &[Result<(), ServiceError>]) -> Vec<&str> {
    outcomes.iter().map(|outcome| outcome.as_ref().err().map_or("ok", |error| error.code.as_str())).collect()
}

#[tokio::test]
async fn what_a_batch_call_says_nothing_of_has_not_happened() {
    let receipts = [Receipt("r0".to_owned()), Receipt("r1".to_owned())];
    for silent in ["", "{}", r#"{"Successful":[],"Failed":[]}"#, r#"{"Successful":[{"Id":"7"},{"Id":"x"},{}]}"#] {
        let queue = queue(&[json(silent), json(silent), json(silent)]).await;
        let sent = queue.send(&[message("a"), message("b")]).await.unwrap();
        let deleted = queue.delete(&receipts).await.unwrap();
        let extended = queue.extend(&receipts, Duration::from_secs(60)).await.unwrap();
        for outcomes in [sent, deleted, extended] {
            assert_eq!(codes(&outcomes), ["NoAnswer", "NoAnswer"], "{silent:?}");
            assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(ServiceError::is_transient)));
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_no_success() {
    for page in ["<html>sign in</html>", "{", "[]", r#"{"Successful":[{"Id":"0""#] {
        let queue = queue(&[json(page), json(page), json(page)]).await;
        let second = Duration::from_secs(1);
        let failed = [
            queue.send(&[message("a")]).await.map(|outcomes| codes(&outcomes).join(" ")).unwrap_or_default(),
            queue.delete(&[Receipt("r".to_owned())]).await.map(|_| "deleted".to_owned()).unwrap_or_default(),
            queue.receive(10, second, second).await.map(|_| "received".to_owned()).unwrap_or_default(),
        ];
        assert_eq!(failed, ["", "", ""], "{page}");
    }
}

#[tokio::test]
async fn a_message_counts_as_sent_if_the_queue_keeps_the_body_that_was_sent() {
    let entry = |id: usize, fields: &str| format!(r#"{{"Id":"{id}"{fields}}}"#);
    let right = r#","MessageId":"m","MD5OfMessageBody":"0cc175b9c0f1b6a831c399e269772661""#;
    let wrong = r#","MessageId":"m","MD5OfMessageBody":"92eb5ffee6ae2fec3ad71c777531578f""#;
    // Not quite SQS, and yet it says which message it keeps.
    let without = r#","MessageId":"m""#;
    let entries = [entry(0, right), entry(1, wrong), entry(2, without), entry(3, "")].join(",");
    let answer = json(&format!(r#"{{"Successful":[{entries}],"Failed":[]}}"#));
    let outcomes = queue(&[answer]).await.send(&vec![message("a"); 4]).await.unwrap();
    assert_eq!(codes(&outcomes), ["ok", "ChecksumMismatch", "ok", "NoAnswer"]);
    assert!(outcomes[1].as_ref().is_err_and(ServiceError::is_transient), "it is sent again");
}

#[tokio::test]
async fn messages_without_receipt_or_id_are_left_and_an_answer_of_nothing_else_is_an_error() {
    let second = Duration::from_secs(1);
    let received = |body: &str| json(&format!(r#"{{"Messages":[{body}]}}"#));
    let some = r#"{"MessageId":"1","ReceiptHandle":"r","Body":"x"},{"MessageId":"2","Body":"x"},
        {"ReceiptHandle":"r","Body":"x"}"#;
    let none = r#"{"MessageId":"2","Body":"x"},{"ReceiptHandle":"r","Body":"x"},{}"#;
    let queue = queue(&[received(some), received(none), received("")]).await;
    let messages = queue.receive(10, second, second).await.unwrap();
    assert_eq!(messages.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["1"]);
    let error = queue.receive(10, second, second).await.unwrap_err();
    assert_eq!((error.code.clone().as_str(), error.at(Stage::Receive).code), ("NoAnswer", Code::QueueAnswerIncomplete));
    assert!(queue.receive(10, second, second).await.unwrap().is_empty(), "an empty queue is no error");
}

#[tokio::test]
async fn a_queue_that_does_not_tell_its_counts_is_not_empty() {
    let counts = |names: &[&str]| {
        let fields: Vec<String> =
            names.iter().map(|name| format!(r#""ApproximateNumberOfMessages{name}":"0""#)).collect();
        json(&format!(r#"{{"Attributes":{{{}}}}}"#, fields.join(",")))
    };
    let all = ["", "NotVisible", "Delayed"];
    assert_eq!(queue(&[counts(&all)]).await.counts().await.unwrap().visible, 0);
    let word = json(r#"{"Attributes":{"ApproximateNumberOfMessages":"none"}}"#);
    for lacking in [json(""), json("{}"), json(r#"{"Attributes":{}}"#), counts(&all[..1]), counts(&all[..2]), word] {
        let error = queue(&vec![lacking.clone(); 3]).await.counts().await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_transient()), ("NoAnswer", true), "{lacking}");
    }
}

#[tokio::test]
async fn a_queue_that_tells_nothing_of_itself_is_not_opened() {
    for (nothing, asked) in [(json("{}"), "attributes"), (json(""), "attributes"), (json("{}"), "url")] {
        let server = Scripted::start(&[nothing.as_str(); 3]);
        let text = if asked == "url" { "jobs".to_owned() } else { format!("{}/1/jobs", server.url()) };
        let error = SqsQueue::open(&QueueAddress::parse(&text).unwrap(), &aws(&server)).await.unwrap_err();
        assert_eq!(error.code, Code::QueueAnswerIncomplete, "{asked}: {error}");
    }
}

#[tokio::test]
async fn a_queue_that_tells_nothing_of_its_policy_is_not_one_without_dead_letters() {
    let silent = queue(&[json("{}"), json("{}")]).await;
    assert_eq!(silent.policy().await.unwrap_err().code, "NoAnswer");
    assert_eq!(silent.dead_letters().await.unwrap_err().code, "NoAnswer");
    let told = queue(&[json(OPENED), json(OPENED)]).await;
    assert_eq!(told.policy().await.unwrap().visibility, Duration::from_secs(30));
    assert!(told.dead_letters().await.unwrap().is_none());
}
