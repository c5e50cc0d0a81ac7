//! `doctor`: checks, before a fleet does, whether the work can be done, and prints how to repair what is wrong.
//!
//! Every check goes on after a failed one, so that one run shows everything. Nothing is changed: an object is
//! written only with `--write`.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;

use super::Context;
use super::output::escaped;
use super::service::failed;
use crate::config::values::{self, show, show_size};
use crate::error::{Code, Exit, Role, ServiceError, UserError};
use crate::job::Location;
use crate::services::aws;
use crate::services::open::{open_queue, open_store, region_of_queue};
use crate::services::queue::{JobQueue, Policy};
use crate::services::store::{ObjectStore, Writing};

mod findings;

use findings::{Finding, report};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe doctor --queue jobs --read s3://acme-in/ --output s3://acme-out/
  batchpipe doctor --output s3://acme-out/ --write  (leaves one small object)";

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A prefix that jobs will read from (repeatable)
    #[arg(long, value_name = "URI")]
    read: Vec<String>,
    /// Also write a small object under --output, and leave it there
    #[arg(long)]
    write: bool,
}

/// Checks everything that was named.
pub async fn run(args: Args, context: &Context) -> Result<Exit, UserError> {
    let place = |text: &str| values::prefix(text, &context.machine.directory);
    let mut read = Vec::new();
    for text in &args.read {
        read.push(place(text).map_err(|wrong| crate::config::argument("--read", text, wrong))?);
    }
    let output = match context.layers.find("output") {
        Some(found) => Some(place(found.text()).map_err(|wrong| found.error(found.text(), wrong))?),
        None => None,
    };
    let queue = match context.layers.find("queue") {
        Some(found) => Some(values::queue(found.text()).map_err(|wrong| found.error(found.text(), wrong))?),
        None => None,
    };
    if args.write && output.is_none() {
        let cause = "--write puts an object there";
        return Err(UserError::usage(
            Code::CommandLine,
            "--output is missing",
            cause,
            "add  --output s3://bucket/prefix/",
        ));
    }
    let mut findings = Vec::new();
    let in_aws = queue.as_ref().is_some_and(|queue| !queue.starts_with("sqlite:"))
        || read.iter().chain(&output).any(|place| matches!(place, Location::S3 { .. }));
    if in_aws {
        check_account(queue.as_deref(), context, &mut findings).await;
    }
    match &queue {
        Some(queue) => check_queue(queue, context, &mut findings).await,
        None => findings.push(Finding::warn("queue", "not checked: none is named", "add  --queue NAME")),
    }
    let roots = read.iter().chain(&output).filter_map(|place| match place {
        Location::File { path } => Some(path.into()),
        Location::S3 { .. } => None,
    });
    match open_store(&context.global.aws, &roots.collect::<Vec<_>>()) {
        Ok(store) => {
            for place in &read {
                findings.push(check_read(store.as_ref(), place).await);
            }
            if let Some(place) = &output {
                check_output(store.as_ref(), place, args.write, &mut findings).await;
            }
        }
        Err(error) => findings.push(Finding::fail("store", &error)),
    }
    check_machine(context, &mut findings);
    report(&findings, context.global.json)
}

/// Tells whose keys are used, and in which region: nothing else shows an account that is not meant.
async fn check_account(queue: Option<&str>, context: &Context, findings: &mut Vec<Finding>) {
    let nearby = queue.and_then(region_of_queue);
    findings.push(match aws::connect_near(&context.global.aws, nearby.as_deref()).await {
        Ok(aws) => Finding::ok("account", format!("keys of {} · region {}", aws.keys(), aws.region())),
        Err(error) => Finding::fail("account", &error),
    });
}

async fn check_queue(name: &str, context: &Context, findings: &mut Vec<Finding>) {
    let queue = match open_queue(name, &context.global.aws).await {
        Ok(queue) => queue,
        Err(error) => return findings.push(Finding::fail("queue", &error)),
    };
    let answers = async { Ok::<_, ServiceError>((queue.policy().await?, queue.counts().await?)) };
    let (policy, counts) = match answers.await {
        Ok(answers) => answers,
        Err(error) => {
            let error = failed(Role::Receive, &format!("look into queue {:?}", queue.name()), &error);
            return findings.push(Finding::fail("queue", &error));
        }
    };
    if !name.starts_with("sqlite:") {
        // The queue answered, so the keys were there, right, and signed with a clock that AWS takes for right.
        findings.push(Finding::ok("credentials", "found, and the queue accepts them"));
        findings.push(Finding::ok("clock", "within the 5 minutes that signatures allow"));
    }
    let kind = if policy.fifo { "FIFO" } else { "standard" };
    let text = format!(
        "{} · {kind} · visibility {} · {} waiting, {} in flight",
        escaped(queue.name()),
        show(policy.visibility),
        counts.visible,
        counts.in_flight
    );
    findings.push(Finding::ok("queue", text));
    check_dead_letters(queue.as_ref(), &policy, findings).await;
}

/// A day: shorter, and a fleet that is down over a weekend loses jobs.
const SHORT_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

