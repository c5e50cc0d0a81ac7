//! `run`: works through the jobs of a queue.

use crate::config::RunConfig;
use crate::error::{Exit, UserError};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe run --queue jobs --output s3://acme-out/ --process zstd:9
  batchpipe run --queue jobs -- gzip -9                             object on stdin, result on stdout
  batchpipe run --queue jobs -- convert {input} -resize 800x {output}";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A program and its arguments: {input} and {output} become scratch files, else stdin and stdout are used
    #[arg(last = true, value_name = "PROGRAM [ARGS]", num_args = 1.., allow_hyphen_values = true)]
    pub program: Vec<String>,
}

/// Works through the queue until it is told to stop.
pub async fn run(config: RunConfig) -> Result<Exit, UserError> {
    let what = format!("no pipeline to work queue {:?} with", config.queue);
    Err(UserError::usage(110, what, "this build has no pipeline", "use a released build").exit(Exit::Failed))
}
