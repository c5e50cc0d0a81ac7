//! What was typed means this: flags, variables and files become the numbers that the stages work with.
//!
//! `resolve` is pure: the same layers on the same machine give the same configuration, and a table tests it.
//! Nothing else in the program computes a limit. The sums are here: a job holds at least one part that is
//! read and one that is written, so `--memory` must hold two parts and [`SLACK`]; a job in flight has at
//! most 1 + `parallel` connections, and all of them must fit in four fifths of the open files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod file;
mod global;
pub mod layers;
mod map;
mod reading;
mod run;
pub mod settings;
mod share;
mod source;
mod submit;
pub mod values;
mod working;

pub use file::files;
pub use global::{Color, Global, LogFormat, LogSettings, Progress};
pub use layers::{Layers, Origin, Typed};
pub use map::MapConfig;
pub use run::RunConfig;
pub use submit::{Format, Journaling, SubmitConfig};
pub use working::{Process, SLACK, SMALLEST_PART, Working};

use crate::error::{Code, UserError};
use crate::job::Location;
use crate::submit::discover::Source;
use crate::submit::own_places::lies_in;
use reading::Reading;
use values::Wrong;

const DAY: u64 = 24 * 60 * 60;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at_least_one(number: u64) -> NonZeroUsize {
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn text(text: &str) -> Result<String, Wrong> {
    match text {
        "" => Err(Wrong::new(Code::CommandLine, "it is empty", "give a text, or leave the option out")),
        text if text.contains('\0') => {
            Err(Wrong::new(Code::CommandLine, "it holds a zero byte", "leave the zero byte out"))
        }
        text => Ok(text.to_owned()),
    }
}

fn glob(text: &str) -> Result<String, Wrong> {
    let help = "* matches within a name, ** any folders, [ab] a letter, {a,b} either";
    match globset::Glob::new(text) {
        Ok(_) if text.is_empty() => Err(Wrong::new(Code::CommandLine, "an empty pattern matches nothing", help)),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(Code::CommandLine, format!("{}", error.kind()), help)),
    }
}

/// Where programs keep what should outlive them, if the environment tells (XDG base directories).
pub fn state_directory(layers: &Layers) -> Option<PathBuf> {
    let absolute = |text: &&str| text.starts_with('/');
    let base = match layers.variable("XDG_STATE_HOME").filter(absolute) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(layers.variable("HOME").filter(absolute)?).join(".local/state"),
    };
    Some(base.join("batchpipe"))
}

/// The server that stands in for S3, as far as flags and variables say: two servers may have buckets of one name.
fn s3_server(aws: &crate::services::aws::AwsSettings, layers: &Layers) -> Option<String> {
    let variable = |name| layers.variable(name).map(str::to_owned);
    aws.endpoint_url.clone().or_else(|| variable("AWS_ENDPOINT_URL_S3")).or_else(|| variable("AWS_ENDPOINT_URL"))
}

/// A mistake in an argument that has no flag.
pub(crate) fn argument(name: &str, text: &str, wrong: Wrong) -> UserError {
    let text = values::shown(text);
    UserError::usage(wrong.code, format!("{name} can't be {text:?}"), wrong.cause, wrong.help)
}

fn missing(name: &str, cause: &str, help: &str) -> UserError {
    UserError::usage(Code::CommandLine, format!("{name} is missing"), cause, help)
}

/// The error of a command that needs a queue and was given none.
pub(crate) fn missing_queue(command: &str) -> UserError {
    let cause = format!("{command} works on a queue, and none is named");
    missing(
        "--queue",
        &cause,
        "add  --queue NAME , or set BATCHPIPE_QUEUE, or try without AWS:  --queue sqlite:jobs.db",
    )
}

/// Whether a place is another or lies in it: by its name, and for folders by where it leads, too.
fn is_within(inner: &Location, outer: &Location) -> bool {
    let really = match (inner, outer) {
        (Location::File { path: inner }, Location::File { path: outer }) => lies_in(Path::new(inner), Path::new(outer)),
        _ => false,
    };
    inner.is_under(outer) || really
}

/// Refuses a folder that is written to inside the folder whose files are submitted.
fn refuse_in_source(read: &Reading<'_>, place: &Location, source: &Source) -> Result<(), UserError> {
    let Source::Directory(source) = source else { return Ok(()) };
    let source = source.display().to_string();
    let folder = Location::file(format!("{}/", source.trim_end_matches('/')));
    if !is_within(place, &folder) || read.on("allow-nested-output")? {
        return Ok(());
    }
    Err(UserError::usage(
        Code::OutputAmongInputs,
        format!("{} lies inside the source {source:?}", place.to_string().escape_debug()),
        "each file that is put there would be submitted by the next submit, for ever",
        "use a folder outside it, or add  --allow-nested-output , which leaves that folder out of the source",
    ))
}

fn refuse_nested(read: &Reading<'_>, output: &Location, input: &Location) -> Result<(), UserError> {
    if !is_within(output, input) || read.on("allow-nested-output")? {
        return Ok(());
    }
    let (shown, input) = (output.to_string(), input.to_string());
    Err(UserError::usage(
        Code::OutputAmongInputs,
        format!("the output {} lies inside the input {}", shown.escape_debug(), input.escape_debug()),
        "each result would become a new job, for ever",
        match output {
            Location::S3 { .. } => {
                "use another bucket or prefix; if the event rule excludes it, add  --allow-nested-output"
            }
            Location::File { .. } => {
                "use a directory outside it, or add  --allow-nested-output , which leaves that directory out of the \
                input"
            }
        },
    ))
}

#[cfg(test)]
mod tests;
