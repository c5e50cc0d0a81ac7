//! What was typed means this: flags, variables and files become the numbers that the stages work with.
//!
//! `resolve` is pure: the same layers on the same machine give the same configuration, and a table tests it.
//! Nothing else in the program computes a limit. The sums are here: a job holds at least one part that is
//! read and one that is written, so `--memory` must hold two parts and [`SLACK`]; a job in flight has at
//! most 1 + `parallel` connections, and all of them must fit in four fifths of the open files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod global;
pub mod layers;
pub mod machine;
mod reading;
pub mod settings;
mod source;
pub mod values;
mod working;

pub use global::{Color, Global, LogFormat, LogSettings, Progress};
pub use layers::{Layers, Origin, Typed};
pub use machine::Machine;
pub use source::Source;
pub use working::{IfExists, Process, SLACK, SMALLEST_PART, Working};

use crate::error::UserError;
use crate::job::Location;
use reading::Reading;
use values::Wrong;

/// What `run` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// What every command knows.
    pub global: Global,
    /// How objects are worked on.
    pub working: Working,
    /// The queue, as it was named.
    pub queue: String,
    /// Where results of messages go that name no output.
    pub output: Option<Location>,
    /// Taken off the input's key before it is appended to `output`.
    pub input_prefix: String,
    /// The places that messages may name; empty allows all of S3, and no local file.
    pub allow: Vec<Location>,
    /// Long polls in flight.
    pub receivers: Option<NonZeroUsize>,
    /// How long a receive waits for a message.
    pub wait_time: Duration,
    /// Where rejected messages go, if not where the queue's own policy says.
    pub dead_letter: Option<String>,
    /// Whether to stop when the queue is empty.
    pub until_empty: bool,
    /// After how many jobs to stop.
    pub max_jobs: Option<NonZeroU64>,
    /// After how long without a message to stop.
    pub idle_exit: Option<Duration>,
}

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
    /// The form of the messages.
    pub format: Format,
    /// Where acknowledged work is noted, if anywhere: the same submit finds the same file again.
    pub journal: Option<PathBuf>,
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

/// What `map` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapConfig {
    /// What every command knows.
    pub global: Global,
    /// How objects are worked on.
    pub working: Working,
    /// What is read.
    pub source: Source,
    /// The prefix that the results are written under.
    pub dest: Location,
    /// Globs to take; empty takes all.
    pub include: Vec<String>,
    /// Globs to leave out.
    pub exclude: Vec<String>,
    /// Whether to only say what would be done.
    pub dry_run: bool,
    /// Where the queue and the journal are kept, so that a killed run goes on where it was: below a directory that is
    /// written to, else in the user's own state directory.
    pub state: PathBuf,
}

impl RunConfig {
    /// Reads the layers. `program` is what stood after `--`.
    pub fn resolve(layers: &Layers, program: Vec<String>, machine: &Machine) -> Result<Self, UserError> {
        let mut global = Global::resolve(layers)?;
        let read = Reading { layers, machine };
        let queue = read.one("queue", values::queue)?.ok_or_else(|| missing_queue("run"))?;
        let output = read.prefix("output")?;
        let mut working = Working::resolve(&read, program, output.as_ref(), &mut global.notes)?;
        if working.metrics_addr.is_none() && layers.find("metrics-addr").is_none() {
            // The default of `run`; 9464 is the port OpenTelemetry's exporters for Prometheus listen on.
            working.metrics_addr = Some(SocketAddr::from(([127, 0, 0, 1], 9464)));
        }
        let config = Self {
            receivers: read.count("receivers", 1, 100)?.map(at_least_one),
            allow: read.many("allow", |text| values::location(text, &machine.directory))?,
            input_prefix: read.one("input-prefix", text)?.unwrap_or_default(),
            // SQS holds a long poll for at most 20 s
            // (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html).
            wait_time: read.time("wait-time", ms(0), secs(20), 116)?.unwrap_or(secs(20)),
            dead_letter: read.one("dead-letter", values::queue)?,
            until_empty: read.on("until-empty")?,
            max_jobs: read.count("max-jobs", 1, 1_000_000_000_000)?.and_then(NonZeroU64::new),
            idle_exit: read.time("idle-exit", secs(1), secs(30 * DAY), 110)?,
            global,
            working,
            queue,
            output,
        };
        if config.dead_letter.as_ref() == Some(&config.queue) {
            return Err(UserError::usage(
                110,
                "--dead-letter and --queue name the same queue",
                "a rejected job would come back for ever",
                "name another queue",
            ));
        }
        Ok(config)
    }
}

