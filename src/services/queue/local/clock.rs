//! The wall clock, and the repair after it was set back.
//!
//! A hidden message has a time in its row, by the wall clock, because processes share no other clock, and no other
//! clock continues through a restart. If the clock was ahead when it was read, the message would stay hidden until
//! then, for hours or for years. So a row also records for how long the message was hidden, and since when. If a
//! message would stay hidden for longer than that from now on, it was hidden by a different clock, and its time is
//! set again. So no message stays hidden for longer than its visibility timeout or its pause, counted from the first
//! look after the clock was set back.
//!
//! When to look: when this process first uses the file, and when the wall clock has gone back compared with the
//! monotonic clock. Apart from the look itself, the cost does not depend on the number of messages. A clock that is
//! set forward shows messages early, as any queue with at-least-once delivery may; so does a machine that slept.
//!
//! Older programs that share the file don't write the two columns. Their rows are recognised because the sum of the
//! two columns is not the time in the row: such a message stays hidden for at most 12 hours from now, or not at all
//! if it was never received.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};

use super::messages::{BEHIND, millis, writing};

/// The longest time for which a message is hidden at once, as on SQS
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>).
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// How many milliseconds the wall clock may fall behind the monotonic clock before it counts as set back: more than a
/// clock that is slewed loses between two looks (half a millisecond a second), and a delay that nobody notices.
const TOLERANCE: i64 = 100;

/// For how long a row's message may be hidden: what the row records, or zero for a message that was never received.
const ALLOWED: &str = "CASE WHEN hidden_since + hidden_for = visible_at THEN min(hidden_for, ?4)
                            WHEN token IS NULL THEN 0 ELSE ?4 END";

/// The wall clock as this process sees it.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    /// How far the wall clock was ahead of the monotonic clock at most; `None` before the first look.
    ahead: Option<i64>,
    /// What a test adds to the time, in milliseconds.
    pub(super) shift: i64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), ahead: None, shift: 0 }
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()).saturating_add(self.shift).max(0)
    }

    /// Shows the messages that were hidden by a different clock, if the clock may have been set back since the last
    /// look.
    pub(super) fn mend(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        let ahead = self.now().saturating_sub(millis(self.began.elapsed()));
        if self.ahead.is_some_and(|before| before.saturating_sub(ahead) <= TOLERANCE) {
            self.ahead = self.ahead.max(Some(ahead));
            return Ok(());
        }
        let shown = mend(connection, self.now())?;
        self.ahead = Some(ahead);
        if shown > 0 {
            tracing::warn!(
                target: "batchpipe::queue::local::clock", messages = shown,
                "the clock was set back: messages were hidden until a time that is too far away; they come at their \
                time by this clock"
            );
        }
        Ok(())
    }
}

