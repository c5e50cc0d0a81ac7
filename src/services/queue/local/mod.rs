//! A durable job queue in one SQLite file, for one machine: without a service or an account, for several processes.
//!
//! The file holds two queues, the messages and the dead letters. A message is hidden by a time in its row, so the
//! messages of a killed process become visible again without any action; processes that notice its death make them
//! visible earlier (`holder.rs`). Times are by the wall clock, because processes share no other clock. If the clock
//! is set forward (or the machine slept), messages are delivered again early, as an at-least-once queue may do. If
//! the clock is set back, messages would stay hidden for longer; this is detected and repaired (`clock.rs`). Neither
//! loses a message.
//!
//! What survives: if a process is killed, everything, because a transaction is with the kernel when the call
//! returns. If the power fails, every *send* that returned survives, because it waits for the disk; a receive,
//! extend or delete that was not on the disk yet is undone, and the message is delivered again. So receives and
//! deletes don't wait for the disk, which makes them cheap.
//!
//! Groups: a message with a group waits until the messages sent before it in the group are deleted, so a group is
//! processed in order and one message at a time. The cost does not grow with the group.
//!
//! Bounded: one thread, two connections and one small file beside the database for each open file, batches of
//! [`MAX_BATCH`], messages of [`MAX_MESSAGE`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Counts, JobQueue, MAX_ATTRIBUTES, MAX_MESSAGE, Message, Outcome, Outgoing, Policy, Receipt};
use crate::error::ServiceError;
use crate::services::ServiceFuture;

mod clock;
mod file;
mod holder;
mod messages;

use file::{Connections, File};

/// The batch size of SQS, so that the pipeline is tuned alike for both
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html>).
pub const MAX_BATCH: usize = 10;

/// How often a waiting receive looks for messages of other processes. A look is one index lookup of some 30 µs, so 20 a
/// second cost almost nothing, and nobody notices the delay. Messages sent by this process don't wait for a look.
const LOOK: Duration = Duration::from_millis(50);

/// How long the disk may take for a commit: it may first have to write all that others have written. The same bound as
/// for objects (`stages/upload`).
const SLOWEST_DISK: Duration = Duration::from_secs(15 * 60);

/// The suffix that a queue's name gets for its dead letters.
const LETTERS: &str = "#dead-letters";

/// One queue of a SQLite file. Clones share it, on any runtime.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use std::time::Duration;
/// use batchpipe::services::queue::local::LocalQueue;
/// use batchpipe::services::queue::{JobQueue, Outgoing};
///
/// let directory = tempfile::tempdir()?;
/// let queue = LocalQueue::open(&directory.path().join("jobs.sqlite"))?;
/// queue.send(&[Outgoing { body: "job".to_owned(), ..Outgoing::default() }]).await?;
///
/// let mut messages = queue.receive(10, Duration::from_secs(1), Duration::from_secs(60)).await?;
/// let message = messages.remove(0);
/// assert_eq!((message.body.as_str(), message.attempt), ("job", 1));
/// queue.delete(&[message.receipt]).await?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalQueue {
    name: String,
    which: Which,
    file: Arc<File>,
    arrived: Arc<Notify>,
}

/// The queues of a file, with their numbers in the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
enum Which {
    Main = 0,
    DeadLetters = 1,
}

impl LocalQueue {
    /// Opens the queue in `path`, and creates the file if it does not exist. Blocks for a few milliseconds.
    pub fn open(path: &Path) -> Result<Self, ServiceError> {
        Ok(Self {
            name: format!("sqlite:{}", path.display()),
            which: Which::Main,
            file: Arc::new(File::open(path)?),
            arrived: Arc::new(Notify::new()),
        })
    }

    /// Applies `make` to each body in the queue, including messages that are held. For `map`, which has its own queue
    /// and must not send a job twice.
    pub async fn each_body<T: Send + 'static>(
        &self,
        make: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, ServiceError> {
        let which = self.which;
        let read = move |connections: &mut Connections| {
            let mut made = Vec::new();
            messages::bodies(connections, which, |body| made.extend(make(body)))?;
            Ok(made)
        };
        self.file.run(read).await
    }

