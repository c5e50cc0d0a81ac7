//! How objects are worked on: the settings that `run` and `map` share, and the sums of the limits.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::reading::Reading;
use super::share::{self, Share};
use super::values::{self, Wrong, show_size};
use super::{at_least_one, secs, text};
use crate::capacity::tuner;
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::observe::listener::Place;
use crate::processor::codec::{Chain, FULL_DECODER, MAX_RATIO};
use crate::stages::IfExists;

/// What is done to each object, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// Steps, for `--process`.
    Steps(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

/// How objects are worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Working {
    /// What is done to each object.
    pub process: Process,
    /// Appended to every output's key; `None` leaves it to the steps.
    pub output_suffix: Option<String>,
    /// What is done when the output is there already.
    pub if_exists: IfExists,
    /// Whether an output may lie inside the input.
    pub allow_nested_output: bool,
    /// How many bytes a decompressed input may have.
    pub max_expanded_bytes: Option<u64>,
    /// How many times as long as its input decompressed data may be.
    pub max_ratio: Option<u64>,
    /// How many bytes of memory one decompressing step may take.
    pub decoder_bytes: u64,
    /// Exit codes that reject the job, beside those of sysexits.
    pub reject_codes: Vec<u8>,
    /// Whether a program sees the AWS credentials.
    pub pass_credentials: bool,
    /// Where scratch files are kept.
    pub work_dir: PathBuf,
    /// Jobs in flight; to begin with, if `most` is more.
    pub concurrency: NonZeroUsize,
    /// What jobs, reads and writes in flight may each grow to: more than `concurrency` only if that is `auto`.
    pub most: NonZeroUsize,
    /// Requests in flight for each job, the one that is written aside.
    pub parallel: NonZeroUsize,
    /// Processors running at once.
    pub processors: NonZeroUsize,
    /// Bytes of objects, and of what steps need beside them, held in memory at any time.
    pub memory: u64,
    /// The size of ranged reads and of uploaded parts.
    pub part_size: u64,
    /// How long a message stays ours without a sign of life.
    pub visibility: Duration,
    /// How long one attempt at a job may take.
    pub job_timeout: Option<Duration>,
    /// After how many receives a job is given up; `None` leaves it to the queue.
    pub max_receives: Option<NonZeroU32>,
    /// How long a stopping worker lets its jobs finish.
    pub drain_timeout: Duration,
    /// How long nothing may move beyond every deadline, while there are jobs.
    pub stuck_timeout: Option<Duration>,
    /// Whether to fail when there was nothing to do.
    pub fail_if_empty: bool,
    /// Where metrics are served, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
    /// The names that the status page may be asked for by.
    pub metrics_hosts: Vec<String>,
}

/// The smallest part of any store: below it the cost of a part outweighs the part. S3 wants more.
pub const SMALLEST_PART: u64 = 64 << 10;
/// S3's bounds of a part (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const S3_PART: (u64, u64) = (5 << 20, 5 << 30);
/// What a job holds beside its two parts: the frames in its links and a processor's buffers.
pub const SLACK: u64 = 2 << 20;
/// Requests in flight for one job, where open files allow it: one connection to S3 carries some 90 MB/s, and
/// eight of them fill what the usual machine has of network (PERFORMANCE: 8 ranges of 8 MiB).
const PARALLEL: u64 = 8;
/// A job's share of the budget below which `auto` takes no more jobs: twice the room of a tiny object.
const JOB_OVERHEAD: u64 = 128 << 10;
/// More jobs in flight than this need more than one machine's connections.
const MOST_JOBS: u64 = 10_000;
/// SQS's longest visibility timeout, 12 hours, counted from the receive
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const LONGEST_LEASE: Duration = secs(12 * 60 * 60);

impl Working {
    /// Where the status page is served, if anywhere.
    pub fn page(&self) -> Option<Place> {
        self.metrics_addr.map(|addr| Place { addr, hosts: self.metrics_hosts.clone() })
    }

