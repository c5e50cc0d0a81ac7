//! `status`: what a queue holds, what waits in its dead letters, and how far a batch is.

use futures::StreamExt;
use serde_json::json;

use super::Context;
use super::output::{escaped, event, print};
use super::service::{Service, failed};
use crate::backends::{open_queue, open_store};
use crate::config::{missing_queue, values};
use crate::error::{Exit, UserError};
use crate::job::Location;
use crate::queue::{Counts, JobQueue};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe status --queue jobs
  batchpipe status --queue jobs --batch 2026-11-24-photos --output s3://acme-out/2026/
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
    let dead = queue.dead_letters().await.map_err(|error| failed(Service::Queue, "find the dead letters", &error))?;
    let dead = match &dead {
        Some(dead) => Some((dead.name().to_owned(), self::counts(dead.as_ref()).await?)),
        None => None,
    };
    let name = queue.name();
    if context.global.json {
        let of = |counts: &Counts| json!({ "visible": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed });
        let dead = dead.as_ref().map(|(name, counts)| json!({ "name": name, "messages": of(counts) }));
        event("queue", json!({ "name": name, "messages": of(&counts), "dead_letters": dead }))?;
    } else {
        let mut page = format!("queue {:<24} {}\n", escaped(name), shown(&counts));
        match &dead {
            Some((name, counts)) => {
                page.push_str(&format!("dead  {:<24} {}\n", escaped(name), shown(counts)));
                if counts.visible > 0 {
                    page.push_str(&format!("See them:  batchpipe dlq list --queue {}\n", escaped(queue.name())));
                }
            }
            None => page.push_str("dead  none: a job that always fails comes back until it expires\n"),
        }
        print(&page)?;
    }
    if let Some(batch) = find("batch") {
        let output = find("output").ok_or_else(|| {
            let cause = "a batch's progress is seen in its outputs";
            UserError::usage(110, "--output is missing", cause, "add  --output  as it was given to submit")
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
    queue.counts().await.map_err(|error| failed(Service::Queue, &what, &error))
}

fn shown(counts: &Counts) -> String {
    format!("{} waiting   {} in flight   {} delayed", counts.visible, counts.in_flight, counts.delayed)
}

/// A batch is done when its outputs are there. The queue can't be asked for one batch's messages, so what is left
/// and what failed are counts of the whole queue.
async fn batch(batch: &str, place: Location, left: u64, failed: u64, context: &Context) -> Result<(), UserError> {
    let roots = match &place {
        Location::File { path } => vec![path.into()],
        Location::S3 { .. } => Vec::new(),
    };
    let store = open_store(&context.global.aws, &roots)?;
    let mut listing = store.list(&place);
    let (mut done, mut bytes) = (0u64, 0u64);
    while let Some(object) = listing.next().await {
        let what = format!("list {place:?}");
        let object = object.map_err(|error| super::service::failed(Service::Store, &what, &error))?;
        done += 1;
        bytes += object.size;
    }
    if context.global.json {
        let fields =
            json!({ "batch": batch, "done": done, "bytes": bytes, "queue_left": left, "queue_failed": failed });
        return event("batch", fields);
    }
    let size = values::show_size(bytes);
    print(&format!(
        "batch {} {done} outputs ({size}) under {place:?}; in the whole queue {left} left, {failed} failed\n",
        escaped(batch)
    ))
}
