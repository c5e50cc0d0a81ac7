//! Records what a submit has done, so that the same command, typed again, continues after a kill.
//!
//! A file of lines, each appended in one write after the service has acknowledged: `up NAME` when an object is
//! complete, `sent NAME` when its job is in the queue. Names include size and time, so a changed file is submitted
//! again. A kill can tear only the last line, which is then ignored; the page cache keeps the others. Only a power
//! failure can lose them; then an upload or a message is repeated, which is harmless. A file with any other content
//! is not a journal: it is refused and left unchanged. A file is only ever truncated at its end, and only if its
//! first line is ours.
//!
//! The second line names the owner of the journal: the source, the destination and the queue. The journal of another
//! command is refused, because otherwise that command's files would count as done. A journal of version 0.1 has no
//! such line; it is continued, and gets the line. Other users of the machine can't read the journal (0600), because
//! it contains the names of files.
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

/// The kind of the first line; no other line has it.
const BEGIN: &str = "begin";

/// The kind of the line that names the owner.
const OF: &str = "of";

/// The kinds of lines.
const KINDS: [&str; 4] = [BEGIN, OF, "up", "sent"];

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// `begin`, `of`, `up` or `sent`.
    done: String,
    /// The file's name and version, the batch in the first line, or the owner's command.
    name: String,
    /// The owner, in the line for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<Owner>,
}

/// The command that a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `submit` or `map`.
    pub command: String,
    /// Where the files are.
    pub source: String,
    /// Where the files are put; for a `map`, where its outputs are put.
    pub destination: String,
    /// Where the results of a `submit` go, if it names a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The queue, by its address.
    pub queue: String,
}

impl Owner {
    /// Whether we may continue a journal of `other`. The journal of a `map` is in its destination, which may have been
    /// moved as a whole, together with the queue.
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
    /// Opens the journal at `path`, or begins one for `batch`. An existing journal keeps its own batch.
    pub fn open(path: &Path, batch: &str) -> io::Result<Self> {
        Self::open_of(path, batch, None)
    }

    /// Like [`open`](Self::open), for `owner`. The journal of another owner is refused as `InvalidData`, with both
    /// named; so is a file that is not a journal.
    pub fn open_of(path: &Path, batch: &str, owner: Option<&Owner>) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        // Without the flag, opening a named pipe would wait for its other end.
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
            // The next line would be appended to a torn last line.
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

    /// The batch of this journal.
    pub fn batch(&self) -> &str {
        &self.batch
    }

    /// The path of the journal.
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

    /// Records that an object is complete.
    pub fn note_uploaded(&self, name: &str) -> io::Result<()> {
        self.write("up", name)
    }

    /// Records that a job is in the queue.
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

/// The contents of a journal.
#[derive(Debug, Default)]
struct Known {
    batch: Option<String>,
    owner: Option<Owner>,
    /// The names, by the kind of their lines.
    names: HashMap<String, HashSet<String>>,
}

/// The contents of the complete lines, and their length if a part of an incomplete line follows them.
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

/// Whether this may be the rest of one of our lines after a kill, or zeros in its place after a power failure.
fn is_torn(line: &[u8]) -> bool {
    KINDS.iter().any(|kind| is_alike(line, kind)) || line.iter().all(|byte| *byte == 0)
}

/// Whether this may be the rest of the first line after a kill. A file of only zeros is more likely a disk image.
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
