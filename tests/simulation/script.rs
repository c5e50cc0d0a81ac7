//! What the simulated processors do, twice: as a script that runs in the pipeline, and as a function of the whole input
//! that the model compares with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use batchpipe::error::Code;
use batchpipe::link::{Disconnected, Inlet, Outlet};
use batchpipe::processor::Script;
use batchpipe::{Job, ProcessError};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// They stay.
    Copy,
    /// Each is changed.
    Flip,
    /// Each chunk comes so many times: outputs that outgrow their inputs.
    Repeat(usize),
    /// Only the first so many: a processor that does not read all of its input.
    Head(usize),
    /// None stay.
    Nothing,
}

/// How a processor fails, once it has seen so many bytes or all there are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Not at all.
    None,
    /// It asks to be tried again, the first so many times.
    Retry(u32),
    /// It panics, the first so many times.
    Panic(u32),
    /// It rejects the job, always.
    Reject(Code),
}

/// One job's processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    pub(super) shape: Shape,
    pub(super) trouble: Trouble,
    /// Bytes before the trouble.
    pub(super) after: usize,
    /// How long each chunk takes.
    pub(super) pace: Duration,
}

impl Behaviour {
    /// The output of a whole input that is read in chunks of `part` bytes.
    pub(super) fn output(&self, input: &[u8], part: usize) -> Vec<u8> {
        match self.shape {
            Shape::Copy => input.to_vec(),
            Shape::Flip => input.iter().map(|byte| byte ^ 0x5a).collect(),
            Shape::Repeat(times) => input.chunks(part).flat_map(|chunk| chunk.repeat(times)).collect(),
            Shape::Head(length) => input[..input.len().min(length)].to_vec(),
            Shape::Nothing => Vec::new(),
        }
    }
}

/// The processors of all jobs, by the key of their input.
#[derive(Debug)]
pub(super) struct Scripts(BTreeMap<String, Behaviour>);

/// The reason that a script gives.
pub(super) fn reason(job: &str) -> String {
    format!("the script rejects {job}")
}

impl Script for Scripts {
    fn run<'a>(
        &'a self,
        job: &'a Job,
        input: &'a mut Inlet,
        output: &'a Outlet,
    ) -> BoxFuture<'a, Result<Result<(), ProcessError>, Disconnected>> {
        let behaviour = self.0[job.input.key()];
        async move {
            let mut seen = 0;
            while let Some(chunk) = input.recv().await? {
                if !behaviour.pace.is_zero() {
                    tokio::time::sleep(behaviour.pace).await;
                }
                let before = seen;
                seen += chunk.len();
                if seen > behaviour.after
                    && let Err(error) = fail(&behaviour, job)
                {
                    return Ok(Err(error));
                }
                match behaviour.shape {
                    Shape::Copy => output.send(chunk).await?,
                    Shape::Flip => output.send(chunk.iter().map(|byte| byte ^ 0x5a).collect::<Bytes>()).await?,
                    Shape::Repeat(times) => {
                        for _ in 0..times {
                            output.send(Bytes::copy_from_slice(&chunk)).await?;
                        }
                    }
                    Shape::Head(length) => {
                        output.send(chunk.slice(..chunk.len().min(length - before))).await?;
                        if seen >= length {
                            break;
                        }
                    }
                    Shape::Nothing => {}
                }
            }
            Ok(fail(&behaviour, job))
        }
        .boxed()
    }
}

fn fail(behaviour: &Behaviour, job: &Job) -> Result<(), ProcessError> {
    let name = job.input.key();
    match behaviour.trouble {
        Trouble::Retry(times) if job.attempt <= times => Err(ProcessError::retry(format!("not yet: {name}"))),
        Trouble::Panic(times) if job.attempt <= times => panic!("{name} panics"),
        Trouble::Reject(code) => Err(ProcessError::Reject { code, reason: reason(name) }),
        _ => Ok(()),
    }
}

/// The work of a simulated worker.
pub(super) fn work(behaviours: BTreeMap<String, Behaviour>) -> batchpipe::processor::Work {
    batchpipe::processor::Work::Script(Arc::new(Scripts(behaviours)))
}