    pub(super) fn resolve(
        read: &Reading<'_>,
        program: Vec<String>,
        output: Option<&Location>,
        notes: &mut Vec<String>,
    ) -> Result<Self, UserError> {
        let process = match read.one("process", text)? {
            Some(_) if !program.is_empty() && read.layers.find("process").is_some_and(|found| found.is_flag()) => {
                return Err(UserError::usage(
                    Code::CommandLine,
                    "--process and a program can't be given together",
                    "each object is processed once",
                    "give one of them; a program can itself be a pipeline:  -- sh -c 'one | two'",
                ));
            }
            // A program is always typed, so it beats steps from a variable or a file.
            Some(steps) if program.is_empty() => Process::Steps(steps),
            None if program.is_empty() => Process::Steps("copy".to_owned()),
            _ => Process::Program(program),
        };
        let Concurrency { jobs: concurrency, parallel, adapts } = self::concurrency(read, notes)?;
        let part_size = part_size(read, [output])?;
        let chain = match &process {
            Process::Steps(steps) => Some(Chain::parse(steps)?),
            Process::Program(_) => None,
        };
        let memory = memory(read, part_size, chain.as_ref().map_or(0, share::least))?;
        let exists = [("overwrite", IfExists::Overwrite), ("skip", IfExists::Skip), ("fail", IfExists::Fail)];
        let slots = processors(&process, read.machine.cores);
        let slots = at_least_one(read.count("processors", 1, 1024)?.unwrap_or(slots as u64));
        let Share { processors, decoder } = match &chain {
            Some(chain) => share(chain, memory, part_size, slots.get(), notes)?,
            None => Share { processors: slots.get(), decoder: FULL_DECODER },
        };
        let work_dir = read.one("work-dir", text)?.map(|path| read.machine.directory.join(path));
        let max_receives = read.count("max-receives", 1, 1000)?;
        Ok(Self {
            process,
            output_suffix: read.one("output-suffix", any_text)?,
            if_exists: read.one("if-exists", |text| values::choice(text, &exists))?.unwrap_or(IfExists::Overwrite),
            allow_nested_output: read.on("allow-nested-output")?,
            // Far above any object worth decompressing on one machine, far below what a bomb of 1000:1 can fill.
            max_expanded_bytes: read
                .one("max-expanded-bytes", |text| or_none(text, values::size))?
                .unwrap_or(Some(1 << 40)),
            // No format comes near the largest number.
            max_ratio: read
                .one("max-ratio", |text| or_none(text, |text| values::number(text, 1, 1_000_000_000)))?
                .unwrap_or(Some(MAX_RATIO)),
            decoder_bytes: decoder,
            reject_codes: read.many("reject-codes", exit_codes)?.concat(),
            pass_credentials: read.on("pass-credentials")?,
            work_dir: work_dir.unwrap_or_else(|| read.machine.temporary.clone()),
            concurrency,
            most: if adapts { most(read.machine.open_files, memory, concurrency) } else { concurrency },
            parallel,
            processors: at_least_one(processors as u64),
            memory,
            part_size,
            // Two seconds leave time for one extension at half time that takes a second.
            visibility: read
                .time("visibility-timeout", secs(2), LONGEST_LEASE, Code::VisibilityTimeout)?
                .unwrap_or(secs(60)),
            job_timeout: read
                .one("job-timeout", |text| {
                    or_none(text, |text| values::duration(text, secs(1), LONGEST_LEASE, Code::CommandLine))
                })?
                .flatten(),
            max_receives: max_receives.and_then(|times| NonZeroU32::new(times as u32)),
            // Below the 120 s that a Spot instance is told of its end in advance.
            drain_timeout: read.time("drain-timeout", secs(0), LONGEST_LEASE, Code::CommandLine)?.unwrap_or(secs(100)),
            // Beyond the deadlines, which are minutes: a machine that swaps or a disk that hangs may still recover.
            stuck_timeout: read
                .one("stuck-timeout", |text| {
                    or_none(text, |text| values::duration(text, secs(1), LONGEST_LEASE, Code::CommandLine))
                })?
                .unwrap_or(Some(secs(600))),
            fail_if_empty: read.on("fail-if-empty")?,
            metrics_addr: metrics_addr(read)?,
            metrics_hosts: read.many("metrics-host", host_name)?,
        })
    }
}

/// What may be in flight.
pub(super) struct Concurrency {
    /// Jobs.
    pub jobs: NonZeroUsize,
    /// Requests for each job, the one that is written aside.
    pub parallel: NonZeroUsize,
    /// Nobody has fixed the number.
    pub adapts: bool,
}

