//! `map`: `submit` and `run` in one process, on a queue of its own.

use crate::config::MapConfig;
use crate::error::{Exit, UserError};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe map ./in ./out --process zstd
  batchpipe map ./in ./out -- convert {input} -resize 800x {output}
  batchpipe map s3://acme-logs/2026/ s3://acme-archive/2026/ --process decompress,zstd:19";

/// The arguments that are not settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory, a file or s3://bucket/prefix/
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// A directory or s3://bucket/prefix/
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// A program and its arguments: {input} and {output} become scratch files, else stdin and stdout are used
    #[arg(last = true, value_name = "PROGRAM [ARGS]", num_args = 1.., allow_hyphen_values = true)]
    pub program: Vec<String>,
}

/// Processes everything there is.
pub async fn run(config: MapConfig) -> Result<Exit, UserError> {
    let what = format!("no pipeline to fill {:?} with", config.dest);
    Err(UserError::usage(110, what, "this build has no pipeline", "use a released build").exit(Exit::Failed))
}
