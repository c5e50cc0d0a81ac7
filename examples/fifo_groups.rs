//! FIFO groups: the jobs of one customer are worked one after the other, those of different customers at the same time.
//!
//! ```sh
//! cargo run --example fifo_groups
//! ```

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};

use batchpipe::queue::JobQueue;
use batchpipe::queue::Outgoing;
use batchpipe::testing::{MemoryQueue, MemoryStore};
use batchpipe::{Event, Job, Location, ProcessError, Worker};

/// Notes what it works on. The first attempt at each second version fails: the third version has to wait for it.
fn apply(job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
    if job.key().ends_with('2') && job.attempt == 1 {
        return Err(ProcessError::retry_after("not now", std::time::Duration::ZERO));
    }
    std::io::copy(input, output)?;
    Ok(())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // SQS tells a FIFO queue by the end of its name, and so does batchpipe.
    let (jobs, store) = (Arc::new(MemoryQueue::new("jobs.fifo")), Arc::new(MemoryStore::new()));
    for version in 1..=3 {
        for customer in ["acme", "globex"] {
            let key = format!("{customer}/v{version}");
            store.insert(Location::s3("versions", key.clone()), key.clone());
            // All versions have one output: the last one must win.
            let body = format!(r#"{{"input":"s3://versions/{key}","output":"s3://latest/{customer}"}}"#);
            jobs.send(&[Outgoing::new(body).in_group(customer).with_deduplication(key)]).await?;
        }
    }

    let finished = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&finished);
    let worker =
        Worker::builder(jobs).store(Arc::clone(&store) as _).process(apply).until_empty().on_event(move |event| {
            if let Event::Finished { job, .. } = event {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(job.input.clone().unwrap_or_default());
            }
        });
    let summary = worker.build().await?.run().await?;

    assert_eq!(summary.done, 6);
    let finished = finished.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for customer in ["acme", "globex"] {
        let in_order: Vec<&String> = finished.iter().filter(|input| input.contains(customer)).collect();
        println!("{in_order:?}");
        assert!(in_order.is_sorted() && in_order.len() == 3);
        let output = store.contents(&Location::s3("latest", customer)).ok_or("no output")?;
        assert_eq!(output, format!("{customer}/v3"));
    }
    Ok(())
}
