//! Finds a queue, and explains why it can't be opened.

use std::time::Duration;

use aws_sdk_sqs::Client;

use super::asked;
use super::batch::no_answer;
use crate::error::{Code, ServiceError, Subject, UserError};
use crate::services::aws::Aws;
use crate::services::aws::classify::{Asked, service_error};

/// How long to search for the name that was probably meant: the user is waiting for the error.
const GUESS_TIMEOUT: Duration = Duration::from_secs(5);

/// The URL of the queue called `name`, in `account` if the queue is not ours.
pub(super) async fn find(client: &Client, name: &str, account: Option<&str>) -> Result<String, ServiceError> {
    let call = client.get_queue_url().queue_name(name).set_queue_owner_aws_account_id(account.map(str::to_owned));
    let answer = asked(|| async {
        call.clone().send().await.map_err(|error| service_error(error, Asked::Queue, "sqs:GetQueueUrl"))
    });
    let answer = answer.await?;
    answer.queue_url.filter(|url| !url.is_empty()).ok_or_else(|| no_answer("the queue's URL is not in the answer"))
}

/// The error for a queue that can't be opened, with the name that was probably meant.
pub(super) async fn unopened(client: &Client, name: &str, error: &ServiceError, region: &str, aws: &Aws) -> UserError {
    let mut told = error.told(&Subject::receive(name));
    match told.code {
        Code::QueueMissing => {
            told.what = format!("queue {name:?} does not exist in {region}");
            let list = format!("aws sqs list-queues --region {region}");
            told.help = match nearest(client, name).await {
                Some(near) => format!("did you mean {near:?}?  List them:  {list}"),
                None => format!("list the queues there are:  {list}"),
            };
        }
        Code::Unreachable => match aws.sqs_endpoint() {
            Some(endpoint) => {
                told.what = format!("cannot reach {}", endpoint.url);
                told.help = format!("start your local server, or {}", unset(&endpoint.source));
            }
            None => "cannot reach SQS".clone_into(&mut told.what),
        },
        _ => {}
    }
    told
}

/// How to remove the endpoint that `source` sets.
fn unset(source: &str) -> String {
    match source {
        "the profile" => "take endpoint_url out of the profile".to_owned(),
        "the program" => "let the program set no endpoint".to_owned(),
        flag if flag.starts_with("--") => format!("leave out {flag}"),
        variable => format!("unset {variable} (it is set in your environment)"),
    }
}

/// The queue with the name nearest to `name`, if there is a similar name and we may list queues.
async fn nearest(client: &Client, name: &str) -> Option<String> {
    // Its only use is to guess the name that was meant.
    let listed = tokio::time::timeout(GUESS_TIMEOUT, client.list_queues().max_results(1000).send()).await.ok()?.ok()?;
    let names = listed.queue_urls().iter().filter_map(|url| url.rsplit('/').next());
    let (distance, near) = names.map(|there| (distance(name, there), there)).min()?;
    (distance <= 2.max(name.len() / 3)).then(|| near.to_owned())
}

/// How many characters must be inserted, removed or replaced to turn one word into the other.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_names_counts_their_differences() {
        assert_eq!(distance("jbos", "jobs"), 2);
        assert_eq!(distance("jobs", "jobs"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}
