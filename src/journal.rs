//! What a submit has done so far, so that the same command typed again goes on where a kill left it.
//!
//! A file of lines, each appended in one write after the service has acknowledged: `up NAME` when an object is complete,
//! `sent NAME` when its job is in the queue. A name stands with its size and time, so a file that changed is
//! submitted again. A kill can tear only the last line, which is then not there; the page cache keeps the others (only
//! a power failure can lose them, and then an upload or a message is repeated, which is harmless). A file that holds
//! anything else is not a journal: it is refused, and left as it is.
//!
//! Bounded by the number of files: one line and one entry in memory for each.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The first line's kind; no other has it.
const BEGIN: &str = "begin";

/// The kinds of lines.
const KINDS: [&str; 3] = [BEGIN, "up", "sent"];

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// `begin`, `up` or `sent`.
    done: String,
    /// The file's name and version, or the batch in the first line.
    name: String,
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
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let (mut known, whole) = match File::open(path) {
            Ok(file) => read_lines(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (HashMap::new(), 0),
            Err(error) => return Err(error),
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // A torn last line would swallow the next one.
        file.set_len(whole)?;
        let batch = match known.remove(BEGIN).and_then(|names| names.into_iter().next()) {
            Some(batch) => batch,
            None => {
                write_line(&mut file, BEGIN, batch)?;
                batch.to_owned()
            }
        };
        let uploaded = known.remove("up").unwrap_or_default();
        let sent = known.remove("sent").unwrap_or_default();
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
        write_line(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner), done, name)
    }
}

fn write_line(file: &mut File, done: &str, name: &str) -> io::Result<()> {
    let line = Line { done: done.to_owned(), name: name.to_owned() };
    let mut text = serde_json::to_string(&line)?;
    text.push('\n');
    file.write_all(text.as_bytes())
}

/// The names by what was done, and the length of the lines that are whole.
fn read_lines(file: File) -> io::Result<(HashMap<String, HashSet<String>>, u64)> {
    let mut known: HashMap<String, HashSet<String>> = HashMap::new();
    let mut reader = BufReader::new(file);
    let (mut line, mut whole) = (Vec::new(), 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return if is_torn(&line) { Ok((known, whole)) } else { Err(no_journal()) };
        }
        let Line { done, name } = serde_json::from_slice(&line).map_err(|_| no_journal())?;
        if known.contains_key(BEGIN) == (done == BEGIN) || !KINDS.contains(&done.as_str()) {
            return Err(no_journal());
        }
        known.entry(done).or_default().insert(name);
        whole += length as u64;
    }
}

/// Whether this may be what a kill left of a line of ours, or zeros that a power failure left in place of one.
fn is_torn(line: &[u8]) -> bool {
    let alike = |kind: &&str| {
        let start = format!("{{\"done\":\"{kind}\",\"name\":\"");
        line.iter().zip(start.as_bytes()).all(|(one, other)| one == other)
    };
    KINDS.iter().any(alike) || line.iter().all(|byte| *byte == 0)
}

fn no_journal() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is not a journal of batchpipe; it was left as it is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_journal_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters");
        let ours = "{\"done\":\"begin\",\"name\":\"b\"}\n";
        for text in ["dear reader", "dear reader\n", "{}\n", "{\"done\":\"up\",\"name\":\"a\"}\n"]
            .map(str::to_owned)
            .into_iter()
            .chain(["x\n", "x", ours].map(|more| format!("{ours}{more}")))
        {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(Journal::open(&path, "b").unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_journal_torn_at_any_byte_still_tells_what_was_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(&path, "b1").unwrap();
        journal.note_uploaded("a\n\"ü").unwrap();
        journal.note_sent("a\n\"ü").unwrap();
        let all = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..all.len()).filter(|&at| all[at] == b'\n').map(|at| at + 1).collect();
        for cut in 0..=all.len() {
            std::fs::write(&path, &all[..cut]).unwrap();
            let again = Journal::open(&path, "b2").unwrap();
            assert_eq!(again.batch(), if cut >= ends[0] { "b1" } else { "b2" }, "cut at {cut}");
            assert_eq!(again.is_uploaded("a\n\"ü"), cut >= ends[1], "cut at {cut}");
            assert_eq!(again.is_sent("a\n\"ü"), cut >= ends[2], "cut at {cut}");
            again.note_sent("more").unwrap();
            assert!(Journal::open(&path, "b3").unwrap().is_sent("more"), "cut at {cut}");
        }
    }
}