impl SubmitConfig {
    /// Reads the layers. `source` is the argument.
    pub fn resolve(layers: &Layers, source: &str, machine: &Machine) -> Result<Self, UserError> {
        let mut global = Global::resolve(layers)?;
        let read = Reading { layers, machine };
        let source = Source::read(source, &machine.directory).map_err(|wrong| argument("SOURCE", source, wrong))?;
        let queue = read.one("queue", values::queue)?.ok_or_else(|| missing_queue("submit"))?;
        let input = match (&source, read.prefix("input")?) {
            (Source::Prefix(_), Some(_)) => {
                return Err(UserError::usage(
                    110,
                    "--input has no meaning for a SOURCE in S3",
                    "the objects are there already; nothing is uploaded",
                    "leave --input out",
                ));
            }
            (Source::Prefix(prefix), None) => prefix.clone(),
            (_, Some(input)) => input,
            (_, None) => {
                return Err(missing("--input", "where are the files to be put?", "add  --input s3://bucket/in/"));
            }
        };
        let output = read.prefix("output")?;
        let format = read
            .one("format", |text| values::choice(text, &[("own", Format::Own), ("sample2013", Format::Sample2013)]))?;
        let format = format.unwrap_or(Format::Own);
        let wait = read.on("wait")?;
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
                    110,
                    "--format sample2013 needs --input and --output in one S3 bucket",
                    "the sample's messages have room for one bucket",
                    "use one bucket with two prefixes, or --format own",
                ));
            }
        }
        working::note_prefix(output.as_ref(), &mut global.notes);
        let in_flight = working::concurrency(&read, &mut global.notes)?;
        let part_size = working::part_size(&read, [Some(&input)])?;
        let config = Self {
            memory: working::memory(&read, part_size)?,
            include: read.many("include", glob)?,
            exclude: read.many("exclude", glob)?,
            batch: read.one("batch", batch)?,
            dry_run: read.on("dry-run")?,
            journal: None,
            global,
            source,
            input,
            output,
            queue,
            wait,
            format,
            concurrency: in_flight.jobs,
            parallel: in_flight.parallel,
            part_size,
        };
        Ok(Self { journal: config.journal(&read)?, ..config })
    }

    /// The journal that was named, or one whose name says what is submitted, so that the same command typed
    /// again after a kill goes on where it was.
    fn journal(&self, read: &Reading<'_>) -> Result<Option<PathBuf>, UserError> {
        match read.one("journal", text)?.as_deref() {
            Some("none") => return Ok(None),
            Some(path) => return Ok(Some(read.machine.directory.join(path))),
            None => {}
        }
        let identity =
            format!("{:?}", (&self.source, &self.input, &self.output, &self.queue, &self.batch, self.format as u8));
        let name = digest(&identity);
        Ok(state_directory(read.layers).map(|directory| directory.join(format!("submit-{name}.journal"))))
    }
}

impl MapConfig {
    /// Reads the layers. `source` and `dest` are the arguments, `program` is what stood after `--`.
    pub fn resolve(
        layers: &Layers,
        source: &str,
        dest: &str,
        program: Vec<String>,
        machine: &Machine,
    ) -> Result<Self, UserError> {
        let mut global = Global::resolve(layers)?;
        let read = Reading { layers, machine };
        let from = Source::read(source, &machine.directory).map_err(|wrong| argument("SOURCE", source, wrong))?;
        let dest = values::prefix(dest, &machine.directory).map_err(|wrong| argument("DEST", dest, wrong))?;
        let input = match &from {
            Source::Prefix(prefix) => Some(prefix.clone()),
            Source::Directory(path) => Some(Location::file(format!("{}/", path.display()))),
            Source::File(_) => None,
            Source::Names | Source::List(_) => {
                let help = "give a directory, a file or s3://bucket/prefix/;  submit  takes lists";
                return Err(argument("SOURCE", source, Wrong::new(120, "map does not read lists of names", help)));
            }
        };
        if let Some(input) = &input {
            refuse_nested(&read, &dest, input)?;
        }
        let mut working = Working::resolve(&read, program, Some(&dest), &mut global.notes)?;
        // The queue is our own and has no policy. Three tries, 2 and 4 seconds apart, tell a hiccup from a program that
        // always fails before somebody who looks on loses patience.
        working.max_receives = working.max_receives.or(NonZeroU32::new(3));
        let state = match &dest {
            Location::File { path } => Path::new(path).join(crate::source::OWN_FOLDER),
            Location::S3 { .. } => {
                let name = format!("map-{}", digest(&format!("{:?}", (&from, &dest))));
                state_directory(read.layers).unwrap_or_else(|| PathBuf::from(crate::source::OWN_FOLDER)).join(name)
            }
        };
        Ok(Self {
            include: read.many("include", glob)?,
            exclude: read.many("exclude", glob)?,
            dry_run: read.on("dry-run")?,
            source: from,
            dest,
            working,
            global,
            state,
        })
    }
}

