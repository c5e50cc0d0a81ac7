//! `submit`: uploads files and queues a job for each.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use super::output;
use super::service::{self, Service};
use super::session::{self, Session};
use crate::backends;
use crate::budget::Budget;
use crate::circuit::Circuit;
use crate::circuit::Tripped;
use crate::config::{Format, Source, SubmitConfig};
use crate::error::{Code, Exit, ServiceError, UserError};
use crate::job::Location;
use crate::journal::Journal;
use crate::leftovers::Leftovers;
use crate::limit::Lane;
use crate::message::{self, Request, encode_own, encode_sample2013};
use crate::meter::Meters;
use crate::pipeline::Transfer;
use crate::processor::codec::Suffix;
use crate::queue::{Counts, JobQueue, Outgoing};
use crate::retry::Retry;
use crate::shutdown::{Phase, Shutdown};
use crate::source::{self, Found, Place, Select};
use crate::status::words::things;
use crate::status::{self, Screen, Totals};
use crate::store::{ObjectInfo, ObjectStore};
use crate::submit::{Item, Submit, Submitted};
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

/// How often `--wait` looks for the outputs, at the most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How much longer than a look it waits for the next one: a million outputs take a thousand requests, which one client has
/// answered in a minute or two, and then at most a tenth of the time is spent on them.
const REST: u32 = 9;

/// Outputs that are looked for one by one, side by side, rather than by listing all that lies between them.
const FEW: usize = 20;

