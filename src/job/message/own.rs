//! batchpipe's own job, read and written.
//!
//! The format is strict on purpose: an unknown field or a newer version means a newer submitter, and a job that is
//! only half understood gives a wrong output. Fields that a message must not choose are refused too: an endpoint, a
//! role, a region, a program.

use serde_json::Value;

use super::checks::{check_etag, check_key, check_name, malformed, object_in, quote};
use super::json::{Fields, Node};
use super::{Format, Request};
use crate::error::{Code, JobError};
use crate::job::Location;

/// The version of the format that this worker reads and writes.
pub const VERSION: u64 = 1;

/// All fields.
const FIELDS: [&str; 11] =
    ["v", "id", "input", "bucket", "key", "output", "batch", "size", "etag", "version_id", "args"];

/// Reads the fields of a job. The version is checked first, because the content of a newer format can't be judged here.
pub(super) fn read(fields: &Fields<'_>) -> Result<Request, JobError> {
    match fields.number("v")? {
        None | Some(VERSION) => {}
        Some(0) => return Err(fields.wrong("v", "expected 1")),
        Some(newer) => {
            let cause = format!(
                "message is a v{newer} job and this worker speaks v{VERSION}; upgrade workers before submitters"
            );
            return Err(malformed(Code::NewerVersion, cause));
        }
    }
    if let Some(unknown) = fields.names().find(|name| !FIELDS.contains(name)) {
        return Err(malformed(Code::UnknownField, format!("unknown field {}", quote(unknown))));
    }
    let output = match fields.text("output")? {
        Some(uri) => Some(read_uri(fields, "output", uri)?),
        None => None,
    };
    Ok(Request {
        id: check_name(fields, "id")?,
        output,
        batch: check_name(fields, "batch")?,
        size: fields.number("size")?,
        etag: check_etag(fields, "etag")?,
        version_id: check_name(fields, "version_id")?,
        args: read_args(fields)?,
        ..Request::new(Format::Own, read_input(fields)?)
    })
}

/// The input, given as a URI or in the short form.
fn read_input(fields: &Fields<'_>) -> Result<Location, JobError> {
    match (fields.text("input")?, fields.text("bucket")?, fields.text("key")?) {
        (Some(uri), None, None) => read_uri(fields, "input", uri),
        (None, Some(bucket), Some(key)) => object_in(bucket, key, "input"),
        (None, None, None) => Err(fields.missing("input")),
        (None, None, _) => Err(fields.missing("bucket")),
        (None, _, None) => Err(fields.missing("key")),
        (Some(_), _, _) => Err(fields.wrong("input", "given together with \"bucket\" or \"key\"")),
    }
}

/// A location as written in its URI; nothing in it is decoded.
fn read_uri(fields: &Fields<'_>, name: &str, uri: &str) -> Result<Location, JobError> {
    if let Some(rest) = uri.strip_prefix("s3://") {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        return object_in(bucket, key, name);
    }
    let Some(location) = Location::parse(uri) else {
        return Err(fields.wrong(name, "expected s3://bucket/key or file:///path"));
    };
    check_key(&location, name)?;
    Ok(location)
}

/// The arguments. NUL is refused, because it can't be passed to a program.
fn read_args(fields: &Fields<'_>) -> Result<Vec<String>, JobError> {
    let wrong = || fields.wrong("args", "expected a list of strings without NUL");
    match fields.get("args") {
        None => Ok(Vec::new()),
        Some(Node::Array(items)) => items
            .iter()
            .map(|item| match item {
                Node::Text(text) if !text.contains('\0') => Ok(text.clone()),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// Writes a job as a message: the version first, without absent fields. `format` and `nth` are not part of it.
///
/// ```
/// use batchpipe::Location;
/// use batchpipe::job::message::{Format, Request, encode_own};
///
/// let job = Request { size: Some(5), ..Request::new(Format::Own, Location::s3("photos", "a.jpg")) };
/// assert_eq!(encode_own(&job), r#"{"v":1,"input":"s3://photos/a.jpg","size":5}"#);
/// ```
pub fn encode_own(job: &Request) -> String {
    let text = |text: &str| Value::from(text);
    let fields = [
        ("v", Some(Value::from(VERSION))),
        ("id", job.id.as_deref().map(text)),
        ("input", Some(text(&job.input.to_string()))),
        ("output", job.output.as_ref().map(|output| text(&output.to_string()))),
        ("batch", job.batch.as_deref().map(text)),
        ("size", job.size.map(Value::from)),
        ("etag", job.etag.as_deref().map(text)),
        ("version_id", job.version_id.as_deref().map(text)),
        ("args", (!job.args.is_empty()).then(|| Value::from(job.args.clone()))),
    ];
    let written: Vec<String> =
        fields.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?))).collect();
    format!("{{{}}}", written.join(","))
}
