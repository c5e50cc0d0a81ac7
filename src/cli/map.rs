//! `map`: `submit` and `run` in one process, on a queue of its own.
//!
//! The queue and the journal are kept beside the results, so the same command goes on where a kill left it, and a
//! second run does only what is new, has changed or failed.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use futures::{Stream, StreamExt};

use super::assemble;
use super::output;
use super::resume::Jobs;
use super::service::{self, Service};
use super::session::{self, Session};
use super::submit::{item, new_batch, unusable};
use super::survey::{self, Survey, Surveyed};
use crate::config::{Format, MapConfig};
use crate::error::{Code, Exit, Stage, UserError};
use crate::job::Location;
use crate::job::message::Rules;
use crate::job::suffix::Suffix;
use crate::observe::{self, Screen};
use crate::pipeline::Pipeline;
use crate::processor::scratch;
use crate::record::Meters;
use crate::runtime::digest;
use crate::runtime::words::things;
use crate::services::open;
use crate::services::queue::{Counts, JobQueue};
use crate::services::store::ObjectStore;
use crate::services::store::local::{Places, of_folder};
use crate::stages::Receive;
use crate::stages::upload::orphans;
use crate::stop::shutdown::Phase;
use crate::submit::discover::{self, Found, Listed, Place, Select, Source};
use crate::submit::journal::{Journal, Owner};
use crate::submit::names::{self, Naming};
use crate::submit::own_places::{OwnPlaces, way_down};
use crate::submit::{Item, Submit};
use crate::worker::{self, Queues};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe map ./in ./out --process zstd
  batchpipe map ./in ./out -- convert {input} -resize 800x {output}
  batchpipe map s3://acme-logs/ s3://acme-archive/ --process decompress,zstd:19";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory, a file, s3://bucket/prefix/ or s3://bucket/object
    ///
    /// An S3 place is read as if it ended with a slash: s3://bucket/logs means everything in the folder logs/, never
    /// logs2/ or logs.txt. If the folder is empty, s3://bucket/logs means the object of that name. Links inside a
    /// directory are followed. Links that lead outside the directory are skipped with a warning.
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// A directory or s3://bucket/prefix/
    ///
    /// If two inputs would have the same output, nothing is done (BP125).
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// A program and its arguments. {input} and {output} name scratch files; without them, stdin and stdout are used
    #[arg(last = true, value_name = "PROGRAM [ARGS]", num_args = 1.., allow_hyphen_values = true)]
    pub program: Vec<String>,
}