/// Submits everything there is.
pub async fn run(config: SubmitConfig, screen: Screen) -> Result<Exit, UserError> {
    let aws = &config.global.aws;
    let select = Select::new(&config.include, &config.exclude)?;
    let store = backends::open_store(aws, &worker::roots([&config.input].into_iter().chain(&config.output)))?;
    service::readable(&config.source, &store).await?;
    if config.dry_run {
        return dry_run(&config, select, &store).await;
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
    sources.memory = Arc::new(move || status::Memory { reserved: budget.reserved(), budget: budget.total() });
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

    report(&screen, &submitted);
    if let Some(tripped) = circuit.tripped() {
        let error = refused(&tripped, &submitted, &config);
        session.end(error.exit, None).await;
        return Err(error);
    }
    let exit = match () {
        () if shutdown.phase() >= Phase::Draining => Exit::GaveBack,
        () if submitted.failed > 0 => Exit::SomeFailed,
        () => Exit::Done,
    };
    let next = next_step(&config, &submitted, &batch, exit);
    let exit = session.end(exit, Some(&next)).await;
    if config.wait && exit == Exit::Done {
        let names = std::mem::take(&mut *lock(&names));
        return wait(&config, &screen, &store, &*queue, names).await;
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
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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

async fn dry_run(config: &SubmitConfig, select: Select, store: &Arc<dyn ObjectStore>) -> Result<Exit, UserError> {
    let (mut files, mut bytes, mut failures) = (0u64, 0u64, Vec::new());
    let mut found = source::find(&config.source, select, store);
    while let Some(found) = found.next().await {
        match found {
            Ok(found) => {
                files += 1;
                bytes += found.size;
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    let batches = files.div_ceil(10);
    if config.global.json {
        let uploads = !matches!(config.source, Source::Prefix(_));
        let fields = serde_json::json!({"dry_run": true, "files": files, "bytes": bytes, "batches": batches,
            "uploads": if uploads { files } else { 0 }, "queue": config.queue, "unreadable": failures.len()});
        output::event("plan", fields)?;
    } else {
        let size = status::words::bytes(bytes as f64, " ");
        let upload = match &config.source {
            Source::Prefix(prefix) => format!("find {} ({size}) under {prefix} and", things(files, "object")),
            _ => format!("upload {} ({size}) to {} and", things(files, "file"), config.input),
        };
        let queue = &config.queue;
        let (jobs, batches) = (things(files, "job"), things(batches, "batch"));
        output::print(&format!("(dry run) would {upload} send {jobs} in {batches} to queue {queue:?}.\n"))?;
    }
    failures
        .iter()
        .take(Submitted::NAMED)
        .for_each(|failure| output::say(&format!("unreadable: {}", output::escaped(failure))));
    Ok(if failures.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

/// Names what failed.
fn report(screen: &Screen, submitted: &Submitted) {
    for (name, reason) in &submitted.failures {
        screen.print(&format!("not submitted: {}: {}", output::escaped(name), output::escaped(reason)));
    }
    let unnamed = submitted.failed - submitted.failures.len() as u64;
    if unnamed > 0 {
        screen.print(&format!("not submitted: {unnamed} more"));
    }
}

/// The error of a submit that a service refused.
fn refused(tripped: &Tripped, submitted: &Submitted, config: &SubmitConfig) -> UserError {
    let exit = if matches!(tripped.code.0, 101 | 108) { Exit::Credentials } else { Exit::Access };
    let what = match tripped.code.0 {
        103 => format!("queue {:?} does not exist", config.queue),
        104 => format!("not allowed to send to queue {:?}", config.queue),
        106 => format!("cannot write to {}", config.input),
        301 => format!("the bucket of {} does not exist", config.input),
        105 => "the bucket or the queue is in another region".to_owned(),
        101 | 108 => "the AWS credentials are missing or have expired".to_owned(),
        _ => "the submit was refused".to_owned(),
    };
    let help = match tripped.code.0 {
        103 => "check its name:  aws sqs list-queues",
        101 | 108 => "use a profile or a role instead of pasted keys",
        301 => "create it, or correct --input; names of buckets are shown by  aws s3 ls",
        105 => "add  --region  with the region it is in",
        _ => "the role needs what ops/submit-role.json holds",
    };
    let help = format!("{help}.  Sent {}; the same command goes on where it was", things(submitted.sent, "job"));
    UserError { code: tripped.code, what, cause: output::escaped(&tripped.cause), help, exit }
}

fn next_step(config: &SubmitConfig, submitted: &Submitted, batch: &str, exit: Exit) -> String {
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

/// Waits until every output is there, or the queue holds nothing that could still make it.
async fn wait(
    config: &SubmitConfig,
    screen: &Screen,
    store: &Arc<dyn ObjectStore>,
    queue: &dyn JobQueue,
    mut names: Vec<String>,
) -> Result<Exit, UserError> {
    let Some(output) = &config.output else { return Ok(Exit::Done) };
    screen.print(&format!("Waiting for {} under {output}", things(names.len() as u64, "output")));
    let (mut was_empty, mut pause) = (false, LOOK_EVERY);
    loop {
        tokio::time::sleep(pause).await;
        let begun = Instant::now();
        names = missing(names, store, output).await?;
        pause = LOOK_EVERY.max(begun.elapsed() * REST);
        if names.is_empty() {
            screen.print("Every output is there.");
            return Ok(Exit::Done);
        }
        // Twice in a row: an output may have appeared between the look at the outputs and the look at the queue.
        let is_empty = queue.counts().await.is_ok_and(|counts| counts == Counts::default());
        if is_empty && was_empty {
            for name in names.iter().take(Submitted::NAMED) {
                screen.print(&format!("no output: {}", output::escaped(name)));
            }
            let (failed, queue) = (things(names.len() as u64, "job"), &config.queue);
            screen.print(&format!("{failed} failed. See them:  batchpipe dlq list --queue {queue}"));
            return Ok(Exit::SomeFailed);
        }
        was_empty = is_empty;
    }
}

/// The names that have no output yet.
async fn missing(
    names: Vec<String>,
    store: &Arc<dyn ObjectStore>,
    output: &Location,
) -> Result<Vec<String>, UserError> {
    let list = |prefix: &Location| store.list(prefix);
    let missing = if names.len() > FEW {
        without(names, output, list).await
    } else {
        let each = names.into_iter().map(|name| without(vec![name], output, list));
        futures::future::try_join_all(each).await.map(|missing| missing.concat())
    };
    missing.map_err(|error| service::failed(Service::Store, &format!("list {output}"), &error))
}

/// Those of the names whose outputs `list` does not show. Workers may have appended an ending, or taken one off. Lists what
/// lies between the first and the last of them, in step with their order.
async fn without<'a>(
    names: Vec<String>,
    output: &Location,
    list: impl Fn(&Location) -> BoxStream<'a, Result<ObjectInfo, ServiceError>>,
) -> Result<Vec<String>, ServiceError> {
    let mut stems: Vec<(String, usize)> = Vec::with_capacity(2 * names.len());
    for (nth, name) in names.iter().enumerate() {
        stems.extend([name.clone(), Suffix::strip_one().apply(name)].map(|stem| (stem, nth)));
    }
    stems.sort_unstable();
    let (Some((first, _)), Some((last, _))) = (stems.first(), stems.last()) else { return Ok(names) };
    let common = first.chars().zip(last.chars()).take_while(|(one, other)| one == other);
    let prefix: String = common.map(|(letter, _)| letter).collect();
    let mut objects = list(&if prefix.is_empty() { output.clone() } else { output.join(&prefix) });
    let mut next = async || {
        let object = objects.next().await.transpose()?;
        let name = |object: ObjectInfo| object.location.key().strip_prefix(output.key()).unwrap_or_default().to_owned();
        Ok::<_, ServiceError>(object.map(name))
    };
    let mut there = vec![false; names.len()];
    let mut key = next().await?;
    for (stem, nth) in &stems {
        // The first that is not before it begins with it, if any does.
        while key.as_ref().is_some_and(|key| key < stem) {
            key = next().await?;
        }
        let Some(key) = &key else { break };
        there[*nth] |= key.starts_with(stem);
    }
    Ok(names.into_iter().zip(there).filter(|(_, there)| !there).map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::testing::MemoryStore;

    /// What `without` leaves of the names, what it listed, and how many objects it took of that.
    async fn look(store: &MemoryStore, names: &[&str]) -> (Vec<String>, String, usize) {
        let (asked, taken) = (Mutex::new(String::new()), AtomicUsize::new(0));
        let output = Location::s3("out", "o/");
        let list = |prefix: &Location| {
            *asked.lock().unwrap() = prefix.key().to_owned();
            let count = |_: &_| {
                taken.fetch_add(1, SeqCst);
            };
            store.list(prefix).inspect(count).boxed()
        };
        let missing = without(names.iter().map(|name| (*name).to_owned()).collect(), &output, list).await.unwrap();
        (missing, asked.lock().unwrap().clone(), taken.load(SeqCst))
    }

    #[tokio::test]
    async fn outputs_are_found_by_their_names_with_an_ending_more_or_less_and_nothing_else_is_listed() {
        let store = MemoryStore::new();
        let there = ["a/1", "a/2.zst", "a/3", "a/4.tar", "b/1", "b/2", "c/1"];
        there.iter().for_each(|name| store.insert(Location::s3("out", format!("o/{name}")), "x"));
        let (missing, asked, taken) = look(&store, &["a/3.gz", "a/1", "a/2", "a/5", "a/4.tgz", "a/0"]).await;
        assert_eq!((missing, asked.as_str()), (vec!["a/5".to_owned(), "a/0".to_owned()], "o/a/"));
        assert_eq!(taken, 4, "all of the folder");
        assert_eq!(look(&store, &["a/2"]).await, (vec![], "o/a/2".to_owned(), 1));
        assert_eq!(look(&store, &["c/2.gz"]).await, (vec!["c/2.gz".to_owned()], "o/c/2".to_owned(), 0));
        assert_eq!(look(&store, &["a/1", "b/1"]).await, (vec![], "o/".to_owned(), 5), "none behind the last");
        assert_eq!(look(&store, &["é", "è"]).await, (vec!["é".to_owned(), "è".to_owned()], "o/".to_owned(), 7));
        let every = Arc::new(store) as Arc<dyn ObjectStore>;
        for names in [1, FEW, 3 * FEW] {
            let names: Vec<String> = (0..names).map(|nth| format!("a/{}", 9 - nth % 9)).collect();
            let expected: Vec<String> = names.iter().filter(|name| name.as_str() > "a/4").cloned().collect();
            assert_eq!(missing_of(names, &every).await, expected);
        }
    }

    async fn missing_of(names: Vec<String>, store: &Arc<dyn ObjectStore>) -> Vec<String> {
        missing(names, store, &Location::s3("out", "o/")).await.unwrap()
    }

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
