//! A run of a rig, and the checks for every run.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Rig;
use crate::capacity::budget::Budget;
use crate::capacity::limit::Limit;
use crate::capacity::tuner::Tuner;
use crate::error::Stage;
use crate::lease::{LONGEST, Leases};
use crate::observe::{About, Sources};
use crate::pipeline::{Parts, Pipeline, Plan, Shared};
use crate::processor::Work;
use crate::record::Ended;
use crate::services::queue::JobQueue;
use crate::services::store::ObjectStore;
use crate::stages::{Intake, Settled};
use crate::stop::circuit::Circuit;
use crate::testing::faulty::{Faulty, FaultyQueue};
use crate::testing::log::Operation;

/// A run in progress.
#[derive(Debug)]
pub struct Running {
    /// The bytes in flight.
    pub budget: Arc<Budget>,
    /// The jobs' slots.
    pub slots: Arc<Limit>,
    /// The circuit, which knows why the run stopped by itself, if it did.
    pub circuit: Arc<Circuit>,
    /// The leases.
    pub leases: Arc<Leases>,
    /// The tuner of the limits, if there is one.
    pub tuner: Option<Tuner>,
    /// The sources of the displays, without CPU figures.
    pub sources: Sources,
    rig: Rig,
    task: tokio::task::JoinHandle<Settled>,
}

impl Rig {
    /// Runs to the end and checks what must hold of every run.
    ///
    /// # Panics
    ///
    /// If it doesn't hold, or the run hangs.
    pub async fn run(&self, work: Work) -> Settled {
        self.start(work).end().await
    }

    /// Begins a run.
    ///
    /// # Panics
    ///
    /// If the machine has no thread left for it.
    pub fn start(&self, work: Work) -> Running {
        let kept = self.faulty_queue(Arc::clone(&self.queue) as Arc<dyn JobQueue>);
        let dead = self.faulty_queue(Arc::clone(&self.dead_letters) as Arc<dyn JobQueue>);
        let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(Arc::new(self.store.clone()), self.faults.clone()));
        let store = self.simulated.as_ref().map_or_else(|| Arc::clone(&store), |wire| wire.store(Arc::clone(&store)));
        let meters = || Arc::clone(&self.meters);
        let tuner = (self.most > self.concurrency)
            .then(|| Tuner::new(self.concurrency, self.most, self.processors, || None, meters()));
        let leases = match self.simulated {
            Some(_) => Leases::here(kept, self.visibility, LONGEST, meters()),
            None => Leases::new(kept, self.visibility, meters()).expect("a thread for the leases"),
        };
        let pipeline = Pipeline::assemble(Parts {
            shared: Shared::new(meters(), self.shutdown.clone(), self.transfer.retry),
            queue: self.faulty_queue(self.queue.with_longest_back_off(self.longest_back_off)),
            dead_letters: self.has_dead_letters.then_some(dead),
            max_receives: self.max_receives,
            leases,
            store,
            concurrency: self.concurrency,
            tuner,
            processors: self.processors,
            memory: self.memory,
            plan: Plan {
                rules: self.rules.clone(),
                work,
                transfer: self.transfer.clone(),
                if_exists: self.if_exists,
                job_timeout: self.job_timeout,
                linger: Duration::from_millis(20),
            },
        });
        let how = self.receive;
        let mut sources = Sources::of(&pipeline, how, About { command: "run", ..About::default() });
        sources.cpu = Arc::new(|| None);
        let (tuner, Intake { budget, slots, circuit, leases, .. }) = (pipeline.tuner.clone(), pipeline.intake.clone());
        let task = tokio::spawn(async move { pipeline.run(how).await });
        Running { budget, slots, circuit, leases, tuner, sources, rig: self.clone(), task }
    }

    fn faulty_queue(&self, queue: Arc<dyn JobQueue>) -> Arc<dyn JobQueue> {
        let faulty = FaultyQueue::new(queue, self.faults.clone()).on_disk(self.disk);
        match &self.simulated {
            Some(wire) => wire.queue(Arc::new(faulty)),
            None => Arc::new(faulty),
        }
    }

    /// Checks that every received message counts as ended in exactly one way, and that nothing counts as in progress.
    fn check_counts(&self) {
        let received = self.meters.jobs_received.load(Relaxed);
        let ended: u64 = Ended::ALL.iter().map(|how| self.meters.jobs(*how)).sum();
        assert_eq!(received, ended, "messages taken, and ended in one way or another");
        assert_eq!(self.meters.multipart_open.load(Relaxed), 0, "uploads counted as open");
        assert_eq!(self.meters.ahead.load(Relaxed), 0, "messages counted as ahead");
        for stage in Stage::ALL {
            assert_eq!(self.meters.stage(stage).in_progress(), 0, "at work in {}", stage.as_str());
        }
    }

    /// Checks that no message was deleted before its outputs were complete, or it was moved to the dead letters.
    ///
    /// # Panics
    ///
    /// If one was.
    pub fn check_order(&self) {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut complete, mut moved) = (HashSet::new(), HashSet::new());
        for operation in self.log.operations() {
            match operation {
                Operation::Put { at } | Operation::Complete { at } => {
                    complete.insert(at);
                }
                Operation::Send { letters, .. } => moved.extend(letters),
                Operation::Delete { ids } => {
                    for id in ids {
                        let whole = outputs.get(&id).is_none_or(|all| all.iter().all(|at| complete.contains(at)));
                        assert!(whole || moved.contains(&id), "{id} was deleted before its output was complete");
                    }
                }
                _ => {}
            }
        }
    }
}

impl Running {
    /// Waits for the end and checks what must hold of every run.
    ///
    /// # Panics
    ///
    /// If it doesn't hold, or the run hangs.
    pub async fn end(mut self) -> Settled {
        let ended = tokio::time::timeout(self.rig.patience, &mut self.task).await.expect("the run ends");
        let settled = ended.expect("the run does not panic");
        self.check().await;
        self.rig.check_counts();
        settled
    }

    /// Waits for the end as [`end`](Self::end) does, or kills the run when `dies` resolves: only calls already on their
    /// way to the services continue. `None` if it was killed.
    ///
    /// # Panics
    ///
    /// As [`end`](Self::end) does.
    pub async fn end_or_die(mut self, dies: impl Future<Output = ()>) -> Option<Settled> {
        tokio::select! {
            biased;
            ended = tokio::time::timeout(self.rig.patience, &mut self.task) => {
                let settled = ended.expect("the run ends").expect("the run does not panic");
                self.check().await;
                self.rig.check_counts();
                return Some(settled);
            }
            () = dies => {}
        }
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "the run is killed in the middle");
        None
    }

    async fn check(&self) {
        let Self { budget, slots, rig, .. } = self;
        rig.check_order();
        // Cancelled work on a blocking thread ends a moment later.
        for _ in 0..200 {
            let at_work = Stage::ALL.iter().any(|stage| rig.meters.stage(*stage).in_progress() > 0);
            if budget.reserved() == 0 && slots.in_use() == 0 && !at_work {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(budget.reserved(), 0, "bytes of memory not given back");
        assert_eq!(slots.in_use(), 0, "slots given back");
        let open = rig.store.uploads();
        assert!(open == 0 || rig.may_leave_uploads, "{open} uploads were left open");
    }
}
