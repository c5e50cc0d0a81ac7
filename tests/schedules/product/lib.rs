//! batchpipe's own files, compiled with the locks and tasks of [shuttle](https://docs.rs/shuttle), which decides who
//! goes on.
//!
//! Each file is the one that ships. Others are `sync`, whose locks and counters are points at which any task may go on;
//! `task`, which spawns on shuttle's scheduler; and what leads to threads and processes (`processor`) or is the model's
//! to decide (`pipeline`). What the files need besides is batchpipe's own and shares nothing that matters between
//! tasks.
//!
//! tokio's channels, semaphores and notifies stay tokio's: they know nothing of a runtime, and each of their operations
//! is one step here. That they are right inside is tokio's own to show, and it does (it explores them with loom).

#![allow(dead_code, reason = "whether something is used is judged where the files belong")]

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};

pub use batchpipe::{error, job, link, record, services};

use runtime::batched::Batched;

pub mod capacity;
#[path = "../../../src/lease/mod.rs"]
pub mod lease;
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

/// The end of the pipeline, put together as `Pipeline::run` does it.
pub async fn acknowledged(
    finished: impl Stream<Item = stages::Finished>,
    settling: &stages::Settling,
    linger: Duration,
    at_once: usize,
) -> stages::Settled {
    finished
        .batched(settling.max_batch(), linger)
        .map(|batch| settling.acknowledge(batch))
        .buffer_unordered(at_once)
        .fold(stages::Settled::default(), |sum, settled| async move { sum + settled })
        .await
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
