//! The numbers of a worker, checked against each other and against the machine.
//!
//! Pure: the same numbers on the same machine give the same settings. The bounds are those of the command line
//! (`config`).

use std::fmt::Debug;
use std::time::Duration;

use super::Settings;
use super::builder::WorkerBuilder;
use super::choices::Concurrency;
use crate::capacity::tuner;
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::processor::codec::Chain;
use crate::processor::codec::share::{self, Share};
use crate::runtime::machine::Machine;

/// The smallest part of any store: below it the cost of a part outweighs the part. S3 wants more.
pub const SMALLEST_PART: u64 = 64 << 10;
/// S3's bounds of a part (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const S3_PART: (u64, u64) = (5 << 20, 5 << 30);
/// What a job holds beside its two parts: the frames in its links and a processor's buffers.
pub const SLACK: u64 = 2 << 20;
/// A job's share of the budget below which `auto` takes no more jobs: twice the room of a tiny object.
const JOB_OVERHEAD: u64 = 128 << 10;
/// More jobs in flight than this need more than one machine's connections.
const MOST_JOBS: usize = 10_000;
/// SQS's longest visibility timeout, 12 hours, counted from the receive
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const LONGEST_LEASE: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest that SQS holds a long poll
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
const LONGEST_POLL: Duration = Duration::from_secs(20);

/// Refuses a value outside its bounds, both of which are allowed.
fn within<T: PartialOrd + Debug>(name: &str, value: T, least: T, most: T, code: Code) -> Result<(), UserError> {
    if value >= least && value <= most {
        return Ok(());
    }
    let help = format!("give a value from {least:?} to {most:?}");
    Err(UserError::usage(code, format!("{name} can't be {value:?}"), "the value is out of range", help))
}

/// The settings that the builder asks for, on this machine. `chain` holds the steps, if steps are to be done.
pub(super) fn settings(
    builder: &WorkerBuilder,
    output: Option<&Location>,
    chain: Option<&Chain>,
    machine: &Machine,
) -> Result<(Settings, Option<Share>), UserError> {
    let second = Duration::from_secs(1);
    let mut settings = builder.settings;
    // Two seconds leave time for one extension at half time that takes a second.
    within("visibility_timeout", settings.visibility, 2 * second, LONGEST_LEASE, Code::VisibilityTimeout)?;
    within("wait_time", builder.how.wait, Duration::ZERO, LONGEST_POLL, Code::VisibilityTimeout)?;
    within("job_timeout", settings.job_timeout.unwrap_or(second), second, LONGEST_LEASE, Code::CommandLine)?;
    within("idle_exit", builder.how.idle_exit.unwrap_or(second), second, Duration::MAX, Code::CommandLine)?;
    within("max_jobs", builder.how.max_messages.unwrap_or(1), 1, u64::MAX, Code::CommandLine)?;
    within("receivers", builder.how.receivers.unwrap_or(1), 1, 100, Code::CommandLine)?;
    within("max_receives", builder.max_receives.unwrap_or(1), 1, 1000, Code::CommandLine)?;
    let smallest = if matches!(output, Some(Location::S3 { .. })) { S3_PART.0 } else { SMALLEST_PART };
    within("part_size", settings.part, smallest, S3_PART.1, Code::CommandLine)?;
    let usual = machine.cores.max(1) + if chain.is_some() { machine.cores.div_ceil(4) } else { 0 };
    let processors = builder.processors.unwrap_or(usual);
    within("processors", processors, 1, 1024, Code::CommandLine)?;
    settings.memory = memory(builder, chain, machine)?;
    if let Some(concurrency) = builder.concurrency {
        jobs(&mut settings, concurrency, machine)?;
    }
    let share = match chain {
        Some(chain) => Some(steps_share(chain, &settings, processors)?),
        None => None,
    };
    settings.processors = share.map_or(processors, |share| share.processors);
    Ok((settings, share))
}

/// The bytes in flight: room for two parts and, unless somebody says less, for what one processor needs.
fn memory(builder: &WorkerBuilder, chain: Option<&Chain>, machine: &Machine) -> Result<u64, UserError> {
    let parts = 2 * builder.settings.part;
    let least = parts + SLACK;
    let needs = chain.map_or(0, share::least);
    let bytes = builder.memory.unwrap_or((machine.memory / 4).max(least).max((parts + needs).min(machine.memory)));
    if bytes >= least {
        return Ok(bytes);
    }
    let cause = format!("one job needs {least} bytes: two parts of {} and {SLACK}", builder.settings.part);
    let help = format!("give at least  .memory({least}) , or a smaller .part_size()");
    Err(UserError::usage(Code::Memory, format!("a memory of {bytes} bytes is too little"), cause, help))
}

/// Jobs in flight, and requests in flight for each job, as many as the open files carry.
fn jobs(settings: &mut Settings, concurrency: Concurrency, machine: &Machine) -> Result<(), UserError> {
    let room = usize::try_from(machine.open_files / 5 * 4).unwrap_or(usize::MAX);
    let parallel = settings.parallel.max(1);
    let wanted = match concurrency {
        Concurrency::Fixed(jobs) => {
            within("concurrency", jobs, 1, MOST_JOBS, Code::CommandLine)?;
            jobs
        }
        Concurrency::Auto => (4 * machine.cores).clamp(16, MOST_JOBS),
    };
    (settings.concurrency, settings.parallel, settings.most) = (wanted, parallel, wanted);
    if wanted.saturating_mul(1 + parallel) <= room {
        if concurrency == Concurrency::Auto {
            // A job has one connection beside those that are counted as reads and writes.
            let by_memory = usize::try_from(settings.memory / JOB_OVERHEAD).unwrap_or(usize::MAX);
            settings.most = (room / 3).min(by_memory).min(tuner::MOST).max(wanted);
        }
        return Ok(());
    }
    (settings.concurrency, settings.parallel) = match concurrency {
        Concurrency::Auto => (wanted.min(room / 2), 1),
        Concurrency::Fixed(jobs) => (jobs, (room / jobs).saturating_sub(1)),
    };
    settings.most = settings.concurrency;
    if settings.concurrency > 0 && settings.parallel > 0 {
        return Ok(());
    }
    let what = format!("{wanted} jobs in flight need more open files than the {} allowed", machine.open_files);
    let cause = "each job needs a connection to read and one to write, in four fifths of the limit";
    Err(UserError::usage(
        Code::SystemLimit,
        what,
        cause,
        "raise the limit of open files, or give a lower  .concurrency()",
    ))
}

/// What the steps have of the memory.
fn steps_share(chain: &Chain, settings: &Settings, processors: usize) -> Result<Share, UserError> {
    let parts = 2 * settings.part;
    share::share(chain, settings.memory, parts, processors).ok_or_else(|| {
        let needs = share::least(chain);
        let what = format!("a memory of {} bytes is too little for {chain}", settings.memory);
        let cause = format!("one processor needs {needs} bytes, beside two parts of {} bytes", settings.part);
        UserError::usage(
            Code::Memory,
            what,
            cause,
            format!("give at least  .memory({}) , or a lower level", parts + needs),
        )
    })
}
