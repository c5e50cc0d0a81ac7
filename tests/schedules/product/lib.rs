//! batchpipe's own files, compiled with the locks and tasks of [shuttle](https://docs.rs/shuttle), which decides who goes on.
//!
//! Each file is the one that ships. Only two modules are others: `sync`, whose locks and counters are points at which any
//! task may go on, and `task`, which spawns on shuttle's scheduler. What the files need besides is batchpipe's own and shares
//! nothing that matters between tasks.
//!
//! tokio's channels, semaphores and notifies stay tokio's: they know nothing of a runtime, and each of their operations is one
//! step here. That they are right inside is tokio's own to show, and it does (it explores them with loom).

#![allow(dead_code, reason = "whether something is used is judged where the files belong")]

pub use batchpipe::{
    circuit, crash, error, job, leftovers, letter, link, meter, origin, pipeline, queue, retry, shutdown, store,
};

#[path = "../../../src/stages/acknowledge.rs"]
pub mod acknowledge;
#[path = "../../../src/budget/mod.rs"]
pub mod budget;
#[path = "../../../src/cut.rs"]
pub mod cut;
#[path = "../../../src/stages/download.rs"]
pub mod download;
#[path = "../../../src/lease.rs"]
pub mod lease;
#[path = "../../../src/limit.rs"]
pub mod limit;
#[path = "../../../src/stages/upload.rs"]
pub mod upload;

/// In the place of batchpipe's: the same names, from the scheduler.
mod sync {
    pub(crate) use shuttle::sync::atomic::AtomicUsize;
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}

/// In the place of batchpipe's: work that is spawned on the scheduler, and ends with its owner.
mod task {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    pub(crate) use shuttle::future::{JoinError, JoinHandle};

    #[derive(Debug)]
    pub(crate) struct Task<T>(JoinHandle<T>);

    pub(crate) fn spawn<F>(future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(shuttle::future::spawn(future))
    }

    impl<T> Future for Task<T> {
        type Output = Result<T, JoinError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            Pin::new(&mut self.0).poll(cx)
        }
    }

    impl<T> Drop for Task<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
}

/// In the place of batchpipe's, for the keeper of the leases: nobody looks at its heart here.
mod watchdog {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    pub(crate) async fn beat(_beats: Arc<AtomicU64>) {
        std::future::pending::<()>().await;
    }
}
