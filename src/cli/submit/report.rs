//! What `submit` tells: what it would do, what failed, what was refused, and what to type next.

use crate::cli::output;
use crate::cli::survey::Surveyed;
use crate::config::SubmitConfig;
use crate::error::{Code, Exit, Stage, UserError};
use crate::observe::Screen;
use crate::observe::words::{self};
use crate::runtime::words::things;
use crate::stop::circuit::Tripped;
use crate::submit::Submitted;
use crate::submit::discover::Source;

/// Says what would be sent, and sends nothing.
pub(super) fn dry_run(config: &SubmitConfig, surveyed: &Surveyed) -> Result<Exit, UserError> {
    let (files, bytes, failures) = (surveyed.totals.files, surveyed.totals.bytes, &surveyed.unreadable);
    let (there, batches) = (surveyed.objects, files.div_ceil(10));
    if config.global.json {
        let fields = serde_json::json!({"dry_run": true, "files": files, "bytes": bytes, "batches": batches,
            "uploads": files.saturating_sub(there), "queue": config.queue, "unreadable": failures.len(),
            "beside": surveyed.beside.count()});
        output::event("plan", fields)?;
    } else {
        let size = words::bytes(bytes as f64, " ");
        let upload = match &config.source {
            Source::Prefix(prefix) => format!("find {} ({size}) under {prefix} and", things(files, "object")),
            Source::Object(at) => format!("take {at} ({size}) and"),
            _ if files == there && there > 0 => format!("find {} ({size}) and", things(there, "object")),
            _ if there > 0 => format!(
                "upload {} to {}, find {} ({size} in all) and",
                things(files.saturating_sub(there), "file"),
                config.input,
                things(there, "object")
            ),
            _ => format!("upload {} ({size}) to {} and", things(files, "file"), config.input),
        };
        let queue = &config.queue;
        let (jobs, batches) = (things(files, "job"), things(batches, "batch"));
        output::print(&format!("(dry run) would {upload} send {jobs} in {batches} to queue {queue:?}.\n"))?;
    }
    if let Some(again) = named_again(surveyed.clashes.again) {
        output::say(&again);
    }
    failures
        .iter()
        .take(Submitted::NAMED)
        .for_each(|failure| output::say(&format!("unreadable: {}", output::escaped(failure))));
    Ok(if failures.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

/// What was left out because it was there before.
fn named_again(again: u64) -> Option<String> {
    (again > 0).then(|| format!("named more than once, and taken once: {}", things(again, "file")))
}

/// Names what failed, and counts what was left out because it had been named before.
pub(super) fn report(screen: &Screen, submitted: &Submitted, again: u64) {
    if let Some(again) = named_again(again) {
        screen.print(&again);
    }
    for (name, reason) in &submitted.failures {
        screen.print(&format!("not submitted: {}: {}", output::escaped(name), output::escaped(reason)));
    }
    let unnamed = submitted.failed - submitted.failures.len() as u64;
    if unnamed > 0 {
        screen.print(&format!("not submitted: {unnamed} more"));
    }
}

/// The error of a submit that a service refused.
pub(super) fn refused(tripped: &Tripped, submitted: &Submitted, config: &SubmitConfig) -> UserError {
    let exit = match tripped.code {
        Code::CredentialsMissing | Code::CredentialsExpired => Exit::Credentials,
        Code::Unreachable | Code::NoSpace => Exit::Failed,
        Code::SecretInAddress => Exit::Usage,
        _ => Exit::Access,
    };
    let what = match tripped.code {
        Code::QueueMissing => format!("queue {:?} does not exist", config.queue),
        Code::QueueDenied => format!("not allowed to send to queue {:?}", config.queue),
        Code::Unreachable if tripped.stage == Stage::Send => format!("cannot send to queue {:?}", config.queue),
        Code::QueueAnswerIncomplete => format!("queue {:?} does not tell whether it took the jobs", config.queue),
        Code::AccessDenied | Code::Unreachable => format!("cannot write to {}", config.input),
        Code::NoSpace => format!("no space left for queue {:?}", config.queue),
        Code::ObjectMissing => format!("the bucket of {} does not exist", config.input),
        Code::WrongRegion => "the bucket or the queue is in another region".to_owned(),
        Code::CredentialsMissing | Code::CredentialsExpired => {
            "the AWS credentials are missing or have expired".to_owned()
        }
        Code::SecretInAddress => "an endpoint holds a user name, a password or a query".to_owned(),
        _ => "the submit was refused".to_owned(),
    };
    let help = match tripped.code {
        Code::QueueMissing => "check its name:  aws sqs list-queues",
        Code::CredentialsMissing | Code::CredentialsExpired => "use a profile or a role instead of pasted keys",
        Code::ObjectMissing => "create it, or correct --input; names of buckets are shown by  aws s3 ls",
        Code::WrongRegion => "add  --region  with the region it is in",
        Code::Unreachable => "check the network and the endpoint",
        Code::SecretInAddress => "take the secret out of the endpoint named above",
        Code::QueueAnswerIncomplete => "check that the endpoint is SQS itself",
        Code::NoSpace => "make room there",
        _ => "give the role the permissions in ops/submit-role.json",
    };
    let help = format!("{help}.  Sent {}; the same command goes on where it was", things(submitted.sent, "job"));
    UserError { code: tripped.code, what, cause: output::escaped(&tripped.cause), help, exit }
}

pub(super) fn next_step(config: &SubmitConfig, submitted: &Submitted, batch: &str, exit: Exit) -> String {
    if exit == Exit::Done && submitted.sent > 0 && submitted.before == submitted.sent {
        let all = things(submitted.sent, "job");
        return format!(
            "Nothing new: {all}, all sent by an earlier run (batch {batch}). To send them again:  --journal none"
        );
    }
    let before = match submitted.before {
        0 => String::new(),
        before => format!(" ({before} of them by an earlier run)"),
    };
    let sent = format!("Sent {}{before} (batch {batch}).", things(submitted.sent, "job"));
    if exit != Exit::Done {
        return format!("{sent} The same command goes on where it was.");
    }
    let output = config.output.as_ref().map(|output| format!(" --output {output}")).unwrap_or_default();
    format!("{sent} Watch them:  batchpipe status --queue {} --batch {batch}{output}", config.queue)
}
