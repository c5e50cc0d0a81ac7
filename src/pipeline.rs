//! The pipeline: receive → (download → process → upload) × N → acknowledge.
//!
//! [`Pipeline::run`] is the flow between jobs, `Pipeline::transfer` the flow within one. Nothing else connects stages.
//! In between, `stages/receive/group.rs` works the messages of a FIFO group one after the other, and `records.rs` the
//! records of a message. Backpressure is the stream not being polled in the first and a full [`link`] in the second;
//! draining is the stream's end. Each delivery runs on a task of its own: polled in place, all jobs would share one
//! core.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use crate::capacity::budget::Room;
use crate::capacity::tuner::Tuner;
use crate::error::{ErrorKind, JobError, Stage};
use crate::job::message::Rules;
use crate::job::origin::Origin;
use crate::job::{Job, Location};
use crate::lease::Lease;
use crate::link::link;
use crate::processor::{Slots, Work};
use crate::runtime::batched::Batched;
use crate::runtime::task;
use crate::services::queue::Message;
use crate::services::store::{Condition, ObjectStore, Writing};
use crate::stages::receive::group::{Finish, InOrder};
use crate::stages::records::{Jobs, Records};
use crate::stages::upload::orphans::Leftovers;
use crate::stages::{
    Delivery, Finished, IfExists, Intake, Outputs, Receive, Settled, Settling, Source, Target, Transfer, download,
    process, receive, upload,
};
use crate::stop::cancel::Cut;
use crate::stop::refusal::{Judge, Readable};

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
            .map(|delivery| task::spawn(self.clone().deliver(delivery)))
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

    /// One delivery: its message, and those of its group behind it. What is still to be settled is returned.
    async fn deliver(self, delivery: Delivery) -> Vec<Finished> {
        InOrder { settling: &self.settling, shutdown: &self.intake.shutdown, jobs: &self }.work(delivery).await
    }

    fn outputs(&self) -> Outputs<'_> {
        Outputs {
            store: &self.store,
            retry: &self.plan.transfer.retry,
            meters: &self.intake.meters,
            rules: &self.plan.rules,
            work: &self.plan.work,
            if_exists: self.plan.if_exists,
        }
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            store: &self.store,
            retry: &self.plan.transfer.retry,
            meters: &self.intake.meters,
            circuit: &self.intake.circuit,
            readable: &self.readable,
            rules: &self.plan.rules,
            max_receives: self.settling.max_receives,
        }
    }

    fn records(&self) -> Records<'_, Self> {
        let (intake, rules, job_timeout) = (&self.intake, &self.plan.rules, self.plan.job_timeout);
        Records { intake, rules, job_timeout, judge: self.judge(), jobs: self }
    }

    /// The bytes of one job: three stages joined by two links. The output appears if `condition` holds.
    async fn transfer(&self, job: &Job, condition: Condition, room: &Room, cut: &Cut<'_>) -> Result<(), JobError> {
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

impl Finish for Pipeline {
    async fn finish(&self, message: Message, lease: Lease, room: &Room) -> Finished {
        self.records().finish(message, lease, room).await
    }
}

impl Jobs for Pipeline {
    async fn work(&self, job: Job, room: &Room, cut: &Cut<'_>, again: bool) -> Result<bool, JobError> {
        let transfer = |condition| self.transfer(&job, condition, room, cut);
        let result = match self.plan.if_exists {
            IfExists::Overwrite if again && Box::pin(self.outputs().is_done(&job, cut)).await => Ok(false),
            // On the heap, as all that few jobs need (here and in the stages): a future is as long as its longest way,
            // and is moved some times before it is at work.
            IfExists::Overwrite => Box::pin(self.transfer(&job, Condition::Always, room, cut)).await.map(|()| true),
            IfExists::Skip | IfExists::Fail => Box::pin(self.outputs().unless_done(&job, cut, transfer)).await,
        };
        match result {
            Ok(done) => {
                if done {
                    self.readable.note(&job.input);
                }
                Ok(done)
            }
            Err(error) => Err(Box::pin(self.judge().judge_job(&job, error, cut)).await),
        }
    }
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
