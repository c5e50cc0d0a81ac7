//! The pipeline: receive → (download → process → upload) × N → acknowledge.
//!
//! [`Pipeline::run`] is the flow between jobs, `Pipeline::transfer` the flow within one. Nothing else connects stages,
//! and [`Pipeline::assemble`] is the only place that makes a pipeline: the worker, the tests' rig and the schedule
//! explorer all use it. In between, `stages/receive/group.rs` works the messages of a FIFO group one after the other,
//! and `records.rs` the records of a message. Backpressure is the stream not being polled in the first and a full
//! [`link`] in the second; draining is the stream's end. Each delivery runs on a task of its own: polled in place, all
//! jobs would share one core.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::Semaphore;

use crate::capacity::budget::{Budget, Room};
use crate::capacity::limit::Limit;
use crate::capacity::tuner::Tuner;
use crate::error::{ErrorKind, JobError, Stage};
use crate::job::message::Rules;
use crate::job::origin::Origin;
use crate::job::{Job, Location};
use crate::lease::{Lease, Leases};
use crate::link::link;
use crate::processor::{Slots, Work};
use crate::record::Meters;
use crate::runtime::batched::Batched;
use crate::runtime::task;
use crate::services::queue::{JobQueue, Message};
use crate::services::retry::Retry;
use crate::services::store::{Condition, ObjectStore, Writing};
use crate::stages::receive::group::{Finish, InOrder};
use crate::stages::records::{Jobs, Records};
use crate::stages::upload::orphans::Leftovers;
use crate::stages::{
    Delivery, Finished, IfExists, Intake, Outputs, Receive, Settled, Settling, Source, Target, Transfer, download,
    process, receive, upload,
};
use crate::stop::cancel::Cut;
use crate::stop::circuit::Circuit;
use crate::stop::refusal::{Judge, Readable};
use crate::stop::shutdown::Shutdown;

/// How long a finished message waits for nine others. Short beside any visibility timeout, long beside the time in
/// which a busy worker finishes ten jobs.
pub const LINGER: Duration = Duration::from_millis(100);

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

/// What all parts of a pipeline use together.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What counts.
    pub meters: Arc<Meters>,
    /// What stops the run when every further job would fail.
    pub circuit: Arc<Circuit>,
    /// What stops the run from outside.
    pub shutdown: Shutdown,
    /// How patient the pipeline is with a queue that fails, and with uploads that must be aborted.
    pub retry: Retry,
}

impl Shared {
    /// The shared parts of a run that `shutdown` stops. The circuit stops the run by the same shutdown.
    pub fn new(meters: Arc<Meters>, shutdown: Shutdown, retry: Retry) -> Self {
        Self { meters, circuit: Arc::new(Circuit::new(shutdown.clone())), shutdown, retry }
    }
}

/// What [`Pipeline::assemble`] makes a pipeline of.
#[derive(Debug)]
pub struct Parts {
    /// What all parts use together.
    pub shared: Shared,
    /// Where messages come from.
    pub queue: Arc<dyn JobQueue>,
    /// Where rejected messages go, if there is such a place.
    pub dead_letters: Option<Arc<dyn JobQueue>>,
    /// The receive after which a failing message is rejected.
    pub max_receives: Option<u32>,
    /// What keeps messages ours.
    pub leases: Arc<Leases>,
    /// Where objects come from and go to.
    pub store: Arc<dyn ObjectStore>,
    /// Jobs in flight, unless a tuner says how many.
    pub concurrency: usize,
    /// What moves the limits, if anything does.
    pub tuner: Option<Tuner>,
    /// Processors that may run at once.
    pub processors: usize,
    /// Bytes of objects that all jobs together may hold.
    pub memory: u64,
    /// What is done to each job. With a tuner, its lanes of reads and writes are the tuner's.
    pub plan: Plan,
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
    /// Joins the parts.
    pub fn assemble(parts: Parts) -> Self {
        let Parts { shared, queue, store, tuner, mut plan, .. } = parts;
        let Shared { meters, circuit, shutdown, retry } = shared;
        let slots = tuner.as_ref().map_or_else(|| Limit::fixed(parts.concurrency), |tuner| Arc::clone(tuner.jobs()));
        if let Some(tuner) = &tuner {
            (plan.transfer.reads, plan.transfer.writes) = (tuner.reads(), tuner.writes());
        }
        let settling = Settling {
            queue: Arc::clone(&queue),
            dead_letters: parts.dead_letters,
            max_receives: parts.max_receives,
            retry,
            circuit: Arc::clone(&circuit),
            meters: Arc::clone(&meters),
        };
        let leftovers = Arc::new(Leftovers::new(Arc::clone(&store), retry, Arc::clone(&meters)));
        let intake = Intake {
            queue,
            leases: parts.leases,
            budget: Budget::new(parts.memory, plan.transfer.part),
            slots,
            shutdown,
            circuit,
            meters,
            retry,
            filling: Arc::default(),
            // A message that is given back untried has one receive more on its count: too many if one is the limit.
            ahead: parts.max_receives != Some(1),
        };
        Self {
            intake,
            settling,
            leftovers,
            store,
            readable: Arc::default(),
            processors: Arc::new(Semaphore::new(parts.processors)),
            plan: Arc::new(plan),
            tuner,
        }
    }

    /// Runs until `how` or the shutdown says to stop and every message taken has been settled.
    pub async fn run(&self, how: Receive) -> Settled {
        self.run_with(how, self.clone()).await
    }

    /// Runs as [`run`](Self::run) does, with `jobs` to do what a message asks for: models bring jobs of their own.
    pub(crate) async fn run_with<J: Finish + Clone + Send + 'static>(&self, how: Receive, jobs: J) -> Settled {
        let slots = self.intake.slots.ceiling();
        let _tuning = self.tuner.clone().map(|tuner| task::spawn(tuner.run()));
        let finished = receive(self.intake.clone(), how)
            .map(|delivery| task::spawn(self.clone().deliver(delivery, jobs.clone())))
            .buffer_unordered(slots)
            .filter_map(|joined| async { joined.ok() })
            .flat_map(stream::iter);
        let flow = acknowledged(finished, &self.settling, self.plan.linger, slots);
        let settled = self.leftovers.while_running(flow).await;
        // All is settled. A queue that can't be told finds out.
        drop(self.intake.queue.done().await);
        settled
    }

    /// One delivery: its message, and those of its group behind it. What is still to be settled is returned.
    async fn deliver<J: Finish>(self, delivery: Delivery, jobs: J) -> Vec<Finished> {
        InOrder { settling: &self.settling, shutdown: &self.intake.shutdown, jobs: &jobs }.work(delivery).await
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

/// The end of the flow between jobs: batches of finished messages, each settled while the next fills.
pub(crate) async fn acknowledged(
    finished: impl Stream<Item = Finished>,
    settling: &Settling,
    linger: Duration,
    at_once: usize,
) -> Settled {
    finished
        .batched(settling.max_batch(), linger)
        .map(|batch| settling.acknowledge(batch))
        .buffer_unordered(at_once)
        .fold(Settled::default(), |sum, settled| async move { sum + settled })
        .await
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