/// What the number of jobs, of reads and of writes may each grow to: a job has a connection at the most beside those
/// that are counted as reads and writes, all in four fifths of the open files; and what surrounds a job that holds
/// next to nothing must still be small beside the budget.
fn most(open_files: u64, memory: u64, start: NonZeroUsize) -> NonZeroUsize {
    let most = (open_files / 5 * 4 / 3).min(memory / JOB_OVERHEAD).min(tuner::MOST as u64);
    at_least_one(most).max(start)
}

/// Processors at once, unless somebody says. A slot that changes hands stands empty for as long as two threads take to
/// wake, a tenth of a job of 1 MiB: with one more for every four cores none of them does. A program is long beside
/// that, and may want several cores and much memory for itself.
fn processors(process: &Process, cores: usize) -> usize {
    match process {
        Process::Steps(_) => cores + cores.div_ceil(4),
        Process::Program(_) => cores,
    }
}

/// Jobs in flight and requests in flight for each, as many as the open files carry.
pub(super) fn concurrency(read: &Reading<'_>, notes: &mut Vec<String>) -> Result<Concurrency, UserError> {
    let jobs = |text: &str| match text {
        "auto" => Ok(None),
        text => values::number(text, 1, MOST_JOBS).map(Some),
    };
    let wanted = read.one("concurrency", jobs)?.flatten();
    // A job waits for the network most of its life, so four to a core; 16 fill a network from a small machine.
    let jobs = wanted.unwrap_or((4 * read.machine.cores as u64).clamp(16, MOST_JOBS));
    let room = read.machine.open_files / 5 * 4;
    if jobs * (1 + PARALLEL) <= room {
        return Ok(Concurrency {
            jobs: at_least_one(jobs),
            parallel: at_least_one(PARALLEL),
            adapts: wanted.is_none(),
        });
    }
    let (jobs, parallel) = match wanted {
        None => (jobs.min(room / 2), 1),
        Some(jobs) => (jobs, (room / jobs).saturating_sub(1)),
    };
    if jobs == 0 || parallel == 0 {
        let most = room / 2;
        return Err(UserError::usage(
            Code::SystemLimit,
            format!("{} jobs in flight need more open files than the {} allowed", jobs.max(1), read.machine.open_files),
            "each job needs a connection to read and one to write, in four fifths of the limit",
            match most {
                0 => "raise the limit:  ulimit -n 1024".to_owned(),
                most => format!("raise the limit:  ulimit -n {} , or  --concurrency {most}", jobs * 5 / 2 + 5),
            },
        ));
    }
    notes.push(format!(
        "open files are limited to {}: {jobs} jobs of 1 + {parallel} connections",
        read.machine.open_files
    ));
    Ok(Concurrency { jobs: at_least_one(jobs), parallel: at_least_one(parallel), adapts: false })
}

/// The size of parts. `places` are those known to be written to; S3 takes no part under 5 MiB.
pub(super) fn part_size<const N: usize>(read: &Reading<'_>, places: [Option<&Location>; N]) -> Result<u64, UserError> {
    let in_s3 = places.iter().any(|place| matches!(place, Some(Location::S3 { .. })));
    let least = if in_s3 { S3_PART.0 } else { SMALLEST_PART };
    let bytes = read.one("part-size", |text| {
        let bytes = values::size(text)?;
        let help = format!("give a size from {} to {}", show_size(least), show_size(S3_PART.1));
        match bytes {
            bytes if bytes < least && in_s3 => {
                Err(Wrong::new(Code::CommandLine, "less than S3's smallest part, 5MiB", help))
            }
            bytes if bytes < least => Err(Wrong::new(Code::CommandLine, "less than the smallest part, 64KiB", help)),
            bytes if bytes > S3_PART.1 => Err(Wrong::new(Code::CommandLine, "more than S3's largest part, 5GiB", help)),
            bytes => Ok(bytes),
        }
    })?;
    // 8 MiB: above it throughput no longer grows, and 10 000 of them make an object of 78 GiB.
    Ok(bytes.unwrap_or(8 << 20))
}

