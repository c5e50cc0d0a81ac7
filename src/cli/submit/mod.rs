//! `submit`: uploads files and queues a job for each.
//!
//! Here is how it is put together and what is sent; `report.rs` has what is said of it, `wait.rs` the wait for the
//! outputs.

mod report;
mod wait;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::service;
use super::session::{self, Session};
use super::survey::{self, Survey, Surveyed};
use crate::config::{Format, Journaling, SubmitConfig};
use crate::error::{Code, Exit, UserError};
use crate::job::Location;
use crate::job::message::{self, Request, encode_own, encode_sample2013};
use crate::observe::{self, Screen};
use crate::pipeline::Shared;
use crate::record::Meters;
use crate::runtime::digest;
use crate::services::open;
use crate::services::queue::Outgoing;
use crate::services::retry::Retry;
use crate::services::store::ObjectStore;
use crate::services::store::local::Places;
use crate::stages::Transfer;
use crate::stop::shutdown::{Phase, Shutdown};
use crate::submit::discover::{self, Found, Listed, Place, Select, Source};
use crate::submit::journal::{Journal, Owner};
use crate::submit::names::{self, Naming, Once};
use crate::submit::own_places::OwnPlaces;
use crate::submit::{Item, Submit};
use crate::worker;

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe submit ./photos --queue jobs \\
      --input s3://acme-in/2026/ --output s3://acme-out/2026/
  batchpipe submit s3://acme-in/2026/ --output s3://acme-out/2026/ --queue jobs
  find . -name '*.csv' -print0 |
      batchpipe submit - --null --input s3://acme-in/ --queue jobs
On a FIFO queue each job is a message group of its own, so that jobs run in
parallel. SQS drops a repeat of the same file within five minutes.";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory, a file, - (names on stdin), @FILE (names in a file), s3://bucket/prefix/ or s3://bucket/object
    ///
    /// An S3 place is read as if it ended with a slash: s3://bucket/logs means everything in the folder logs/, never
    /// logs2/ or logs.txt. If the folder is empty, s3://bucket/logs means the object of that name.
    ///
    /// A list holds one name per line (with --null, each name ends in NUL). A name that can't be submitted is reported
    /// with its line number; the other names are submitted. A name that begins with s3:// is an existing object: submit
    /// sends a job for the object without an upload. The job's output is named after the part of the key that follows
    /// --input, or after the whole key if the object is not under --input.
    ///
    /// Links inside a directory are followed. Links that lead outside the directory are skipped with a warning. Links
    /// that a list names are followed wherever they lead.
    #[arg(value_name = "SOURCE")]
    pub source: String,
}

/// Submits everything there is.
pub async fn run(config: SubmitConfig, screen: Screen) -> Result<Exit, UserError> {
    let aws = &config.global.aws;
    service::endpoints([&config.input].into_iter().chain(&config.output))?;
    let select = Select::new(&config.include, &config.exclude)?;
    let store = open::open_store_at(aws, places(&config, Vec::new()))?;
    let source = survey::settled(&config.source, &store).await?;
    let naming = naming(&config, &source);
    let outside = select.clone().without(own_places(&config, ""));
    let surveyed = look(&config, &source, &naming, &outside, &store).await?;
    let config = settled(config, source);
    if let (true, Some(surveyed)) = (config.dry_run, &surveyed) {
        return report::dry_run(&config, surveyed);
    }
    let aws = &config.global.aws;
    let queue = open::open_queue(&config.queue, aws).await?;
    let journal = open_journal(&config, &queue.address())?;
    let select = select.without(own_places(&config, &queue.address()));
    // The name of the journal is known only now.
    let store = match &config.input {
        Location::File { .. } => open::open_store_at(aws, places(&config, own_files(&config, &queue.address())))?,
        Location::S3 { .. } => store,
    };
    let batch = journal.as_ref().map_or_else(|| batch_name(&config), |journal| journal.batch().to_owned());
    let totals = surveyed.as_ref().map(|surveyed| surveyed.totals);
    let once = once(&config.source, naming, surveyed);

    let (meters, shutdown) = (Arc::new(Meters::default()), Shutdown::default());
    let shared = Shared::new(Arc::clone(&meters), shutdown.clone(), Retry::default());
    let circuit = Arc::clone(&shared.circuit);
    let transfer = Transfer::new(config.part_size, config.parallel.get(), Retry::default());
    let submit = Submit {
        journal: journal.clone(),
        concurrency: config.concurrency.get(),
        ..Submit::new(shared, Arc::clone(&queue), Arc::clone(&store), config.memory, transfer)
    };
    let about = observe::About {
        command: "submit",
        queue: config.queue.clone(),
        output: config.input.to_string(),
        ..observe::About::default()
    };
    let mut sources = session::sources(&meters, about);
    sources.slots = config.concurrency.get();
    sources.totals = totals;
    let budget = Arc::clone(&submit.budget);
    sources.memory = Arc::new(move || observe::Memory::of(&budget));
    let session = Session::start(&config.global, screen.clone(), sources, None, shutdown.clone()).await?;
    let names = Arc::new(Mutex::new(Vec::new()));
    let again = Arc::new(AtomicU64::new(0));
    let found = distinct(found(&config, select, &store), once, &again);
    let items = items(&config, found, batch.clone(), queue.is_fifo()).inspect({
        let (names, kept) = (Arc::clone(&names), config.wait);
        move |item| {
            if let (true, Ok(item)) = (kept, item) {
                lock(&names).push(item.name.clone());
            }
        }
    });
    let submitted = session.drive(&screen, Duration::from_secs(10), submit.run(items)).await?;
    let Some(submitted) = submitted else { return Ok(session.end(Exit::Interrupted, None).await) };

    report::report(&screen, &submitted, again.load(Relaxed));
    if let Some(tripped) = circuit.tripped() {
        let error = report::refused(&tripped, &submitted, &config);
        session.end(error.exit, None).await;
        return Err(error);
    }
    let exit = match () {
        () if shutdown.phase() >= Phase::Draining => Exit::GaveBack,
        () if submitted.failed > 0 => Exit::SomeFailed,
        () => Exit::Done,
    };
    let next = report::next_step(&config, &submitted, &batch, exit);
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

/// How a list is read. Its objects are looked at if `look`.
fn list(config: &SubmitConfig, look: bool) -> Listed {
    Listed { null: config.null, below: Some(config.input.clone()), look }
}

/// What the source holds. Objects that a list names are looked at.
fn found(config: &SubmitConfig, select: Select, store: &Arc<dyn ObjectStore>) -> BoxStream<'static, io::Result<Found>> {
    match &config.source {
        source @ (Source::Names | Source::List(_)) => discover::listed(source, list(config, true), select, store),
        source => discover::find(source, select, store),
    }
}

