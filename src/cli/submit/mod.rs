//! `submit`: uploads files and queues a job for each.
//!
//! Here is how it is put together and what is sent; `told.rs` has what is said of it, `wait.rs` the wait for the outputs.

mod told;
mod wait;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{Stream, StreamExt};

use super::service;
use super::session::{self, Session};
use crate::backends;
use crate::budget::Budget;
use crate::circuit::Circuit;
use crate::config::{Format, Source, SubmitConfig};
use crate::error::{Code, Exit, UserError};
use crate::job::Location;
use crate::journal::Journal;
use crate::leftovers::Leftovers;
use crate::limit::Lane;
use crate::message::{self, Request, encode_own, encode_sample2013};
use crate::meter::Meters;
use crate::pipeline::Transfer;
use crate::queue::Outgoing;
use crate::retry::Retry;
use crate::shutdown::{Phase, Shutdown};
use crate::source::{self, Found, Place, Select};
use crate::status::{self, Screen, Totals};
use crate::store::ObjectStore;
use crate::submit::{Item, Submit};
use crate::worker;

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe submit ./photos --queue jobs \\
      --input s3://acme-in/2026/ --output s3://acme-out/2026/
  batchpipe submit s3://acme-in/2026/ --output s3://acme-out/2026/ --queue jobs
  find . -name '*.csv' | batchpipe submit - --input s3://acme-in/ --queue jobs
On a FIFO queue each job is a group of its own, so that all are worked side by
side, and a repeat of the same file within five minutes is dropped.";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory, a file, - (names on stdin), @FILE (names in a file) or s3://bucket/prefix/
    ///
    /// Links in a directory are followed as far as they stay in it; one that leaves it is not submitted, and told. Links
    /// that are named one by one are followed.
    #[arg(value_name = "SOURCE")]
    pub source: String,
}

/// Submits everything there is.
pub async fn run(config: SubmitConfig, screen: Screen) -> Result<Exit, UserError> {
    let aws = &config.global.aws;
    let select = Select::new(&config.include, &config.exclude)?;
    let store = backends::open_store(aws, &worker::roots([&config.input].into_iter().chain(&config.output)))?;
    service::readable(&config.source, &store).await?;
    if config.dry_run {
        return told::dry_run(&config, select, &store).await;
    }
    let queue = backends::open_queue(&config.queue, aws).await?;
    let journal = open_journal(&config, &queue.address())?;
    let batch = journal.as_ref().map_or_else(|| batch_name(&config), |journal| journal.batch().to_owned());
    let totals = count(&config.source, &select, &store).await;

    let (meters, shutdown) = (Arc::new(Meters::default()), Shutdown::default());
    let circuit = Arc::new(Circuit::new(shutdown.clone()));
    let submit = Submit {
        store: Arc::clone(&store),
        queue: Arc::clone(&queue),
        journal: journal.clone(),
        budget: Budget::new(config.memory, config.part_size),
        meters: Arc::clone(&meters),
        leftovers: Arc::new(Leftovers::new(Arc::clone(&store), Retry::default(), Arc::clone(&meters))),
        shutdown: shutdown.clone(),
        circuit: Arc::clone(&circuit),
        transfer: Transfer {
            part: config.part_size,
            parallel: config.parallel.get(),
            retry: Retry::default(),
            reads: Lane::default(),
            writes: Lane::default(),
            hedge: Arc::default(),
        },
        concurrency: config.concurrency.get(),
        linger: worker::LINGER,
    };
    let about = status::About {
        command: "submit",
        queue: config.queue.clone(),
        output: config.input.to_string(),
        ..status::About::default()
    };
    let mut sources = session::sources(&meters, about);
    sources.slots = config.concurrency.get();
    sources.totals = totals;
    let budget = Arc::clone(&submit.budget);
    sources.memory = Arc::new(move || status::Memory::of(&budget));
    let session = Session::start(&config.global, screen.clone(), sources, None, shutdown.clone()).await?;
    let names = Arc::new(Mutex::new(Vec::new()));
    let items = items(&config, select, &store, batch.clone(), queue.is_fifo()).inspect({
        let (names, kept) = (Arc::clone(&names), config.wait);
        move |item| {
            if let (true, Ok(item)) = (kept, item) {
                lock(&names).push(item.name.clone());
            }
        }
    });
    let submitted = session.drive(&screen, Duration::from_secs(10), submit.run(items)).await?;
    let Some(submitted) = submitted else { return Ok(session.end(Exit::Interrupted, None).await) };

    told::report(&screen, &submitted);
    if let Some(tripped) = circuit.tripped() {
        let error = told::refused(&tripped, &submitted, &config);
        session.end(error.exit, None).await;
        return Err(error);
    }
    let exit = match () {
        () if shutdown.phase() >= Phase::Draining => Exit::GaveBack,
        () if submitted.failed > 0 => Exit::SomeFailed,
        () => Exit::Done,
    };
    let next = told::next_step(&config, &submitted, &batch, exit);
    let exit = session.end(exit, Some(&next)).await;
    if config.wait && exit == Exit::Done {
        let names = std::mem::take(&mut *lock(&names));
        return wait::wait(&config, &screen, &store, &*queue, names).await;
    }
    Ok(exit)
}