/// The budget of bytes in flight: at least one job's two parts and [`SLACK`], and unless somebody says less, what one
/// processor `needs`.
pub(super) fn memory(read: &Reading<'_>, part_size: u64, needs: u64) -> Result<u64, UserError> {
    let least = 2 * part_size + SLACK;
    let has = read.machine.memory;
    let given = read.one("memory", |text| {
        let bytes = match text.strip_suffix('%') {
            // What is left is for the program itself, and for those that it runs.
            Some(share) => (u128::from(has) * u128::from(values::number(share, 1, 90)?) / 100) as u64,
            None => values::size(text)?,
        };
        if bytes < least {
            let cause = format!(
                "{} is less than one job needs: two parts of {} and {}",
                show_size(bytes),
                show_size(part_size),
                show_size(SLACK)
            );
            let least = show_size(least.next_multiple_of(1 << 20));
            return Err(Wrong::new(
                Code::Memory,
                cause,
                format!("give at least  --memory {least} , or a smaller --part-size"),
            ));
        }
        if bytes > has {
            let cause = format!("this machine, or its cgroup, has {}", show_size(has));
            return Err(Wrong::new(Code::Memory, cause, "give a share, such as  --memory 50%"));
        }
        Ok(bytes)
    })?;
    Ok(given.unwrap_or((has / 4).max(least).max((2 * part_size + needs).min(has))))
}

/// What the steps have of the memory; says where that is less than was asked for.
fn share(
    chain: &Chain,
    memory: u64,
    part_size: u64,
    asked: usize,
    notes: &mut Vec<String>,
) -> Result<Share, UserError> {
    let needs = show_size(share::least(chain));
    let Some(share) = share::share(chain, memory, 2 * part_size, asked) else {
        let least = (2 * part_size + share::least(chain)).div_ceil(1 << 20);
        return Err(UserError::usage(
            Code::Memory,
            format!("--memory {} is too little for {chain}", show_size(memory)),
            format!(
                "one processor needs {needs} for its tables and windows, beside two parts of {}",
                show_size(part_size)
            ),
            format!("give at least  --memory {least}MiB , or a lower level"),
        ));
    };
    if share.processors < asked {
        notes.push(format!(
            "{chain} needs {needs} a processor: {} at once, not {asked}; more --memory allows more",
            share.processors
        ));
    }
    if share.decoder < FULL_DECODER {
        notes.push(format!(
            "a decompressing step may take {} of memory, and data that needs more is rejected; more --memory or fewer \
            --processors allow more",
            show_size(share.decoder)
        ));
    }
    Ok(share)
}

fn or_none<T>(text: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    if text == "none" { Ok(None) } else { parse(text).map(Some) }
}

/// A suffix may be empty: that is how the one of the steps is switched off.
pub(super) fn any_text(text: &str) -> Result<String, Wrong> {
    if text.is_empty() { Ok(String::new()) } else { self::text(text) }
}

/// Reads `65`, `64-78` or several of them with commas.
fn exit_codes(text: &str) -> Result<Vec<u8>, Wrong> {
    let code = |text: &str| values::number(text.trim(), 1, 255).map(|code| code as u8);
    let mut codes = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (code(first)?, code(last)?);
        if first > last {
            return Err(Wrong::new(
                Code::CommandLine,
                "the range runs backwards",
                "for example  --reject-codes 3,64-78",
            ));
        }
        codes.extend(first..=last);
    }
    Ok(codes)
}

/// A name of a host (<https://www.rfc-editor.org/rfc/rfc1123#page-13>: letters, digits, hyphens and dots, at most 253
/// characters), and the underscore that names of containers have.
fn host_name(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) {
        return Ok(text.trim_end_matches('.').to_owned());
    }
    let help = "give a name without scheme and port, such as  --metrics-host worker-1.internal";
    Err(Wrong::new(Code::CommandLine, "not the name of a host", help))
}

fn metrics_addr(read: &Reading<'_>) -> Result<Option<SocketAddr>, UserError> {
    let allowed = read.on("metrics-allow")?;
    let address = |text: &str| {
        let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
        let help = "give an address and a port, such as 127.0.0.1:9464 or [::1]:9464, or none";
        let address: SocketAddr =
            text.parse().map_err(|_| Wrong::new(Code::CommandLine, "not an address and a port", help))?;
        if !address.ip().is_loopback() && !allowed {
            let help = "use 127.0.0.1, or add  --metrics-allow  if that network is yours";
            return Err(Wrong::new(
                Code::MetricsAddressOpen,
                "other machines could read it, and it has no password",
                help,
            ));
        }
        Ok(address)
    };
    Ok(read.one("metrics-addr", |text| or_none(text, address))?.flatten())
}
