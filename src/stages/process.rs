//! placeholder until the processor branch lands
use crate::error::{Code, ErrorKind, JobError, Stage::Process};
use crate::job::Job;
use crate::link::{Inlet, Outlet};
use crate::processor::Work;
use std::sync::Arc;
use tokio::sync::Semaphore;
/// x
pub async fn process(
    work: &Work,
    slots: Arc<Semaphore>,
    job: &Job,
    mut input: Inlet,
    output: Outlet,
) -> Result<(), JobError> {
    match work {
        Work::Filter(p) => {
            input.ready().await.map_err(|g| g.at(Process))?;
            let permit = slots.acquire_owned().await.ok();
            let (p, job) = (Arc::clone(p), job.clone());
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let (mut r, mut w) = (input.into_reader(), output.into_writer());
                let result = p.process(&job, &mut r, &mut w);
                if r.broken() || w.broken() {
                    return Err(JobError::disconnected(Process));
                }
                result.map_err(|e| {
                    JobError::new(
                        Process,
                        match e {
                            crate::ProcessError::Retry { .. } => ErrorKind::Failed,
                            _ => ErrorKind::Rejected,
                        },
                        Code(400),
                        e.to_string(),
                    )
                })?;
                w.finish().map_err(|_| JobError::disconnected(Process))
            })
            .await
            .unwrap_or_else(|p| Err(JobError::new(Process, ErrorKind::Panicked, Code(404), p.to_string())))
        }
        _ => {
            while let Some(chunk) = input.recv().await.map_err(|g| g.at(Process))? {
                output.send(chunk).await.map_err(|g| g.at(Process))?;
            }
            output.finish().await.map_err(|g| g.at(Process))
        }
    }
}
