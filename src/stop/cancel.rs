//! What can end a job from outside: its lease is lost, it took too long, or the drain ran out of time.
//!
//! A cut ends every stage of the job before it publishes. The download and the process stage are dropped where they
//! wait (which kills a program's process group); the upload stops reading and aborts what it began.

use tokio::time::Instant;

use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::lease::Lease;
use crate::stop::shutdown::{Phase, Shutdown};

/// Watches one job for events that must end it.
#[derive(Debug)]
pub struct Cut<'a> {
    /// The lease on the job's message; none when submitting.
    pub lease: Option<&'a Lease>,
    /// The worker's stop.
    pub shutdown: &'a Shutdown,
    /// When the job will have taken too long, if it has a time limit.
    pub deadline: Option<Instant>,
}

impl Cut<'_> {
    /// Drives `work` for as long as the job may continue.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
        tokio::select! {
            biased;
            cut = self.happened() => Err(cut),
            result = work => result,
        }
    }

    /// Whether the job may publish now: the last check before its output appears.
    pub async fn confirm(&self) -> Result<(), JobError> {
        match self.lease {
            Some(lease) => self.or(lease.confirm()).await,
            None => self.or(std::future::ready(Ok(()))).await,
        }
    }

    async fn happened(&self) -> JobError {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let lost = async {
            match self.lease {
                Some(lease) => lease.lost().await,
                None => std::future::pending().await,
            }
        };
        // In this order, so that the reported reason does not depend on chance if two events come at once.
        tokio::select! {
            biased;
            lost = lost => lost,
            () = self.shutdown.reached(Phase::Cutting) => {
                JobError::new(Stage::Process, ErrorKind::Stopped, Code::Stopping, "the worker is stopping")
            }
            () = late => {
                JobError::new(Stage::Process, ErrorKind::TimedOut, Code::JobTimedOut, "the job took longer than \
                    --job-timeout")
            }
        }
    }
}
