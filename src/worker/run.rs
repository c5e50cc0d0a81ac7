//! A worker that can run, what stops it, and what it says at its end.
//!
//! A run records all metrics of `docs/metrics.md`: what happens at once, and the plain numbers once a second and at the
//! end, so that a run of a few jobs is complete, too.

use std::sync::Arc;
use std::time::Duration;

use super::builder::WorkerBuilder;
use super::choices::QueueSource;
use crate::error::{Subject, UserError};
use crate::observe::{self, About, Sources, export};
use crate::pipeline::Pipeline;
use crate::stages::{Receive, Settled};
use crate::stop::circuit::Why;
use crate::stop::shutdown::{Phase, Shutdown};

/// Works through a queue. [`Worker::builder`] begins one.
#[derive(Debug)]
#[must_use = "a worker does nothing before run()"]
pub struct Worker(Ready);

/// A pipeline, and how it receives.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) pipeline: Pipeline,
    pub(super) how: Receive,
}

impl Worker {
    /// Begins a worker of `queue`: the name, ARN or URL of an SQS queue, `sqlite:PATH`, or a queue of your own in an
    /// `Arc`.
    pub fn builder(queue: impl Into<QueueSource>) -> WorkerBuilder {
        WorkerBuilder::new(queue.into())
    }

    pub(super) fn of(ready: Ready) -> Self {
        Self(ready)
    }

    /// What stops the worker, from any task or thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.0.pipeline.intake.shutdown.clone())
    }

    /// Works until the queue is empty, if so asked, or until another reason to stop. Fails if every further job would
    /// fail the same way, for example because a permission is missing; all jobs in flight were given back then.
    pub async fn run(self) -> Result<Summary, UserError> {
        let Ready { pipeline, how } = self.0;
        let about = About { command: "run", queue: pipeline.intake.queue.name().to_owned(), ..About::default() };
        let sources = Sources::of(&pipeline, how, about);
        sources.meters.recording(export::describe);
        let asking = observe::ask_queue(Arc::clone(&pipeline.intake.queue), sources.queue.clone());
        let exporting = export::each_second(sources.clone());
        let settled = pipeline.run(how).await;
        drop((asking, exporting));
        export::export(&sources);
        let Some(tripped) = pipeline.intake.circuit.tripped() else {
            return Ok(Summary::of(settled, pipeline.intake.circuit.why()));
        };
        let queue = pipeline.intake.queue.name();
        Err(tripped.told(&Subject::of(tripped.stage, queue)))
    }
}

/// Stops a [`Worker`]. Clones stop the same worker.
#[derive(Clone, Debug)]
pub struct StopHandle(Shutdown);

impl StopHandle {
    /// Takes no more messages; jobs in flight are finished. [`Worker::run`] then returns.
    pub fn drain(&self) {
        self.0.advance(Phase::Draining);
    }

    /// Takes no more messages, cuts the jobs in flight, and gives their messages back to the queue.
    pub fn cut(&self) {
        self.0.advance(Phase::Cutting);
    }

    /// Drains, and cuts what is still in flight after `patience`. Returns after `patience`.
    pub async fn drain_for(&self, patience: Duration) {
        self.0.drain(patience).await;
    }
}

/// How many jobs ended how, and why the worker ended. A record that asks for nothing counts as one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Their output is complete and their message deleted.
    pub done: u64,
    /// There was nothing to do, for example because the output was there already.
    pub skipped: u64,
    /// Attempts that failed and will be made again.
    pub retried: u64,
    /// They failed for good: their messages are with the dead letters, or stay in a queue that has none.
    pub rejected: u64,
    /// Given back without a failure, because the worker stopped or a service refused it.
    pub released: u64,
    /// Their messages belong to another worker by now.
    pub lost: u64,
    /// Why the worker ended.
    pub end: End,
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// A [`StopHandle`] stopped it.
    #[default]
    Stopped,
    /// The queue was empty ([`until_empty`](WorkerBuilder::until_empty)).
    Empty,
    /// No message came for as long as [`idle_exit`](WorkerBuilder::idle_exit).
    Idle,
    /// As many messages came as [`max_jobs`](WorkerBuilder::max_jobs) allows.
    Enough,
}

impl Summary {
    fn of(settled: Settled, why: Option<Why>) -> Self {
        let end = match why {
            None => End::Stopped,
            Some(Why::Empty) => End::Empty,
            Some(Why::Idle) => End::Idle,
            Some(Why::Enough) => End::Enough,
        };
        let Settled { done, skipped, retried, rejected, released, abandoned: lost } = settled;
        Self { done, skipped, retried, rejected, released, lost, end }
    }

    /// The numbers as version 0.1.0 knew them.
    pub(super) fn settled(&self) -> Settled {
        let Self { done, skipped, retried, rejected, released, lost: abandoned, .. } = *self;
        Settled { done, skipped, retried, rejected, released, abandoned }
    }
}
