//! `run`: works through the jobs of a queue.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use super::assemble;
use super::output;
use super::service;
use super::session::{self, Session};
use crate::config::RunConfig;
use crate::error::{Code, Exit, UserError};
use crate::job::message::Rules;
use crate::observe::{self, Screen};
use crate::pipeline::Pipeline;
use crate::record::Meters;
use crate::services::open;
use crate::services::store::local::Places;
use crate::stages::Receive;
use crate::stages::upload::orphans;
use crate::stop::circuit::Why;
use crate::worker::{self, Queues};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe run --queue jobs --output s3://acme-out/ --process zstd:9
  batchpipe run --queue jobs -- gzip -9    (object on stdin, result on stdout)
  batchpipe run --queue jobs -- convert {input} -resize 800x {output}";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A program and its arguments. {input} and {output} name scratch files; without them, stdin and stdout are used
    #[arg(last = true, value_name = "PROGRAM [ARGS]", num_args = 1.., allow_hyphen_values = true)]
    pub program: Vec<String>,
}

/// Works through the queue until it is told to stop.
pub async fn run(config: RunConfig, screen: Screen) -> Result<Exit, UserError> {
    let working = &config.working;
    let pipeline = build(&config).await?;
    let meters = Arc::clone(&pipeline.intake.meters);
    let about = observe::About {
        command: "run",
        queue: config.queue.clone(),
        process: assemble::words(&working.process),
        output: config.output.as_ref().map(ToString::to_string).unwrap_or_default(),
        drain: working.drain_timeout,
        page: None,
    };
    let _clearing = clear(&config, &pipeline);
    let how = Receive {
        receivers: config.receivers.map(NonZeroUsize::get),
        wait: config.wait_time,
        until_empty: config.until_empty,
        idle_exit: config.idle_exit,
        max_messages: config.max_jobs.map(Into::into),
    };
    let sources = assemble::sources(&pipeline, working, how, about);
    let _asking = observe::ask_queue(Arc::clone(&pipeline.intake.queue), sources.queue.clone());

    let _watchdog = assemble::watch(&pipeline, working, config.wait_time, &sources.stall)?;
    let shutdown = pipeline.intake.shutdown.clone();
    let session = Session::start(&config.global, screen.clone(), sources, working.page(), shutdown.clone()).await?;
    let settled = session.drive(&screen, working.drain_timeout, pipeline.run(how)).await?;
    tell(&config, &meters);
    let Some(settled) = settled else { return Ok(session.end(Exit::Interrupted, None).await) };
    if let Some(tripped) = pipeline.intake.circuit.tripped() {
        let error = session::stopped(&tripped, &config.queue, &meters);
        session.end(error.exit, None).await;
        return Err(error);
    }
    let exit = match session::exit(&settled, &shutdown, &meters, working.fail_if_empty) {
        // Whoever keeps a fleet must know that this one left. Failed jobs are told above, and are no reason to start it
        // again.
        Exit::Done | Exit::SomeFailed if pipeline.intake.circuit.why() == Some(Why::Idle) => Exit::Idle,
        exit => exit,
    };
    let next = (settled.rejected > 0).then(|| match pipeline.settling.dead_letters {
        Some(_) => format!("See them:  batchpipe dlq list --queue {}", config.queue),
        None => format!(
            "The log above says why. The jobs stay in the queue, because it has no dead-letter queue:  batchpipe \
                doctor --queue {}",
            config.queue
        ),
    });
    Ok(session.end(exit, next.as_deref()).await)
}

/// Removes, beside the work, what killed workers left half-written where this one may write. Not from the root of all
/// files: that is every disk of the machine.
fn clear(config: &RunConfig, pipeline: &Pipeline) -> tokio::task::JoinHandle<()> {
    let places: Vec<_> =
        config.output.iter().chain(&config.allow).filter(|place| place.key() != "/").cloned().collect();
    let store = Arc::clone(&pipeline.store);
    tokio::spawn(async move {
        for place in &places {
            orphans::of_the_dead(&*store, place).await;
        }
    })
}

/// Tells at the end what is no failure and may still not be what was wanted.
fn tell(config: &RunConfig, meters: &Meters) {
    meters.notices.tell();
    if let Some(output) = config.output.as_ref().filter(|_| meters.notices.left_output_unused()) {
        let code = Code::OutputUnused;
        tracing::warn!(%code, ?output, "--output was not used: the message of every job named an output of its own");
    }
}

/// Opens the backends and joins them. Fails before the first message is taken if the queue can't be used.
async fn build(config: &RunConfig) -> Result<Pipeline, UserError> {
    let (working, aws) = (&config.working, &config.global.aws);
    let meters = Arc::new(Meters::default());
    // Messages may name places in S3, whatever the queue and the output are.
    crate::services::aws::refuse_secrets()?;
    let (work, suffix) = assemble::work(working, aws, &meters)?;
    let mut queues = Queues::open(&config.queue, config.dead_letter.as_deref(), aws).await?;
    queues.max_receives = working.max_receives.map(NonZeroU32::get).or(queues.max_receives);
    if queues.dead_letters.is_none() {
        let what = match queues.jobs.is_fifo() {
            true => "stays in it until it expires, and holds up its group",
            false => "stays in it until it expires",
        };
        tracing::warn!("the queue has no dead-letter queue: a job that always fails {what}");
    }
    let write = worker::roots(config.allow.iter().chain(&config.output));
    let files = [Some(&config.queue), config.dead_letter.as_ref()].into_iter().flatten();
    let files = files.filter_map(|queue| open::file_of_queue(queue)).chain(config.global.log.file.clone());
    let store = open::open_store_at(aws, Places { write, own: files.collect(), ..Places::default() })?;
    if let Some(output) = &config.output {
        service::can_be_written(output)?;
        match service::answering(output, &store, &meters).await {
            // A fleet may start while the store is away for a moment, and waits for it.
            Err(error) if error.code == Code::Unreachable => {
                let cause = output::escaped(&error.cause);
                tracing::warn!(code = %error.code, cause, "the store of --output does not answer yet");
            }
            answered => answered?,
        }
    }
    let rules = Rules {
        output: config.output.clone(),
        input_prefix: (!config.input_prefix.is_empty()).then(|| config.input_prefix.clone()),
        suffix,
        allow: config.allow.clone(),
    };
    assemble::pipeline(working, queues, store, rules, work, meters)
}
