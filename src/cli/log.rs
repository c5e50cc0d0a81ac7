//! Where log lines go, and in which form.
//!
//! Text for people, JSON for machines; to stderr or appended to a file; never to stdout. What others wrote
//! (keys, messages, metadata) is logged with `{:?}` by whoever logs it: the text format writes a `%` field raw,
//! and a key could forge a line (RUSTSEC-2025-0055). The AWS SDK says little unless `RUST_LOG` asks for more.
//! Passwords in addresses are taken out of every line (`redact.rs`), the SDK's included.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Color, LogFormat, LogSettings};
use crate::error::{Code, UserError};
use crate::observe::Screen;
use crate::runtime::redact::Concealing;

/// Starts logging. Called once, before anything that logs.
pub fn start(settings: &LogSettings, color: Color, screen: &Screen) -> Result<(), UserError> {
    let Some(path) = &settings.file else {
        let ansi = match color {
            Color::Auto => io::stderr().is_terminal(),
            Color::Always => true,
            Color::Never => false,
        };
        return subscribe(settings, ansi, screen.clone());
    };
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        let what = format!("cannot write the log file {:?}", path.display().to_string());
        UserError::usage(
            Code::CommandLine,
            what,
            error.to_string(),
            "name a file you may write to, or leave --log-file out",
        )
    })?;
    subscribe(settings, color == Color::Always, Mutex::new(file))
}

fn subscribe<W>(settings: &LogSettings, ansi: bool, writer: W) -> Result<(), UserError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(settings)?;
    let writer = Concealing(writer);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    let started = match settings.format {
        LogFormat::Text => log.with_target(settings.verbosity > 0).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    // A second start in one process (a test's) keeps the first.
    started.or(Ok(()))
}

/// `RUST_LOG` if there is one, else what `-v` and `-q` say.
fn filter(settings: &LogSettings) -> Result<EnvFilter, UserError> {
    let text = match &settings.filter {
        Some(text) => text.clone(),
        None => levels(settings.verbosity).to_owned(),
    };
    EnvFilter::builder().parse(&text).map_err(|error| {
        let help = "for example  RUST_LOG=batchpipe::lease=debug,warn";
        UserError::usage(Code::CommandLine, format!("RUST_LOG can't be {text:?}"), error.to_string(), help)
    })
}

/// What is logged at each number of `-v` less `-q`. Other crates stay at warnings until everything is asked for:
/// the SDK and hyper would write several lines a request, some with parts of it. The search for credentials and a
/// region warns of each place that has none, in hundreds of characters; what matters of it stands in our own error.
const fn levels(verbosity: i32) -> &'static str {
    match verbosity {
        ..=-2 => "error",
        -1 => "warn,aws_config=error",
        0 => "warn,aws_config=error,batchpipe=info",
        1 => "warn,batchpipe=debug",
        2 => "warn,batchpipe=trace",
        3.. => "debug,batchpipe=trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(verbosity: i32, filter: Option<&str>) -> LogSettings {
        LogSettings { format: LogFormat::Text, file: None, verbosity, filter: filter.map(str::to_owned) }
    }

    #[test]
    fn more_v_logs_more_and_the_sdk_stays_quiet_until_everything_is_asked_for() {
        assert_eq!(filter(&settings(0, None)).unwrap().to_string(), "aws_config=error,batchpipe=info,warn");
        assert_eq!(filter(&settings(2, None)).unwrap().to_string(), "batchpipe=trace,warn");
        assert_eq!(filter(&settings(-9, None)).unwrap().to_string(), "error");
        assert_eq!(filter(&settings(9, None)).unwrap().to_string(), "batchpipe=trace,debug");
    }

    #[test]
    fn rust_log_wins_and_a_wrong_one_is_named() {
        assert_eq!(filter(&settings(2, Some("batchpipe::lease=debug"))).unwrap().to_string(), "batchpipe::lease=debug");
        let error = filter(&settings(0, Some("a=b=c"))).unwrap_err();
        assert!(error.what.starts_with("RUST_LOG can't be"), "{error}");
    }
}
