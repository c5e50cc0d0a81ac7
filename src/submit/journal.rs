//! What a submit has done so far, so that the same command typed again goes on where a kill left it.
//!
//! A file of lines, each appended in one write after the service has acknowledged: `up NAME` when an object is
//! complete, `sent NAME` when its job is in the queue. A name stands with its size and time, so a file that changed is
//! submitted again. A kill can tear only the last line, which is then not there; the page cache keeps the others (only
//! a power failure can lose them, and then an upload or a message is repeated, which is harmless). A file that holds
//! anything else is not a journal: it is refused, and left as it is. Only the end of a file whose first line is ours is
//! ever cut.
//!
//! The second line says what the journal belongs to: the source, the destination and the queue. The journal of another
//! command is refused, for it would take that command's files for done. A journal of version 0.1 has no such line; it
//! goes on, and gets one. Who else is on the machine can't read it (0600): it holds the names of files.
//!
//! Bounded by the number of files: one line and one entry in memory for each.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use serde::{Deserialize, Serialize};

/// The first line's kind; no other has it.
const BEGIN: &str = "begin";

/// The kind of the line that says what the journal belongs to.
const OF: &str = "of";

/// The kinds of lines.
const KINDS: [&str; 4] = [BEGIN, OF, "up", "sent"];

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// `begin`, `of`, `up` or `sent`.
    done: String,
    /// The file's name and version, the batch in the first line, or the command that the journal belongs to.
    name: String,
    /// What the journal belongs to, in its own line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<Owner>,
}

/// What a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `submit` or `map`.
    pub command: String,
    /// Where the files are.
    pub source: String,
    /// Where they are put; of a `map`, its outputs.
    pub destination: String,
    /// Where the results of a `submit` go, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The queue, by its address.
    pub queue: String,
}

impl Owner {
    /// Whether a journal of `other` is ours. That of a `map` lies in its destination, which may have been moved as a
    /// whole, and the queue with it.
    fn may_use(&self, other: &Self) -> bool {
        match (self.command.as_str(), other.command.as_str()) {
            ("map", "map") => self.source == other.source,
            _ => self == other,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} to {:?}", self.command, self.source, self.destination)?;
        if let Some(output) = &self.output {
            write!(f, ", outputs in {output:?}")?;
        }
        write!(f, ", queue {:?}", self.queue)
    }
}

/// The journal of one submit.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    batch: String,
    uploaded: HashSet<String>,
    sent: HashSet<String>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one for `batch`. A journal remembers its own batch.
    pub fn open(path: &Path, batch: &str) -> io::Result<Self> {
        Self::open_of(path, batch, None)
    }

    /// The same for `owner`. The journal of another is refused, with both named, as `InvalidData`; so is a file that is
    /// no journal.
    pub fn open_of(path: &Path, batch: &str, owner: Option<&Owner>) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        // Opening a named pipe would wait for its other end.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let (known, torn) = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => read_lines(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Known::default(), None),
            Err(error) => return Err(error),
        };
        let Known { batch: begun, owner: noted, mut names } = known;
        if let (Some(owner), Some(noted)) = (owner, &noted)
            && !owner.may_use(noted)
        {
            return Err(invalid(&format!("it belongs to  {noted} ; this is  {owner}")));
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        if let Some(whole) = torn {
            // A torn last line would swallow the next one.
            file.set_len(whole)?;
        }
        if begun.is_none() {
            write_line(&mut file, BEGIN, batch, None)?;
        }
        if let (Some(owner), None) = (owner, noted) {
            write_line(&mut file, OF, &owner.command, Some(owner.clone()))?;
        }
        let batch = begun.unwrap_or_else(|| batch.to_owned());
        let uploaded = names.remove("up").unwrap_or_default();
        let sent = names.remove("sent").unwrap_or_default();
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), batch, uploaded, sent })
    }

    /// The batch that was begun.
    pub fn batch(&self) -> &str {
        &self.batch
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this version of the file was complete in the store before this run.
    pub fn is_uploaded(&self, name: &str) -> bool {
        self.uploaded.contains(name)
    }

    /// Whether its job was in the queue before this run.
    pub fn is_sent(&self, name: &str) -> bool {
        self.sent.contains(name)
    }

    /// Jobs sent before this run.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Notes that an object is complete.
    pub fn note_uploaded(&self, name: &str) -> io::Result<()> {
        self.write("up", name)
    }

    /// Notes that a job is in the queue.
    pub fn note_sent(&self, name: &str) -> io::Result<()> {
        self.write("sent", name)
    }

    fn write(&self, done: &str, name: &str) -> io::Result<()> {
        write_line(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner), done, name, None)
    }
}

fn write_line(file: &mut File, done: &str, name: &str, of: Option<Owner>) -> io::Result<()> {
    let line = Line { done: done.to_owned(), name: name.to_owned(), of };
    let mut text = serde_json::to_string(&line)?;
    text.push('\n');
    file.write_all(text.as_bytes())
}

/// What a journal says.
#[derive(Debug, Default)]
struct Known {
    batch: Option<String>,
    owner: Option<Owner>,
    /// The names by what was done.
    names: HashMap<String, HashSet<String>>,
}

/// What the whole lines say, and their length if something of a line that is not whole comes after them.
fn read_lines(file: File) -> io::Result<(Known, Option<u64>)> {
    if !file.metadata()?.is_file() {
        return Err(invalid("it is no regular file"));
    }
    let mut known = Known::default();
    let mut reader = BufReader::new(file);
    let (mut line, mut whole) = (Vec::new(), 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok((known, None));
        }
        if line.last() != Some(&b'\n') {
            let is_ours = if known.batch.is_some() { is_torn(&line) } else { is_begun(&line) };
            return if is_ours { Ok((known, Some(whole))) } else { Err(no_journal()) };
        }
        let Line { done, name, of } = serde_json::from_slice(&line).map_err(|_| no_journal())?;
        if known.batch.is_some() == (done == BEGIN) || !KINDS.contains(&done.as_str()) {
            return Err(no_journal());
        }
        match done.as_str() {
            BEGIN => known.batch = Some(name),
            OF => known.owner = Some(known.owner.or(of).ok_or_else(no_journal)?),
            _ => drop(known.names.entry(done).or_default().insert(name)),
        }
        whole += length as u64;
    }
}

/// Whether this may be what a kill left of a line of ours, or zeros that a power failure left in place of one.
fn is_torn(line: &[u8]) -> bool {
    KINDS.iter().any(|kind| is_alike(line, kind)) || line.iter().all(|byte| *byte == 0)
}

/// Whether this may be what a kill left of the first line. A file of nothing but zeros is somebody's disk image rather.
fn is_begun(line: &[u8]) -> bool {
    is_alike(line, BEGIN)
}

fn is_alike(line: &[u8], kind: &str) -> bool {
    let start = format!("{{\"done\":\"{kind}\",\"name\":\"");
    line.iter().zip(start.as_bytes()).all(|(one, other)| one == other)
}

fn no_journal() -> io::Error {
    invalid("the file is not a journal of batchpipe; it was left as it is")
}

fn invalid(said: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, said)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
