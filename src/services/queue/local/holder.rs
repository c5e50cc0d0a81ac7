//! Tells who holds the messages in flight, and which holders are dead: messages of a killed process become visible
//! at once, not only after their visibility timeout.
//!
//! A process that receives is a *holder*: it has a random number, a row in `meta` with this number, and an empty
//! file beside the database (`queue.db-holder-1a2b3c4d`) that it keeps locked (flock) for its lifetime. The kernel
//! releases the lock when the process ends, however it ends, and not before. So a stopped process (SIGSTOP) keeps
//! its lock, and a process in another container that shares the directory is seen as well, where a process id would
//! mean nothing. The upper half of a message's token is the number of its holder. So the schema did not change: a
//! program that knows nothing of holders may share the file, and its tokens, which are random as a whole, name no
//! holder.
//!
//! Each second, a process that receives tries the locks of the other holders. There are three answers:
//!
//! - The lock is taken: the holder lives, and nothing is changed.
//! - We get the lock: the holder is dead, and its messages become visible, keeping their receive counts.
//! - There is no file, it is not a regular file, or it can't be opened or locked: the holder's state is unknown, and
//!   the visibility timeout applies, as it does for a holder that could not create its file.
//!
//! The order of the steps makes this safe. A holder's row is committed after its file is locked, so no process finds
//! a file that is not locked yet. The file of a dead holder is removed by the process that has its lock, after the
//! removal of its row and the release of its messages are committed. A kill in between leaves an empty file that
//! nobody reads, or a row without a file, which the next look removes.
//!
//! Bounded: one file and one row for each process that receives; a look opens the file of each other holder once.

use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};
use rustix::fs::OFlags;

use super::clock::Clock;
use super::messages;

/// How often to look for dead holders. People don't notice the delay, and a look opens one file for each other holder.
const LOOK: Duration = Duration::from_secs(1);

/// Names to try. The chance that a name is in use is one in two thousand million.
const TRIES: u32 = 4;

/// This process as a holder, and its view of the other holders.
#[derive(Debug)]
pub(super) struct Holder {
    /// The database with all links resolved, as SQLite resolves them, so that processes that open it by another name
    /// look in the same place.
    database: PathBuf,
    own: Option<Own>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Own {
    number: u32,
    path: PathBuf,
    /// Holds the lock while it is open.
    _lock: std::fs::File,
}

/// What the lock of another holder tells.
enum Other {
    Dead(std::fs::File),
    Gone,
    Unknown,
}

impl Holder {
    pub(super) fn new(database: &Path) -> Self {
        let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
        Self { database, own: None, looked: None }
    }

    /// Returns the upper half of the tokens for messages received now; 0 means no holder. Gives back the messages of
    /// dead holders if a look is due, so call this before receiving.
    pub(super) fn look(&mut self, connection: &mut Connection, clock: &Clock) -> rusqlite::Result<i64> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            if self.own.is_none() {
                self.own = register(&self.database, connection)?;
            }
            self.give_back(connection, clock)?;
            self.looked = Some(Instant::now());
        }
        Ok(self.own.as_ref().map_or(0, |own| i64::from(own.number)))
    }

    fn give_back(&self, connection: &mut Connection, clock: &Clock) -> rusqlite::Result<()> {
        let own = self.own.as_ref().map(|own| own.number);
        for number in others(connection, own)? {
            let path = path(&self.database, number);
            match other(&path) {
                Other::Unknown => {}
                Other::Gone => {
                    forget(connection, number)?;
                }
                // We hold the lock until the end of this arm.
                Other::Dead(_lock) => {
                    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    let back = messages::give_back(&transaction, number, clock.now())?;
                    forget(&transaction, number)?;
                    transaction.commit()?;
                    drop(std::fs::remove_file(&path));
                    if back > 0 {
                        tracing::debug!(
                            target: "batchpipe::queue::local::holder", messages = back,
                            "a process that is dead held messages; they are visible again"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Called when a process ends normally. Messages that it still holds, such as a job that is to be retried later,
    /// become visible by their visibility timeout.
    pub(super) fn end(&mut self, connection: &Connection) {
        if let Some(own) = self.own.take() {
            // The row goes first, or others would find the row without a file. If either step fails, the others clean
            // up.
            drop(forget(connection, own.number));
            drop(std::fs::remove_file(&own.path));
        }
    }
}

/// Creates our file, locks it, and only then announces it. `None` if that is impossible: the directory is full, or its
/// file system has no locks.
fn register(database: &Path, connection: &mut Connection) -> rusqlite::Result<Option<Own>> {
    for _ in 0..TRIES {
        let number = fastrand::u32(1..=i32::MAX.unsigned_abs());
        let path = path(database, number);
        // The file is new, so no link is followed. Everybody who may use the queue must be able to try its lock.
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(_) => return Ok(None),
        };
        let shared = std::fs::metadata(database).map_or(0o600, |found| found.permissions().mode() & 0o666);
        drop(file.set_permissions(Permissions::from_mode(shared)));
        let known = match file.try_lock() {
            // The process id is for people who look into the file.
            Ok(()) => connection
                .execute("INSERT INTO meta VALUES (?1, ?2)", params![key(number), std::process::id()])
                .map(|_| Some(Own { number, path: path.clone(), _lock: file })),
            Err(_) => Ok(None),
        };
        if !matches!(known, Ok(Some(_))) {
            drop(std::fs::remove_file(&path));
        }
        return known;
    }
    Ok(None)
}

fn path(database: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(format!("-{}", key(number)));
    PathBuf::from(name)
}

fn key(number: u32) -> String {
    format!("holder-{number:08x}")
}

fn others(connection: &Connection, own: Option<u32>) -> rusqlite::Result<Vec<u32>> {
    let mut keys = connection.prepare_cached("SELECT key FROM meta WHERE key GLOB 'holder-*'")?;
    let mut rows = keys.query([])?;
    let mut others = Vec::new();
    while let Some(row) = rows.next()? {
        let found: String = row.get(0)?;
        let number = found.strip_prefix("holder-").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        others.extend(number.filter(|number| *number != 0 && Some(*number) != own));
    }
    Ok(others)
}

fn other(path: &Path) -> Other {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Other::Gone,
        Err(_) => return Other::Unknown,
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Other::Unknown;
    }
    match file.try_lock() {
        Ok(()) => Other::Dead(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Other::Unknown,
    }
}

fn forget(connection: &Connection, number: u32) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM meta WHERE key = ?1", [key(number)])
}
