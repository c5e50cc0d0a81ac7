//! The search for keys at start, so that a run without any ends at once and not at its first call.
//!
//! Bounded by a time, because some sources of keys are services that may not answer.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;

use super::{AwsSettings, classify, explain, profile};
use crate::error::UserError;

/// How long the search for credentials may take at start: the instance role's service alone is tried for
/// seconds where there is none, and a sign-on server may be far.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause before a role's service that failed is asked once more at start. The SDK has asked it some times by then, all
/// within some seconds: a machine that has just booted may need longer.
const CREDENTIALS_PAUSE: Duration = Duration::from_secs(1);

/// Finds keys, and says where they came from.
pub(super) async fn find_credentials(config: &SdkConfig, settings: &AwsSettings) -> Result<String, UserError> {
    let Some(provider) = config.credentials_provider() else {
        return Err(explain::no_credentials(settings, None));
    };
    let mut passing = None;
    let search = async {
        loop {
            match provider.provide_credentials().await {
                Err(error) if classify::is_passing(&error) => passing = Some(error),
                settled => return settled,
            }
            tokio::time::sleep(CREDENTIALS_PAUSE).await;
        }
    };
    match tokio::time::timeout(CREDENTIALS_TIMEOUT, search).await {
        Ok(Ok(found)) => Ok(profile::source(settings, &found)),
        Ok(Err(error)) => Err(explain::no_credentials(settings, Some(&error))),
        Err(_elapsed) if passing.is_some() => Err(explain::no_credentials(settings, passing.as_ref())),
        Err(_elapsed) => {
            let mut error = explain::no_credentials(settings, None);
            error.cause = format!("nothing answered within {} s", CREDENTIALS_TIMEOUT.as_secs());
            Err(error)
        }
    }
}
