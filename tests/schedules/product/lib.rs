//! batchpipe's own files, compiled with the locks and tasks of [shuttle](https://docs.rs/shuttle), which decides who
//! goes on.
//!
//! Each file is the one that ships. Others are `sync`, whose locks and counters are points at which any task may go on;
//! `task`, which spawns on shuttle's scheduler; and what leads to threads and processes (`processor`, the tuner). The
//! flow is the one that ships, too (`src/pipeline.rs`); a model may bring jobs of its own ([`run_jobs`]). What the
//! files need besides is batchpipe's own and shares nothing that matters between tasks.
//!
//! tokio's channels, semaphores and notifies stay tokio's: they know nothing of a runtime, and each of their operations
//! is one step here. That they are right inside is tokio's own to show, and it does (it explores them with loom).

#![allow(dead_code, reason = "whether something is used is judged where the files belong")]

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;

pub use batchpipe::{error, job, link, record, services};

use capacity::budget::Room;
use pipeline::Pipeline;
use stages::receive::group::Finish;

pub mod capacity;
#[path = "../../../src/lease/mod.rs"]
pub mod lease;
#[path = "../../../src/pipeline.rs"]
pub mod pipeline;
pub mod processor;
pub mod runtime;
pub mod stages;
pub mod stop;

/// Leases whose keeper is a task of the scheduler.
pub fn kept(
    queue: Arc<dyn services::queue::JobQueue>,
    visibility: Duration,
    longest: Duration,
    meters: Arc<record::Meters>,
) -> Arc<lease::Leases> {
    let (leases, keeping) = lease::Leases::kept(queue, visibility, longest, meters);
    // Not awaited: it ends when the leases are gone, and a schedule ends when all its tasks have.
    drop(shuttle::future::spawn(busy::Watched::new(keeping)));
    leases
}

/// Leases that nobody keeps, for a model that leases nothing.
pub fn unkept(queue: Arc<dyn services::queue::JobQueue>, meters: Arc<record::Meters>) -> Arc<lease::Leases> {
    lease::Leases::kept(queue, Duration::from_secs(1), Duration::from_secs(1), meters).0
}

/// The end of the flow between jobs.
pub async fn acknowledged(
    finished: impl Stream<Item = stages::Finished>,
    settling: &stages::Settling,
    linger: Duration,
    at_once: usize,
) -> stages::Settled {
    pipeline::acknowledged(finished, settling, linger, at_once).await
}

/// What a model does for a message, in the place of the jobs that it asks for.
pub trait Jobs: Send + Sync {
    fn finish<'a>(
        &'a self,
        message: services::queue::Message,
        lease: lease::Lease,
        room: &'a Room,
    ) -> BoxFuture<'a, stages::Finished>;
}

#[derive(Clone)]
struct OfModel(Arc<dyn Jobs>);

impl Finish for OfModel {
    async fn finish(
        &self,
        message: services::queue::Message,
        lease: lease::Lease,
        room: &Room,
    ) -> stages::Finished {
        self.0.finish(message, lease, room).await
    }
}

/// Runs the pipeline with jobs of a model.
pub async fn run_jobs(pipeline: &Pipeline, how: stages::Receive, jobs: Arc<dyn Jobs>) -> stages::Settled {
    pipeline.run_with(how, OfModel(jobs)).await
}

/// Moves the bytes of one job as the pipeline does.
pub async fn transfer(
    pipeline: &Pipeline,
    job: &job::Job,
    room: &Room,
    cut: &stop::cancel::Cut<'_>,
) -> Result<(), error::JobError> {
    pipeline.transfer(job, services::store::Condition::Always, room, cut).await
}

/// In the place of batchpipe's: the same names, from the scheduler.
mod sync {
    pub(crate) use shuttle::sync::atomic::AtomicUsize;
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}

/// In the place of batchpipe's, and the same but for the scheduler: work that is spawned, and ends with its owner.
pub mod task {
    use std::fmt;
    use std::panic::{AssertUnwindSafe, resume_unwind};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::FutureExt;

    /// What a model unwinds a task with that is to panic. Any other panic is a failure of the model.
    #[derive(Debug)]
    pub struct Drawn;

    /// Why there is no result.
    #[derive(Debug)]
    pub(crate) struct JoinError(String);

    impl fmt::Display for JoinError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Task<T>(shuttle::future::JoinHandle<Result<T, Drawn>>);

    pub(crate) fn spawn<F>(future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let caught = async {
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            ended.map_err(|panic| panic.downcast::<Drawn>().map_or_else(|other| resume_unwind(other), |drawn| *drawn))
        };
        Task(shuttle::future::spawn(super::busy::Watched::new(caught)))
    }

    impl<T> Future for Task<T> {
        type Output = Result<T, JoinError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            Pin::new(&mut self.0).poll(cx).map(|ended| match ended {
                Ok(Ok(ended)) => Ok(ended),
                Ok(Err(Drawn)) => Err(JoinError("the model says so".to_owned())),
                Err(cancelled) => Err(JoinError(cancelled.to_string())),
            })
        }
    }

    impl<T> Drop for Task<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
}

/// Whether the files' own tasks have anything left to do, for whoever moves time.
pub mod busy {
    use std::cell::Cell;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Wake, Waker};

    thread_local! {
        /// A schedule runs on one thread.
        static BUSY: Cell<usize> = const { Cell::new(0) };
    }

    /// How many of the tasks could go on.
    pub fn tasks() -> usize {
        BUSY.get()
    }

    /// Counted for as long as it exists.
    struct Counted;

    impl Counted {
        fn new() -> Self {
            BUSY.set(BUSY.get() + 1);
            Self
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            BUSY.set(BUSY.get() - 1);
        }
    }

    /// A task that counts from when it is woken until it waits again.
    pub(crate) struct Watched<F> {
        future: Pin<Box<F>>,
        woken: Arc<Woken>,
    }

    #[derive(Default)]
    struct Woken {
        counts: AtomicBool,
        task: Mutex<Option<Waker>>,
    }

    impl Woken {
        fn set(&self, counts: bool) {
            match (self.counts.swap(counts, SeqCst), counts) {
                (false, true) => std::mem::forget(Counted::new()),
                (true, false) => drop(Counted),
                _ => {}
            }
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let task = self.task.lock().expect("nothing panics with it").clone();
            // Without a task it has not been polled yet, and counts already; or it has ended.
            if let Some(task) = task {
                self.set(true);
                task.wake();
            }
        }
    }

    impl<F> Watched<F> {
        pub(crate) fn new(future: F) -> Self {
            let woken = Arc::new(Woken::default());
            woken.set(true);
            Self { future: Box::pin(future), woken }
        }
    }

    impl<F: Future> Future for Watched<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let _going = Counted::new();
            *self.woken.task.lock().expect("nothing panics with it") = Some(cx.waker().clone());
            self.woken.set(false);
            let waker = Waker::from(Arc::clone(&self.woken));
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        }
    }

    impl<F> Drop for Watched<F> {
        fn drop(&mut self) {
            *self.woken.task.lock().expect("nothing panics with it") = None;
            self.woken.set(false);
        }
    }
}

/// In the place of batchpipe's, for the keeper of the leases: nobody looks at its heart here.
mod heartbeat {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    pub(crate) async fn beat(_beats: Arc<AtomicU64>) {
        std::future::pending::<()>().await;
    }
}
