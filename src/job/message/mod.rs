//! The one parser of queue messages: text in, requests for jobs out.
//!
//! Every format is recognised by its shape, without a setting: our own job, the 2013 sample's array, an S3 event
//! notification (from S3 or from a store that imitates it), an S3 event from EventBridge (S3's own or CloudTrail's
//! record of a call), a notice of CloudTrail, and any of these in an SNS envelope or in base64. Nothing else is a
//! job, and nothing is guessed: a message that is not completely understood is refused with a code and one line.
//!
//! A message contains one record or several, and each record is read independently: a record that can't be
//! understood does not affect the others. [`only`] makes a message of some of the records, for the dead-letter
//! queue.
//!
//! Parsing and permission are two steps. [`parse`] tells what a message asks for; [`Rules::job`] tells whether this
//! worker does it, and where the output goes. The text is at most what a queue accepts (1 MiB); the tree that it is
//! read into is bounded in depth and in values (`json.rs`), and the number of wrappings is bounded by
//! [`MAX_WRAPPINGS`].

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use self::checks::{malformed, quote};
use self::json::{Fields, Node};
use crate::error::{Code, JobError};
use crate::job::Location;

mod bridge;
mod checks;
mod events;
mod format;
mod json;
mod kinds;
mod notice;
mod own;
mod rules;
mod sample2013;
mod subset;
mod understand;

pub use format::{Format, Wrapping};
pub use own::{VERSION, encode_own};
pub use rules::Rules;
pub use sample2013::encode_sample2013;
pub use understand::{Refusal, Understood, UnderstoodJob, understand};

/// How many wrappings are opened: a topic that feeds a topic, encoded once, needs three. More is not a real setup but
/// an attack.
pub const MAX_WRAPPINGS: usize = 3;

/// What one record of a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A job.
    Job(Request),
    /// Nothing to do: the record is skipped. Holds the kind of event for people, from a fixed list.
    Nothing(&'static str),
    /// The record is not understood, or its kind is unknown: it goes to the dead-letter queue.
    Refused(JobError),
}

impl Record {
    /// The job, if the record is one.
    pub fn job(self) -> Option<Request> {
        match self {
            Self::Job(request) => Some(request),
            _ => None,
        }
    }
}

/// The jobs among the records.
pub fn jobs(records: Vec<Record>) -> Vec<Request> {
    records.into_iter().filter_map(Record::job).collect()
}

/// One job as the message requests it, before this worker's [`Rules`] are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The submitter's name for the job.
    pub id: Option<String>,
    /// The object to read.
    pub input: Location,
    /// The object to write, before the worker's suffix.
    pub output: Option<Location>,
    /// The submit that it belongs to.
    pub batch: Option<String>,
    /// The input's size in bytes, as the sender saw it.
    pub size: Option<u64>,
    /// The input's ETag without its quotes, as the sender saw it.
    pub etag: Option<String>,
    /// The version of the input to read.
    pub version_id: Option<String>,
    /// Arguments for the `{args}` of a program.
    pub args: Vec<String>,
    /// The format of its message.
    pub format: Format,
    /// Its position among the records of its message, from 1; `None` if it is the only record.
    pub nth: Option<usize>,
}

impl Request {
    /// A request to read `input`, without further details.
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

/// Reads a message's body: its records in their order, at least one. An error concerns the message as a whole. Errors
/// of the message and of records are always of kind `Malformed` or `Forbidden`: reading again can't help.
///
/// ```
/// use batchpipe::job::message::{Record, parse};
///
/// let records = parse(r#"{"bucket": "photos", "key": "a b.jpg"}"#).unwrap();
/// let [Record::Job(job)] = records.as_slice() else { panic!() };
/// assert_eq!(job.input.to_string(), "s3://photos/a b.jpg");
/// ```
pub fn parse(body: &str) -> Result<Vec<Record>, JobError> {
    open(body).records
}

/// The message with only the records at these positions (from 0), each as it was written: without the wrappings, but
/// with everything else around the list of records. `None` if the message has no list of records.
///
/// ```
/// let event = r#"{"Records": [{"n": 1}, {"n":  2}, {"n": 3}]}"#;
/// assert_eq!(batchpipe::job::message::only(event, &[1]).as_deref(), Some(r#"{"Records": [{"n":  2}]}"#));
/// ```
pub fn only(body: &str, places: &[usize]) -> Option<String> {
    let Opened { text, format, .. } = open(body);
    let list = match format? {
        Format::S3Event => events::LIST,
        Format::CloudTrailNotice => notice::LIST,
        _ => return None,
    };
    subset::of_list(&text, list, places)
}

/// A message with its wrappings removed as far as possible.
struct Opened<'a> {
    wrapping: Vec<Wrapping>,
    text: Cow<'a, str>,
    format: Option<Format>,
    records: Result<Vec<Record>, JobError>,
}