/// One item for each thing found, with the message that announces it.
fn items(
    config: &SubmitConfig,
    found: impl Stream<Item = io::Result<Found>> + 'static,
    batch: String,
    fifo: bool,
) -> impl Stream<Item = io::Result<Item>> {
    let (input, output, format) = (config.input.clone(), config.output.clone(), config.format);
    found.map(move |found| {
        let item = item(&input, output.as_ref(), format, &batch, found?);
        if format == Format::Sample2013 && item.input != input.join(&item.name) {
            let what =
                format!("{:?}: it is not below --input, and the sample's messages name no other place", item.name);
            return Err(io::Error::other(what));
        }
        Ok(if fifo { grouped(item, &batch) } else { item })
    })
}

/// The item as a FIFO queue takes it. Files are announced as their uploads end, which is no order worth keeping: each
/// job is a group of its own, so that all are worked side by side. What makes a repeat is the version of the object,
/// too: a file that has changed within five minutes is another job, and must not be dropped.
fn grouped(mut item: Item, batch: &str) -> Item {
    item.message.group = Some(job_id(batch, &item.input.to_string()));
    item.message.deduplication = Some(job_id(batch, &format!("{}\n{}", item.input, item.version)));
    item
}

/// What is submitted for something found.
pub(super) fn item(input: &Location, output: Option<&Location>, format: Format, batch: &str, found: Found) -> Item {
    let size = (!matches!(found.place, Place::Unseen(_))).then_some(found.size);
    let (file, input_at, etag) = match found.place {
        Place::File(path) => (Some(path), input.join(&found.name), None),
        Place::Object(object) => (None, object.location, object.version.etag),
        Place::Unseen(location) => (None, location, None),
    };
    let output_at = output.map(|output| output.join(&found.name));
    let request = Request {
        id: Some(job_id(batch, &input_at.to_string())),
        output: output_at,
        batch: Some(batch.to_owned()),
        size,
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
        queued: false,
    }
}

/// A job's name: the same for the same object of the same batch, so that a repeat is seen to be one.
fn job_id(batch: &str, input: &str) -> String {
    digest::short(&format!("{batch}\n{input}"))
}

/// What this command writes: never an input, should it lie in the source.
fn own_places(config: &SubmitConfig, queue: &str) -> OwnPlaces {
    let folder = |place: &Location| match place {
        Location::File { path } => Some(PathBuf::from(path)),
        Location::S3 { .. } => None,
    };
    let folders = [Some(&config.input), config.output.as_ref()].into_iter().flatten().filter_map(folder);
    let files = own_files(config, queue).into_iter();
    files.fold(folders.fold(OwnPlaces::default(), OwnPlaces::folder), OwnPlaces::file)
}

/// Files that this command needs itself.
fn own_files(config: &SubmitConfig, queue: &str) -> Vec<PathBuf> {
    let queue_file = open::file_of_queue(&config.queue);
    queue_file.into_iter().chain(config.journal.path(queue)).chain(config.global.log.file.clone()).collect()
}

