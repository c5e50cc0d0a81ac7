//! The SQLite file: opening it, its schema, and the thread that works on it.
//!
//! SQLite blocks, so one dedicated thread does all of its work, whatever runtime asks: tokio's blocking threads stay
//! free for the processors, and callers in one process queue up here instead of waiting for SQLite's file lock. That
//! lock is then only needed between processes.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use super::clock::Clock;
use super::holder::Holder;
use crate::error::{ServiceError, ServiceErrorKind};

/// How long to wait for another process that is writing. A transaction takes milliseconds, so the wait takes this long
/// only if that process was stopped inside a transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Marks a file as a batchpipe queue ("bpq" and a 1), visible to the `file` command and to us
/// (<https://www.sqlite.org/pragma.html#pragma_application_id>).
const APPLICATION: i32 = 0x6270_7101;

/// The version of the schema below.
const SCHEMA: i32 = 1;

/// `visible_at` is in milliseconds since 1970, or [`super::messages::BEHIND`] for a message that waits for its group.
/// `token` is the secret of the newest receipt; its upper half is the number of the holder. `ready` gives a receive the
/// same cost at any queue length: its rows are in the order in which messages are delivered (an index ends in the
/// rowid, `seq`). [`HIDDEN`] is added afterwards.
const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queue INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        token INTEGER,
        receives INTEGER NOT NULL DEFAULT 0,
        sent_at INTEGER NOT NULL,
        grp TEXT,
        attributes TEXT,
        body TEXT NOT NULL
    );
    CREATE INDEX ready ON messages (queue, visible_at);
    CREATE INDEX groups ON messages (queue, grp) WHERE grp IS NOT NULL;
    CREATE TABLE recent (queue INTEGER, name TEXT, sent_at INTEGER, PRIMARY KEY (queue, name)) WITHOUT ROWID;
    CREATE INDEX recent_age ON recent (sent_at);
    INSERT INTO meta VALUES ('file', lower(hex(randomblob(4))));
";

/// Since when, and for how long, a message is hidden, in milliseconds (`clock.rs`). These columns are not in the
/// original table, so that programs that don't know them can share the file: such programs name the columns that they
/// read and write.
const HIDDEN: &str = "
    ALTER TABLE messages ADD COLUMN hidden_since INTEGER;
    ALTER TABLE messages ADD COLUMN hidden_for INTEGER;
";

/// Two connections to the file.
#[derive(Debug)]
pub(super) struct Connections {
    /// For sends: a commit waits until the data is on the disk.
    pub(super) durable: Connection,
    /// For everything else: a commit survives a kill, but not a power cut.
    pub(super) quick: Connection,
    /// A name that no other queue file has, so that message ids are unique.
    pub(super) id: String,
    pub(super) holder: Holder,
    pub(super) clock: Clock,
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.holder.end(&self.quick);
    }
}

type Work = Box<dyn FnOnce(&mut Connections) + Send>;

/// An open file. Dropping it ends the thread after the calls under way, and waits for the thread, because otherwise the
/// process might end first and leave its holder's file behind.
#[derive(Debug)]
pub(super) struct File {
    /// `None` during the drop.
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for File {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, ServiceError> {
        let mut connections = connect_both(path)
            .map_err(|error| ServiceError { message: format!("{}: {}", path.display(), error.message), ..error })?;
        let (work, inbox) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("batchpipe-queue".to_owned())
            .spawn(move || inbox.into_iter().for_each(|work| work(&mut connections)))
            .map_err(|error| ServiceError::new(ServiceErrorKind::Unavailable, "thread", error.to_string()))?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    /// Runs `work` on the file's thread. If the caller goes away before its turn comes, nothing is done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connections) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let gone = || ServiceError::new(ServiceErrorKind::Unavailable, "thread", "the queue's thread has ended");
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |connections| {
            if !reply.is_closed() {
                // A caller that leaves now gets no answer, as from a service over a network.
                drop(reply.send(work(connections)));
            }
        });
        self.work.as_ref().ok_or_else(gone)?.send(work).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(fault)
    }
}

/// Creates the file if it does not exist: empty, as a new SQLite database is. SQLite would make it readable by
/// everybody; our file is for this user and, if the umask allows, for the group, which may share the queue. SQLite
/// gives its `-wal` and `-shm` files the mode of this file. An existing file keeps its mode.
///
/// The file is created without being opened, because closing a file releases the locks that SQLite holds on it in this
/// process
/// (<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>).
fn make(path: &Path) {
    let mut path = path.to_owned();
    // For a dangling link, SQLite creates the target. 40 is as many links as Linux follows (path_resolution(7)).
    for _ in 0..40 {
        let Ok(to) = std::fs::read_link(&path) else { break };
        path = path.parent().map_or(to.clone(), |parent| parent.join(&to));
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o660);
    // A failure here fails again, and is reported, when SQLite opens the file. Usually the file exists already.
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::RegularFile, mode, 0).unwrap_or(());
}

fn connect_both(path: &Path) -> Result<Connections, ServiceError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(ServiceError::new(ServiceErrorKind::Missing, "ENOENT", "its directory does not exist"));
    }
    if path.is_dir() {
        return Err(ServiceError::new(ServiceErrorKind::Invalid, "EISDIR", "it is a directory, not a queue file"));
    }
    make(path);
    let mut durable = connect(path)?;
    prepare(&mut durable)?;
    durable.pragma_update(None, "synchronous", "FULL").map_err(fault)?;
    let quick = connect(path)?;
    quick.pragma_update(None, "synchronous", "NORMAL").map_err(fault)?;
    let id = durable.query_row("SELECT value FROM meta WHERE key = 'file'", [], |row| row.get(0)).map_err(fault)?;
    Ok(Connections { durable, quick, id, holder: Holder::new(path), clock: Clock::new() })
}

