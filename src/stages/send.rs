//! Announces jobs to the queue, a batch at a time. What a call could not send is sent again.

use crate::error::{ServiceError, ServiceErrorKind, Stage};
use crate::record::Meters;
use crate::services::queue::{JobQueue, Outgoing};
use crate::services::retry::{Call, Retry};

/// The call, as counted.
const SEND: Call = Call::queue("send");

/// Sends `messages`, at most a batch. Returns one outcome each, in order: `Ok` once the queue has acknowledged it.
pub async fn send(
    queue: &dyn JobQueue,
    retry: Retry,
    meters: &std::sync::Arc<Meters>,
    messages: &[Outgoing],
) -> Vec<Result<(), ServiceError>> {
    let turn = meters.turn(Stage::Send);
    let retry = retry.longer(queue.patience());
    meters.allowed(retry.deadline);
    let unsent = || Err(ServiceError::new(ServiceErrorKind::Unavailable, "NotSent", "the queue did not answer"));
    let mut outcomes: Vec<Result<(), ServiceError>> = messages.iter().map(|_| unsent()).collect();
    let mut failures = 0;
    loop {
        let left: Vec<usize> = (0..messages.len())
            .filter(|&place| outcomes[place].as_ref().is_err_and(ServiceError::is_transient))
            .collect();
        if left.is_empty() {
            break;
        }
        let batch: Vec<Outgoing> = left.iter().map(|&place| messages[place].clone()).collect();
        match retry.attempt(meters, SEND, queue.send(&batch)).await {
            Ok(answers) => left.iter().zip(answers).for_each(|(&place, answer)| outcomes[place] = answer),
            Err(error) => left.iter().for_each(|&place| outcomes[place] = Err(error.clone())),
        }
        let Some(error) = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).find(|e| e.is_transient())
        else {
            break;
        };
        failures += 1;
        if retry.pause(meters, SEND, failures, error.clone()).await.is_err() {
            break;
        }
    }
    turn.ended(outcomes.iter().all(Result::is_ok));
    outcomes
}