/// Processes everything there is.
pub async fn run(config: MapConfig, screen: Screen) -> Result<Exit, UserError> {
    let aws = &config.global.aws;
    service::endpoints([&input(&config.source), &config.dest])?;
    let select = Select::new(&config.include, &config.exclude)?;
    let meters = Arc::new(Meters::default());
    let (work, suffix) = assemble::work(&config.working, aws, &meters)?;
    // After the work directory has its folder, which may lie in the source.
    let select = select.without(own_places(&config));
    let store = open::open_store_at(aws, places(&config))?;
    let source = survey::settled(&config.source, &store).await?;
    let surveyed = look(&config, &source, &suffix, &select, &store).await?;
    let config = MapConfig { source, ..config };
    let (working, aws, totals) = (&config.working, &config.global.aws, surveyed.totals);
    if config.dry_run {
        return dry_run(&config, &surveyed);
    }
    let input = input(&config.source);
    service::answering(&config.dest, &store, &meters).await?;

    orphans::of_the_dead(&*store, &config.dest).await;
    let name = queue_name(&config)?;
    let jobs = open::open_queue(&name, aws).await?;
    let failed = |error| service::failed(Service::Queue, &format!("use the queue {name:?}"), &error);
    let dead_letters = jobs.dead_letters().await.map_err(failed)?;
    let fresh = jobs.counts().await.map_err(failed)? == Counts::default();
    let at_work = if fresh { Jobs::default() } else { Jobs::of(&config.state.join(QUEUE)).await.map_err(failed)? };
    if let Some(dead_letters) = &dead_letters {
        forget(&**dead_letters).await.map_err(failed)?;
    }
    let journal = open_journal(&config)?;
    let leases = open::open_queue(&name, aws).await?;
    let max_receives = working.max_receives.map(Into::into);
    let queues = Queues { jobs: Arc::clone(&jobs), leases, dead_letters, max_receives };
    let rules = Rules { suffix: suffix.clone(), allow: vec![input.clone(), config.dest.clone()], ..Rules::default() };
    let pipeline = assemble::pipeline(working, queues, Arc::clone(&store), rules, work, Arc::clone(&meters))?;
    pipeline.intake.circuit.stop_rather_than_wait();
    let (meters_of, jobs_of) = (Arc::clone(&meters), Arc::new(at_work));
    let known =
        Known { journal, suffix, store: Arc::clone(&store), jobs: jobs_of, meters: meters_of, pass: Pass::of(fresh) };

    let about = observe::About {
        command: "map",
        process: assemble::words(&working.process),
        output: config.dest.to_string(),
        drain: working.drain_timeout,
        ..observe::About::default()
    };
    let mut sources = assemble::sources(&pipeline, working, how(), about);
    sources.totals = Some(totals);
    let _asking = observe::ask_queue(jobs, sources.queue.clone());
    let _watchdog = assemble::watch(&pipeline, working, LOOK, &sources.stall)?;
    let shutdown = pipeline.intake.shutdown.clone();
    let session = Session::start(&config.global, screen.clone(), sources, working.page(), shutdown.clone()).await?;
    let both = async { tokio::join!(fill(&config, &pipeline, select, known), pipeline.run(how())) };
    let Some((submitted, settled)) = session.drive(&screen, working.drain_timeout, both).await? else {
        return Ok(session.end(Exit::Interrupted, None).await);
    };
    let submitted = submitted?;
    meters.notices.tell();

    for (name, reason) in &submitted.failures {
        screen.print(&format!("not read: {}: {}", output::escaped(name), output::escaped(reason)));
    }
    if let Some(tripped) = pipeline.intake.circuit.tripped() {
        let mut error = session::stopped(&tripped, &meters);
        if tripped.stage == Stage::Send || tripped.stage == Stage::Receive {
            // Nobody else has told where it is kept.
            error.cause = format!("{}; the queue is {name}", error.cause);
        }
        session.end(error.exit, None).await;
        return Err(error);
    }
    let exit = match session::exit(&settled, &shutdown, &meters, working.fail_if_empty) {
        // Stopped before the queue was empty: whoever waits for the results must not take them for all there are.
        Exit::Done if pipeline.intake.circuit.why().is_none() => Exit::GaveBack,
        Exit::Done if submitted.failed > 0 => Exit::SomeFailed,
        exit => exit,
    };
    let next = match exit {
        Exit::Done if submitted.sent == 0 => format!("There was nothing in {}.", shown(&input)),
        Exit::Done if submitted.before == submitted.sent && settled.done == 0 => {
            format!("All {} were done before. They are in  {}", submitted.sent, shown(&config.dest))
        }
        Exit::Done if settled.skipped > 0 => {
            let skipped = things(settled.skipped, "output");
            let verb = if settled.skipped == 1 { "was" } else { "were" };
            format!("{skipped} {verb} there already. Look at them:  {} {}", lister(&config.dest), shown(&config.dest))
        }
        Exit::Done => {
            let done_before = match meters.before.load(Relaxed) {
                0 => String::new(),
                before => format!("{} more done before. ", things(before, "file")),
            };
            format!("{done_before}Look at them:  {} {}", lister(&config.dest), shown(&config.dest))
        }
        Exit::SomeFailed if settled.rejected == 0 => {
            let unread = things(submitted.failed, "file");
            format!("{unread} not read, see above; all others are done. To leave some out:  --exclude GLOB")
        }
        Exit::SomeFailed => format!("See what failed:  batchpipe dlq list --queue {name}"),
        _ => "The same command goes on where it was.".to_owned(),
    };
    Ok(session.end(exit, Some(&next)).await)
}

/// The file of the queue.
const QUEUE: &str = "queue.db";

/// What this command writes: never an input, should it lie in the source.
fn own_places(config: &MapConfig) -> OwnPlaces {
    let dest = match &config.dest {
        Location::File { path } => Some(PathBuf::from(path)),
        Location::S3 { .. } => None,
    };
    let scratch = scratch::folders(&config.working.work_dir);
    let folders = dest.into_iter().chain([config.state.clone()]).chain(scratch);
    config.global.log.file.iter().fold(folders.fold(OwnPlaces::default(), OwnPlaces::folder), OwnPlaces::file)
}

/// Where files are read and written. What is read is never written, or a link in DEST could lead an output over an input.
fn places(config: &MapConfig) -> Places {
    let (write, read) = (worker::roots([&config.dest]), worker::roots([&input(&config.source)]));
    Places { write, read, own: config.global.log.file.iter().cloned().collect() }
}

/// How long a look at the queue takes. It is a file of ours and tells exactly what it holds, so the end need not be waited
/// for.
const LOOK: Duration = Duration::from_millis(100);