/// Returns for how many messages of both queues the time was set again.
fn mend(connection: &mut Connection, now: i64) -> rusqlite::Result<usize> {
    let too_late =
        format!("queue IN (0, 1) AND visible_at > ?1 AND visible_at < ?2 AND visible_at - ?1 > {ALLOWED} + ?3");
    let (longest, limits) = (millis(LONGEST), BEHIND);
    // Looking takes no lock, and usually finds nothing.
    let any = connection
        .prepare(&format!("SELECT 1 FROM messages WHERE {too_late} LIMIT 1"))?
        .exists(params![now, limits, TOLERANCE, longest])?;
    if !any {
        return Ok(0);
    }
    let transaction = writing(connection)?;
    let shown = transaction.execute(
        &format!(
            "UPDATE messages SET visible_at = ?1 + {ALLOWED}, hidden_since = ?1, hidden_for = {ALLOWED} WHERE \
            {too_late}"
        ),
        params![now, limits, TOLERANCE, longest],
    )?;
    transaction.commit()?;
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::services::queue::local::LocalQueue;
    use crate::services::queue::local::file::Connections;
    use crate::services::queue::{JobQueue, Message, Outgoing};

    const HOUR: i64 = 60 * 60 * 1000;
    const YEAR: i64 = 366 * 24 * HOUR;
    const MINUTE: Duration = Duration::from_secs(60);

    /// A queue whose clock is `ahead` of the true clock, as a process that starts with that clock sees it.
    async fn opened(path: &Path, ahead: i64) -> LocalQueue {
        let queue = LocalQueue::open(path).unwrap();
        set(&queue, ahead).await;
        queue
    }

    /// Sets the clock while the process runs.
    async fn set(queue: &LocalQueue, ahead: i64) {
        let set = move |connections: &mut Connections| {
            connections.clock.shift = ahead;
            Ok(())
        };
        queue.file.run(set).await.unwrap();
    }

    async fn send(queue: &LocalQueue, group: Option<&str>) {
        let message = Outgoing { body: "x".into(), group: group.map(str::to_owned), ..Outgoing::default() };
        queue.send(&[message]).await.unwrap().remove(0).unwrap();
    }

    async fn receive(queue: &LocalQueue, visibility: Duration) -> Vec<Message> {
        queue.receive(10, Duration::ZERO, visibility).await.unwrap()
    }

    async fn counts(queue: &LocalQueue) -> (u64, u64) {
        let counts = queue.counts().await.unwrap();
        (counts.visible, counts.in_flight)
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_hides_nothing_for_longer_than_its_visibility() {
        for ahead in [HOUR, 13 * HOUR, 100 * YEAR] {
            for runs_on in [true, false] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("q");
                let mut queue = opened(&path, ahead).await;
                send(&queue, None).await;
                send(&queue, None).await;
                let held = receive(&queue, MINUTE).await;
                assert_eq!(held.len(), 2);
                // The first is paused for half an hour, the second is held for a minute.
                queue.extend(&[held[0].receipt.clone()], 30 * MINUTE).await.unwrap().remove(0).unwrap();
                if runs_on {
                    set(&queue, 0).await;
                } else {
                    drop(queue);
                    queue = opened(&path, 0).await;
                }
                assert_eq!(counts(&queue).await, (0, 2), "{ahead}: neither is over yet");
                set(&queue, 61_000).await;
                assert_eq!(counts(&queue).await, (1, 1), "{ahead}, {runs_on}: a minute later one is back");
                assert_eq!(receive(&queue, MINUTE).await[0].id, held[1].id);
                set(&queue, 30 * 61_000).await;
                assert_eq!(counts(&queue).await.0, 2, "{ahead}: half an hour later the other is");
            }
        }
    }

    #[tokio::test]
    async fn what_was_sent_or_given_back_by_a_clock_that_was_ahead_can_be_received_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let queue = opened(&folder.path().join("q"), YEAR).await;
        for group in [None, None, Some("g"), Some("g")] {
            send(&queue, group).await;
        }
        let taken = receive(&queue, MINUTE).await;
        assert_eq!(taken.len(), 3, "one of the group");
        let receipts: Vec<_> = taken.iter().map(|message| message.receipt.clone()).collect();
        queue.extend(&receipts[..1], Duration::ZERO).await.unwrap().remove(0).unwrap();
        // The second message of the group is freed by the same clock.
        queue.delete(&receipts[2..]).await.unwrap().remove(0).unwrap();
        set(&queue, 0).await;
        assert_eq!(counts(&queue).await, (2, 1));
        assert_eq!(receive(&queue, MINUTE).await.len(), 2);
    }

    #[tokio::test]
    async fn a_message_that_is_held_while_the_clock_goes_back_stays_its_holders() {
        let folder = tempfile::tempdir().unwrap();
        let queue = opened(&folder.path().join("q"), HOUR).await;
        send(&queue, None).await;
        let held = receive(&queue, MINUTE).await.remove(0);
        set(&queue, 0).await;
        assert!(receive(&queue, MINUTE).await.is_empty(), "nobody else gets it");
        assert!(queue.extend(std::slice::from_ref(&held.receipt), MINUTE).await.unwrap()[0].is_ok());
        set(&queue, -YEAR).await;
        assert_eq!(counts(&queue).await, (0, 1));
        assert!(queue.delete(&[held.receipt]).await.unwrap()[0].is_ok());
    }

    #[tokio::test]
    async fn a_clock_that_was_behind_and_one_that_jumps_both_ways_hide_nothing_for_longer() {
        let folder = tempfile::tempdir().unwrap();
        let queue = opened(&folder.path().join("q"), -HOUR).await;
        send(&queue, None).await;
        assert_eq!(receive(&queue, MINUTE).await.len(), 1);
        set(&queue, 0).await;
        assert_eq!(counts(&queue).await, (1, 0), "early, as any queue may be");
        assert_eq!(receive(&queue, MINUTE).await.len(), 1);
        for ahead in [YEAR, 0, -HOUR, HOUR, -YEAR] {
            set(&queue, ahead).await;
            counts(&queue).await;
        }
        set(&queue, 61_000 - YEAR).await;
        assert_eq!(counts(&queue).await, (1, 0));
    }

    #[tokio::test]
    async fn nothing_is_hidden_for_more_than_twelve_hours_whoever_hid_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q");
        let queue = opened(&path, 0).await;
        for _ in 0..3 {
            send(&queue, None).await;
        }
        let held = receive(&queue, Duration::MAX).await;
        assert_eq!(held.len(), 3);
        drop(queue);
        // An older program hides one message for a minute and one for a year, and sends one by a clock that is a year
        // ahead.
        let now = Clock::new().now();
        let file = Connection::open(&path).unwrap();
        let hide = |seq: i64, until: i64| {
            file.execute("UPDATE messages SET visible_at = ?1, token = 7 WHERE seq = ?2", [until, seq]).unwrap()
        };
        assert_eq!((hide(1, now + 60_000), hide(2, now + YEAR)), (1, 1));
        file.execute("INSERT INTO messages (queue, visible_at, sent_at, body) VALUES (0, ?1, ?1, 'old')", [now + YEAR])
            .unwrap();
        let queue = opened(&path, 0).await;
        assert_eq!(counts(&queue).await, (1, 3), "the one that was sent is there");
        set(&queue, 61_000).await;
        assert_eq!(counts(&queue).await, (2, 2), "what an older program says holds");
        set(&queue, 12 * HOUR + 61_000).await;
        assert_eq!(counts(&queue).await, (4, 0));
    }

    #[tokio::test]
    async fn a_name_that_drops_repeats_is_forgotten_after_five_minutes_whatever_the_clock_was() {
        let folder = tempfile::tempdir().unwrap();
        let queue = opened(&folder.path().join("q"), YEAR).await;
        let named = || Outgoing { body: "x".into(), deduplication: Some("name".into()), ..Outgoing::default() };
        for (ahead, messages) in [(YEAR, 1), (0, 1), (4 * 60_000, 1), (6 * 60_000, 2)] {
            set(&queue, ahead).await;
            queue.send(&[named()]).await.unwrap().remove(0).unwrap();
            assert_eq!(counts(&queue).await.0, messages, "{ahead}");
        }
    }

    #[tokio::test]
    async fn a_file_of_an_older_program_is_taken_over_and_stays_usable_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q");
        drop(LocalQueue::open(&path).unwrap());
        let old = Connection::open(&path).unwrap();
        for column in ["hidden_since", "hidden_for"] {
            old.execute(&format!("ALTER TABLE messages DROP COLUMN {column}"), []).unwrap();
        }
        let send = "INSERT INTO messages (queue, visible_at, sent_at, grp, attributes, body) VALUES (0, 1, 1, NULL, \
            NULL, 'x')";
        old.execute(send, []).unwrap();
        let queue = LocalQueue::open(&path).unwrap();
        assert_eq!(receive(&queue, MINUTE).await.len(), 1);
        old.execute(send, []).unwrap();
        assert_eq!(counts(&queue).await, (1, 1), "both have the file open");
        let mut take =
            old.prepare("UPDATE messages SET visible_at = 2, token = 5 WHERE seq = 2 RETURNING seq, body").unwrap();
        assert!(take.exists([]).unwrap());
    }
}
