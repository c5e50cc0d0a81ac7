//! The one parser of queue messages: text in, requests for jobs out.
//!
//! Every format is recognised by its shape, with no setting: our own job, the 2013 sample's array, an S3 event
//! notification, an S3 event of EventBridge, and any of them in an SNS envelope or in base64. Nothing else is a
//! job, and nothing is guessed: what is not wholly understood is refused with a number and one line.
//!
//! Parsing and permission are two steps. [`parse`] tells what a message asks for; [`Rules::job`] tells whether
//! this worker does it, and where the output goes. The text is at most what a queue takes (1 MiB); the tree it is
//! read into is bounded in depth and in values (`json.rs`), and wrappings in number ([`MAX_WRAPPINGS`]).

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;

use self::checks::{malformed, quote};
use self::json::{Fields, Node};
use crate::error::JobError;
use crate::job::Location;

mod checks;
mod events;
mod json;
mod own;
mod rules;
mod sample2013;
mod understand;

pub use own::{VERSION, encode_own};
pub use rules::Rules;
pub use sample2013::encode_sample2013;
pub use understand::{Refusal, Understood, UnderstoodJob, understand};

/// How many wrappings are opened: a topic that feeds a topic, once encoded, is three. More is no setup but an attack.
pub const MAX_WRAPPINGS: usize = 3;

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Jobs, at least one. The message is settled when all of them are.
    Jobs(Vec<Request>),
    /// Nothing: the message is deleted and counted as skipped. Holds the reason.
    Nothing(&'static str),
}

/// One job as the message asks for it, before this worker's [`Rules`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The submitter's name for it.
    pub id: Option<String>,
    /// The object to read.
    pub input: Location,
    /// The object to write, before the worker's suffix.
    pub output: Option<Location>,
    /// The submit it came with.
    pub batch: Option<String>,
    /// The input's size in bytes, as the sender saw it.
    pub size: Option<u64>,
    /// The input's ETag without its quotes, as the sender saw it.
    pub etag: Option<String>,
    /// The version of the input to read.
    pub version_id: Option<String>,
    /// Arguments for the `{args}` of a program.
    pub args: Vec<String>,
    /// The format it came in.
    pub format: Format,
    /// Its place among the jobs of its message, from 1; `None` if it is the only one.
    pub nth: Option<usize>,
}

impl Request {
    /// A request to read `input`, and nothing more said.
    pub fn new(format: Format, input: Location) -> Self {
        Self {
            id: None,
            input,
            output: None,
            batch: None,
            size: None,
            etag: None,
            version_id: None,
            args: Vec::new(),
            format,
            nth: None,
        }
    }
}

/// The formats of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// batchpipe's own job.
    Own,
    /// The array of the 2013 sample.
    Sample2013,
    /// An S3 event notification, of S3 itself or of MinIO.
    S3Event,
    /// The test event S3 sends when a notification is configured.
    S3TestEvent,
    /// An S3 event that came through EventBridge.
    EventBridge,
}

impl Format {
    /// The name people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "batchpipe job",
            Self::Sample2013 => "2013 sample job",
            Self::S3Event => "S3 event notification",
            Self::S3TestEvent => "S3 test event",
            Self::EventBridge => "EventBridge S3 event",
        }
    }
}

/// What a message can be wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrapping {
    /// An SNS notification whose subscription has raw delivery off.
    Sns,
    /// Base64, as the 2013 sample's SQS library encoded every body.
    Base64,
}

impl Wrapping {
    /// The name people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sns => "SNS envelope",
            Self::Base64 => "base64",
        }
    }

    /// What it holds.
    const fn inner(self) -> &'static str {
        match self {
            Self::Sns => "SNS message",
            Self::Base64 => "base64 text",
        }
    }
}

/// Reads a message's body. An error is always of kind `Malformed` or `Forbidden`: reading it again can't help.
///
/// ```
/// use batchpipe::message::{Parsed, parse};
///
/// let Ok(Parsed::Jobs(jobs)) = parse(r#"{"bucket": "photos", "key": "a b.jpg"}"#) else { panic!() };
/// assert_eq!(jobs[0].input.to_string(), "s3://photos/a b.jpg");
/// ```
pub fn parse(body: &str) -> Result<Parsed, JobError> {
    open(body).parsed
}

