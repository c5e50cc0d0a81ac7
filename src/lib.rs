//! Turns a function of yours into a fleet of workers that process S3 objects from an SQS queue, and never lose a job.
//!
//! A message names an input object. The worker streams the object through your [`Processor`], uploads the output, and
//! only then deletes the message. Delivery is at least once: a job that runs twice writes the same bytes to the same
//! key. An output is complete or absent.
//!
//! ```text
//!             ┌──────────────── one job, streaming, × concurrency ────────────────┐
//! receive ───▶│ download ───────▶ process ───────▶ upload                         │───▶ delete
//! ≤ 10 a call │ ranged GETs       your code        one PUT, or parts              │     after the output
//!             └──────────── bytes in memory ≤ the budget ─────────────────────────┘
//! ```
//!
//! Each task below has a short program; the folder
//! [`examples/`](https://github.com/batchpipe/batchpipe/tree/main/examples) has longer ones. All of them run without
//! AWS.
//!
//! # Process objects with a function
//!
//! A closure or a function that reads and writes is a [`Processor`]. It runs on a thread of its own and may use as much
//! CPU as it likes.
//! [`build`](WorkerBuilder::build) tells every mistake in the settings as a [`UserError`] with a number, a cause and
//! help.
//!
//! ```no_run
//! # use std::io::{self, BufRead, Write};
//! use batchpipe::{Job, ProcessError, Worker};
//!
//! fn numbered(_job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
//!     for (number, line) in input.lines().enumerate() {
//!         writeln!(output, "{number}\t{}", line?)?;
//!     }
//!     Ok(())
//! }
//!
//! # async fn run() -> Result<(), batchpipe::UserError> {
//! let worker = Worker::builder("jobs").process(numbered).output("s3://acme-out/numbered/").until_empty();
//! let worker = worker.build().await?;
//! let summary = worker.run().await?;
//! println!("{} done, {} rejected", summary.done, summary.rejected);
//! # Ok(())
//! # }
//! ```
//!
//! # Say what a failure means
//!
//! [`ProcessError::reject`] sends the message to the dead-letter queue with your reason; [`ProcessError::retry`] gives
//! it back to the queue. An [`io::Error`](std::io::Error) of kind `InvalidData` or `UnexpectedEof` rejects, any other
//! is tried again, so `?` does the right thing.
//!
//! ```
//! use batchpipe::{Job, ProcessError};
//!
//! fn check(job: &Job, header: &str) -> Result<(), ProcessError> {
//!     if !header.starts_with("id,") {
//!         return Err(ProcessError::reject("the first column is not id"));
//!     }
//!     if job.attempt < 3 && header.contains("pending") {
//!         return Err(ProcessError::retry("the export is not complete yet"));
//!     }
//!     Ok(())
//! }
//! # let (input, output) = (batchpipe::Location::s3("in", "a"), batchpipe::Location::s3("out", "a"));
//! # assert!(check(&Job::new("1", input, output), "id,name").is_ok());
//! ```
//!
//! # Wait for another service
//!
//! An [`AsyncProcessor`] runs on the runtime. Use one for work that waits more than it computes.
//!
//! ```
//! use batchpipe::{AsyncInput, AsyncOutput, AsyncProcessor, Job, ProcessError};
//! use tokio::io::AsyncWriteExt;
//!
//! struct Enrich;
//!
//! impl AsyncProcessor for Enrich {
//!     async fn process(
//!         &self,
//!         job: &Job,
//!         input: &mut AsyncInput,
//!         output: &mut AsyncOutput,
//!     ) -> Result<(), ProcessError> {
//!         output.write_all(job.key().as_bytes()).await?;
//!         while let Some(chunk) = input.next_chunk().await? {
//!             output.send_chunk(chunk).await?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn worker() -> batchpipe::WorkerBuilder {
//! batchpipe::Worker::builder("jobs").process_async(Enrich).output("s3://acme-out/")
//! # }
//! ```
//!
//! # Compress, or run a program
//!
//! ```
//! # use batchpipe::Worker;
//! # fn worker() {
//! let compress = Worker::builder("jobs").steps("decompress,zstd:9").output("s3://acme-out/zst/");
//! let resize = ["convert", "-", "-resize", "800x", "-"];
//! let convert = Worker::builder("jobs").program(resize).output("s3://acme-out/small/");
//! # drop((compress, convert));
//! # }
//! ```
//!
//! # Test a processor
//!
//! [`testing::run_one`] runs a processor on bytes in memory, through the real pipeline.
//!
//! ```
//! use batchpipe::testing::{Outcome, run_one};
//! # use batchpipe::{Job, ProcessError};
//! # use std::io::{self, BufRead, Write};
//!
//! fn copy(_: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
//!     io::copy(input, output)?;
//!     Ok(())
//! }
//!
//! let report = run_one(copy, "some bytes");
//! assert_eq!((report.outcome, report.output.as_deref()), (Outcome::Done, Some(&b"some bytes"[..])));
//! ```
//!
//! # Use a queue and a store of your own
//!
//! Implement [`queue::JobQueue`] or [`store::ObjectStore`], or take those of [`testing`].
//!
//! ```
//! use std::sync::Arc;
//! use batchpipe::testing::{MemoryQueue, MemoryStore};
//! use batchpipe::{Location, Worker};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), batchpipe::UserError> {
//! let (jobs, store) = (Arc::new(MemoryQueue::new("jobs")), Arc::new(MemoryStore::new()));
//! store.insert(Location::s3("acme-in", "a"), "a");
//! jobs.push(r#"{"input":"s3://acme-in/a","output":"s3://acme-out/a"}"#);
//!
//! let worker = Worker::builder(jobs).store(store.clone()).steps("copy").until_empty().build().await?;
//! assert_eq!(worker.run().await?.done, 1);
//! assert_eq!(store.contents(&Location::s3("acme-out", "a")).as_deref(), Some(&b"a"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Hear of each job, measure, stop
//!
//! Metrics go to the recorder that the process has installed with the [`metrics`] crate, or to the worker's own
//! ([`recorder`](WorkerBuilder::recorder)); `docs/metrics.md` lists them.
//!
//! ```no_run
//! use batchpipe::{Event, Worker};
//!
//! # async fn run() -> Result<(), batchpipe::UserError> {
//! let worker = Worker::builder("jobs").steps("gzip").output("s3://acme-out/").on_event(|event| {
//!     if let Event::Rejected { job, failure, .. } = event {
//!         eprintln!("{:?} was rejected: {failure}", job.input);
//!     }
//! });
//! let worker = worker.build().await?;
//! let stop = worker.stop_handle();
//! tokio::spawn(async move {
//!     if tokio::signal::ctrl_c().await.is_ok() {
//!         stop.drain();
//!     }
//! });
//! worker.run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `cli` (default): the program. Leave it out of a library: `batchpipe = { version = "…", default-features = false
//!   }`.
//! - `local-queue` (default): queues in a file, `sqlite:PATH`; compiles SQLite.
//! - `jemalloc` (default): the allocator of the program. The library chooses none.
//!
//! `docs/library.md` has the number of crates of each choice.

