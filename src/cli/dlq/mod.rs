//! `dlq`: looks at the dead letters of a queue, moves them back, throws them away.
//!
//! A queue can't be read without receiving: what is looked at is hidden from others until it is given back, at
//! once when the look is over. A letter is deleted only after the queue it moves to has said that it has it; a
//! kill in between leaves it in both, which a worker settles, and never in none.

use std::sync::Arc;

mod download;
mod letters;
mod look;
mod redrive;

use super::Context;
use super::output::escaped;
use super::service::failed;
use crate::config::{Global, missing_queue, values};
use crate::error::{Code, Exit, Role, UserError};
use crate::services::open::{open_queue, refuse_same};
use crate::services::queue::JobQueue;

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe dlq list --queue jobs
  batchpipe dlq show 5f3c --queue jobs
  batchpipe dlq redrive --queue jobs --filter code=BP303 --dry-run
  batchpipe dlq purge --queue jobs";

/// The arguments of `dlq`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the dead letters: id, key, attempts, code, age
    List(look::ListArgs),
    /// Show one dead letter in full
    Show(look::ShowArgs),
    /// Move dead letters back to the queue, or to another queue
    Redrive(redrive::Args),
    /// Delete every dead letter
    Purge(redrive::PurgeArgs),
}

/// The two queues that these commands work on.
#[derive(Debug)]
struct Queues {
    jobs: Arc<dyn JobQueue>,
    dead: Arc<dyn JobQueue>,
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> Result<Exit, UserError> {
    perform(args.command, &open(context).await?, &context.global).await
}

async fn perform(command: Command, queues: &Queues, global: &Global) -> Result<Exit, UserError> {
    match command {
        Command::List(args) => look::list(&args, queues, global).await,
        Command::Show(args) => look::show(&args, queues, global).await,
        Command::Redrive(args) => redrive::redrive(&args, queues, global).await,
        Command::Purge(args) => redrive::purge(&args, queues, global).await,
    }
}

async fn open(context: &Context) -> Result<Queues, UserError> {
    let find = |name| match context.layers.find(name) {
        Some(found) => values::queue(found.text()).map(Some).map_err(|wrong| found.error(found.text(), wrong)),
        None => Ok(None),
    };
    let queue = find("queue")?.ok_or_else(|| missing_queue("dlq"))?;
    let jobs = open_queue(&queue, &context.global.aws).await?;
    if let Some(dead) = find("dead-letter")? {
        let dead = open_queue(&dead, &context.global.aws).await?;
        // Its jobs would be shown, moved and purged as if they were dead.
        refuse_same(&*dead, &*jobs, "--dead-letter and --queue name the same queue")?;
        return Ok(Queues { jobs, dead });
    }
    let found = jobs.dead_letters().await;
    let dead =
        found.map_err(|error| failed(Role::Receive, "find the dead-letter queue", &error))?.ok_or_else(|| {
            let what = format!("queue \"{}\" has no dead-letter queue", escaped(jobs.name()));
            let help =
                "name it with  --dead-letter QUEUE , or give the queue a redrive policy;  batchpipe doctor  shows how";
            UserError::new(Code::QueueMissing, what, "its redrive policy names none", help)
        })?;
    Ok(Queues { jobs, dead })
}

#[cfg(test)]
mod tests;