async fn check_dead_letters(queue: &dyn JobQueue, policy: &Policy, findings: &mut Vec<Finding>) {
    let name = "dead-letter queue";
    let kept = policy.retention.map_or("for ever".to_owned(), show);
    let dead = match queue.dead_letters().await {
        Ok(dead) => dead,
        Err(error) => {
            return findings.push(Finding::fail(name, &failed(Role::Receive, "find the dead letters", &error)));
        }
    };
    let Some(dead) = dead else {
        let fix = format!(
            "aws sqs set-queue-attributes --queue-url URL-OF-{} --attributes \
             '{{\"RedrivePolicy\":\"{{\\\"deadLetterTargetArn\\\":\\\"ARN\\\",\\\"maxReceiveCount\\\":5}}\"}}'",
            escaped(queue.name())
        );
        let text = format!("none.  A job that always fails is tried until it expires ({kept})");
        return findings.push(Finding::warn(name, text, fix));
    };
    let waiting = dead.counts().await.map_or(0, |counts| counts.visible);
    let text = format!("{} · {waiting} waiting", escaped(dead.name()));
    findings.push(match policy.max_receives {
        // Every drain and every lost lease counts as a receive, so that fewer than 5 reject good jobs.
        Some(times) if times < 5 => {
            Finding::warn(name, format!("{text} · after only {times} receives"), "set maxReceiveCount to 5 or more")
        }
        _ => Finding::ok(name, text),
    });
    let theirs = dead.policy().await.ok().and_then(|policy| policy.retention);
    findings.push(match (policy.retention, theirs) {
        (Some(ours), Some(theirs)) if theirs <= ours => {
            let text =
                format!("dead letters are kept {}, jobs {kept}; the age counts from the first send", show(theirs));
            Finding::warn("retention", text, "keep dead letters longer than jobs: MessageRetentionPeriod=1209600")
        }
        (Some(ours), _) if ours < SHORT_RETENTION => {
            Finding::warn("retention", format!("jobs are kept only {kept}"), "MessageRetentionPeriod=345600 or more")
        }
        _ => Finding::ok("retention", format!("jobs are kept {kept}")),
    });
}

async fn check_read(store: &dyn ObjectStore, place: &Location) -> Finding {
    let fail = |what: String, error: &ServiceError| Finding::fail("read", &failed(Role::Read, &what, error));
    match store.list(place).next().await {
        Some(Err(error)) => fail(format!("list {place:?}"), &error),
        None => Finding::warn("read", format!("{place:?} can be listed and is empty"), "check the prefix"),
        Some(Ok(object)) => match store.get(&object.location, 0..1, &object.version).await {
            Ok(_) => Finding::ok("read", format!("{place:?} (Get, List)")),
            Err(error) => fail(format!("read {:?}", object.location), &error),
        },
    }
}

/// The object that `--write` leaves. A name that begins with `.batchpipe` belongs to the store of local files.
const PROBE: &str = "batchpipe-doctor.txt";

async fn check_output(store: &dyn ObjectStore, place: &Location, write: bool, findings: &mut Vec<Finding>) {
    if write {
        let probe = place.join(PROBE);
        let body = Bytes::from_static(b"batchpipe doctor --write put this here; it may be deleted\n");
        findings.push(match store.put(&probe, body, &Writing::default()).await {
            Ok(()) => Finding::ok("write", format!("{probe:?} (Put)")),
            Err(error) => {
                let mut error = failed(Role::Write, &format!("write to {place:?}"), &error);
                if let (Location::S3 { bucket, key }, Exit::Access) = (place, error.exit) {
                    error.help = format!(
                        "{}.  Add to the role:  \
                        {{\"Effect\":\"Allow\",\"Action\":[\"s3:PutObject\",\"s3:AbortMultipartUpload\"],\
                         \"Resource\":\"arn:aws:s3:::{bucket}/{}*\"}}",
                        error.help,
                        escaped(key)
                    );
                }
                Finding::fail("write", &error)
            }
        });
    } else {
        let text = format!("{place:?} not checked: writing leaves an object");
        findings.push(Finding::warn("write", text, "add  --write"));
    }
    let name = "unfinished uploads";
    findings.push(match store.unfinished(place).await {
        Ok(uploads) => {
            let hour = SystemTime::now() - Duration::from_secs(3600);
            let old: Vec<_> = uploads.iter().filter(|upload| upload.begun.is_some_and(|begun| begun < hour)).collect();
            let bytes: u64 = old.iter().filter_map(|upload| upload.bytes).sum();
            match old.len() {
                0 => Finding::ok(name, "none older than an hour"),
                count => {
                    let text = format!("{count} older than an hour ({})", show_size(bytes));
                    Finding::warn(name, text, format!("batchpipe gc {place:?}"))
                }
            }
        }
        Err(error) => Finding::fail(name, &failed(Role::Read, &format!("list uploads under {place:?}"), &error)),
    });
}

/// Fewer open files than this hold back a small machine's default of 16 jobs.
const FEW_FILES: u64 = 1024;
/// Less room than this holds few scratch files.
const SMALL_DISK: u64 = 1 << 30;

fn check_machine(context: &Context, findings: &mut Vec<Finding>) {
    let machine = &context.machine;
    let free = nix::sys::statvfs::statvfs(&machine.temporary)
        .map_or(0, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    let text = format!(
        "memory {}, budget {} · temp {} free · open files {} · {} cores",
        show_size(machine.memory),
        show_size(machine.memory / 4),
        show_size(free),
        machine.open_files,
        machine.cores
    );
    findings.push(match () {
        () if machine.open_files < FEW_FILES => Finding::warn("machine", text, "raise the limit:  ulimit -n 65536"),
        () if free < SMALL_DISK => {
            Finding::warn("machine", text, "for programs with {input}:  --work-dir on a larger disk")
        }
        () => Finding::ok("machine", text),
    });
}

#[cfg(test)]
mod tests;
