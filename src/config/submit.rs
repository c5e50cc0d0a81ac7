//! What `submit` needs to know, and how it is read from the layers.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::layers::Layers;
use super::reading::Reading;
use super::values::{self, Wrong};
use super::{
    Global, argument, glob, missing, missing_queue, refuse_in_source, refuse_nested, s3_server, source,
    state_directory, text, working,
};
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::job::suffix::Suffix;
use crate::processor::codec::Chain;
use crate::runtime::digest;
use crate::runtime::machine::Machine;
use crate::submit::discover::Source;

/// How `submit` writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own.
    Own,
    /// The 2013 sample's.
    Sample2013,
}

/// What `submit` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitConfig {
    /// What every command knows.
    pub global: Global,
    /// What is submitted.
    pub source: Source,
    /// Whether the names of a list end in a NUL rather than with their line.
    pub null: bool,
    /// Where the objects are put; for a source that is in S3 already, the source itself.
    pub input: Location,
    /// Where the results go; without it the workers' own `--output` decides.
    pub output: Option<Location>,
    /// The queue, as it was named.
    pub queue: String,
    /// Globs to take; empty takes all.
    pub include: Vec<String>,
    /// Globs to leave out.
    pub exclude: Vec<String>,
    /// The name of the batch, if one was given.
    pub batch: Option<String>,
    /// Whether to wait for the outputs.
    pub wait: bool,
    /// What the workers will do to the ends of names, if it was told: then no two outputs may be one.
    pub suffix: Option<Suffix>,
    /// The form of the messages.
    pub format: Format,
    /// Where acknowledged work is noted, if anywhere: the same submit finds the same file again.
    pub journal: Journaling,
    /// Files in flight.
    pub concurrency: NonZeroUsize,
    /// Requests in flight for each file.
    pub parallel: NonZeroUsize,
    /// Bytes held in memory at any time.
    pub memory: u64,
    /// The size of uploaded parts.
    pub part_size: u64,
    /// Whether to only say what would be done.
    pub dry_run: bool,
}

impl SubmitConfig {
    /// Reads the layers. `source` is the argument.
    pub fn resolve(layers: &Layers, source: &str, machine: &Machine) -> Result<Self, UserError> {
        let mut global = Global::resolve(layers)?;
        let read = Reading { layers, machine };
        let source = source::read(source, &machine.directory).map_err(|wrong| argument("SOURCE", source, wrong))?;
        let queue = read.one("queue", values::queue)?.ok_or_else(|| missing_queue("submit"))?;
        let input = match (&source, read.prefix("input")?) {
            (Source::Prefix(_) | Source::Named(_) | Source::Object(_), Some(_)) => {
                return Err(UserError::usage(
                    Code::CommandLine,
                    "--input has no meaning for a SOURCE in S3",
                    "the objects are there already; nothing is uploaded",
                    "leave --input out",
                ));
            }
            (Source::Prefix(place) | Source::Named(place) | Source::Object(place), None) => place.as_folder(),
            (_, Some(input)) => input,
            (_, None) => {
                return Err(missing("--input", "where are the files to be put?", "add  --input s3://bucket/in/"));
            }
        };
        let null = read.on("null")?;
        if null && !matches!(source, Source::Names | Source::List(_)) {
            let help = "leave --null out, or pipe the names in:  find … -print0 | batchpipe submit - --null";
            return Err(UserError::usage(
                Code::CommandLine,
                "--null has no meaning for this SOURCE",
                "it is no list of names",
                help,
            ));
        }
        let output = read.prefix("output")?;
        let format = read
            .one("format", |text| values::choice(text, &[("own", Format::Own), ("sample2013", Format::Sample2013)]))?;
        let format = format.unwrap_or(Format::Own);
        let wait = read.on("wait")?;
        for place in [Some(&input), output.as_ref()].into_iter().flatten() {
            refuse_in_source(&read, place, &source)?;
        }
        match &output {
            Some(output) => refuse_nested(&read, output, &input)?,
            None if wait => {
                return Err(missing(
                    "--output",
                    "--wait looks for the outputs there",
                    "add  --output s3://bucket/out/",
                ));
            }
            None if format == Format::Sample2013 => {
                return Err(missing("--output", "the sample's messages name it", "add  --output s3://bucket/out/"));
            }
            None => {}
        }
        if format == Format::Sample2013 {
            let same_bucket = match (&input, &output) {
                (Location::S3 { bucket, .. }, Some(Location::S3 { bucket: other, .. })) => bucket == other,
                _ => false,
            };
            if !same_bucket {
                return Err(UserError::usage(
                    Code::CommandLine,
                    "--format sample2013 needs --input and --output in one S3 bucket",
                    "the sample's messages have room for one bucket",
                    "use one bucket with two prefixes, or --format own",
                ));
            }
        }
        let suffix = match (read.one("process", text)?, read.one("output-suffix", working::any_text)?) {
            (_, Some(suffix)) => Some(Suffix::of(&suffix)),
            (Some(steps), None) => Some(Chain::parse(&steps)?.suffix()),
            (None, None) => None,
        };
        let in_flight = working::concurrency(&read, &mut global.notes)?;
        let part_size = working::part_size(&read, [Some(&input)])?;
        let config = Self {
            memory: working::memory(&read, part_size, 0)?,
            include: read.many("include", glob)?,
            exclude: read.many("exclude", glob)?,
            batch: read.one("batch", batch)?,
            dry_run: read.on("dry-run")?,
            journal: Journaling::None,
            global,
            source,
            null,
            input,
            output,
            queue,
            wait,
            suffix,
            format,
            concurrency: in_flight.jobs,
            parallel: in_flight.parallel,
            part_size,
        };
        Ok(Self { journal: config.journal(&read)?, ..config })
    }

    fn journal(&self, read: &Reading<'_>) -> Result<Journaling, UserError> {
        match read.one("journal", text)?.as_deref() {
            Some("none") => return Ok(Journaling::None),
            Some(path) => return Ok(Journaling::File(read.machine.directory.join(path))),
            None => {}
        }
        let server = s3_server(&self.global.aws, read.layers);
        let identity = format!(
            "{:?}",
            (self.source.with_slash(), &self.input, &self.output, &self.batch, self.format as u8, server)
        );
        let own = |directory| Journaling::Own { directory, identity };
        Ok(state_directory(read.layers).map_or(Journaling::None, own))
    }
}

/// Where a submit notes what it has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journaling {
    /// Nowhere.
    None,
    /// In the file that was named.
    File(PathBuf),
    /// In one whose name says what is submitted and to which queue, so that the same command typed again after a kill
    /// goes on where it was, and to another queue of the same name (in another region, account or server) begins anew.
    Own {
        /// Where the journals of all submits are.
        directory: PathBuf,
        /// What is submitted.
        identity: String,
    },
}

impl Journaling {
    /// The file, for the queue at this [address](crate::services::queue::JobQueue::address).
    pub fn path(&self, queue: &str) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::File(path) => Some(path.clone()),
            Self::Own { directory, identity } => {
                Some(directory.join(format!("submit-{}.journal", digest::short(&format!("{identity}\n{queue}")))))
            }
        }
    }
}

/// A batch's name stands in messages and file names, so it is kept plain.
fn batch(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=80).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        Code::CommandLine,
        "a batch's name is 1-80 of A-Z a-z 0-9 - _ .",
        "for example  --batch 2026-11-24-photos",
    ))
}
