//! `status`: what a queue holds, what waits in its dead letters, and how far a batch is.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::output::{escaped, event, print};
use super::service::failed;
use crate::config::{missing_queue, state_directory, values};
use crate::error::{Code, Exit, Role, UserError};
use crate::job::Location;
use crate::services::open::{open_queue, open_store};
use crate::services::queue::{Counts, JobQueue};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe status --queue jobs
  batchpipe status --queue jobs --batch photos --output s3://acme-out/
  watch -n 10 batchpipe status --queue jobs";

/// `status` has no arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the counts.
pub async fn run(_args: Args, context: &Context) -> Result<Exit, UserError> {
    let find = |name| context.layers.find(name);
    let queue = find("queue").ok_or_else(|| missing_queue("status"))?;
    let queue = values::queue(queue.text()).map_err(|wrong| queue.error(queue.text(), wrong))?;
    let queue = open_queue(&queue, &context.global.aws).await?;
    let counts = counts(queue.as_ref()).await?;
    let dead = queue.dead_letters().await.map_err(|error| failed(Role::Receive, "find the dead letters", &error))?;
    let dead = match &dead {
        Some(dead) => Some((dead.name().to_owned(), self::counts(dead.as_ref()).await?)),
        None => None,
    };
    let name = queue.name();
    if context.global.json {
        let of = |counts: &Counts| {
            let Counts { visible, in_flight, delayed } = counts;
            json!({ "visible": visible, "in_flight": in_flight, "delayed": delayed })
        };
        let dead = dead.as_ref().map(|(name, counts)| json!({ "name": name, "messages": of(counts) }));
        event("queue", json!({ "name": name, "messages": of(&counts), "dead_letters": dead }))?;
    } else {
        // As wide as the longer of the two names: that of an embedded queue is a path.
        let width = [Some(name), dead.as_ref().map(|(name, _)| name.as_str())].into_iter().flatten();
        let width = width.map(|name| escaped(name).chars().count()).max().unwrap_or(0).max(24);
        let mut page = format!("queue {:<width$} {}\n", escaped(name), shown(&counts));
        match &dead {
            Some((name, counts)) => {
                page.push_str(&format!("dead  {:<width$} {}\n", escaped(name), shown(counts)));
                if counts.visible > 0 {
                    page.push_str(&format!("See them:  batchpipe dlq list --queue {}\n", escaped(queue.name())));
                }
            }
            None => page.push_str("dead  none: a job that always fails comes back until its message expires\n"),
        }
        print(&page)?;
    }
    if let Some(batch) = find("batch") {
        let output = find("output").ok_or_else(|| {
            let cause = "the progress of a batch is counted by its outputs";
            UserError::usage(Code::CommandLine, "--output is missing", cause, "add the  --output  that submit had")
        })?;
        let place = values::prefix(output.text(), &context.machine.directory)
            .map_err(|wrong| output.error(output.text(), wrong))?;
        let left = counts.visible + counts.in_flight + counts.delayed;
        let failed = dead.as_ref().map_or(0, |(_, counts)| counts.visible + counts.in_flight);
        self::batch(batch.text(), place, left, failed, context).await?;
    }
    Ok(Exit::Done)
}

async fn counts(queue: &dyn JobQueue) -> Result<Counts, UserError> {
    let what = format!("look into queue {:?}", queue.name());
    queue.counts().await.map_err(|error| failed(Role::Receive, &what, &error))
}

fn shown(counts: &Counts) -> String {
    format!("{} waiting   {} in flight   {} delayed", counts.visible, counts.in_flight, counts.delayed)
}

/// A batch is done when its outputs are there; how many there should be, the journal of its submit tells where there
/// is one. The queue can't be asked for one batch's messages, so what is left and what failed are counts of the whole
/// queue.
async fn batch(batch: &str, place: Location, left: u64, failed: u64, context: &Context) -> Result<(), UserError> {
    let roots = match &place {
        Location::File { path } => vec![path.into()],
        Location::S3 { .. } => Vec::new(),
    };
    let store = open_store(&context.global.aws, &roots)?;
    let mut listing = store.list(&place);
    let (mut outputs, mut bytes) = (0u64, 0u64);
    while let Some(object) = listing.next().await {
        let what = format!("list {place:?}");
        let object = object.map_err(|error| super::service::failed(Role::Read, &what, &error))?;
        outputs += 1;
        bytes += object.size;
    }
    let sent = journals(context)?.iter().find_map(|path| sent(path, batch));
    if context.global.json {
        let waiting = sent.map(|sent| sent.saturating_sub(outputs));
        let fields = json!({
            "batch": batch, "outputs": outputs, "bytes": bytes, "sent": sent, "waiting": waiting,
            "queue_left": left, "queue_failed": failed,
        });
        return event("batch", fields);
    }
    let of = match sent {
        Some(sent) => format!("{outputs} of {sent} outputs, {} to come", sent.saturating_sub(outputs)),
        None => format!("{outputs} outputs (this machine has no journal of the batch, so the total is unknown)"),
    };
    let size = values::show_size(bytes);
    print(&format!(
        "batch {}: {of} ({size}) under {place:?}; in the whole queue {left} left, {failed} failed\n",
        escaped(batch)
    ))
}

/// The journals in which a batch may be noted: the one that was named, or all that submits left here.
fn journals(context: &Context) -> Result<Vec<PathBuf>, UserError> {
    match context.layers.find("journal") {
        Some(found) if found.text() == "none" => return Ok(Vec::new()),
        Some(found) => return Ok(vec![context.machine.directory.join(found.text())]),
        None => {}
    }
    let Some(directory) = state_directory(&context.layers) else { return Ok(Vec::new()) };
    // A directory that is not there, or not ours, holds no journal of ours.
    let Ok(files) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
    let journal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "journal");
    Ok(files.filter_map(|file| Some(file.ok()?.path())).filter(journal).collect())
}

/// One line of a journal.
#[derive(Deserialize)]
struct Line {
    done: String,
    name: String,
}

/// How many jobs of `batch` the journal has noted as sent; `None` if it is the journal of another batch.
fn sent(journal: &Path, batch: &str) -> Option<u64> {
    let lines = BufReader::new(File::open(journal).ok()?).lines();
    // A line torn by a kill is not there.
    let mut lines = lines.map_while(Result::ok).map_while(|line| serde_json::from_str::<Line>(&line).ok());
    let first = lines.next()?;
    (first.done == "begin" && first.name == batch).then(|| lines.filter(|line| line.done == "sent").count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_tells_how_many_jobs_its_own_batch_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("submit-1.journal");
        let line = |done: &str, name: &str| format!("{{\"done\":\"{done}\",\"name\":\"{name}\"}}\n");
        let text = line("begin", "b1") + &line("up", "a") + &line("sent", "a") + &line("up", "b") + &line("sent", "b");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(sent(&path, "b1"), Some(2));
        assert_eq!(sent(&path, "b2"), None);
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(sent(&path, "b1"), Some(1), "a torn line is not there");
        assert_eq!(sent(&directory.path().join("none"), "b1"), None);
    }
}