/// Removes wrappings until there is a format to read. This is a loop, so that no message controls the depth of a
/// recursion.
fn open(body: &str) -> Opened<'_> {
    let mut wrapping = Vec::new();
    let mut text = Cow::Borrowed(body);
    loop {
        let (format, records) = match look(&text, &wrapping) {
            Ok(Look::Wrapped(_, _)) if wrapping.len() == MAX_WRAPPINGS => {
                let cause = format!("message is wrapped more than {MAX_WRAPPINGS} times");
                (None, Err(malformed(Code::UnsupportedEvent, cause)))
            }
            Ok(Look::Wrapped(outer, inner)) => {
                wrapping.push(outer);
                text = Cow::Owned(inner);
                continue;
            }
            Ok(Look::Read(format, records)) => (Some(format), records.and_then(numbered)),
            Err(error) => (None, Err(error)),
        };
        return Opened { wrapping, text, format, records };
    }
}

/// The records; if there are several, each job gets its position. The failure of a single record is the failure of the
/// message.
fn numbered(mut records: Vec<Record>) -> Result<Vec<Record>, JobError> {
    if records.len() > 1 {
        for (record, nth) in records.iter_mut().zip(1..) {
            if let Record::Job(job) = record {
                job.nth = Some(nth);
            }
        }
        return Ok(records);
    }
    match records.pop() {
        Some(Record::Refused(error)) => Err(error),
        only => Ok(only.into_iter().collect()),
    }
}

/// What a text turned out to be.
enum Look {
    Wrapped(Wrapping, String),
    Read(Format, Result<Vec<Record>, JobError>),
}

/// Recognises a text by its shape, with the cheapest check first. An `Err` has no format.
fn look(text: &str, wrapping: &[Wrapping]) -> Result<Look, JobError> {
    match first_char(text) {
        Some((_, '[')) => match json::read(text, wrapping)? {
            Node::Array(items) if sample2013::is_one(&items) => {
                Ok(Look::Read(Format::Sample2013, sample2013::read(&items).map(|job| vec![Record::Job(job)])))
            }
            Node::Array(items) => Err(notice::pointer(&items).unwrap_or_else(|| not_a_job_at_start(text, wrapping))),
            _ => Err(not_a_job_at_start(text, wrapping)),
        },
        Some((_, '{')) => match json::read(text, wrapping)? {
            Node::Object(object) => look_at_object(&object),
            _ => Err(not_a_job_at_start(text, wrapping)),
        },
        _ if notice::is_trial(text, wrapping) => {
            Ok(Look::Read(Format::CloudTrailNotice, Ok(vec![Record::Nothing(notice::TRIAL)])))
        }
        _ => match decode_base64(text) {
            Some(inner) => Ok(Look::Wrapped(Wrapping::Base64, inner)),
            None => Err(not_a_job_at_start(text, wrapping)),
        },
    }
}

/// Distinguishes the kinds of objects. An object that is neither an envelope nor an event is read as our own job, so
/// that the error names a misspelt field instead of calling the whole message unknown.
fn look_at_object(object: &[(String, Node)]) -> Result<Look, JobError> {
    let fields = Fields::new(object, "")?;
    if let (Some(kind), Some(_)) = (fields.peek("Type"), fields.get("TopicArn").or_else(|| fields.get("Message"))) {
        if kind != "Notification" {
            return Err(malformed(Code::UnsupportedEvent, format!("an SNS {} is not a job", quote(kind))));
        }
        return Ok(Look::Wrapped(Wrapping::Sns, fields.needed("Message")?.to_owned()));
    }
    if fields.peek("Event") == Some("s3:TestEvent") {
        return Ok(Look::Read(Format::S3TestEvent, Ok(vec![Record::Nothing("S3 test event")])));
    }
    if let Some(Node::Array(records)) = fields.get(events::LIST) {
        return Ok(Look::Read(Format::S3Event, events::read(records)));
    }
    if let (Some(_), Some(_)) = (fields.peek("source"), fields.get("detail-type").or_else(|| fields.get("detail"))) {
        let (format, record) = bridge::read(&fields)?;
        return Ok(Look::Read(format, Ok(vec![record])));
    }
    if let (Some(_), Some(keys)) = (fields.get("s3Bucket"), fields.get(notice::LIST)) {
        return Ok(Look::Read(Format::CloudTrailNotice, notice::read(&fields, keys)));
    }
    Ok(Look::Read(Format::Own, own::read(&fields).map(|job| vec![Record::Job(job)])))
}

/// The first character that is not JSON white space, and its position.
fn first_char(text: &str) -> Option<(usize, char)> {
    text.char_indices().find(|(_, char)| !matches!(char, ' ' | '\t' | '\n' | '\r'))
}

/// The error for a text whose first character can't begin a job.
fn not_a_job_at_start(text: &str, wrapping: &[Wrapping]) -> JobError {
    let before = &text[..first_char(text).map_or(0, |(at, _)| at)];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    json::not_a_job(line, column, wrapping)
}

/// Decodes base64 of a JSON object or array. Any padding and line breaks are accepted.
fn decode_base64(text: &str) -> Option<String> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, LENIENT).decode(packed).ok()?;
    let inner = String::from_utf8(bytes).ok()?;
    matches!(first_char(&inner), Some((_, '[' | '{'))).then_some(inner)
}
