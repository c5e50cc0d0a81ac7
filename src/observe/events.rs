//! Newline-delimited JSON on stdout for `--json`. Every event has `schema`, `type` and `time`; the last event of a
//! command has the type `summary`. The schema is a contract: fields are added, never renamed.

use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;

use super::Snapshot;

/// The name and version of the schema.
pub const SCHEMA: &str = "batchpipe.event/1";

#[derive(Serialize)]
struct Event<'a, T> {
    schema: &'static str,
    #[serde(rename = "type")]
    kind: &'a str,
    time: String,
    #[serde(flatten)]
    body: &'a T,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary<'a> {
    /// The exit code.
    pub exit: u8,
    /// The next step, if there is one.
    pub next: Option<&'a str>,
    /// The last snapshot.
    #[serde(flatten)]
    pub snapshot: &'a Snapshot,
}

/// One event as a line, without the newline.
pub fn line<T: Serialize>(kind: &str, body: &T, time: SystemTime) -> serde_json::Result<String> {
    let time = humantime::format_rfc3339_millis(time).to_string();
    serde_json::to_string(&Event { schema: SCHEMA, kind, time, body })
}

/// Writes one event to stdout. An error means that the reader is gone.
pub fn write<T: Serialize>(kind: &str, body: &T) -> io::Result<()> {
    let mut line = line(kind, body, SystemTime::now())?;
    line.push('\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}