/// Where files are read and written: uploads go to --input, and never over a source or an output.
fn places(config: &SubmitConfig, own: Vec<PathBuf>) -> Places {
    let source = match &config.source {
        Source::Directory(path) | Source::File(path) => Some(path.clone()),
        _ => None,
    };
    let read = worker::roots(&config.output).into_iter().chain(source).collect();
    Places { write: worker::roots([&config.input]), read, own }
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
    let owner = Owner {
        command: "submit".to_owned(),
        source: config.source.to_string(),
        destination: config.input.to_string(),
        output: config.output.as_ref().map(ToString::to_string),
        queue: queue.to_owned(),
    };
    let opened = Journal::open_of(&path, &batch_name(config), Some(&owner));
    let help = "name another with  --journal FILE , or do without:  --journal none";
    opened.map(|journal| Some(Arc::new(journal))).map_err(|error| unusable(&path, error, help))
}

/// The error of a journal that can't be written, or is none of this command.
pub(super) fn unusable(path: &Path, error: io::Error, help: &str) -> UserError {
    let (cause, path) = (error.to_string(), path.display().to_string());
    let told = match error.kind() {
        io::ErrorKind::InvalidData => {
            UserError::new(Code::WrongJournal, format!("{path:?} is no journal of this command"), cause, help)
        }
        _ => UserError::new(service::of_file(&error), format!("cannot write the journal {path:?}"), cause, help),
    };
    told.with_source(error)
}

/// The configuration with the source as the store knows it.
fn settled(config: SubmitConfig, source: Source) -> SubmitConfig {
    let input = match &source {
        Source::Object(at) => at.folder(),
        _ => config.input.clone(),
    };
    SubmitConfig { source, input, ..config }
}

/// How names become what may be written only once: outputs, if the workers' steps are known, else the keys of uploads.
fn naming(config: &SubmitConfig, source: &Source) -> Naming {
    let directory = |place: &Location| match place {
        Location::File { path } => Some(PathBuf::from(path)),
        Location::S3 { .. } => None,
    };
    let uploads = !matches!(source, Source::Prefix(_) | Source::Object(_));
    let written = [uploads.then(|| directory(&config.input)), config.output.as_ref().map(directory)];
    let (to_input, to_output) = (written[0].clone().flatten(), written[1].clone().flatten());
    let outputs = config.suffix.is_some();
    let in_directory = if outputs { to_output.is_some() } else { to_input.is_some() };
    let places = to_input.iter().chain(to_output.iter().filter(|_| outputs));
    Naming {
        suffix: config.suffix.clone().unwrap_or_default(),
        in_directory,
        folds: places.into_iter().any(|place| names::folds(place, !config.dry_run)),
    }
}

/// Walks over the source before anything is sent, and refuses it if two inputs would have one output or one key. A list
/// on stdin can be read only once: it is walked over by a dry run alone.
async fn look(
    config: &SubmitConfig,
    source: &Source,
    naming: &Naming,
    select: &Select,
    store: &Arc<dyn ObjectStore>,
) -> Result<Option<Surveyed>, UserError> {
    if matches!(source, Source::Names) && !config.dry_run {
        return Ok(None);
    }
    let typed = survey::typed(&config.source, source);
    let scratch = match &config.journal {
        Journaling::Own { directory, .. } if !config.dry_run => directory.clone(),
        _ => std::env::temp_dir(),
    };
    // Each object of a list is looked at once only.
    let list = list(config, config.dry_run);
    let surveyed = Survey { source, list, typed, select, store, naming, scratch }.run().await?;
    survey::tell_beside(typed, &surveyed.beside);
    let output = if config.suffix.is_some() { "output" } else { "key" };
    survey::refuse_clashes(&surveyed.clashes, naming, output, APART)?;
    Ok(Some(surveyed))
}

/// How inputs are kept apart that would have one output or one key.
const APART: &str = "leave one of them out with  --exclude GLOB , or submit them in two commands with different places";

/// What is to be watched for while the source is read: in a list on stdin everything, in other lists the files that are
/// known to be named twice.
fn once(source: &Source, naming: Naming, surveyed: Option<Surveyed>) -> Option<Once> {
    let twice = surveyed.map(|surveyed| surveyed.clashes.twice);
    match twice {
        None if matches!(source, Source::Names) => Some(Once::new(naming, None)),
        Some(twice) if !twice.is_empty() => Some(Once::new(naming, Some(twice))),
        _ => None,
    }
}

/// Leaves out what has been found before, and counts it; a name whose output another has is an error.
fn distinct(
    found: impl Stream<Item = io::Result<Found>> + 'static,
    mut once: Option<Once>,
    again: &Arc<AtomicU64>,
) -> impl Stream<Item = io::Result<Found>> + 'static {
    let again = Arc::clone(again);
    found.filter_map(move |found| {
        let is_new = match (&mut once, &found) {
            (Some(once), Ok(found)) => survey::met(once, found),
            _ => Ok(true),
        };
        std::future::ready(match is_new {
            Ok(true) => Some(found),
            Ok(false) => {
                again.fetch_add(1, Relaxed);
                None
            }
            Err(taken) => Some(Err(io::Error::other(taken))),
        })
    })
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