    /// The dead letters of this file, as a queue.
    fn letters(&self) -> Self {
        Self { name: format!("{}{LETTERS}", self.name), which: Which::DeadLetters, ..self.clone() }
    }

    async fn wait_for_messages(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, ServiceError> {
        let begun = Instant::now();
        let (which, max) = (self.which, max.min(MAX_BATCH));
        loop {
            // Created before looking, so that a message that arrives in between wakes it.
            let arrived = self.arrived.notified();
            let taken = self.file.run(move |connections| messages::take(connections, which, max, visibility)).await?;
            let left = wait.saturating_sub(begun.elapsed());
            if !taken.messages.is_empty() || max == 0 || left.is_zero() {
                return Ok(taken.messages);
            }
            // At least one timer tick; otherwise a message that is due in a fraction of a tick would make this loop
            // spin.
            let pause = taken.next.map_or(LOOK, |next| next.clamp(Duration::from_millis(1), LOOK)).min(left);
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl JobQueue for LocalQueue {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> String {
        let path = self.name.trim_start_matches("sqlite:");
        std::path::absolute(path).map_or_else(|_no_directory| self.name.clone(), |path| path.display().to_string())
    }

    /// The file itself, which may have other names through links, and the queue in the file.
    fn identity(&self) -> String {
        let path = self.name.trim_start_matches("sqlite:").trim_end_matches(LETTERS);
        let file = std::fs::canonicalize(path).map_or_else(|_gone| path.to_owned(), |path| path.display().to_string());
        format!("{file} {:?}", self.which)
    }

    fn keeps_groups(&self) -> bool {
        true
    }

    fn max_batch(&self) -> usize {
        MAX_BATCH
    }

    fn patience(&self) -> Duration {
        SLOWEST_DISK
    }

    fn send<'a>(&'a self, messages: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        let (which, batch) = (self.which, messages.to_vec());
        Box::pin(async move {
            let outcomes = self.file.run(move |connections| messages::send(connections, which, &batch)).await?;
            self.arrived.notify_waiters();
            Ok(outcomes)
        })
    }

    fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> ServiceFuture<'_, Vec<Message>> {
        Box::pin(self.wait_for_messages(max, wait, visibility))
    }

    fn extend<'a>(&'a self, receipts: &'a [Receipt], timeout: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        let (which, batch) = (self.which, receipts.to_vec());
        Box::pin(async move {
            let outcomes =
                self.file.run(move |connections| messages::extend(connections, which, &batch, timeout)).await?;
            if timeout.is_zero() {
                self.arrived.notify_waiters();
            }
            Ok(outcomes)
        })
    }

    fn delete<'a>(&'a self, receipts: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        let (which, batch) = (self.which, receipts.to_vec());
        Box::pin(async move {
            let deleted = self.file.run(move |connections| messages::delete(connections, which, &batch)).await?;
            if deleted.freed_group {
                self.arrived.notify_waiters();
            }
            Ok(deleted.outcomes)
        })
    }

    fn counts(&self) -> ServiceFuture<'_, Counts> {
        let which = self.which;
        Box::pin(self.file.run(move |connections| messages::counts(connections, which)))
    }

    /// `max_receives` is the value of that name in the file's table `meta`, if there is one; messages never expire.
    /// `fifo` is false: groups are kept in order, but a message may have no group, unlike in a FIFO queue of SQS.
    fn policy(&self) -> ServiceFuture<'_, Policy> {
        let which = self.which;
        Box::pin(async move {
            let max_receives = match which {
                Which::Main => self.file.run(messages::max_receives).await?,
                Which::DeadLetters => None,
            };
            Ok(Policy {
                // The default of SQS.
                visibility: Duration::from_secs(30),
                max_receives,
                retention: None,
                fifo: false,
                max_body: MAX_MESSAGE,
            })
        })
    }

    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        let letters = match self.which {
            Which::Main => Some(Arc::new(self.letters()) as Arc<dyn JobQueue>),
            Which::DeadLetters => None,
        };
        Box::pin(std::future::ready(Ok(letters)))
    }

    fn done(&self) -> ServiceFuture<'_, ()> {
        Box::pin(self.file.run(|connections| {
            let Connections { holder, quick, .. } = connections;
            holder.end(quick);
            Ok(())
        }))
    }
}
