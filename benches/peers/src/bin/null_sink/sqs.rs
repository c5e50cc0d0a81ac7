//! The SQS half: queues in memory, the six calls that a worker makes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{Body, Failure, json as answer_json};

#[derive(Default)]
pub(crate) struct Queues {
    queues: Mutex<HashMap<String, Queue>>,
    sent: Notify,
}

#[derive(Default)]
struct Queue {
    texts: Vec<String>,
    receives: Vec<u32>,
    visible: VecDeque<usize>,
    /// Messages by receipt: the number of the message, and when it comes back.
    hidden: HashMap<String, (usize, Instant)>,
    deleted: u64,
    receive_calls: u64,
    /// When the first message was handed out, and when the last was deleted.
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Queue {
    fn send(&mut self, text: String) -> usize {
        let number = self.texts.len();
        self.texts.push(text);
        self.receives.push(0);
        self.visible.push_back(number);
        number
    }

    fn receive(&mut self, max: usize, visibility: Duration) -> Vec<Value> {
        let now = Instant::now();
        if self.visible.is_empty() {
            let due: Vec<String> = self
                .hidden
                .iter()
                .filter(|(_, (_, until))| *until <= now)
                .map(|(receipt, _)| receipt.clone())
                .collect();
            self.visible.extend(due.iter().filter_map(|receipt| self.hidden.remove(receipt)).map(|(number, _)| number));
        }
        let count = max.min(self.visible.len());
        let taken: Vec<usize> = self.visible.drain(..count).collect();
        taken.into_iter().map(|number| self.hand_out(number, now + visibility)).collect()
    }

    fn hand_out(&mut self, number: usize, until: Instant) -> Value {
        self.first.get_or_insert_with(Instant::now);
        self.receives[number] += 1;
        let receives = self.receives[number];
        let receipt = format!("{number}-{receives}");
        self.hidden.insert(receipt.clone(), (number, until));
        let text = &self.texts[number];
        json!({"MessageId": number.to_string(), "ReceiptHandle": receipt, "Body": text, "MD5OfBody": md5(text),
               "Attributes": {"ApproximateReceiveCount": receives.to_string(), "SentTimestamp": "1795500000000"}})
    }

    fn delete(&mut self, receipt: &str) {
        self.deleted += u64::from(self.hidden.remove(receipt).is_some());
        self.last = Some(Instant::now());
    }
}

impl Queues {
    /// The time from a queue's first message that was handed out to its last that was deleted.
    pub(crate) fn working(&self, name: &str) -> Option<Duration> {
        self.queue(name, |queue| Some(queue.last?.duration_since(queue.first?)))
    }

    pub(crate) fn reset(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue<T>(&self, name: &str, act: impl FnOnce(&mut Queue) -> T) -> T {
        act(self.lock().entry(name.to_owned()).or_default())
    }
}

/// Fills a queue with jobs that copy objects: `{"queue":…,"count":…,"size":…}`.
pub(crate) async fn fill(queues: &Queues, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let asked = read(request).await?;
    let (count, size) = (asked["count"].as_u64().unwrap_or(0), asked["size"].as_u64().unwrap_or(0));
    queues.queue(asked["queue"].as_str().ok_or("no queue")?, |queue| {
        for number in 0..count {
            let job = json!({"v": 1, "input": format!("s3://bench/in/{size}/{number:07}"),
                             "output": format!("s3://bench/out/{size}/{number:07}")});
            queue.send(job.to_string());
        }
    });
    queues.sent.notify_waiters();
    Ok(answer_json(StatusCode::OK, &json!({})))
}

pub(crate) async fn answer(
    queues: &Queues,
    request: Request<Incoming>,
    delay: Duration,
) -> Result<Response<Body>, Failure> {
    let target = request.headers()["x-amz-target"].to_str()?.rsplit('.').next().unwrap_or_default().to_owned();
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let asked = read(request).await?;
    tokio::time::sleep(delay).await;
    let name = match (asked["QueueUrl"].as_str(), asked["QueueName"].as_str()) {
        (Some(url), _) => url.rsplit('/').next().unwrap_or_default().to_owned(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => String::new(),
    };
    let answer = match target.as_str() {
        "GetQueueUrl" | "CreateQueue" => json!({"QueueUrl": format!("http://{host}/000000000000/{name}")}),
        "ReceiveMessage" => receive(queues, &name, &asked).await,
        "GetQueueAttributes" => queues.queue(&name, |queue| {
            json!({"Attributes": {
                "ApproximateNumberOfMessages": queue.visible.len().to_string(),
                "ApproximateNumberOfMessagesNotVisible": queue.hidden.len().to_string(),
                "ApproximateNumberOfMessagesDelayed": "0",
                "VisibilityTimeout": "60", "MaximumMessageSize": "1048576",
                "Deleted": queue.deleted.to_string(), "ReceiveCalls": queue.receive_calls.to_string()}})
        }),
        "SendMessageBatch" => {
            let sent = queues.queue(&name, |queue| {
                batch(&asked, |entry| {
                    let text = entry["MessageBody"].as_str()?.to_owned();
                    let sum = md5(&text);
                    let number = queue.send(text);
                    Some(json!({"Id": entry["Id"], "MessageId": number.to_string(), "MD5OfMessageBody": sum}))
                })
            });
            queues.sent.notify_waiters();
            sent
        }
        "DeleteMessage" => queues.queue(&name, |queue| {
            let receipt = asked["ReceiptHandle"].as_str().unwrap_or_default();
            queue.delete(receipt);
            json!({})
        }),
        "DeleteMessageBatch" => queues.queue(&name, |queue| {
            batch(&asked, |entry| {
                queue.delete(entry["ReceiptHandle"].as_str()?);
                Some(json!({"Id": entry["Id"]}))
            })
        }),
        "ChangeMessageVisibilityBatch" => queues.queue(&name, |queue| {
            batch(&asked, |entry| {
                let until = Instant::now() + Duration::from_secs(entry["VisibilityTimeout"].as_u64()?);
                queue.hidden.get_mut(entry["ReceiptHandle"].as_str()?)?.1 = until;
                Some(json!({"Id": entry["Id"]}))
            })
        }),
        other => return Err(format!("{other} is not served").into()),
    };
    Ok(answer_json(StatusCode::OK, &answer))
}

async fn receive(queues: &Queues, name: &str, asked: &Value) -> Value {
    let max = asked["MaxNumberOfMessages"].as_u64().unwrap_or(1) as usize;
    let visibility = Duration::from_secs(asked["VisibilityTimeout"].as_u64().unwrap_or(60));
    let until = tokio::time::Instant::now() + Duration::from_secs(asked["WaitTimeSeconds"].as_u64().unwrap_or(0));
    queues.queue(name, |queue| queue.receive_calls += 1);
    loop {
        let sent = queues.sent.notified();
        let messages = queues.queue(name, |queue| queue.receive(max, visibility));
        if !messages.is_empty() || tokio::time::timeout_at(until, sent).await.is_err() {
            return json!({ "Messages": messages });
        }
    }
}

/// Does `act` for each entry; an entry it has nothing to say of has failed.
fn batch(asked: &Value, mut act: impl FnMut(&Value) -> Option<Value>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in asked["Entries"].as_array().into_iter().flatten() {
        match act(entry) {
            Some(answer) => successful.push(answer),
            None => failed.push(json!({"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": true})),
        }
    }
    json!({"Successful": successful, "Failed": failed})
}

async fn read(request: Request<Incoming>) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?)
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