fn lock(names: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One item for each thing found, with the message that announces it.
fn items(
    config: &SubmitConfig,
    select: Select,
    store: &Arc<dyn ObjectStore>,
    batch: String,
    fifo: bool,
) -> impl Stream<Item = io::Result<Item>> + use<> {
    let (input, output, format) = (config.input.clone(), config.output.clone(), config.format);
    source::find(&config.source, select, store).map(move |found| {
        let item = item(&input, output.as_ref(), format, &batch, found?);
        Ok(if fifo { grouped(item, &batch) } else { item })
    })
}

/// The item as a FIFO queue takes it. Files are announced as their uploads end, which is no order worth keeping: each job
/// is a group of its own, so that all are worked side by side. What makes a repeat is the version of the object, too: a
/// file that has changed within five minutes is another job, and must not be dropped.
fn grouped(mut item: Item, batch: &str) -> Item {
    item.message.group = Some(job_id(batch, &item.input.to_string()));
    item.message.deduplication = Some(job_id(batch, &format!("{}\n{}", item.input, item.version)));
    item
}

/// What is submitted for something found.
pub(super) fn item(input: &Location, output: Option<&Location>, format: Format, batch: &str, found: Found) -> Item {
    let (file, input_at, etag) = match found.place {
        Place::File(path) => (Some(path), input.join(&found.name), None),
        Place::Object(object) => (None, object.location, object.version.etag),
    };
    let output_at = output.map(|output| output.join(&found.name));
    let request = Request {
        id: Some(job_id(batch, &input_at.to_string())),
        output: output_at,
        batch: Some(batch.to_owned()),
        size: Some(found.size),
        etag,
        ..Request::new(message::Format::Own, input_at.clone())
    };
    let body = match (format, input, output) {
        (Format::Sample2013, Location::S3 { bucket, key }, Some(output)) => {
            encode_sample2013(bucket, key, output.key(), &found.name)
        }
        _ => encode_own(&request),
    };
    Item {
        version: format!("{}\n{}", found.name, found.stamp),
        name: found.name,
        file,
        input: input_at,
        size: found.size,
        message: Outgoing { body, ..Outgoing::default() },
    }
}

/// A job's name: the same for the same object of the same batch, so that a repeat is seen to be one.
fn job_id(batch: &str, input: &str) -> String {
    use md5::Digest;
    let digest = md5::Md5::digest(format!("{batch}\n{input}").as_bytes());
    hex::encode(&digest[..8])
}

fn batch_name(config: &SubmitConfig) -> String {
    config.batch.clone().unwrap_or_else(new_batch)
}

/// A name for a batch that sorts by its time.
pub(super) fn new_batch() -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    let fraction = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    format!("{time}-{:04x}", fraction >> 14)
}

fn open_journal(config: &SubmitConfig, queue: &str) -> Result<Option<Arc<Journal>>, UserError> {
    let Some(path) = config.journal.path(queue) else { return Ok(None) };
    Journal::open(&path, &batch_name(config)).map(|journal| Some(Arc::new(journal))).map_err(|error| UserError {
        code: Code(110),
        what: format!("cannot write the journal {:?}", path.display().to_string()),
        cause: error.to_string(),
        help: "name another with  --journal FILE , or do without:  --journal none".into(),
        exit: Exit::Failed,
    })
}

/// How much there is. A list on stdin can be read only once, and is not counted beforehand.
async fn count(source: &Source, select: &Select, store: &Arc<dyn ObjectStore>) -> Option<Totals> {
    if matches!(source, Source::Names) {
        return None;
    }
    let nothing = Totals { files: 0, bytes: 0 };
    let add = |sum: Totals, size| Totals { files: sum.files + 1, bytes: sum.bytes + size };
    let found = source::find(source, select.clone(), store);
    Some(found.fold(nothing, |sum, found| async move { found.map_or(sum, |found| add(sum, found.size)) }).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_fifo_queue_a_repeat_is_the_same_version_of_the_same_file_and_each_file_is_a_group() {
        let input = Location::s3("in", "2026/");
        let sent = |name: &str, stamp: &str| {
            let place = Place::File(name.into());
            let found = Found { name: name.to_owned(), place, size: 1, stamp: stamp.to_owned() };
            grouped(item(&input, None, Format::Own, "batch", found), "batch").message
        };
        let (a, again, changed, b) = (sent("a", "1"), sent("a", "1"), sent("a", "2"), sent("b", "1"));
        assert_eq!(a, again);
        assert_eq!(a.group, changed.group, "versions of one file are in order");
        assert_ne!(a.deduplication, changed.deduplication, "and a new one is not dropped");
        assert_ne!((&a.group, &a.deduplication), (&b.group, &b.deduplication));
        assert!(a.body.contains(&format!("\"id\":{:?}", a.group.unwrap())), "{}", a.body);
    }
}
