//! The operations on rows: send, take, extend, delete, count. Each is one transaction that takes the write lock
//! first, so that processes wait for each other instead of failing halfway.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::clock::LONGEST;
use super::file::Connections;
use super::{Counts, MAX_ATTRIBUTES, MAX_MESSAGE, Message, Outcome, Outgoing, Receipt, Which};
use crate::error::{ServiceError, ServiceErrorKind};

/// The `visible_at` of a message that waits until the messages before it in its group are deleted.
pub(super) const BEHIND: i64 = i64::MAX;

/// How long a repeated deduplication id is dropped: as long as on SQS ("Using the message deduplication ID" in
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide>).
const REMEMBER: Duration = Duration::from_secs(5 * 60);

/// The result of a receive.
pub(super) struct Taken {
    pub(super) messages: Vec<Message>,
    /// The time until the next hidden message becomes visible, if there is one and no message was taken.
    pub(super) next: Option<Duration>,
}

/// The result of a delete.
pub(super) struct Deleted {
    pub(super) outcomes: Vec<Outcome>,
    /// Whether a message that waited for its group can be received now.
    pub(super) freed_group: bool,
}

pub(super) fn millis(duration: Duration) -> i64 {
    // Limited to a quarter of the range, so that two such times still add up to less than BEHIND.
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// For how long a message is hidden if `asked` was requested.
fn hidden_for(asked: Duration) -> i64 {
    millis(asked.min(LONGEST))
}

pub(super) fn writing(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn send(connections: &mut Connections, which: Which, batch: &[Outgoing]) -> rusqlite::Result<Vec<Outcome>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let now = connections.clock.now();
    let transaction = writing(&mut connections.durable)?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for message in batch {
        outcomes.push(match refused(message) {
            Some(error) => Err(error),
            None => {
                insert(&transaction, which, message, now)?;
                Ok(())
            }
        });
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// The reason why SQS would refuse a message; we refuse it too.
fn refused(message: &Outgoing) -> Option<ServiceError> {
    let (size, attributes) = (message.size(), message.attributes.len());
    let (code, said) = match () {
        () if size > MAX_MESSAGE => ("MessageTooLong", format!("it has {size} bytes, more than {MAX_MESSAGE}")),
        () if attributes > MAX_ATTRIBUTES => ("InvalidAttributes", format!("it has {attributes} attributes")),
        () => return None,
    };
    Some(ServiceError::new(ServiceErrorKind::Invalid, code, said))
}

fn insert(transaction: &Transaction<'_>, which: Which, message: &Outgoing, now: i64) -> rusqlite::Result<()> {
    let queue = which as i64;
    if let Some(name) = &message.deduplication {
        // Ids recorded by a clock that was ahead would drop repeats for too long.
        transaction.prepare_cached("UPDATE recent SET sent_at = ?1 WHERE sent_at > ?1")?.execute([now])?;
        transaction.prepare_cached("DELETE FROM recent WHERE sent_at <= ?1")?.execute([now - millis(REMEMBER)])?;
        let mut remember = transaction.prepare_cached("INSERT OR IGNORE INTO recent VALUES (?1, ?2, ?3)")?;
        if remember.execute(params![queue, name, now])? == 0 {
            return Ok(());
        }
    }
    let behind = match &message.group {
        Some(group) => transaction
            .prepare_cached("SELECT 1 FROM messages WHERE queue = ?1 AND grp = ?2 LIMIT 1")?
            .exists(params![queue, group])?,
        None => false,
    };
    let attributes = (!message.attributes.is_empty()).then(|| serde_json::json!(message.attributes).to_string());
    transaction
        .prepare_cached(
            "INSERT INTO messages (queue, visible_at, sent_at, grp, attributes, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![queue, if behind { BEHIND } else { now }, now, message.group, attributes, message.body])?;
    Ok(())
}

pub(super) fn take(
    connections: &mut Connections,
    which: Which,
    max: usize,
    visibility: Duration,
) -> rusqlite::Result<Taken> {
    let queue = which as i64;
    let holder = connections.holder.look(&mut connections.quick, &connections.clock)?;
    connections.clock.mend(&mut connections.quick)?;
    // Looking first takes no lock, and a waiting receive usually finds nothing.
    let first: Option<i64> = connections
        .quick
        .prepare_cached("SELECT visible_at FROM messages WHERE queue = ?1 ORDER BY visible_at LIMIT 1")?
        .query_row([queue], |row| row.get(0))
        .optional()?;
    let away = first.map(|first| first.saturating_sub(connections.clock.now()));
    if max == 0 || away.is_none_or(|away| away > 0) {
        let next = away.map(|away| Duration::from_millis(u64::try_from(away).unwrap_or(0)));
        return Ok(Taken { messages: Vec::new(), next });
    }
    let transaction = writing(&mut connections.quick)?;
    // Read after the lock is taken, because waiting for the lock must not shorten the timeout.
    let (now, hidden) = (connections.clock.now(), hidden_for(visibility));
    let mut messages = Vec::with_capacity(max);
    {
        let mut hide: CachedStatement<'_> = transaction.prepare_cached(
            "UPDATE messages SET visible_at = ?2 + ?3, hidden_since = ?2, hidden_for = ?3,
                    token = ?5 << 32 | (random() & 0xffffffff), receives = receives + 1
             WHERE seq IN (SELECT seq FROM messages WHERE queue = ?1 AND visible_at <= ?2 ORDER BY visible_at, seq \
             LIMIT ?4)
             RETURNING seq, token, receives, sent_at, grp, attributes, body",
        )?;
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let mut rows = hide.query(params![queue, now, hidden, limit, holder])?;
        while let Some(row) = rows.next()? {
            messages.push((row.get::<_, i64>(0)?, message(row, &connections.id)?));
        }
    }
    transaction.commit()?;
    // SQLite returns updated rows in any order.
    messages.sort_by_key(|(seq, _)| *seq);
    Ok(Taken { messages: messages.into_iter().map(|(_, message)| message).collect(), next: None })
}

/// Makes the messages of a dead holder visible, in both queues; returns how many.
pub(super) fn give_back(transaction: &Transaction<'_>, holder: u32, now: i64) -> rusqlite::Result<usize> {
    let mut show = transaction.prepare_cached(
        "UPDATE messages SET visible_at = ?1, hidden_since = ?1, hidden_for = 0
         WHERE queue IN (?2, ?3) AND visible_at > ?1 AND visible_at < ?4 AND token >> 32 = ?5",
    )?;
    show.execute(params![now, Which::Main as i64, Which::DeadLetters as i64, BEHIND, holder])
}

fn message(row: &Row<'_>, file: &str) -> rusqlite::Result<Message> {
    let (seq, token): (i64, i64) = (row.get(0)?, row.get(1)?);
    let sent = u64::try_from(row.get::<_, i64>(3)?).ok().map(|sent| UNIX_EPOCH + Duration::from_millis(sent));
    let attributes: Option<String> = row.get(5)?;
    Ok(Message {
        id: format!("{file}-{seq}"),
        body: row.get(6)?,
        receipt: Receipt(format!("{seq}.{token}")),
        attempt: row.get(2)?,
        sent,
        group: row.get(4)?,
        intact: true,
        // The attributes are our own JSON. If somebody has edited the file, messages lose their attributes, but no
        // message is lost.
        attributes: attributes.map_or_else(BTreeMap::new, |json| serde_json::from_str(&json).unwrap_or_default()),
    })
}

/// The row and the secret that a receipt names.
fn parse(receipt: &Receipt) -> Result<(i64, i64), ServiceError> {
    let parsed = receipt.0.split_once('.').and_then(|(seq, token)| Some((seq.parse().ok()?, token.parse().ok()?)));
    parsed.ok_or_else(|| {
        ServiceError::new(ServiceErrorKind::Invalid, "ReceiptHandleIsInvalid", "this is no receipt of this queue")
    })
}

fn lost(message: &str) -> Outcome {
    Err(ServiceError::new(ServiceErrorKind::LeaseLost, "MessageNotInflight", message))
}

pub(super) fn extend(
    connections: &mut Connections,
    which: Which,
    receipts: &[Receipt],
    timeout: Duration,
) -> rusqlite::Result<Vec<Outcome>> {
    let transaction = writing(&mut connections.quick)?;
    let (now, hidden) = (connections.clock.now(), hidden_for(timeout));
    let mut outcomes = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        outcomes.push(match parse(receipt) {
            Err(error) => Err(error),
            Ok((seq, token)) => {
                // As on SQS, the old owner can't hide a message that has become visible again, because the message may
                // have been given back on purpose.
                let mut hide = transaction.prepare_cached(
                    "UPDATE messages SET visible_at = ?5 + ?1, hidden_since = ?5, hidden_for = ?1
                     WHERE seq = ?2 AND queue = ?3 AND token = ?4 AND visible_at > ?5",
                )?;
                match hide.execute(params![hidden, seq, which as i64, token, now])? {
                    0 => lost("the message is visible again, deleted, or held by another receipt"),
                    _ => Ok(()),
                }
            }
        });
    }
    transaction.commit()?;
    Ok(outcomes)
}

pub(super) fn delete(connections: &mut Connections, which: Which, receipts: &[Receipt]) -> rusqlite::Result<Deleted> {
    let now = connections.clock.now();
    let transaction = writing(&mut connections.quick)?;
    let mut deleted = Deleted { outcomes: Vec::with_capacity(receipts.len()), freed_group: false };
    for receipt in receipts {
        let outcome = match parse(receipt) {
            Err(error) => Err(error),
            Ok((seq, token)) => {
                let gone = delete_one(&transaction, which, (seq, token), now)?;
                deleted.freed_group |= gone.as_ref().is_ok_and(|freed| *freed);
                gone.map(|_| ())
            }
        };
        deleted.outcomes.push(outcome);
    }
    transaction.commit()?;
    Ok(deleted)
}

/// Deletes the message that a receipt names; returns whether a message that waited for its group can be received now.
fn delete_one(
    transaction: &Transaction<'_>,
    which: Which,
    (seq, token): (i64, i64),
    now: i64,
) -> rusqlite::Result<Result<bool, ServiceError>> {
    let queue = which as i64;
    let group: Option<Option<String>> = transaction
        .prepare_cached("DELETE FROM messages WHERE seq = ?1 AND queue = ?2 AND token = ?3 RETURNING grp")?
        .query_row(params![seq, queue, token], |row| row.get(0))
        .optional()?;
    match group {
        Some(Some(group)) => {
            let mut free = transaction.prepare_cached(
                "UPDATE messages SET visible_at = ?1 WHERE visible_at = ?2 AND seq =
                 (SELECT seq FROM messages WHERE queue = ?3 AND grp = ?4 ORDER BY seq LIMIT 1)",
            )?;
            Ok(Ok(free.execute(params![now, BEHIND, queue, group])? > 0))
        }
        Some(None) => Ok(Ok(false)),
        None => {
            let mut there = transaction.prepare_cached("SELECT 1 FROM messages WHERE seq = ?1 AND queue = ?2")?;
            let held = there.exists(params![seq, queue])?;
            Ok(if held { lost("another receipt holds the message").map(|()| false) } else { Ok(false) })
        }
    }
}

pub(super) fn counts(connections: &mut Connections, which: Which) -> rusqlite::Result<Counts> {
    connections.clock.mend(&mut connections.quick)?;
    let now = connections.clock.now();
    connections
        .quick
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE visible_at <= ?2), count(*) FILTER (WHERE visible_at > ?2 AND visible_at < \
            ?3),
                    count(*) FILTER (WHERE visible_at = ?3)
             FROM messages WHERE queue = ?1",
        )?
        .query_row(params![which as i64, now, BEHIND], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok(Counts { visible: count(0)?, in_flight: count(1)?, delayed: count(2)? })
        })
}

/// Passes the body of each message to `show`, whether it is held or not.
pub(super) fn bodies(connections: &mut Connections, which: Which, mut show: impl FnMut(&str)) -> rusqlite::Result<()> {
    let mut all = connections.quick.prepare_cached("SELECT body FROM messages WHERE queue = ?1")?;
    let mut rows = all.query([which as i64])?;
    while let Some(row) = rows.next()? {
        show(row.get_ref(0)?.as_str()?);
    }
    Ok(())
}

pub(super) fn max_receives(connections: &mut Connections) -> rusqlite::Result<Option<u32>> {
    connections
        .quick
        .prepare_cached("SELECT value FROM meta WHERE key = 'max_receives'")?
        .query_row([], |row| row.get(0))
        .optional()
}