/// A short name for a text.
fn digest(text: &str) -> String {
    use md5::Digest;
    md5::Md5::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

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
        "" => Err(Wrong::new(110, "it is empty", "give a text, or leave the option out")),
        text if text.contains('\0') => Err(Wrong::new(110, "it holds a zero byte", "leave the zero byte out")),
        text => Ok(text.to_owned()),
    }
}

fn glob(text: &str) -> Result<String, Wrong> {
    let help = "* matches within a name, ** any folders, [ab] a letter, {a,b} either";
    match globset::Glob::new(text) {
        Ok(_) if text.is_empty() => Err(Wrong::new(110, "an empty pattern matches nothing", help)),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(110, format!("{}", error.kind()), help)),
    }
}

/// A batch's name stands in messages and file names, so it is kept plain.
fn batch(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=80).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(110, "a batch's name is 1-80 of A-Z a-z 0-9 - _ .", "for example  --batch 2026-11-24-photos"))
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

/// A mistake in an argument that has no flag.
pub(crate) fn argument(name: &str, text: &str, wrong: Wrong) -> UserError {
    let text = values::shown(text);
    UserError::usage(wrong.code, format!("{name} can't be {text:?}"), wrong.cause, wrong.help)
}

fn missing(name: &str, cause: &str, help: &str) -> UserError {
    UserError::usage(110, format!("{name} is missing"), cause, help)
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

fn refuse_nested(read: &Reading<'_>, output: &Location, input: &Location) -> Result<(), UserError> {
    if !output.is_under(input) || read.on("allow-nested-output")? {
        return Ok(());
    }
    let (shown, input) = (output.to_string(), input.to_string());
    Err(UserError::usage(
        113,
        format!("the output {} lies inside the input {}", shown.escape_debug(), input.escape_debug()),
        "each result would become a new job, for ever",
        "use another bucket or prefix; if the event rule excludes it, add  --allow-nested-output",
    ))
}

/// The largest configuration file worth reading; a real one has some dozen lines.
const MAX_FILE: u64 = 1 << 20;

/// Reads the configuration files: the one that `named` names, else those that are there, the nearest first.
pub fn files(named: Option<&str>, variables: &BTreeMap<String, String>) -> Result<Vec<(PathBuf, String)>, UserError> {
    let variable = |name: &str| variables.get(name).map(String::as_str).filter(|text| !text.is_empty());
    match named.or(variable("BATCHPIPE_CONFIG")) {
        Some("none") => return Ok(Vec::new()),
        Some(path) => return Ok(vec![(PathBuf::from(path), read_file(Path::new(path), true)?.unwrap_or_default())]),
        None => {}
    }
    let absolute = |text: &&str| text.starts_with('/');
    let home = variable("HOME").filter(absolute).map(|home| Path::new(home).join(".config"));
    let personal = variable("XDG_CONFIG_HOME").filter(absolute).map(PathBuf::from).or(home);
    let mut paths = vec![PathBuf::from("batchpipe.toml")];
    paths.extend(personal.map(|base| base.join("batchpipe/config.toml")));
    paths.push(PathBuf::from("/etc/batchpipe/config.toml"));
    let read = |path: PathBuf| Ok(read_file(&path, false)?.map(|text| (path, text)));
    paths.into_iter().filter_map(|path| read(path).transpose()).collect()
}

fn read_file(path: &Path, required: bool) -> Result<Option<String>, UserError> {
    let wrong = |cause: String, help: &str| {
        let what = format!("cannot read the configuration {:?}", path.display().to_string());
        UserError::usage(117, what, cause, help)
    };
    let help = "name another with  --config FILE , or none with  --config none";
    // Not blocking, so that a pipe nobody writes to can't hold us up.
    let opened = fs::OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if !required && error.kind() != std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(wrong(error.to_string(), help)),
    };
    let metadata = file.metadata().map_err(|error| wrong(error.to_string(), help))?;
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file".to_owned(), help));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(wrong(
            "everybody on this machine may write to it".to_owned(),
            "take that right away:  chmod o-w FILE",
        ));
    }
    if metadata.len() > MAX_FILE {
        return Err(wrong(format!("it has {} bytes, more than a configuration ever has", metadata.len()), help));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string(), help))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(wrong(format!("it is not UTF-8 at byte {at}"), "save it as UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests;
