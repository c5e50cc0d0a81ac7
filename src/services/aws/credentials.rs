//! Searches for keys at start, so that a run without keys ends at once and not at its first call.
//!
//! Bounded by a time limit, because some sources of keys are services that may not answer.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;

use super::{AwsSettings, classify, explain, profile};
use crate::error::UserError;

/// How long the search for credentials may take at start: on a machine without an instance role, trying the role's
/// service alone takes seconds, and a sign-on server may be far away.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause at start before a role's service that failed is tried once more. The SDK has already tried it several times
/// within a few seconds, but a machine that has just booted may need longer.
const CREDENTIALS_PAUSE: Duration = Duration::from_secs(1);

/// Finds keys, and returns where they came from.
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
