//! The process stage: bytes of one object in, bytes of one object out.
//!
//! CPU work runs on a blocking thread, so that it never holds up the transfers of other jobs. At most `--processors`
//! run at once: a slot is taken when the first chunk is there, never before, and given back when the work has really
//! ended. Output is published by [`finish`](crate::link::Outlet::finish) alone, and only success calls it.

use std::sync::Arc;
use std::task::Poll;

use crate::error::{Code, ErrorKind, JobError, Stage::Process};
use crate::job::Job;
use crate::link::{AsyncInput, AsyncOutput, Disconnected, Inlet, Outlet};
use crate::processor::{AnyAsyncProcessor, ProcessError, Processor, Script, Slots, Work, panics};
use crate::runtime::failpoint;

/// Runs `work` on one job.
///
/// Dropping the future stops a program at once, with its whole process group. A filter can't be stopped from
/// outside: it ends by itself when its next read or write finds the link cut, and keeps its slot until then.
pub async fn process(work: &Work, slots: Slots, job: &Job, input: Inlet, output: Outlet) -> Result<(), JobError> {
    match work {
        Work::Copy => copy(input, output).await.map_err(|gone| gone.at(Process)),
        Work::Filter(processor) => filter(Arc::clone(processor), &slots, job.clone(), input, output).await,
        Work::Async(processor) => Box::pin(wait_for(&**processor, &slots, job.clone(), input, output)).await,
        Work::Program(program) => Box::pin(program.run(job, input, output, &slots)).await,
        Work::Script(script) => Box::pin(follow(&**script, &slots, job, input, output)).await,
    }
}

async fn copy(mut input: Inlet, output: Outlet) -> Result<(), Disconnected> {
    while let Some(chunk) = input.recv().await? {
        failpoint::point("CP4");
        match input.counted() {
            true => output.send_counted(chunk).await?,
            false => output.send(chunk).await?,
        }
    }
    output.finish().await
}

async fn filter(
    processor: Arc<dyn Processor>,
    slots: &Slots,
    job: Job,
    mut input: Inlet,
    output: Outlet,
) -> Result<(), JobError> {
    input.ready().await.map_err(|gone| gone.at(Process))?;
    let job = seen(job, &input);
    let slot = slots.take(input.turn(), &output).await?;
    let run = move || {
        // Moved in: a job that is cut must not free the slot of a thread that still runs.
        let _slot = slot;
        run_filter(&*processor, &job, input, output)
    };
    let ended = tokio::task::spawn_blocking(run).await;
    ended.unwrap_or_else(|gone| {
        Err(JobError::new(Process, ErrorKind::Panicked, Code::ProcessorPanicked, gone.to_string()))
    })
}

fn run_filter(processor: &dyn Processor, job: &Job, input: Inlet, output: Outlet) -> Result<(), JobError> {
    let (mut reader, mut writer) = (input.into_reader(), output.into_writer());
    let result = panics::catch(|| processor.process(job, &mut reader, &mut writer));
    failpoint::point("CP4");
    if reader.broken() || writer.broken() {
        // Whatever the processor made of it, the neighbour's failure is the one that counts.
        return Err(JobError::disconnected(Process));
    }
    verdict(result)?;
    writer.finish().map_err(|_| JobError::disconnected(Process))
}

/// The job as a processor sees it: with what the store says of the input.
fn seen(mut job: Job, input: &Inlet) -> Job {
    job.size = input.total().or(job.size);
    if let Some(object) = input.object() {
        job.etag = object.etag.clone().or(job.etag);
        job.version_id = object.version_id.clone().or(job.version_id);
        job.metadata = object.metadata.clone();
    }
    job
}

async fn wait_for(
    processor: &dyn AnyAsyncProcessor,
    slots: &Slots,
    job: Job,
    mut input: Inlet,
    output: Outlet,
) -> Result<(), JobError> {
    input.ready().await.map_err(|gone| gone.at(Process))?;
    let job = seen(job, &input);
    let _slot = slots.take(input.turn(), &output).await?;
    let (mut input, mut output) = (AsyncInput::new(input), AsyncOutput::new(output));
    let result = {
        let mut running = processor.process(&job, &mut input, &mut output);
        std::future::poll_fn(|context| match panics::catch(|| running.as_mut().poll(context)) {
            Ok(polled) => polled.map(Ok),
            Err(said) => Poll::Ready(Err(said)),
        })
        .await
    };
    failpoint::point("CP4");
    if input.broken() || output.broken() {
        return Err(JobError::disconnected(Process));
    }
    verdict(result)?;
    output.finish().await.map_err(|gone| gone.at(Process))
}

async fn follow(
    script: &dyn Script,
    slots: &Slots,
    job: &Job,
    mut input: Inlet,
    output: Outlet,
) -> Result<(), JobError> {
    input.ready().await.map_err(|gone| gone.at(Process))?;
    let _slot = slots.take(input.turn(), &output).await?;
    let mut running = script.run(job, &mut input, &output);
    let ended = std::future::poll_fn(|context| match panics::catch(|| running.as_mut().poll(context)) {
        Ok(polled) => polled.map(|ended| ended.map(Ok)),
        Err(said) => Poll::Ready(Ok(Err(said))),
    });
    let result = ended.await.map_err(|gone| gone.at(Process))?;
    drop(running);
    verdict(result)?;
    output.finish().await.map_err(|gone| gone.at(Process))
}

/// What a processor's end, or its panic's words, mean for the job.
fn verdict(ended: Result<Result<(), ProcessError>, String>) -> Result<(), JobError> {
    let ended = ended.map_err(|said| {
        JobError::new(Process, ErrorKind::Panicked, Code::ProcessorPanicked, format!("the processor panicked: {said}"))
    })?;
    ended.map_err(|error| match error {
        ProcessError::Reject { code, reason } => JobError::new(Process, ErrorKind::Rejected, code, reason),
        ProcessError::Retry { reason, after } => {
            let error = JobError::new(Process, ErrorKind::Failed, Code::ProcessorFailed, reason);
            JobError { retry_after: after, ..error }
        }
    })
}
