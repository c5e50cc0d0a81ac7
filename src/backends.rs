//! Opens the queue and the stores that a URI names: the one place that knows which backends there are.

use std::sync::Arc;

use crate::error::UserError;
use crate::queue::JobQueue;
use crate::store::ObjectStore;

/// How to reach AWS, as far as the operator said; the rest is the SDK's default chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// `--profile`.
    pub profile: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `--endpoint-url`: an S3- and SQS-compatible server; paths instead of host names name buckets there.
    pub endpoint_url: Option<String>,
}

/// Opens `sqlite:PATH`, or an SQS queue by name, ARN or URL.
pub async fn open_queue(_queue: &str, _aws: &AwsSettings) -> Result<Arc<dyn JobQueue>, UserError> {
    Err(UserError::usage(103, "no backend", "", ""))
}

/// Opens the store that every location is read from and written to, `s3:` and `file:` alike. Local files
/// are reached only under `roots`; S3 is connected to when it is first used.
pub fn open_store(_aws: &AwsSettings, _roots: &[std::path::PathBuf]) -> Result<Arc<dyn ObjectStore>, UserError> {
    Err(UserError::usage(103, "no backend", "", ""))
}
