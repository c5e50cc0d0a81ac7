//! `map`: `submit` and `run` in one process, on a queue of its own.
//!
//! The queue and the journal are kept beside the results, so the same command goes on where a kill left it, and a
//! second run does only what is new, has changed or failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::assemble;
use super::output;
use super::service;
use super::session::{self, Session};
use super::survey::{self, Survey, Surveyed};
use crate::config::MapConfig;
use crate::error::{Exit, Stage, UserError};
use crate::job::Location;
use crate::job::message::Rules;
use crate::job::suffix::Suffix;
use crate::observe::{self, Screen};
use crate::processor::scratch;
use crate::record::Meters;
use crate::runtime::words::things;
use crate::services::open;
use crate::services::store::ObjectStore;
use crate::services::store::local::Places;
use crate::stages::Receive;
use crate::stages::acknowledge::Settled;
use crate::stages::upload::orphans;
use crate::submit::Submitted;
use crate::submit::discover::{Listed, Select, Source};
use crate::submit::names::{self, Naming};
use crate::submit::own_places::OwnPlaces;
use crate::worker;

mod fill;
mod state;

use fill::{Known, Pass, fill};
use state::{Opened, open_journal, open_queues};

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
    let (working, totals) = (&config.working, surveyed.totals);
    if config.dry_run {
        return dry_run(&config, &surveyed);
    }
    let input = input(&config.source);
    service::answering(&config.dest, &store, &meters).await?;
    orphans::of_the_dead(&*store, &config.dest).await;
    let Opened { name, queues, at_work, fresh } = open_queues(&config).await?;
    let jobs = Arc::clone(&queues.jobs);
    let journal = open_journal(&config)?;
    let rules = Rules { suffix: suffix.clone(), allow: vec![input.clone(), config.dest.clone()], ..Rules::default() };
    let pipeline = assemble::pipeline(working, queues, Arc::clone(&store), rules, work, Arc::clone(&meters))?;
    pipeline.intake.circuit.stop_rather_than_wait();
    let (meters_of, jobs_of) = (Arc::clone(&meters), Arc::new(at_work));
    let pass = Pass::of(fresh);
    let known = Known { journal, suffix, store: Arc::clone(&store), jobs: jobs_of, meters: meters_of, pass };
    let mut sources = assemble::sources(&pipeline, working, how(), about(&config));
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
    tell_unread(&screen, &submitted);
    if let Some(tripped) = pipeline.intake.circuit.tripped() {
        let mut error = session::stopped(&tripped, &name, &meters);
        error.help.push_str("; the same command goes on where it was");
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
    let next = next(exit, (&submitted, &settled), &config, &name, &meters);
    Ok(session.end(exit, Some(&next)).await)
}

/// What the screens say of this run.
fn about(config: &MapConfig) -> observe::About {
    observe::About {
        command: "map",
        process: assemble::words(&config.working.process),
        output: config.dest.to_string(),
        drain: config.working.drain_timeout,
        ..observe::About::default()
    }
}

fn tell_unread(screen: &Screen, submitted: &Submitted) {
    for (name, reason) in &submitted.failures {
        screen.print(&format!("not read: {}: {}", output::escaped(name), output::escaped(reason)));
    }
}

/// What to type next, as the run ended.
fn next(
    exit: Exit,
    (submitted, settled): (&Submitted, &Settled),
    config: &MapConfig,
    queue: &str,
    meters: &Meters,
) -> String {
    match exit {
        Exit::Done if submitted.sent == 0 => format!("There was nothing in {}.", shown(&input(&config.source))),
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
        Exit::SomeFailed => format!("See what failed:  batchpipe dlq list --queue {queue}"),
        _ => "The same command goes on where it was.".to_owned(),
    }
}

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

/// Where files are read and written. What is read is never written, or a link in DEST could lead an output over an
/// input.
fn places(config: &MapConfig) -> Places {
    let (write, read) = (worker::roots([&config.dest]), worker::roots([&input(&config.source)]));
    Places { write, read, own: config.global.log.file.iter().cloned().collect() }
}

/// How long a look at the queue takes. It is a file of ours and tells exactly what it holds, so the end need not be
/// waited for.
const LOOK: Duration = Duration::from_millis(100);

/// How the pipeline receives: until the queue has been filled and emptied.
fn how() -> Receive {
    Receive { receivers: Some(1), wait: LOOK, until_empty: true, idle_exit: None, max_messages: None }
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
const APART: &str = "leave one of them out with  --exclude GLOB , map them into different places, or keep the endings \
    of names with  --output-suffix .out";

fn dry_run(config: &MapConfig, surveyed: &Surveyed) -> Result<Exit, UserError> {
    let (process, dest, totals) = (assemble::words(&config.working.process), shown(&config.dest), surveyed.totals);
    if config.global.json {
        let fields = serde_json::json!({"dry_run": true, "files": totals.files, "bytes": totals.bytes,
            "process": process, "dest": config.dest.to_string(), "beside": surveyed.beside.count()});
        output::event("plan", fields)?;
    } else {
        let size = observe::words::bytes(totals.bytes as f64, " ");
        output::print(&format!("(dry run) would run {process:?} on {} files ({size}) into {dest}\n", totals.files))?;
    }
    Ok(Exit::Done)
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
