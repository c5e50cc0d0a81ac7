//! What every command knows: how to reach AWS, how to talk.

use std::path::PathBuf;

use super::layers::Layers;
use super::reading::Reading;
use super::values::{self, Wrong};
use crate::error::{Code, UserError};
use crate::runtime::machine::Machine;
use crate::runtime::redact;
use crate::services::aws::AwsSettings;

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A panel on a terminal, else a line every 10 seconds.
    Auto,
    /// A panel.
    Panel,
    /// Lines.
    Lines,
    /// JSON events.
    Json,
    /// Not at all.
    None,
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Its form.
    pub format: LogFormat,
    /// Where to, if not stderr.
    pub file: Option<PathBuf>,
    /// How often `-v` was given, less how often `-q` was.
    pub verbosity: i32,
    /// `RUST_LOG`.
    pub filter: Option<String>,
}

/// What every command knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// How to reach AWS.
    pub aws: AwsSettings,
    /// How the log is written.
    pub log: LogSettings,
    /// When colours are used. `NO_COLOR` and `TERM=dumb` have been looked at.
    pub color: Color,
    /// Whether results are JSON.
    pub json: bool,
    /// How progress is shown.
    pub progress: Progress,
    /// Never ask.
    pub no_input: bool,
    /// Take every question as answered with yes.
    pub yes: bool,
    /// Things worth saying that are no errors.
    pub notes: Vec<String>,
}

impl Global {
    /// Reads the layers.
    pub fn resolve(layers: &Layers) -> Result<Self, UserError> {
        // Nothing global depends on the machine but relative paths, which the log file's writer takes as they are.
        let machine =
            Machine { cores: 1, memory: 0, open_files: 0, directory: PathBuf::new(), temporary: PathBuf::new() };
        let read = Reading { layers, machine: &machine };
        let formats = [("auto", LogFormat::Text), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        let colors = [("auto", Color::Auto), ("always", Color::Always), ("never", Color::Never)];
        let kinds = [
            ("auto", Progress::Auto),
            ("panel", Progress::Panel),
            ("lines", Progress::Lines),
            ("json", Progress::Json),
            ("none", Progress::None),
        ];
        let plain = layers.variable("NO_COLOR").is_some() || layers.variable("TERM") == Some("dumb");
        let color = read.one("color", |text| values::choice(text, &colors))?.unwrap_or(Color::Auto);
        let progress = read.one("progress", |text| values::choice(text, &kinds))?.unwrap_or(Progress::Auto);
        let dumb = layers.variable("TERM") == Some("dumb");
        Ok(Self {
            aws: AwsSettings {
                profile: read.one("profile", name)?,
                region: read.one("region", region)?,
                endpoint_url: read.one("endpoint-url", endpoint)?,
            },
            log: LogSettings {
                format: read.one("log-format", |text| values::choice(text, &formats))?.unwrap_or(LogFormat::Text),
                file: read.one("log-file", name)?.map(PathBuf::from),
                verbosity: layers.times("verbose") - layers.times("quiet"),
                filter: layers.variable("RUST_LOG").map(str::to_owned),
            },
            color: if color == Color::Auto && plain { Color::Never } else { color },
            json: read.on("json")?,
            // A panel moves the cursor, which a dumb terminal can't do.
            progress: if progress == Progress::Auto && dumb { Progress::Lines } else { progress },
            no_input: read.on("no-input")?,
            yes: read.on("yes")?,
            notes: layers.mistyped_variables(),
        })
    }
}

fn name(text: &str) -> Result<String, Wrong> {
    super::text(text)
}

fn region(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(Code::CommandLine, "not the name of a region", "for example  --region eu-west-1"))
}

fn endpoint(text: &str) -> Result<String, Wrong> {
    if let Some((cause, help)) = redact::refused(text) {
        return Err(Wrong::new(Code::SecretInAddress, cause, help));
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or(""));
    match host {
        None => Err(Wrong::new(
            Code::BadPlaceOrStep,
            "http:// or https:// is missing",
            "for example  http://127.0.0.1:9000",
        )),
        Some(host) if host.is_empty() || host.contains(char::is_whitespace) => {
            Err(Wrong::new(Code::BadPlaceOrStep, "not the address of a server", "for example  http://127.0.0.1:9000"))
        }
        Some(_) => Ok(text.to_owned()),
    }
}
