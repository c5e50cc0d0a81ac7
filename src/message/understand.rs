//! What a message means, for people: `batchpipe explain MESSAGE`.

use std::fmt;

use serde::Serialize;

use super::{Format, Parsed, Request, Rules, Wrapping, open};
use crate::error::{Code, JobError};

/// The number of "no output anywhere", which is no fault of a message that is only looked at.
const NO_OUTPUT: Code = Code(210);

/// What was understood of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Understood {
    /// Its format, if it has one.
    pub format: Option<Format>,
    /// What it was wrapped in, the outermost first.
    pub wrapping: Vec<Wrapping>,
    /// The jobs it asks for.
    pub jobs: Vec<UnderstoodJob>,
    /// Why it asks for nothing, if it does.
    pub nothing: Option<&'static str>,
    /// Why it is refused, if it is.
    pub refused: Option<Refusal>,
}

/// One job of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderstoodJob {
    /// The submitter's name for it.
    pub id: Option<String>,
    /// The object to read.
    pub input: String,
    /// The object to write, suffix included; `None` if only the worker's `--output` can tell.
    pub output: Option<String>,
    /// The submit it came with.
    pub batch: Option<String>,
    /// The input's size in bytes, if told.
    pub size: Option<u64>,
    /// The input's ETag, if told.
    pub etag: Option<String>,
    /// The input's version, if told.
    pub version_id: Option<String>,
    /// Arguments for a program.
    pub args: Vec<String>,
    /// Why this worker would refuse it, if it would.
    pub refused: Option<Refusal>,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// `BPnnn`.
    pub code: String,
    /// In one line.
    pub cause: String,
}

impl From<JobError> for Refusal {
    fn from(error: JobError) -> Self {
        Self { code: error.code.to_string(), cause: error.cause }
    }
}

/// Tells what a message is and what a worker with these rules would make of it.
pub fn understand(text: &str, rules: &Rules) -> Understood {
    let opened = open(text);
    let (jobs, nothing, refused) = match opened.parsed {
        Ok(Parsed::Jobs(requests)) => {
            (requests.iter().map(|request| UnderstoodJob::new(request, rules)).collect(), None, None)
        }
        Ok(Parsed::Nothing(why)) => (Vec::new(), Some(why), None),
        Err(error) => (Vec::new(), None, Some(error.into())),
    };
    Understood { format: opened.format, wrapping: opened.wrapping, jobs, nothing, refused }
}

impl UnderstoodJob {
    fn new(request: &Request, rules: &Rules) -> Self {
        let (output, refused) = match rules.job(request, "", 1) {
            Ok(job) => (Some(job.output.to_string()), None),
            Err(error) if error.code == NO_OUTPUT => (None, None),
            Err(error) => (request.output.as_ref().map(ToString::to_string), Some(error.into())),
        };
        Self {
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

/// A text whose every character can be seen; quotes need no escape outside of quotes.
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

/// A block of lines; all that others wrote is escaped.
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
        for (nth, job) in self.jobs.iter().enumerate() {
            if self.jobs.len() > 1 {
                writeln!(f, "  job {} of {}", nth + 1, self.jobs.len())?;
            }
            write!(f, "{job}")?;
        }
        Ok(())
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
