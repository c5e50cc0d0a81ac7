//! What `run` needs to know, and how it is read from the layers.

use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use super::layers::Layers;
use super::reading::Reading;
use super::values::Wrong;
use super::{DAY, Global, Working, at_least_one, missing, missing_queue, ms, secs, text, values};
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::runtime::machine::Machine;

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

impl RunConfig {
    /// Reads the layers. `program` is what stood after `--`.
    pub fn resolve(layers: &Layers, program: Vec<String>, machine: &Machine) -> Result<Self, UserError> {
        let mut global = Global::resolve(layers)?;
        let read = Reading { layers, machine };
        let queue = read.one("queue", values::queue)?.ok_or_else(|| missing_queue("run"))?;
        let output = read.prefix("output")?;
        let allow = read.many("allow", |text| values::location(text, &machine.directory))?;
        let files = allow.iter().any(|place| matches!(place, Location::File { .. }));
        let unsaid = program.is_empty() && layers.find("process").is_none();
        let mut working = Working::resolve(&read, program, output.as_ref(), &mut global.notes)?;
        if working.metrics_addr.is_none() && layers.find("metrics-addr").is_none() {
            // The default of `run`; 9464 is the port OpenTelemetry's exporters for Prometheus listen on.
            working.metrics_addr = Some(SocketAddr::from(([127, 0, 0, 1], 9464)));
        }
        let config = Self {
            receivers: read.count("receivers", 1, 100)?.map(at_least_one),
            input_prefix: read.one("input-prefix", |text| input_prefix(text, files))?.unwrap_or_default(),
            allow,
            // SQS holds a long poll for at most 20 s
            // (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html).
            wait_time: read.time("wait-time", ms(0), secs(20), Code::VisibilityTimeout)?.unwrap_or(secs(20)),
            dead_letter: read.one("dead-letter", values::queue)?,
            until_empty: read.on("until-empty")?,
            max_jobs: read.count("max-jobs", 1, 1_000_000_000_000)?.and_then(NonZeroU64::new),
            idle_exit: read.time("idle-exit", secs(1), secs(30 * DAY), Code::CommandLine)?,
            global,
            working,
            queue,
            output,
        };
        if config.dead_letter.as_ref() == Some(&config.queue) {
            return Err(UserError::usage(
                Code::CommandLine,
                "--dead-letter and --queue name the same queue",
                "a rejected job would come back for ever",
                "name another queue",
            ));
        }
        if unsaid {
            // A copy is no harmless default here: each message is deleted when its object has been copied.
            return Err(missing(
                "--process",
                "there is neither --process nor a program, and a message is deleted when its job is done",
                "add  --process STEPS , or a program:  -- gzip -9 ; to only copy the objects:  --process copy",
            ));
        }
        Ok(config)
    }
}

/// Reads `--input-prefix`: the beginning of keys, or of paths if messages may be about `files`. With anything else no
/// input would begin with it, and each message would be rejected (BP209).
fn input_prefix(value: &str, files: bool) -> Result<String, Wrong> {
    let place = ["s3://", "file://"].into_iter().find_map(|scheme| value.strip_prefix(scheme));
    let key = match place {
        Some(place) if value.starts_with("s3:") => place.split_once('/').map_or("", |(_bucket, key)| key),
        Some(path) => path,
        None if value.starts_with('/') && !files => value.trim_start_matches('/'),
        None => return text(value),
    };
    let cause = match place {
        Some(_) => "it is the beginning of a key, without s3:// and the bucket, or of a path",
        None => "keys do not begin with a slash; only paths do, and no --allow names a folder",
    };
    let help = match key {
        "" => "leave it out: the whole key is kept".to_owned(),
        key => format!("write  --input-prefix {key}"),
    };
    Err(Wrong::new(Code::CommandLine, cause, help))
}
