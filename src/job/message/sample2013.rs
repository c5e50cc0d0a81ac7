//! The message of the 2013 sample: `["process", bucket, in-prefix, out-prefix, file]`.
//!
//! Its keys are plain concatenations, with no slash added and nothing decoded. On the wire it is base64, because the
//! SQS library of its time encoded every body; plain text is read too (`message::open` removes the base64).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checks::{malformed, object_in};
use super::json::Node;
use super::{Format, Request};
use crate::error::{Code, JobError};

/// Whether an array is meant as such a message.
pub(super) fn is_one(items: &[Node]) -> bool {
    matches!(items.first(), Some(Node::Text(verb)) if verb == "process")
}

/// Reads the array.
pub(super) fn read(items: &[Node]) -> Result<Request, JobError> {
    let [_, Node::Text(bucket), Node::Text(in_prefix), Node::Text(out_prefix), Node::Text(file)] = items else {
        let cause = "2013 sample: expected [\"process\", bucket, input prefix, output prefix, file name]";
        return Err(malformed(Code::BadField, cause));
    };
    let input = object_in(bucket, &format!("{in_prefix}{file}"), "input")?;
    let output = object_in(bucket, &format!("{out_prefix}{file}"), "output")?;
    Ok(Request { output: Some(output), ..Request::new(Format::Sample2013, input) })
}

/// Writes a job as the sample's `SendJobs` did, byte for byte: Python's `json.dumps`, then base64.
///
/// ```
/// let body = batchpipe::job::message::encode_sample2013("my-bucket", "input/", "output/", "photo 1.jpg");
/// assert_eq!(body, "WyJwcm9jZXNzIiwgIm15LWJ1Y2tldCIsICJpbnB1dC8iLCAib3V0cHV0LyIsICJwaG90byAxLmpwZyJd");
/// ```
pub fn encode_sample2013(bucket: &str, in_prefix: &str, out_prefix: &str, file: &str) -> String {
    let items = ["process", bucket, in_prefix, out_prefix, file].map(quote_as_python);
    STANDARD.encode(format!("[{}]", items.join(", ")))
}

/// A string as Python's `json.dumps` writes it: everything except printable ASCII is escaped, in UTF-16
/// (<https://github.com/python/cpython/blob/main/Lib/json/encoder.py>, `ESCAPE_ASCII`).
fn quote_as_python(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{8}' => quoted.push_str("\\b"),
            ' '..='~' => quoted.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
