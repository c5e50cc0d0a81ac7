//! Decides which profile is used, and reads it. A profile that the user typed must never be overridden by keys that
//! happen to be in the environment, or a purge could reach the wrong account.
//!
//! The rules are those of the AWS command line (botocore's `credentials.py`, `session.py`):
//!
//! - A profile named by `--profile`, `BATCHPIPE_PROFILE` or the file is *chosen*. Only its credentials are used:
//!   neither keys in the environment nor a role of the machine.
//! - `AWS_PROFILE` does not count as a choice: keys in the environment take precedence over it.
//! - A named profile that does not exist is always an error, and so is half a pair of keys.
//!
//! In two points a chosen profile has more weight than in the AWS command line. Its region and endpoint take precedence
//! over `AWS_REGION` and `AWS_ENDPOINT_URL`, because the queues of its account are there. And if it has no credentials,
//! the machine's role is not used instead, because the role may belong to another account. Bounded: the two files are
//! read once per connection.

use std::sync::Once;

use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use super::{CONNECT_TIMEOUT, TimeoutConfig, http};
use crate::error::{Code, UserError};
use crate::runtime::suggest::nearest;
use crate::services::aws::AwsSettings;

/// The two variables that hold a pair of keys.
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// How many names an error lists; more would not help.
const NAMED: usize = 12;

/// The profile that was chosen, as the files describe it.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    sections: ProfileSet,
}

/// A variable of the environment; an empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// The name of the profile, and whether the profile was chosen.
fn named(settings: &AwsSettings) -> Option<(String, bool)> {
    let chosen = settings.profile.clone().filter(|name| !name.is_empty()).map(|name| (name, true));
    chosen.or_else(|| Some((variable("AWS_PROFILE")?, false)))
}

/// Reads the chosen profile, if there is one. Fails if the named profile does not exist, or if half of a pair of keys
/// that would be used is missing.
pub(super) async fn choose(settings: &AwsSettings) -> Result<Option<Chosen>, UserError> {
    let named = named(settings);
    if !matches!(named, Some((_, true))) {
        whole_keys(KEYS.map(|name| variable(name).is_some()))?;
    }
    let Some((name, chosen)) = named else { return Ok(None) };
    let files = EnvConfigFiles::default();
    let read = aws_config::profile::load(&Fs::real(), &Env::real(), &files, Some(name.clone().into())).await;
    let sections = read.map_err(|error| {
        let cause = super::classify::one_line(&super::classify::deepest(&error));
        refused(format!("cannot read AWS profile {name:?}"), cause, format!("repair the file; it is {}", places()))
    })?;
    if sections.get_profile(&name).is_none() {
        return Err(unknown(&name, chosen, &sections));
    }
    Ok(chosen.then_some(Chosen { sections }))
}

impl Chosen {
    /// The region that the profile names.
    pub(super) fn region(&self) -> Option<&str> {
        self.sections.get("region").filter(|region| !region.is_empty())
    }

    /// The endpoint that the profile names for a service.
    pub(super) fn endpoint(&self, service: &str) -> Option<String> {
        if self.sections.get("ignore_configured_endpoint_urls") == Some("true") {
            return None;
        }
        let nothing = Env::from_slice(&[]);
        let key = EnvConfigValue::new().env("AWS_ENDPOINT_URL").profile("endpoint_url").service_id(service);
        key.load(&nothing, Some(&self.sections)).map(|(url, _)| url.into_owned())
    }

    /// The same configuration with the credentials of this profile, and no others.
    pub(super) fn sign(&self, config: SdkConfig) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let provider = ProviderConfig::default()
            .with_http_client(http::http_client())
            .with_timeout_config(timeouts)
            .with_region(config.region().cloned());
        let name = self.sections.selected_profile().to_owned();
        let provider = ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(name).build();
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
    }
}

/// The default region and its source: the region of the chosen profile, or else of the environment. For `config
/// explain`, which does not connect.
pub async fn region(settings: &AwsSettings) -> Option<(String, String)> {
    let chosen = choose(settings).await.ok().flatten()?;
    let (region, name) = (chosen.region()?, chosen.sections.selected_profile());
    Some((region.to_owned(), format!("profile {name:?}")))
}

