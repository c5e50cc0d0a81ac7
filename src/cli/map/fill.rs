//! Fills the queue of a `map` while the pipeline is at work on what is there already.
//!
//! Bounded by one message for each thing found, which lie in the queue's file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use futures::{Stream, StreamExt};

use super::state::open_journal;
use super::{LOOK, input};
use crate::cli::resume::Jobs;
use crate::cli::submit::item;
use crate::config::{Format, MapConfig};
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::job::suffix::Suffix;
use crate::pipeline::Pipeline;
use crate::record::Meters;
use crate::services::queue::Counts;
use crate::services::store::ObjectStore;
use crate::stop::shutdown::Phase;
use crate::submit::discover::{self, Found, Place, Select, Source};
use crate::submit::journal::Journal;
use crate::submit::own_places::way_down;
use crate::submit::{Item, Submit};
use crate::worker;

/// Sends a job for each thing found, while the pipeline is already at work on the first ones.
///
/// What is in the queue from an earlier run has no output yet, and is not sent again. Only when all that is done can it
/// be told which outputs are missing of jobs that were sent long ago (failed, removed): those are sent then.
pub(super) async fn fill(
    config: &MapConfig,
    pipeline: &Pipeline,
    select: Select,
    known: Known,
) -> Result<crate::submit::Submitted, UserError> {
    let intake = &pipeline.intake;
    intake.filling.store(true, Release);
    let mut submitted = send_all(config, pipeline, select.clone(), known.clone()).await;
    let mut result = Ok(());
    if known.pass == Pass::First && emptied(pipeline).await {
        match open_journal(config) {
            Ok(journal) => {
                submitted = send_all(config, pipeline, select, Known { journal, pass: Pass::Second, ..known }).await;
            }
            Err(error) => result = Err(error),
        }
    }
    intake.filling.store(false, Release);
    result.map(|()| submitted)
}

async fn send_all(config: &MapConfig, pipeline: &Pipeline, select: Select, known: Known) -> crate::submit::Submitted {
    let intake = &pipeline.intake;
    let submit = Submit {
        store: Arc::clone(&pipeline.store),
        queue: Arc::clone(&intake.queue),
        journal: Some(Arc::clone(&known.journal)),
        budget: Arc::clone(&intake.budget),
        meters: Arc::clone(&intake.meters),
        leftovers: Arc::clone(&pipeline.leftovers),
        shutdown: intake.shutdown.clone(),
        circuit: Arc::clone(&intake.circuit),
        transfer: pipeline.plan.transfer.clone(),
        // Nothing is uploaded: this is how many jobs wait for a place in a batch.
        concurrency: intake.queue.max_batch() * 2,
        linger: worker::LINGER,
    };
    submit.run(items(config, select, &pipeline.store, known)).await
}

/// Waits until the queue holds nothing; false when the run is stopped before.
async fn emptied(pipeline: &Pipeline) -> bool {
    let intake = &pipeline.intake;
    loop {
        if intake.shutdown.phase() > Phase::Running {
            return false;
        }
        if intake.queue.counts().await.is_ok_and(|counts| counts == Counts::default()) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Which look at the source it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The only one: the queue was empty at the start, so a job that was sent and has no output failed, or its output
    /// was removed since.
    Only,
    /// The first of two: what is in the queue is not to be sent again.
    First,
    /// The second, when the queue is empty again.
    Second,
}

impl Pass {
    pub(super) fn of(fresh: bool) -> Self {
        if fresh { Self::Only } else { Self::First }
    }
}

/// What an earlier run has done, and this one.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) journal: Arc<Journal>,
    pub(super) suffix: Suffix,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) meters: Arc<Meters>,
    pub(super) pass: Pass,
}

impl Known {
    /// The item, made new if what the journal knows of it is no longer so, or marked if its job is in the queue.
    async fn check(self, mut item: Item, output: Location) -> Item {
        let body = &item.message.body;
        let is_sent = self.journal.is_sent(&item.version);
        match self.pass {
            Pass::First if self.jobs.was_found(body) => item.queued = true,
            Pass::First if is_sent => self.count(&item),
            Pass::First => self.jobs.note(body),
            // What this run has tried it does not try again: a job that failed is told once.
            Pass::Second if is_sent && self.jobs.is_at_work(body) => item.queued = true,
            Pass::Only | Pass::Second if is_sent => {
                let output = match output {
                    Location::S3 { bucket, key } => Location::s3(bucket, self.suffix.apply(&key)),
                    Location::File { path } => Location::file(self.suffix.apply(&path)),
                };
                if matches!(self.store.head(&output).await, Ok(None)) {
                    item.version.push_str("\nagain");
                    while self.journal.is_sent(&item.version) {
                        item.version.push('+');
                    }
                    if self.pass == Pass::Second {
                        // The first pass took it for done.
                        self.meters.before.fetch_sub(1, Relaxed);
                        self.meters.bytes_before.fetch_sub(item.size, Relaxed);
                    }
                } else if self.pass == Pass::Only {
                    self.count(&item);
                }
            }
            Pass::Only | Pass::Second => {}
        }
        item
    }

    /// Counts an item that an earlier run has done.
    fn count(&self, item: &Item) {
        self.meters.before.fetch_add(1, Relaxed);
        self.meters.bytes_before.fetch_add(item.size, Relaxed);
    }
}

/// A job for each thing found, that reads it where it is.
fn items(
    config: &MapConfig,
    select: Select,
    store: &Arc<dyn ObjectStore>,
    known: Known,
) -> impl Stream<Item = io::Result<Item>> + use<> {
    let (input, dest) = (input(&config.source), config.dest.clone());
    let batch = known.journal.batch().to_owned();
    let one = matches!(config.source, Source::File(_));
    let among = if config.working.allow_nested_output { None } else { way_to_source(config) };
    discover::find(&config.source, select, store).then(move |found| {
        let found = found.and_then(|found| not_among(among.as_deref(), found));
        let (known, item) = (known.clone(), found.map(|found| job(&input, one, &dest, &batch, found)));
        async move {
            let (item, output) = item?;
            Ok(known.check(item, output).await)
        }
    })
}

/// The way from DEST down to SOURCE where SOURCE lies in DEST: a name that begins with it has its output in SOURCE.
fn way_to_source(config: &MapConfig) -> Option<String> {
    match (&config.source, &config.dest) {
        (Source::Directory(source), Location::File { path }) => way_down(Path::new(path), source),
        _ => None,
    }
}

/// Fails for what would have its output among the inputs: it might replace another input, and would be an input itself.
fn not_among(way: Option<&str>, found: Found) -> io::Result<Found> {
    match way {
        Some(way) if found.name.starts_with(way) => {
            let told = format!(
                "{:?}: its output would lie in the source, among the inputs ({})",
                found.name,
                Code::OutputAmongInputs
            );
            Err(io::Error::other(told))
        }
        _ => Ok(found),
    }
}

fn job(input: &Location, one: bool, dest: &Location, batch: &str, found: Found) -> (Item, Location) {
    let output = dest.join(&found.name);
    let is_file = matches!(found.place, Place::File(_));
    // A single file is its own location, not one below it.
    let (base, found) = match (one, input) {
        (true, Location::File { path }) => {
            let folder = path.strip_suffix(&found.name).unwrap_or(path);
            (Location::file(folder), found)
        }
        _ => (input.clone(), found),
    };
    let mut item = item(&base, Some(dest), Format::Own, batch, found);
    if is_file {
        item.file = None;
    }
    (item, output)
}
