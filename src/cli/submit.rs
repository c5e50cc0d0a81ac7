//! `submit`: uploads files and queues a job for each.

use crate::config::SubmitConfig;
use crate::error::{Exit, UserError};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe submit ./photos --input s3://acme-in/2026/ --output s3://acme-out/2026/ --queue jobs
  batchpipe submit s3://acme-in/2026/ --output s3://acme-out/2026/ --queue jobs     there already: nothing is uploaded
  find . -name '*.csv' | batchpipe submit - --input s3://acme-in/ --queue jobs --wait";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory, a file, - (names on stdin), @FILE (names in a file) or s3://bucket/prefix/
    #[arg(value_name = "SOURCE")]
    pub source: String,
}

/// Submits everything there is.
pub async fn run(config: SubmitConfig) -> Result<Exit, UserError> {
    let what = format!("no pipeline to fill queue {:?} with", config.queue);
    Err(UserError::usage(110, what, "this build has no pipeline", "use a released build").exit(Exit::Failed))
}
