//! What the S3 adapter and the SQS adapter share: how to connect, and how to interpret a failure.
//!
//! Settings, credentials and endpoints come from the SDK's default chain, so everything that works with the AWS command
//! line works here. Only a chosen profile takes precedence over everything else (`profile.rs`). There are no retries at
//! this level: the SDK's retry gives up early and shares one budget across the whole process, so the stages retry,
//! because they know how long a job can wait. Only the credential chain keeps the SDK's retries.

use std::ffi::OsString;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_types::service_config::ServiceConfigKey;

use crate::error::{Code, UserError};
use crate::runtime::redact::{self, concealed_address};

pub mod address;
mod agent;
pub mod body;
mod bound;
pub mod classify;
mod clients;
mod credentials;
pub mod explain;
mod headers;
mod http;
mod profile;
mod whole;

pub(crate) use clients::with_own_connections;
pub use profile::{keys_from, region as chosen_region};

use profile::Chosen;

/// How long a TCP and TLS handshake may take: three times what a far region needs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The default region for a server that is not AWS: the name that such servers expect.
const REGION_ELSEWHERE: &str = "us-east-1";

/// The operator's settings for reaching AWS; everything else comes from the SDK's default chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsSettings {
    /// `--profile`.
    pub profile: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `--endpoint-url`: an S3- and SQS-compatible server, where paths instead of host names contain the bucket.
    pub endpoint_url: Option<String>,
}

/// A server used instead of AWS, and the setting that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    /// The setting that named it: `--endpoint-url`, an environment variable, or a profile.
    pub source: String,
}

/// A connection to AWS, or to servers used instead.
#[derive(Clone)]
pub struct Aws {
    config: SdkConfig,
    settings: AwsSettings,
    region: String,
    s3_endpoint: Option<Endpoint>,
    sqs_endpoint: Option<Endpoint>,
    keys: String,
}

/// Connects: checks that there are a region and credentials, as far as possible without a request to S3 or SQS.
pub async fn connect(settings: &AwsSettings) -> Result<Aws, UserError> {
    connect_near(settings, None).await
}

/// The same, in the region `nearby` if no region is configured: a queue's URL names a region.
pub async fn connect_near(settings: &AwsSettings, nearby: Option<&str>) -> Result<Aws, UserError> {
    refuse_secrets()?;
    let chosen = profile::choose(settings).await?;
    let mut config = load(settings, profile::region_of(settings.region.as_deref(), chosen.as_ref())).await;
    if config.region().is_none() {
        let named = settings.endpoint_url.is_some() || config.endpoint_url().is_some();
        let elsewhere = named || ["S3", "SQS"].iter().any(|service| service_endpoint(&config, service).is_some());
        let fallback = nearby.or(elsewhere.then_some(REGION_ELSEWHERE));
        let fallback = fallback.ok_or_else(|| no_region(settings))?;
        config = load(settings, Some(Region::new(fallback.to_owned()))).await;
    }
    if let Some(chosen) = &chosen {
        config = chosen.sign(config);
    }
    let mut aws = Aws::new(config, settings, chosen.as_ref())?;
    if aws.needs_tls() && !*http::HAS_AUTHORITIES {
        return Err(UserError::new(
            Code::Unreachable,
            "this machine has no certificates to know AWS by",
            "neither the system nor SSL_CERT_FILE names certificates of authorities",
            "install the package ca-certificates, or set SSL_CERT_FILE to a bundle of them",
        ));
    }
    aws.keys = credentials::find_credentials(&aws.config, settings).await?;
    Ok(aws)
}

async fn load(settings: &AwsSettings, region: Option<Region>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http::http_client())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    } else if std::env::var_os("AWS_PROFILE").is_some_and(|name| name.is_empty()) {
        // Otherwise the SDK would look for a profile with an empty name.
        loader = loader.profile_name("default");
    }
    if let Some(region) = region {
        loader = loader.region(region);
    }
    if let Some(url) = &settings.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

/// The endpoint that a variable or a profile sets for one service, or for all services.
fn service_endpoint(config: &SdkConfig, service: &str) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    config.service_config()?.load_config(key.ok()?)
}

