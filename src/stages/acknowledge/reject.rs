//! What becomes of rejected messages: moved to the dead letters, or kept where there are none.
//!
//! A letter is sent first, and its message deleted only then, so nothing is lost between the two. Bounded by the batch.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::dead_letter::{letter_of, slimmer};
use super::decide::delay;
use super::{Finished, Settling};
use crate::error::{Code, ServiceErrorKind};
use crate::services::queue::{JobQueue, Outcome, Outgoing};
use crate::services::retry::Call;

/// How long a message waits that was rejected and has no dead-letter queue to go to.
const KEPT_DELAY: Duration = Duration::from_secs(60 * 60);

impl Settling {
    /// Keeps rejected messages in the queue, for want of another place. They come again after a while, in case a new
    /// version can do what this one can't. In a FIFO group none may go before another, so all behind them wait as well.
    async fn keep(&self, group: &[Finished]) {
        let in_groups = group.iter().filter(|finished| finished.message.group.is_some()).count() as u64;
        let kept_before = self.meters.kept.fetch_add(group.len() as u64, Relaxed);
        let held_before = self.meters.holding_up.fetch_add(in_groups, Relaxed);
        // Each rejected job is told by itself; what its staying means, once.
        if in_groups > 0 && held_before == 0 {
            let (code, again) = (Code::GroupHeldUp, KEPT_DELAY);
            tracing::warn!(
                %code,
                ?again,
                "a rejected message holds up its group: the queue has no dead-letter queue, and none was named"
            );
        } else if kept_before == 0 {
            tracing::warn!("rejected messages are kept in the queue: it has no dead-letter queue, and none was named");
        }
        self.give_back(group, KEPT_DELAY).await;
    }

    /// Moves messages to the dead letters: sent there first, deleted here only when that has succeeded. What was sent
    /// and not deleted has been told by then: it comes again, and its letter is sent twice. Returns how many have
    /// moved.
    pub(super) async fn reject(&self, group: &[Finished]) -> usize {
        let Some(dead_letters) = &self.dead_letters else {
            self.keep(group).await;
            return 0;
        };
        let outcomes = self.send_letters(dead_letters.as_ref(), group).await;
        let mut moved = 0;
        for (finished, outcome) in group.iter().zip(outcomes) {
            match outcome {
                Ok(()) => moved += usize::from(self.delete(std::slice::from_ref(finished)).await.is_empty()),
                Err(error) => {
                    tracing::warn!(code = ?error.code, cause = ?error.message, "a rejected message could not be moved \
                        to the dead letters and is kept");
                    self.give_back(std::slice::from_ref(finished), delay(finished.message.attempt)).await;
                }
            }
        }
        moved
    }

    /// Sends the letters of a group. One that the queue refuses as it is goes with less said, rather than not at all.
    async fn send_letters(&self, dead_letters: &dyn JobQueue, group: &[Finished]) -> Vec<Outcome> {
        let letters =
            group.iter().filter_map(|Finished { message, records, .. }| letter_of(message, records, dead_letters));
        let letters: Vec<Outgoing> = letters.collect();
        let mut outcomes = self.send(dead_letters, &letters).await;
        for (letter, outcome) in letters.iter().zip(&mut outcomes) {
            // A batch may have been refused for the sake of one, so each is tried alone, and whole, first.
            for letter in [letter.clone()].into_iter().chain(slimmer(letter)) {
                let Err(error) = outcome else { break };
                if error.kind != ServiceErrorKind::Invalid {
                    break;
                }
                tracing::debug!(code = ?error.code, cause = ?error.message, "a dead letter is sent with less in it");
                *outcome = self.send(dead_letters, &[letter]).await.remove(0);
            }
        }
        outcomes
    }

    async fn send(&self, dead_letters: &dyn JobQueue, letters: &[Outgoing]) -> Vec<Outcome> {
        let retry = self.retry.longer(dead_letters.patience());
        let call = retry.run(&self.meters, Call::queue("dead_letter"), || dead_letters.send(letters));
        call.await.unwrap_or_else(|error| vec![Err(error); letters.len()])
    }
}
