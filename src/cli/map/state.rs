//! What a `map` keeps beside its results: the queue and the journal, so that the same command goes on where a kill left
//! it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::resume::Jobs;
use crate::cli::service;
use crate::cli::submit::{new_batch, unusable};
use crate::config::MapConfig;
use crate::error::{Role, UserError};
use crate::job::Location;
use crate::runtime::digest;
use crate::services::open;
use crate::services::queue::{Counts, JobQueue};
use crate::services::store::local::of_folder;
use crate::submit::discover::Source;
use crate::submit::journal::{Journal, Owner};
use crate::worker::Queues;

/// The file of the queue.
const QUEUE: &str = "queue.db";

/// The queue of this source and DEST, as it was found.
pub(super) struct Opened {
    /// What commands call it.
    pub(super) name: String,
    pub(super) queues: Queues,
    /// The jobs that an earlier run left in it.
    pub(super) at_work: Jobs,
    /// Whether it held nothing.
    pub(super) fresh: bool,
}

/// Opens the queue, and removes the failures of earlier runs from its dead letters.
pub(super) async fn open_queues(config: &MapConfig) -> Result<Opened, UserError> {
    let aws = &config.global.aws;
    let name = queue_name(config)?;
    let jobs = open::open_queue(&name, aws).await?;
    let failed = |error| service::failed(Role::Receive, &format!("use the queue {name:?}"), &error);
    let dead_letters = jobs.dead_letters().await.map_err(failed)?;
    let fresh = jobs.counts().await.map_err(failed)? == Counts::default();
    let at_work = if fresh { Jobs::default() } else { Jobs::of(&config.state.join(QUEUE)).await.map_err(failed)? };
    if let Some(dead_letters) = &dead_letters {
        forget(&**dead_letters).await.map_err(failed)?;
    }
    let leases = open::open_queue(&name, aws).await?;
    let max_receives = config.working.max_receives.map(Into::into);
    Ok(Opened { name, queues: Queues { jobs, leases, dead_letters, max_receives }, at_work, fresh })
}

/// Makes the folder of our state, and DEST if it is a folder that is not there: no wider than SOURCE.
fn make_state(config: &MapConfig) -> io::Result<()> {
    if let (Location::File { path }, Source::Directory(source)) = (&config.dest, &config.source) {
        let dest = Path::new(path);
        let above = dest.parent().unwrap_or(dest);
        std::fs::create_dir_all(above)?;
        match std::fs::DirBuilder::new().mode(of_folder(Some(source), above)).create(dest) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    std::fs::create_dir_all(&config.state)
}

fn queue_name(config: &MapConfig) -> Result<String, UserError> {
    let state = &config.state;
    make_state(config).map_err(|error| {
        let what = format!("cannot write to {:?}", state.display().to_string());
        UserError::new(service::of_file(&error), what, error.to_string(), "give a DEST that you may write to")
            .with_source(error)
    })?;
    Ok(format!("sqlite:{}", state.join(QUEUE).display()))
}

/// The journal of this source and this process: with another process everything is to be done again.
pub(super) fn open_journal(config: &MapConfig) -> Result<Arc<Journal>, UserError> {
    let identity =
        format!("{:?}", (&config.source, &config.server, &config.working.process, &config.working.output_suffix));
    let name = digest::short(&identity);
    let path = config.state.join(format!("map-{name}.journal"));
    let owner = Owner {
        command: "map".to_owned(),
        source: config.source.to_string(),
        destination: config.dest.to_string(),
        output: None,
        queue: config.state.display().to_string(),
    };
    Journal::open_of(&path, &new_batch(), Some(&owner))
        .map(Arc::new)
        .map_err(|error| unusable(&path, error, "give a DEST that you may write to"))
}

/// Removes the failures of earlier runs: their jobs are sent again.
async fn forget(dead_letters: &dyn JobQueue) -> Result<(), crate::error::ServiceError> {
    loop {
        let messages = dead_letters.receive(dead_letters.max_batch(), Duration::ZERO, Duration::from_secs(60)).await?;
        if messages.is_empty() {
            return Ok(());
        }
        let receipts: Vec<_> = messages.into_iter().map(|message| message.receipt).collect();
        dead_letters.delete(&receipts).await?;
    }
}