/// How the pipeline receives: until the queue has been filled and emptied.
fn how() -> Receive {
    Receive { receivers: Some(1), wait: LOOK, until_empty: true, idle_exit: None, max_messages: None }
}

/// Sends a job for each thing found, while the pipeline is already at work on the first ones.
///
/// What is in the queue from an earlier run has no output yet, and is not sent again. Only when all that is done can it
/// be told which outputs are missing of jobs that were sent long ago (failed, removed): those are sent then.
async fn fill(
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
enum Pass {
    /// The only one: the queue was empty at the start, so a job that was sent and has no output failed, or its output was
    /// removed since.
    Only,
    /// The first of two: what is in the queue is not to be sent again.
    First,
    /// The second, when the queue is empty again.
    Second,
}

impl Pass {
    fn of(fresh: bool) -> Self {
        if fresh { Self::Only } else { Self::First }
    }
}

/// What an earlier run has done, and this one.
#[derive(Clone)]
struct Known {
    journal: Arc<Journal>,
    suffix: Suffix,
    store: Arc<dyn ObjectStore>,
    jobs: Arc<Jobs>,
    meters: Arc<Meters>,
    pass: Pass,
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

/// The location that a source's names are below.
fn input(source: &Source) -> Location {
    match source {
        Source::Prefix(place) | Source::Object(place) => place.clone(),
        Source::Named(place) => place.as_folder(),
        Source::Directory(path) => Location::file(format!("{}/", path.display().to_string().trim_end_matches('/'))),
        Source::File(path) | Source::List(path) => Location::file(path.display().to_string()),
        Source::Names => Location::file("/"),
    }
}

/// Walks over the source before the first job, and refuses it if two inputs would have one output.
async fn look(
    config: &MapConfig,
    source: &Source,
    suffix: &Suffix,
    select: &Select,
    store: &Arc<dyn ObjectStore>,
) -> Result<Surveyed, UserError> {
    let directory = match &config.dest {
        Location::File { path } => Some(Path::new(path)),
        Location::S3 { .. } => None,
    };
    let naming = Naming {
        suffix: suffix.clone(),
        in_directory: directory.is_some(),
        folds: directory.is_some_and(|directory| names::folds(directory, !config.dry_run)),
    };
    let typed = survey::typed(&config.source, source);
    // A dry run makes no folder for its state.
    let scratch = if config.dry_run { &config.working.work_dir } else { &config.state };
    let survey =
        Survey { source, list: Listed::default(), typed, select, store, naming: &naming, scratch: scratch.clone() };
    let surveyed = survey.run().await?;
    survey::tell_beside(typed, &surveyed.beside);
    survey::refuse_clashes(&surveyed.clashes, &naming, "output", APART)?;
    Ok(surveyed)
}

/// How inputs are kept apart that would have one output.
const APART: &str = "leave one of them out with  --exclude GLOB , map them into different places, or keep the endings of names \
                     with  --output-suffix .out";

fn dry_run(config: &MapConfig, surveyed: &Surveyed) -> Result<Exit, UserError> {
    let (process, dest, totals) = (assemble::words(&config.working.process), shown(&config.dest), surveyed.totals);
    if config.global.json {
        let fields = serde_json::json!({"dry_run": true, "files": totals.files, "bytes": totals.bytes, "process": process,
            "dest": config.dest.to_string(), "beside": surveyed.beside.count()});
        output::event("plan", fields)?;
    } else {
        let size = observe::words::bytes(totals.bytes as f64, " ");
        output::print(&format!("(dry run) would run {process:?} on {} files ({size}) into {dest}\n", totals.files))?;
    }
    Ok(Exit::Done)
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
    make_state(config).map_err(|error| UserError {
        code: Code::CommandLine,
        what: format!("cannot write to {:?}", state.display().to_string()),
        cause: error.to_string(),
        help: "give a DEST that you may write to".into(),
        exit: Exit::Access,
    })?;
    Ok(format!("sqlite:{}", state.join(QUEUE).display()))
}

/// The journal of this source and this process: with another process everything is to be done again.
fn open_journal(config: &MapConfig) -> Result<Arc<Journal>, UserError> {
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
        .map_err(|error| unusable(&path, &error, "give a DEST that you may write to", Exit::Access))
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

fn shown(location: &Location) -> String {
    match location {
        Location::File { path } => path.clone(),
        Location::S3 { .. } => location.to_string(),
    }
}

fn lister(location: &Location) -> &'static str {
    match location {
        Location::File { .. } => "ls -R",
        Location::S3 { .. } => "aws s3 ls --recursive",
    }
}