/// Says where keys are looked for first, without reading any keys.
pub fn keys_from(settings: &AwsSettings) -> String {
    match named(settings) {
        Some((name, true)) => format!("profile {name:?}, and nothing else"),
        _ if variable(KEYS[0]).is_some() => format!("{} in the environment", KEYS[0]),
        Some((name, false)) => format!("profile {name:?} (AWS_PROFILE), then a role of the machine"),
        None => "profile \"default\", then a role of the machine".to_owned(),
    }
}

/// Says where these keys came from.
pub(super) fn source(settings: &AwsSettings, found: &Credentials) -> String {
    use AwsCredentialFeature::{CredentialsEnvVars, CredentialsHttp, CredentialsImds, CredentialsProfile};
    let features = found.get_property::<Vec<AwsCredentialFeature>>().map(Vec::as_slice).unwrap_or_default();
    let has = |feature| features.contains(&feature);
    let profile = || format!("profile {:?}", super::explain::profile(settings));
    match () {
        () if settings.profile.is_some() => profile(),
        // A profile may itself refer to any of the other sources.
        () if has(CredentialsProfile) => profile(),
        () if has(CredentialsEnvVars) => format!("{} in the environment", KEYS[0]),
        () if has(CredentialsImds) => "the machine's role".to_owned(),
        () if has(CredentialsHttp) => "the container's role".to_owned(),
        () if variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() => "the role of AWS_ROLE_ARN".to_owned(),
        () => profile(),
    }
}

/// Half a pair of keys is a mistake: without this check the search would go on, and might end in another account.
fn whole_keys(set: [bool; 2]) -> Result<(), UserError> {
    let (there, missing) = match set {
        [true, false] => (KEYS[0], KEYS[1]),
        [false, true] => (KEYS[1], KEYS[0]),
        _ => return Ok(()),
    };
    let cause = format!("{there} is set in the environment, and {missing} is not");
    let help = format!("set {missing}, or unset {there} to have a profile or a role used");
    Err(refused("half of a pair of AWS keys".to_owned(), cause, help))
}

fn unknown(name: &str, chosen: bool, sections: &ProfileSet) -> UserError {
    let by =
        if chosen { "--profile, BATCHPIPE_PROFILE or the configuration file names it" } else { "AWS_PROFILE names it" };
    let mut names: Vec<&str> = sections.profiles().collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    let listed = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let listed = match (names.is_empty(), more) {
        (true, _) => "no profile".to_owned(),
        (false, 0) => listed,
        (false, more) => format!("{listed} and {more} more"),
    };
    let cause = format!("{by}; {} hold {listed}", places());
    let help = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if names.is_empty() => format!("make it:  aws configure --profile {}", quoted(name)),
        None => "name one of these, or leave the profile out".to_owned(),
    };
    refused(format!("there is no AWS profile {name:?}"), cause, help)
}

/// A name quoted for a shell.
fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    if plain { name.to_owned() } else { format!("'{}'", name.escape_debug().to_string().replace('\'', r"'\''")) }
}

/// The paths of the two files.
fn places() -> String {
    let place = |name, usual: &str| variable(name).map_or_else(|| usual.to_owned(), |path| format!("{path:?}"));
    let (config, keys) = (place("AWS_CONFIG_FILE", "~/.aws/config"), "AWS_SHARED_CREDENTIALS_FILE");
    format!("{config} and {}", place(keys, "~/.aws/credentials"))
}

fn refused(what: String, cause: String, help: String) -> UserError {
    UserError::new(Code::CredentialsMissing, what, cause, help)
}

/// The region for loading a configuration: `flag`, or else the region of the chosen profile.
pub(super) fn region_of(flag: Option<&str>, chosen: Option<&Chosen>) -> Option<Region> {
    let region = flag.or_else(|| chosen.and_then(Chosen::region))?;
    if let (None, Some(other)) = (flag, ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(variable))
        && other != region
    {
        // Each connection of a worker calls this function.
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(
            target: "batchpipe::aws::profile",
            region, not = other, "the profile's region is used, not that of AWS_REGION")
        });
    }
    Some(Region::new(region.to_owned()))
}
