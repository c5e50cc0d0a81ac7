//! Turns what was said into a worker that can run, and tells every mistake.

use std::sync::Arc;

use super::builder::{Doing, WorkerBuilder};
use super::checks;
use super::choices::QueueSource;
use super::run::{Ready, Worker};
use super::{Queues, Settings, join, no_thread, roots};
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::job::message::Rules;
use crate::job::suffix::Suffix;
use crate::processor::Work;
use crate::processor::codec::{Chain, Limits};
use crate::processor::program::{Options, Program};
use crate::processor::scratch::Scratch;
use crate::record::Meters;
use crate::runtime::machine::Machine;
use crate::services::aws::AwsSettings;
use crate::services::open::{self, AwsSource};
use crate::services::store::ObjectStore;
use crate::services::store::local::Places;

/// Checks what was said, and opens the services.
pub(super) async fn build(mut builder: WorkerBuilder) -> Result<Worker, UserError> {
    let machine = Machine::look();
    let output = builder.output.as_deref().map(location).transpose()?;
    let allow = builder.allow.iter().map(|uri| location(uri)).collect::<Result<Vec<_>, _>>()?;
    let mut meters = Meters::default();
    if let Some(recorder) = builder.recorder.take() {
        meters = meters.with_recorder(recorder);
    }
    if let Some(listener) = builder.listener.take() {
        meters = meters.with_listener(listener);
    }
    let meters = Arc::new(meters);
    let (settings, work, suffix) = doing(&mut builder, output.as_ref(), &machine, &meters)?;
    let mut queues = queues(&builder).await?;
    queues.max_receives = builder.max_receives.or(queues.max_receives);
    let store = store(&builder, allow.iter().chain(&output));
    let rules = Rules {
        output,
        input_prefix: builder.input_prefix.filter(|prefix| !prefix.is_empty()),
        suffix: builder.output_suffix.as_deref().map_or(suffix, Suffix::of),
        allow,
    };
    let joined = join(&settings, queues, store, rules, work, meters, builder.shutdown);
    Ok(Worker::of(Ready { pipeline: joined.map_err(no_thread)?, how: builder.how }))
}

/// What is done to each object, and with which numbers.
fn doing(
    builder: &mut WorkerBuilder,
    output: Option<&Location>,
    machine: &Machine,
    meters: &Arc<Meters>,
) -> Result<(Settings, Work, Suffix), UserError> {
    let doing = builder.doing.take().ok_or_else(|| {
        let cause = "a worker deletes each message when its job is done, so it must be told what a job is";
        let help =
            "call one of  .process()  .process_async()  .steps()  .program() ; to copy objects:  .steps(\"copy\")";
        UserError::usage(Code::CommandLine, "the worker has nothing to do", cause, help)
    })?;
    match doing {
        Doing::Work(work) => {
            let (settings, _) = checks::settings(builder, output, None, machine)?;
            Ok((settings, work, Suffix::default()))
        }
        Doing::Steps(steps) => {
            let chain = Chain::parse(&steps)?;
            let (settings, share) = checks::settings(builder, output, Some(&chain), machine)?;
            let decoder_bytes = share.map_or(builder.limits.decoder_bytes, |share| share.decoder);
            let chain = chain.with_limits(Limits { decoder_bytes, ..builder.limits });
            let (chain, suffix) = (chain.with_notices(Arc::clone(&meters.notices)), chain_suffix(&steps)?);
            Ok((settings, if chain.is_copy() { Work::Copy } else { Work::Filter(Arc::new(chain)) }, suffix))
        }
        Doing::Program(words) => {
            let (settings, _) = checks::settings(builder, output, None, machine)?;
            let options = Options {
                pass_credentials: builder.pass_credentials,
                profile: aws_settings(&builder.aws).profile,
                reject_codes: builder.reject_codes.iter().copied().collect(),
                ..Options::default()
            };
            let mut program = Program::parse(words, options)?.with_notices(Arc::clone(&meters.notices));
            if program.wants_scratch() {
                let folder = builder.work_dir.as_ref().unwrap_or(&machine.temporary);
                program = program.with_scratch(Scratch::new(folder, meters)?);
            }
            Ok((settings, Work::Program(Arc::new(program)), Suffix::default()))
        }
    }
}

fn chain_suffix(steps: &str) -> Result<Suffix, UserError> {
    Ok(Chain::parse(steps)?.suffix())
}

async fn queues(builder: &WorkerBuilder) -> Result<Queues, UserError> {
    Queues::of(&builder.queue, builder.dead_letters.as_ref(), &builder.aws).await
}

/// The store that all objects are read from and written to. A queue in a file is no place for an output.
fn store<'a>(builder: &WorkerBuilder, write: impl IntoIterator<Item = &'a Location>) -> Arc<dyn ObjectStore> {
    if let Some(store) = &builder.store {
        return Arc::clone(store);
    }
    let file = |queue: &QueueSource| match queue {
        QueueSource::Uri(name) => open::file_of_queue(name),
        QueueSource::Own(_) => None,
    };
    let own = [Some(&builder.queue), builder.dead_letters.as_ref()].into_iter().flatten().filter_map(file).collect();
    let places = Places { write: roots(write), own, ..Places::default() };
    open::open_stores(&builder.aws, places, builder.stores.clone())
}

/// What is known of AWS beside a configuration of the SDK, for the words of an error.
fn aws_settings(aws: &AwsSource) -> AwsSettings {
    match aws {
        AwsSource::Settings(settings) => settings.clone(),
        AwsSource::Configured(_) => AwsSettings::default(),
    }
}

/// Reads a place for objects.
pub(super) fn location(uri: &str) -> Result<Location, UserError> {
    Location::parse(uri).ok_or_else(|| {
        let what = format!("{uri:?} is not a place for objects");
        UserError::usage(
            Code::BadPlaceOrStep,
            what,
            "it is neither s3:// nor file://",
            "for example  s3://bucket/prefix/",
        )
    })
}