/// The endpoint of a service: from the flag, from the chosen profile, and then in the SDK's own order from the
/// service's variable or profile setting, or from the general setting.
fn endpoint(
    config: &SdkConfig,
    settings: &AwsSettings,
    chosen: Option<&Chosen>,
    (service, variable): (&str, &str),
) -> Result<Option<Endpoint>, UserError> {
    // A configuration built by a program does not use the environment.
    let by_program = config.get_origin("endpoint_url").is_client_config() || config.service_config().is_none();
    let general = || config.endpoint_url().map(str::to_owned);
    let of_profile = if settings.endpoint_url.is_none() { chosen.and_then(|one| one.endpoint(service)) } else { None };
    let by_profile = of_profile.is_some();
    let url = match of_profile {
        None if by_program => general(),
        None => service_endpoint(config, service).or_else(general),
        chosen => chosen,
    };
    let Some(url) = url else { return Ok(None) };
    let source = if settings.endpoint_url.is_some() {
        "--endpoint-url"
    } else if by_profile {
        "the profile"
    } else if by_program {
        "the program"
    } else {
        let names = |name: &&&str| std::env::var(name).is_ok_and(|value| value == url);
        [variable, "AWS_ENDPOINT_URL"].iter().find(names).copied().unwrap_or("the profile")
    };
    refuse_secret(&url, source)?;
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(UserError::usage(
            Code::Unreachable,
            format!("the endpoint {url:?} is not a URL"),
            format!("it comes from {source}"),
            format!("write it with its scheme, like  http://{url}"),
        ));
    }
    Ok(Some(Endpoint { url, source: source.to_owned() }))
}

/// Refuses an endpoint in the environment that contains a password, before any code reads it. This holds for the
/// endpoints of all services, because the SDK may request keys from other services. [`connect`] checks the endpoints in
/// a profile.
pub fn refuse_secrets() -> Result<(), UserError> {
    if std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_ok_and(|set| set.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    let text = |(name, url): (OsString, OsString)| Some((name.into_string().ok()?, url.into_string().ok()?));
    let mut endpoints: Vec<_> =
        std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL")).collect();
    endpoints.sort_unstable();
    endpoints.iter().try_for_each(|(name, url)| refuse_secret(url, name))
}

fn refuse_secret(url: &str, source: &str) -> Result<(), UserError> {
    let Some((cause, help)) = redact::refused(url) else { return Ok(()) };
    let what = format!("the endpoint {:?} from {source} can't be used", concealed_address(url));
    Err(UserError::usage(Code::SecretInAddress, what, cause, help))
}

fn no_region(settings: &AwsSettings) -> UserError {
    UserError::usage(
        Code::RegionMissing,
        "no region",
        format!("AWS_REGION, --region and profile \"{}\" do not set one", explain::profile(settings)),
        "add  --region eu-west-1  (or the region your bucket and queue are in)",
    )
}

// The SDK's own `Debug` text contains the access key.
impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws")
            .field("region", &self.region)
            .field("s3_endpoint", &self.s3_endpoint)
            .field("sqs_endpoint", &self.sqs_endpoint)
            .finish_non_exhaustive()
    }
}

impl Aws {
    /// AWS with a configuration that a program has built, instead of from settings.
    pub fn from_config(config: SdkConfig) -> Result<Self, UserError> {
        let client = config.http_client().map_or_else(http::http_client, bound::bounded);
        let config = config.into_builder().http_client(client).build();
        Self::new(config, &AwsSettings::default(), None)
    }

    fn new(config: SdkConfig, settings: &AwsSettings, chosen: Option<&Chosen>) -> Result<Self, UserError> {
        Ok(Self {
            region: config.region().map(ToString::to_string).ok_or_else(|| no_region(settings))?,
            s3_endpoint: endpoint(&config, settings, chosen, ("S3", "AWS_ENDPOINT_URL_S3"))?,
            sqs_endpoint: endpoint(&config, settings, chosen, ("SQS", "AWS_ENDPOINT_URL_SQS"))?,
            settings: settings.clone(),
            config,
            keys: "the program".to_owned(),
        })
    }

    /// Whether S3 and SQS are both reached by https, so that nothing works without certificates.
    fn needs_tls(&self) -> bool {
        [&self.s3_endpoint, &self.sqs_endpoint]
            .into_iter()
            .all(|endpoint| endpoint.as_ref().is_none_or(|endpoint| endpoint.url.starts_with("https://")))
    }

    /// The settings that this was made from.
    pub fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// The configured region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A text that says where the keys came from.
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// The server used instead of S3, if any.
    pub fn s3_endpoint(&self) -> Option<&Endpoint> {
        self.s3_endpoint.as_ref()
    }

    /// The server used instead of SQS, if any.
    pub fn sqs_endpoint(&self) -> Option<&Endpoint> {
        self.sqs_endpoint.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_without_a_scheme_is_refused_before_anything_is_sent() {
        let settings = AwsSettings {
            region: Some("eu-west-1".to_owned()),
            endpoint_url: Some("127.0.0.1:9000".to_owned()),
            ..AwsSettings::default()
        };
        let error = connect(&settings).await.unwrap_err();
        assert_eq!(error.code, Code::Unreachable);
        assert!(error.help.contains("http://127.0.0.1:9000"), "{error}");
    }
}