#[doc(hidden)]
pub mod capacity;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod job;
#[doc(hidden)]
pub mod lease;
#[doc(hidden)]
pub mod link;
#[doc(hidden)]
pub mod observe;
#[doc(hidden)]
pub mod pipeline;
pub mod processor;
#[doc(hidden)]
pub mod record;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod services;
#[doc(hidden)]
pub mod stages;
#[doc(hidden)]
pub mod stop;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod submit;
pub mod testing;
#[doc(hidden)]
pub mod worker;

#[doc(inline)]
pub use error::{Code, Exit, Stage, UserError};
#[doc(inline)]
pub use job::{Job, Location};
#[doc(inline)]
pub use link::{AsyncInput, AsyncOutput};
pub use processor::{AsyncProcessor, ProcessError, Processor};
#[doc(inline)]
pub use record::{Event, JobFailure, JobRef};
#[doc(inline)]
pub use services::aws::AwsSettings;
#[doc(inline)]
pub use stages::IfExists;
#[doc(inline)]
pub use worker::{Concurrency, End, QueueSource, Scheme, StopHandle, Summary, Worker, WorkerBuilder};

/// Queues: the trait that a worker needs, and how to send jobs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let name = format!("sqlite:{}/jobs.db", folder.path().display());
/// # #[cfg(feature = "local-queue")] {
/// use batchpipe::queue::{self, Outgoing};
///
/// let jobs = queue::open(&name, &Default::default()).await?;
/// let job = Outgoing::new(r#"{"input":"s3://acme-in/a.csv","output":"s3://acme-out/a.csv"}"#);
/// jobs.send(&[job.clone(), job.in_group("customer 7")]).await?;
/// assert_eq!(jobs.counts().await?.visible, 2);
/// # }
/// # Ok(())
/// # }
/// ```
pub mod queue {
    #[doc(inline)]
    pub use crate::error::{ServiceError, ServiceErrorKind};
    #[doc(inline)]
    pub use crate::services::ServiceFuture;
    #[doc(inline)]
    pub use crate::services::open::open_queue as open;
    #[doc(inline)]
    pub use crate::services::queue::{
        Counts, JobQueue, MAX_ATTRIBUTES, MAX_MESSAGE, Message, Outcome, Outgoing, Policy, Receipt,
    };
}

/// Stores: the traits that a worker needs, and how to open the stores that batchpipe brings.
pub mod store {
    #[doc(inline)]
    pub use crate::error::{ServiceError, ServiceErrorKind};
    #[doc(inline)]
    pub use crate::services::ServiceFuture;
    #[doc(inline)]
    pub use crate::services::open::open_store as open;
    #[doc(inline)]
    pub use crate::services::store::{
        Condition, ObjectInfo, ObjectStore, Part, Reading, Unfinished, Upload, Version, Writer, Writing,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
