//! Metrics in a recorder of one's own, and a handle that stops the worker.
//!
//! ```sh
//! cargo run --example own_metrics
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use batchpipe::testing::{MemoryQueue, MemoryStore};
use batchpipe::{End, Event, Location, Worker};
use metrics_exporter_prometheus::PrometheusBuilder;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let (jobs, store) = (Arc::new(MemoryQueue::new("jobs")), Arc::new(MemoryStore::new()));
    for number in 0..5 {
        store.insert(Location::s3("acme-in", format!("{number}")), "some bytes");
        jobs.push(format!(r#"{{"input":"s3://acme-in/{number}","output":"s3://acme-out/{number}"}}"#));
    }

    // Any recorder of the `metrics` crate will do. Without `.recorder()` metrics go to the one that the process has
    // installed.
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();

    // A worker without `.until_empty()` runs until somebody stops it: here, when the fifth job is done.
    let (told, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let worker = Worker::builder(jobs).store(store).steps("gzip").recorder(Arc::new(recorder)).on_event(move |event| {
        if let Event::Finished { job, .. } = event {
            // Nobody listens any more after the fifth.
            let _gone = told.send(job.input.clone());
        }
    });
    // A worker that stops waits for the receive that is under way.
    let worker = worker.wait_time(Duration::from_secs(1)).build().await?;
    let stop = worker.stop_handle();
    let running = tokio::spawn(worker.run());
    for _ in 0..5 {
        finished.recv().await.ok_or("the worker ended too early")?;
    }
    stop.drain();
    let summary = running.await??;

    assert_eq!((summary.done, summary.end), (5, End::Stopped));
    let page = page.render();
    let line =
        page.lines().find(|line| line.starts_with(r#"batchpipe_jobs_total{outcome="ok"}"#)).ok_or(page.clone())?;
    println!("{line}");
    assert!(line.ends_with(" 5"));
    Ok(())
}
