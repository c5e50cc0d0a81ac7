//! Explains a message to people: `batchpipe explain MESSAGE`.

use std::fmt;

use serde::Serialize;

use super::{Format, Record, Request, Rules, Wrapping, open};
use crate::error::{Code, JobError};

/// What was understood of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Understood {
    /// Its format, if it has one.
    pub format: Option<Format>,
    /// Its wrappings, the outermost first.
    pub wrapping: Vec<Wrapping>,
    /// The jobs it asks for.
    pub jobs: Vec<UnderstoodJob>,
    /// Why it asks for nothing, if so.
    pub nothing: Option<&'static str>,
    /// Why it is refused, if so.
    pub refused: Option<Refusal>,
    /// The other records, if there are several, which are not jobs.
    pub other_records: Vec<OtherRecord>,
}

/// A record that is not a job, beside others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherRecord {
    /// Its position among the records, from 1.
    pub record: usize,
    /// The kind of event for which it is skipped, if so.
    pub skipped: Option<&'static str>,
    /// Why it is refused, if so.
    pub refused: Option<Refusal>,
}

/// One job of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderstoodJob {
    /// Its position among the records of the message, from 1; `None` if it is the only record.
    pub record: Option<usize>,
    /// The submitter's name for the job.
    pub id: Option<String>,
    /// The object to read.
    pub input: String,
    /// The object to write, suffix included; `None` if only the worker's `--output` can tell.
    pub output: Option<String>,
    /// The submit that it belongs to.
    pub batch: Option<String>,
    /// The input's size in bytes, if known.
    pub size: Option<u64>,
    /// The input's ETag, if known.
    pub etag: Option<String>,
    /// The input's version, if known.
    pub version_id: Option<String>,
    /// Arguments for a program.
    pub args: Vec<String>,
    /// Why this worker would refuse the job, if so.
    pub refused: Option<Refusal>,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// `BPnnn`.
    pub code: String,
    /// The cause in one line.
    pub cause: String,
}

impl From<JobError> for Refusal {
    fn from(error: JobError) -> Self {
        Self { code: error.code.to_string(), cause: error.cause }
    }
}

/// Explains what a message is and what a worker with these rules would do with it.
pub fn understand(text: &str, rules: &Rules) -> Understood {
    let opened = open(text);
    let mut understood = Understood {
        format: opened.format,
        wrapping: opened.wrapping,
        jobs: Vec::new(),
        nothing: None,
        refused: None,
        other_records: Vec::new(),
    };
    match opened.records {
        Err(error) => understood.refused = Some(error.into()),
        Ok(records) => understood.read(records, rules),
    }
    understood
}

impl Understood {
    /// Whether a worker would refuse the message, or a part of it.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() || self.other_records.iter().any(|record| record.refused.is_some())
    }

    fn read(&mut self, records: Vec<Record>, rules: &Rules) {
        self.nothing = match records.first() {
            Some(Record::Nothing(kind)) if records.iter().all(|record| matches!(record, Record::Nothing(_))) => {
                Some(*kind)
            }
            _ => None,
        };
        let several = records.len() > 1;
        for (record, place) in records.into_iter().zip(1..) {
            let other = |skipped, refused| OtherRecord { record: place, skipped, refused };
            match record {
                Record::Job(request) => self.jobs.push(UnderstoodJob::new(&request, rules)),
                Record::Nothing(kind) if several => self.other_records.push(other(Some(kind), None)),
                Record::Nothing(_) => {}
                Record::Refused(error) => self.other_records.push(other(None, Some(error.into()))),
            }
        }
    }
}

impl UnderstoodJob {
    fn new(request: &Request, rules: &Rules) -> Self {
        let (output, refused) = match rules.job(request, "", 1) {
            Ok(job) => (Some(job.output.to_string()), None),
            Err(error) if error.code == Code::NoOutputNamed => (None, None),
            Err(error) => (request.output.as_ref().map(ToString::to_string), Some(error.into())),
        };
        Self {
            record: request.nth,
            id: request.id.clone(),
            input: request.input.to_string(),
            output,
            batch: request.batch.clone(),
            size: request.size,
            etag: request.etag.clone(),
            version_id: request.version_id.clone(),
            args: request.args.clone(),
            refused,
        }
    }
}

/// A text in which every character is visible; quotes need no escape because the text is not quoted.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\'' => shown.push(char),
            _ => shown.extend(char.escape_debug()),
        }
    }
    shown
}

/// A block of lines; all untrusted text is escaped.
impl fmt::Display for Understood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.format.map_or("not a job", Format::name))?;
        for (nth, outer) in self.wrapping.iter().rev().enumerate() {
            write!(f, "{}{}", if nth == 0 { ", in " } else { " in " }, outer.name())?;
        }
        writeln!(f)?;
        if let Some(why) = self.nothing {
            writeln!(f, "  asks for nothing ({why}): a worker deletes it")?;
        }
        if let Some(refusal) = &self.refused {
            write!(f, "{refusal}")?;
        }
        let (records, mut others) = (self.jobs.len() + self.other_records.len(), self.other_records.iter().peekable());
        for job in &self.jobs {
            while let Some(other) = others.next_if(|other| job.record.is_some_and(|record| other.record < record)) {
                other.tell(f, records)?;
            }
            if let Some(record) = job.record {
                writeln!(f, "  record {record} of {records}")?;
            }
            write!(f, "{job}")?;
        }
        others.try_for_each(|other| other.tell(f, records))
    }
}

impl OtherRecord {
    fn tell(&self, f: &mut fmt::Formatter<'_>, records: usize) -> fmt::Result {
        writeln!(f, "  record {} of {records}", self.record)?;
        if let Some(kind) = self.skipped {
            writeln!(f, "  skipped  {kind}")?;
        }
        match &self.refused {
            Some(refusal) => write!(f, "{refusal}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for UnderstoodJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "  {name:<8} {}", visible(value));
        line("input", &self.input)?;
        line("output", self.output.as_deref().unwrap_or("(the worker's --output decides)"))?;
        let size = self.size.map(|size| format!("{size} bytes"));
        let told = [
            ("id", &self.id),
            ("batch", &self.batch),
            ("size", &size),
            ("etag", &self.etag),
            ("version", &self.version_id),
        ];
        for (name, value) in told {
            if let Some(value) = value {
                line(name, value)?;
            }
        }
        for arg in &self.args {
            line("arg", arg)?;
        }
        match &self.refused {
            Some(refusal) => write!(f, "{refusal}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  refused  {}: {}", self.code, self.cause)?;
        writeln!(f, "           batchpipe explain {} tells more", self.code)
    }
}