/// A message with its wrappings taken off, and how far that went.
struct Opened {
    wrapping: Vec<Wrapping>,
    format: Option<Format>,
    parsed: Result<Parsed, JobError>,
}

/// Takes wrappings off until there is a format to read. A loop, so that no message decides how deep we recurse.
fn open(body: &str) -> Opened {
    let mut wrapping = Vec::new();
    let mut text = Cow::Borrowed(body);
    loop {
        let (format, parsed) = match look(&text, &wrapping) {
            Ok(Look::Wrapped(_, _)) if wrapping.len() == MAX_WRAPPINGS => {
                let cause = format!("message is wrapped more than {MAX_WRAPPINGS} times");
                (None, Err(malformed(208, cause)))
            }
            Ok(Look::Wrapped(outer, inner)) => {
                wrapping.push(outer);
                text = Cow::Owned(inner);
                continue;
            }
            Ok(Look::Read(format, parsed)) => (Some(format), parsed),
            Err(error) => (None, Err(error)),
        };
        return Opened { wrapping, format, parsed };
    }
}

/// What a text turned out to be.
enum Look {
    Wrapped(Wrapping, String),
    Read(Format, Result<Parsed, JobError>),
}

/// Recognises a text by its shape, cheapest first. An `Err` has no format.
fn look(text: &str, wrapping: &[Wrapping]) -> Result<Look, JobError> {
    match first_char(text) {
        Some((_, '[')) => match json::read(text, wrapping)? {
            Node::Array(items) if sample2013::is_one(&items) => {
                Ok(Look::Read(Format::Sample2013, sample2013::read(&items)))
            }
            _ => Err(not_a_job_at_start(text, wrapping)),
        },
        Some((_, '{')) => match json::read(text, wrapping)? {
            Node::Object(object) => look_at_object(&object),
            _ => Err(not_a_job_at_start(text, wrapping)),
        },
        _ => match decode_base64(text) {
            Some(inner) => Ok(Look::Wrapped(Wrapping::Base64, inner)),
            None => Err(not_a_job_at_start(text, wrapping)),
        },
    }
}

/// Tells the kinds of objects apart. Whatever is no envelope and no event is read as our own job, so that a
/// misspelt field is named rather than the whole message called unknown.
fn look_at_object(object: &[(String, Node)]) -> Result<Look, JobError> {
    let fields = Fields::new(object, "")?;
    if let (Some(kind), Some(_)) = (fields.peek("Type"), fields.get("TopicArn").or_else(|| fields.get("Message"))) {
        if kind != "Notification" {
            return Err(malformed(208, format!("an SNS {} is not a job", quote(kind))));
        }
        return Ok(Look::Wrapped(Wrapping::Sns, fields.needed("Message")?.to_owned()));
    }
    if fields.peek("Event") == Some("s3:TestEvent") {
        return Ok(Look::Read(Format::S3TestEvent, Ok(Parsed::Nothing("S3 test event"))));
    }
    if let Some(Node::Array(records)) = fields.get("Records") {
        return Ok(Look::Read(Format::S3Event, events::read_s3(records)));
    }
    if let (Some(source), Some(kind)) = (fields.peek("source"), fields.peek("detail-type")) {
        if source != "aws.s3" {
            return Err(malformed(208, format!("an event of {} is not a job", quote(source))));
        }
        return Ok(Look::Read(Format::EventBridge, events::read_eventbridge(&fields, kind)));
    }
    Ok(Look::Read(Format::Own, own::read(&fields)))
}

/// The first character that is not JSON's white space, and where it is.
fn first_char(text: &str) -> Option<(usize, char)> {
    text.char_indices().find(|(_, char)| !matches!(char, ' ' | '\t' | '\n' | '\r'))
}

/// The answer to a text whose first character already can't begin a job.
fn not_a_job_at_start(text: &str, wrapping: &[Wrapping]) -> JobError {
    let before = &text[..first_char(text).map_or(0, |(at, _)| at)];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    json::not_a_job(line, column, wrapping)
}

/// Reads base64 of a JSON object or array. Padding and line breaks are as the encoder liked them.
fn decode_base64(text: &str) -> Option<String> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, LENIENT).decode(packed).ok()?;
    let inner = String::from_utf8(bytes).ok()?;
    matches!(first_char(&inner), Some((_, '[' | '{'))).then_some(inner)
}
