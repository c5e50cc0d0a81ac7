//! The pipeline: receive → (download → process → upload) × N → acknowledge.
//!
//! [`Pipeline::run`] is the flow between jobs, `Pipeline::transfer` the flow within one. Nothing else connects stages.
//! In between, `stages/receive/group.rs` works the messages of a FIFO group one after the other, and `records.rs` the
//! records of a message. Backpressure is the stream not being polled in the first and a full [`link`] in the second;
//! draining is the stream's end. Each delivery runs on a task of its own: polled in place, all jobs would share one
//! core.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::Semaphore;

use crate::capacity::budget::Room;
use crate::capacity::tuner::Tuner;
use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::job::message::Rules;
use crate::job::origin::Origin;
use crate::job::{Job, Location};
use crate::link::link;
use crate::processor::{Slots, Work, panics};
use crate::runtime::batched::Batched;
use crate::runtime::task;
use crate::services::store::{Condition, ObjectStore, Writing};
use crate::stages::upload::orphans::Leftovers;
use crate::stages::{
    IfExists, Intake, Receive, Settled, Settling, Source, Target, Transfer, download, process, receive, upload,
};
use crate::stop::cancel::Cut;
use crate::stop::refusal::Readable;

/// What is done to each job.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the operator said about inputs and outputs.
    pub rules: Rules,
    /// What is done to an object.
    pub work: Work,
    /// How objects move.
    pub transfer: Transfer,
    /// What to do about an output that is there already.
    pub if_exists: IfExists,
    /// The longest a job may take.
    pub job_timeout: Option<Duration>,
    /// How long a finished message waits for others to be settled with.
    pub linger: Duration,
}

/// The pipeline and what it works on.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Where messages come from, and what bounds them.
    pub intake: Intake,
    /// How messages are settled.
    pub settling: Settling,
    /// Where objects come from and go to.
    pub store: Arc<dyn ObjectStore>,
    /// What takes charge of uploads that can't be aborted.
    pub leftovers: Arc<Leftovers>,
    /// Inputs that were read, to tell one job's failure from everybody's.
    pub readable: Arc<Readable>,
    /// Processors that may run at once.
    pub processors: Arc<Semaphore>,
    /// What is done to each job.
    pub plan: Arc<Plan>,
    /// What moves the limits, if anything does.
    pub tuner: Option<Tuner>,
}

impl Pipeline {
    /// Runs until `how` or the shutdown says to stop and every message taken has been settled.
    pub async fn run(&self, how: Receive) -> Settled {
        let slots = self.intake.slots.ceiling();
        let _tuning = self.tuner.clone().map(|tuner| task::spawn(tuner.run()));
        let flow = receive(self.intake.clone(), how)
            .map(|delivery| task::spawn(self.clone().line(delivery)))
            .buffer_unordered(slots)
            .filter_map(|joined| async { joined.ok() })
            .flat_map(stream::iter)
            .batched(self.settling.max_batch(), self.plan.linger)
            .map(|batch| self.settling.acknowledge(batch))
            .buffer_unordered(slots)
            .fold(Settled::default(), |sum, settled| async move { sum + settled });
        let settled = self.leftovers.while_running(flow).await;
        // All is settled. A queue that can't be told finds out.
        drop(self.intake.queue.done().await);
        settled
    }

    /// The bytes of one job: three stages joined by two links. The output appears if `condition` holds.
    pub(crate) async fn transfer(
        &self,
        job: &Job,
        condition: Condition,
        room: &Room,
        cut: &Cut<'_>,
    ) -> Result<(), JobError> {
        let (meters, transfer) = (&self.intake.meters, &self.plan.transfer);
        let [reads, works, writes] = [Stage::Download, Stage::Process, Stage::Upload].map(|stage| meters.turn(stage));
        let (raw_out, raw_in) = link(&reads, &works);
        let (cooked_out, cooked_in) = link(&works, &writes);
        let tells_input = self.plan.if_exists != IfExists::Overwrite;
        let origin = Arc::new(Origin::new(job, self.plan.work.id()).telling_input(tells_input));
        let input = matches!(job.input, Location::File { .. }).then(|| job.input.clone());
        let how = Writing { condition, input, ..Writing::default() };
        let (store, to) = (Arc::clone(&self.store), job.output.clone());
        let leftovers = Arc::clone(&self.leftovers);
        let target = Target {
            store,
            transfer: transfer.clone(),
            meters: Arc::clone(meters),
            to,
            how,
            leftovers,
            origin: Some(Arc::clone(&origin)),
        };

        let source = Source::new(Arc::clone(&self.store), transfer.clone(), Arc::clone(meters), job);
        let downloaded = download(source, room, job, &origin, raw_out);
        let processed = process(&self.plan.work, Slots::of(&self.processors, room), job, raw_in, cooked_out);
        let uploaded = upload(target, room, cut, cooked_in);

        // Every stage runs to its own end, so that each can clean up. A stage that fails breaks its links, which ends
        // the others; a cut ends all three. The job succeeded if its upload did: nothing else finishes the output,
        // and a processor need not read all of its input.
        let (downloaded, processed, uploaded) = tokio::join!(
            reads.through(cut.or(downloaded)),
            works.through(cut.or(processed)),
            writes.through(uploaded),
        );
        match uploaded {
            Ok(written) => {
                meters.sizes(downloaded.ok(), written);
                Ok(())
            }
            Err(uploaded) => Err(root_cause(downloaded.err(), processed.err(), uploaded)),
        }
    }
}

/// A panic is a fault of ours that this job has brought out: the job's failure, and nobody else's.
pub(crate) async fn unless_it_panics<T>(work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn Any + Send)) -> JobError {
    let cause = format!("a stage panicked: {}", panics::message(panic));
    JobError::new(Stage::Process, ErrorKind::Panicked, Code(702), cause)
}

/// The furthest-upstream error that is not merely the echo of another's.
pub(crate) fn root_cause(downloaded: Option<JobError>, processed: Option<JobError>, uploaded: JobError) -> JobError {
    let echo = uploaded.clone();
    [downloaded, processed, Some(uploaded)]
        .into_iter()
        .flatten()
        .find(|error| error.kind != ErrorKind::Disconnected)
        .unwrap_or(echo)
}
