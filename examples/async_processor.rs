//! An async processor: for each object it waits for another service, and streams the bytes through meanwhile.
//!
//! ```sh
//! cargo run --example async_processor
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use batchpipe::testing::{MemoryQueue, MemoryStore};
use batchpipe::{AsyncInput, AsyncOutput, AsyncProcessor, Job, Location, ProcessError, Worker};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// Puts the name of the customer before each line.
struct Enrich;

/// Stands for a call of another service.
async fn customer_of(key: &str) -> Result<String, ProcessError> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    match key.strip_suffix(".csv") {
        Some(number) => Ok(format!("customer {number}")),
        // The message goes to the dead letters, with this reason.
        None => Err(ProcessError::reject("only .csv files have a customer")),
    }
}

impl AsyncProcessor for Enrich {
    async fn process(&self, job: &Job, input: &mut AsyncInput, output: &mut AsyncOutput) -> Result<(), ProcessError> {
        let customer = customer_of(job.key()).await?;
        let mut line = String::new();
        while input.read_line(&mut line).await? > 0 {
            output.write_all(format!("{customer},{line}").as_bytes()).await?;
            line.clear();
        }
        Ok(())
    }

    // With a name, `IfExists::Skip` recognises outputs that this version of the processor has made.
    fn id(&self) -> Option<String> {
        Some("enrich:v1".to_owned())
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let (jobs, store) = (Arc::new(MemoryQueue::new("jobs")), Arc::new(MemoryStore::new()));
    for key in ["7.csv", "8.csv", "notes.txt"] {
        store.insert(Location::s3("acme-in", key), "10\n20\n");
        jobs.push(format!(r#"{{"input":"s3://acme-in/{key}"}}"#));
    }
    let dead = Arc::new(MemoryQueue::new("dead"));
    let worker = Worker::builder(jobs).store(Arc::clone(&store) as _).dead_letters(dead).output("s3://acme-out/");
    let summary = worker.process_async(Enrich).until_empty().build().await?.run().await?;

    println!("{} done, {} rejected", summary.done, summary.rejected);
    assert_eq!((summary.done, summary.rejected), (2, 1));
    let output = store.contents(&Location::s3("acme-out", "7.csv")).ok_or("no output")?;
    assert_eq!(output, "customer 7,10\ncustomer 7,20\n");
    Ok(())
}
