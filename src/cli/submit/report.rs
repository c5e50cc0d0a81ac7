//! What `submit` tells: what it would do, what failed, what was refused, and what to type next.

use crate::cli::output;
use crate::cli::survey::Surveyed;
use crate::config::SubmitConfig;
use crate::error::{Exit, Role, Subject, UserError};
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
    let subject = match Role::of(tripped.stage) {
        Role::Write => Subject::new(Role::Write, format!("write to {}", output::escaped(&config.input.to_string()))),
        _ => Subject::of(tripped.stage, &config.queue),
    };
    let error = tripped.told(&subject);
    let sent = things(submitted.sent, "job");
    UserError { help: format!("{}.  Sent {sent}; the same command goes on where it was", error.help), ..error }
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