fn connect(path: &Path) -> Result<Connection, ServiceError> {
    // The bundled SQLite reads a name that begins with `file:` as a URI, with or without the flag; an absolute path
    // never begins so.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // No mutex, because only one thread uses a connection.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.busy_timeout(BUSY).map_err(fault)?;
    // If SQLite may not write a file, it silently opens the file read-only.
    if connection.is_readonly("main").map_err(fault)? {
        return Err(ServiceError::new(ServiceErrorKind::Denied, "SQLITE_READONLY", "it may not be written"));
    }
    Ok(connection)
}

/// Makes sure that the file is a batchpipe queue of our version and has its tables. Changes nothing in other files.
fn prepare(connection: &mut Connection) -> Result<(), ServiceError> {
    // One transaction, because if another process wrote between two queries, the file might look foreign.
    let look = connection.transaction().map_err(fault)?;
    let new = is_new(&look)?;
    let complete = !new && knows_hidden(&look)?;
    look.commit().map_err(fault)?;
    if complete {
        return Ok(());
    }
    if new {
        use_wal(connection)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    if is_new(&transaction)? {
        transaction.execute_batch(TABLES).map_err(fault)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(fault)?;
        transaction.pragma_update(None, "user_version", SCHEMA).map_err(fault)?;
    }
    if !knows_hidden(&transaction)? {
        transaction.execute_batch(HIDDEN).map_err(fault)?;
    }
    transaction.commit().map_err(fault)
}

/// Whether the table of messages has the columns of [`HIDDEN`].
fn knows_hidden(connection: &Connection) -> Result<bool, ServiceError> {
    let columns = "SELECT count(*) FROM pragma_table_info('messages') WHERE name IN ('hidden_since', 'hidden_for')";
    connection.query_row(columns, [], |row| row.get::<_, i64>(0)).map(|columns| columns == 2).map_err(fault)
}

fn use_wal(connection: &Connection) -> Result<(), ServiceError> {
    // Two processes that create the file at the same time meet here. SQLite answers `busy` to the second process
    // without waiting, because the mode is not part of a transaction.
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other.map_err(fault),
        }
    }
}

fn is_new(connection: &Connection) -> Result<bool, ServiceError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(fault);
    let (application, schema) = (number("application_id")?, number("user_version")?);
    if application == APPLICATION && schema == SCHEMA {
        return Ok(false);
    }
    if application == APPLICATION {
        let message = format!("it was made by another batchpipe (schema {schema}; this one knows {SCHEMA})");
        return Err(ServiceError::new(ServiceErrorKind::Invalid, "schema", message));
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fault)?;
    if application != 0 || schema != 0 || tables != 0 {
        let message = "it is the database of another program, not a queue";
        return Err(ServiceError::new(ServiceErrorKind::Invalid, "schema", message));
    }
    Ok(true)
}

/// What a failure of SQLite means for the caller.
pub(super) fn fault(error: rusqlite::Error) -> ServiceError {
    use ServiceErrorKind::{Denied, Invalid, NoSpace, Unavailable};
    let (kind, code) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => (Unavailable, "SQLITE_BUSY"),
        Some(ErrorCode::DatabaseLocked) => (Unavailable, "SQLITE_LOCKED"),
        Some(ErrorCode::FileLockingProtocolFailed) => (Unavailable, "SQLITE_PROTOCOL"),
        Some(ErrorCode::SystemIoFailure) => (Unavailable, "SQLITE_IOERR"),
        Some(ErrorCode::OutOfMemory) => (Unavailable, "SQLITE_NOMEM"),
        Some(ErrorCode::DiskFull) => (NoSpace, "SQLITE_FULL"),
        Some(ErrorCode::ReadOnly) => (Denied, "SQLITE_READONLY"),
        Some(ErrorCode::PermissionDenied) => (Denied, "SQLITE_PERM"),
        Some(ErrorCode::CannotOpen) => (Denied, "SQLITE_CANTOPEN"),
        Some(ErrorCode::NotADatabase) => (Invalid, "SQLITE_NOTADB"),
        Some(ErrorCode::DatabaseCorrupt) => (Invalid, "SQLITE_CORRUPT"),
        Some(ErrorCode::TooBig) => (Invalid, "SQLITE_TOOBIG"),
        _ => (Invalid, "SQLITE_ERROR"),
    };
    ServiceError::new(kind, code, error.to_string()).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::queue::local::LocalQueue;
    use crate::services::queue::{JobQueue, Outgoing};

    #[tokio::test]
    async fn a_full_disk_is_told_as_such_and_nothing_is_half_sent() {
        let directory = tempfile::tempdir().unwrap();
        let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
        let limit = |pages: u32| {
            queue.file.run(move |connections| connections.durable.pragma_update(None, "max_page_count", pages))
        };
        // For SQLite, reaching a page limit is the same as a full disk.
        limit(20).await.unwrap();
        let small = Outgoing { body: "small".to_owned(), ..Outgoing::default() };
        let big = Outgoing { body: "x".repeat(200_000), ..Outgoing::default() };
        let error = queue.send(&[small.clone(), big]).await.unwrap_err();
        assert_eq!(error.kind, ServiceErrorKind::NoSpace, "{error}");
        assert_eq!(queue.counts().await.unwrap().visible, 0);
        limit(1_000_000).await.unwrap();
        queue.send(&[small]).await.unwrap().remove(0).unwrap();
        assert_eq!(queue.counts().await.unwrap().visible, 1);
    }
}
