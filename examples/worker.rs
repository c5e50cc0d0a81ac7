//! A worker with a closure, on a queue in a file and on objects in a directory: nothing of AWS is needed.
//!
//! ```sh
//! cargo run --example worker
//! ```

use std::error::Error;
use std::io::{BufRead, Write};

use batchpipe::queue::{self, Outgoing};
use batchpipe::{End, Job, ProcessError, Worker};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().canonicalize()?.display().to_string();

    // Somebody else fills the queue: S3 events, `batchpipe submit`, or a program like this.
    let queue = format!("sqlite:{place}/jobs.db");
    let jobs = queue::open(&queue, &Default::default()).await?;
    for name in ["apple", "pear"] {
        std::fs::write(format!("{place}/{name}.txt"), format!("one {name}\ntwo {name}s\n"))?;
        jobs.send(&[Outgoing::new(format!(r#"{{"input":"file://{place}/{name}.txt"}}"#))]).await?;
    }

    let shout = |_job: &Job, input: &mut dyn BufRead, output: &mut dyn Write| -> Result<(), ProcessError> {
        for line in input.lines() {
            writeln!(output, "{}!", line?.to_uppercase())?;
        }
        Ok(())
    };
    let worker = Worker::builder(&*queue)
        .process(shout)
        .allow(format!("file://{place}/"))
        .input_prefix(format!("{place}/"))
        .output(format!("file://{place}/loud/"))
        .until_empty()
        .build()
        .await?;
    let summary = worker.run().await?;

    println!("{} done", summary.done);
    assert_eq!((summary.done, summary.end), (2, End::Empty));
    assert_eq!(std::fs::read_to_string(format!("{place}/loud/pear.txt"))?, "ONE PEAR!\nTWO PEARS!\n");
    Ok(())
}
