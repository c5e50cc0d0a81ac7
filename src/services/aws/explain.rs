//! What a user reads when AWS refuses a request: an error code, its cause, and what to do about it.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;

use super::AwsSettings;
use super::classify::{deepest, is_signed_out, one_line};
use crate::error::{Code, Exit, NO_ANSWER, NO_PROOF, SECRET_ENDPOINT, ServiceError, ServiceErrorKind, UserError};
use crate::job::Location;

/// What the failed request was for.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// To take messages from this queue.
    Receive(&'a str),
    /// To send messages to this queue.
    Send(&'a str),
    /// To read or list under this location.
    Read(&'a Location),
    /// To write under this location.
    Write(&'a Location),
}

/// The error text if no source has keys. Other failures with the same code are about settings: a profile, half a pair
/// of keys.
pub(crate) const NO_CREDENTIALS: &str = "no AWS credentials found";

/// The permissions that a worker needs for its queue.
const WORKER_RIGHTS: &str =
    "the role needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueAttributes; see ops/role.json";

/// Turns a service's failure into an error for the user.
pub fn user_error(error: &ServiceError, subject: Subject<'_>, settings: &AwsSettings) -> UserError {
    let said = format!("{} said {}", subject.service(), error.code);
    let because = if error.message.is_empty() { said.clone() } else { format!("{said}: {}", error.message) };
    let (code, exit, what, cause, help) = match error.kind {
        _ if error.code == "NoRegion" => (
            Code::RegionMissing,
            Exit::Usage,
            "no region".to_owned(),
            error.message.clone(),
            "add  --region eu-west-1".to_owned(),
        ),
        _ if error.code == SECRET_ENDPOINT => (
            Code::SecretInAddress,
            Exit::Usage,
            format!("cannot {subject}"),
            error.message.clone(),
            "take the secret out of the endpoint named above".to_owned(),
        ),
        ServiceErrorKind::Credentials if matches!(error.code.as_str(), "NoCredentials" | "NoProfile") => (
            Code::CredentialsMissing,
            Exit::Credentials,
            NO_CREDENTIALS.to_owned(),
            error.message.clone(),
            credentials_help(settings),
        ),
        ServiceErrorKind::Credentials if error.code.starts_with("ExpiredToken") => (
            Code::CredentialsExpired,
            Exit::Credentials,
            "the session token has expired".to_owned(),
            format!("{said}; fixed keys can't be renewed"),
            "use a profile or a role instead of pasted keys".to_owned(),
        ),
        ServiceErrorKind::Credentials => (
            Code::CredentialsExpired,
            Exit::Credentials,
            format!("{} does not accept the credentials", subject.service()),
            because,
            "check the access key, the secret key and the session token; they must belong together".to_owned(),
        ),
        ServiceErrorKind::Unavailable if error.code == NO_PROOF => (
            Code::StoreProvesNothing,
            Exit::Failed,
            format!("cannot {subject}: the store's answer proves nothing"),
            error.message.clone(),
            "check that the endpoint is the store itself, and no proxy or sign-on page".to_owned(),
        ),
        ServiceErrorKind::Unavailable if error.code == NO_ANSWER => (
            Code::QueueAnswerIncomplete,
            Exit::Failed,
            format!("cannot {subject}: the queue's answer lacks what was asked for"),
            error.message.clone(),
            "check that the endpoint is SQS itself, and no proxy or sign-on page".to_owned(),
        ),
        ServiceErrorKind::Missing => missing(subject, settings, because),
        ServiceErrorKind::Denied => denied(subject, because),
        ServiceErrorKind::WrongRegion => wrong_region(error, subject, settings, said),
        ServiceErrorKind::Throttled | ServiceErrorKind::Unavailable => unreachable(error, subject, settings),
        _ => (subject.code(), Exit::Failed, format!("cannot {subject}"), because, "see  batchpipe doctor".to_owned()),
    };
    UserError { code, what, cause, help, exit }
}

type Parts = (Code, Exit, String, String, String);

fn missing(subject: Subject<'_>, settings: &AwsSettings, because: String) -> Parts {
    match subject {
        Subject::Receive(name) | Subject::Send(name) => {
            let region = settings.region.clone().or_else(region_in_environment);
            let place = region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default();
            let flag = region.map(|region| format!(" --region {region}")).unwrap_or_default();
            (
                Code::QueueMissing,
                Exit::Access,
                format!("queue {name:?} does not exist{place}"),
                because,
                format!("list the queues there are:  aws sqs list-queues{flag}"),
            )
        }
        Subject::Read(at) | Subject::Write(at) => (
            subject.code(),
            Exit::Access,
            format!("{at:?} does not exist"),
            because,
            "check the bucket's name and the region; list the buckets there are:  aws s3 ls".to_owned(),
        ),
    }
}

fn denied(subject: Subject<'_>, because: String) -> Parts {
    let help = match subject {
        Subject::Receive(_) => WORKER_RIGHTS.to_owned(),
        Subject::Send(_) => {
            "the caller needs sqs:SendMessage, GetQueueUrl, GetQueueAttributes; see ops/role.json".to_owned()
        }
        Subject::Read(at) => format!(
            "the role needs s3:GetObject and s3:ListBucket for {at:?} (without the second a missing object is refused, too); see ops/role.json"
        ),
        Subject::Write(at) => format!("run  batchpipe doctor --output {at:?}  to see the exact missing rights"),
    };
    let what = match subject {
        Subject::Receive(name) => format!("not allowed to receive from queue {name:?}"),
        Subject::Send(name) => format!("not allowed to send to queue {name:?}"),
        Subject::Read(_) | Subject::Write(_) => format!("cannot {subject}"),
    };
    (subject.code(), Exit::Access, what, because, help)
}

fn wrong_region(error: &ServiceError, subject: Subject<'_>, settings: &AwsSettings, said: String) -> Parts {
    let theirs = error.message.strip_prefix("the bucket is in ");
    let ours = settings.region.clone().or_else(region_in_environment);
    let bucket = match subject {
        Subject::Read(Location::S3 { bucket, .. }) | Subject::Write(Location::S3 { bucket, .. }) => bucket.as_str(),
        Subject::Receive(name) | Subject::Send(name) => name,
        Subject::Read(at) | Subject::Write(at) => at.key(),
    };
    let there = theirs.map_or_else(|| "another region".to_owned(), str::to_owned);
    let not_here = ours.as_ref().map(|ours| format!(", not {ours}")).unwrap_or_default();
    let or = ours.map(|ours| format!("  or choose a bucket in {ours}")).unwrap_or_default();
    let flag = theirs.unwrap_or("<its region>");
    let what = format!("bucket {bucket:?} is in {there}{not_here}");
    (Code::WrongRegion, Exit::Access, what, said, format!("add  --region {flag}{or}"))
}

fn unreachable(error: &ServiceError, subject: Subject<'_>, settings: &AwsSettings) -> Parts {
    let (variable, service) = match subject {
        Subject::Receive(_) | Subject::Send(_) => ("AWS_ENDPOINT_URL_SQS", "SQS"),
        Subject::Read(_) | Subject::Write(_) => ("AWS_ENDPOINT_URL_S3", "S3"),
    };
    let in_environment =
        || [variable, "AWS_ENDPOINT_URL"].into_iter().find_map(|name| Some((std::env::var(name).ok()?, name)));
    let (place, help) = match (&settings.endpoint_url, in_environment()) {
        (Some(url), _) => (url.clone(), "start it with  your local server, or leave out --endpoint-url".to_owned()),
        (None, Some((url, name))) => {
            (url, format!("start it with  your local server, or unset {name} (it is set in your environment)"))
        }
        (None, None) => (service.to_owned(), "check the network, the region and any proxy; then try again".to_owned()),
    };
    let cause = if error.message.is_empty() { error.code.clone() } else { error.message.clone() };
    let what = match error.kind {
        ServiceErrorKind::Throttled => format!("{place} asks for fewer requests"),
        _ => format!("cannot reach {place}"),
    };
    (Code::Unreachable, Exit::Failed, what, cause, help)
}

impl Subject<'_> {
    fn service(self) -> &'static str {
        match self {
            Self::Receive(_) | Self::Send(_) => "SQS",
            Self::Read(_) | Self::Write(_) => "S3",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Receive(_) | Self::Send(_) => Code::QueueDenied,
            Self::Read(_) | Self::Write(_) => Code::AccessDenied,
        }
    }
}

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Receive(name) => write!(f, "receive from queue {name:?}"),
            Self::Send(name) => write!(f, "send to queue {name:?}"),
            Self::Read(at) => write!(f, "read from {at:?}"),
            Self::Write(at) => write!(f, "write to {at:?}"),
        }
    }
}

/// The error if the credential chain found no credentials.
pub(super) fn no_credentials(settings: &AwsSettings, error: Option<&CredentialsError>) -> UserError {
    let cause = match error {
        Some(CredentialsError::CredentialsNotLoaded(_)) | None if settings.profile.is_some() => {
            let why = error.filter(|error| error.source().is_some()).map(|error| one_line(&deepest(error)));
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "profile {:?} holds none{why}, and where a profile is chosen nothing else is used",
                profile(settings)
            )
        }
        Some(CredentialsError::CredentialsNotLoaded(_)) | None => format!(
            "looked at environment, profile \"{}\", container role, instance role; none gave a key",
            profile(settings)
        ),
        Some(error) if is_signed_out(error) => {
            let (profile, cause) = (profile(settings), one_line(&deepest(error)));
            format!("profile {profile:?} is not signed in, or no more ({cause})")
        }
        Some(error) => match named_profile(settings) {
            Some(profile) => format!("profile {profile:?} gave no key; {}", one_line(&deepest(error))),
            None => one_line(&deepest(error)),
        },
    };
    let help = match error {
        Some(error) if is_signed_out(error) => format!("sign in with  aws sso login --profile {}", profile(settings)),
        _ if settings.profile.is_some() => {
            let name = profile(settings);
            format!(
                "see what it has:  aws configure list --profile {name} , or leave --profile out to use the environment or a role"
            )
        }
        _ => credentials_help(settings),
    };
    UserError { code: Code::CredentialsMissing, what: NO_CREDENTIALS.to_owned(), cause, help, exit: Exit::Credentials }
}

fn credentials_help(settings: &AwsSettings) -> String {
    let profile = match named_profile(settings) {
        Some(profile) => format!("see what the profile has:  aws configure list --profile {profile} "),
        None => "set AWS_PROFILE=<name>".to_owned(),
    };
    format!("{profile}, or run on a machine with a role, or try without AWS:  batchpipe map ./in ./out --process zstd")
}

/// The profile that the SDK reads.
pub(super) fn profile(settings: &AwsSettings) -> String {
    named_profile(settings).unwrap_or_else(|| "default".to_owned())
}

fn named_profile(settings: &AwsSettings) -> Option<String> {
    settings.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok()).filter(|name| !name.is_empty())
}

fn region_in_environment() -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: ServiceErrorKind, code: &str, message: &str, subject: Subject<'_>) -> String {
        let settings = AwsSettings {
            region: Some("eu-west-1".to_owned()),
            endpoint_url: Some("http://127.0.0.1:9324".to_owned()),
            ..AwsSettings::default()
        };
        user_error(&ServiceError::new(kind, code, message), subject, &settings).to_string()
    }

    #[test]
    fn a_bucket_in_another_region_is_told_with_the_flag_that_helps() {
        let at = Location::s3("acme-out", "");
        let text =
            read(ServiceErrorKind::WrongRegion, "PermanentRedirect", "the bucket is in us-east-1", Subject::Write(&at));
        assert_eq!(
            text,
            "error[BP105]: bucket \"acme-out\" is in us-east-1, not eu-west-1\n  cause: S3 said PermanentRedirect\n  \
             help:  add  --region us-east-1  or choose a bucket in eu-west-1"
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_named_with_what_named_it() {
        let text =
            read(ServiceErrorKind::Unavailable, "ConnectionRefused", "connection refused", Subject::Receive("jobs"));
        assert_eq!(
            text,
            "error[BP107]: cannot reach http://127.0.0.1:9324\n  cause: connection refused\n  \
             help:  start it with  your local server, or leave out --endpoint-url"
        );
    }

    #[test]
    fn each_kind_has_its_number() {
        let at = Location::s3("acme-out", "gz/");
        let queue = Subject::Receive("jobs");
        assert!(read(ServiceErrorKind::Missing, "QueueDoesNotExist", "", queue).starts_with("error[BP103]"));
        assert!(read(ServiceErrorKind::Denied, "AccessDenied", "", queue).starts_with("error[BP104]"));
        assert!(read(ServiceErrorKind::Denied, "AccessDenied", "", Subject::Write(&at)).starts_with("error[BP106]"));
        assert!(read(ServiceErrorKind::Credentials, "NoCredentials", "", queue).starts_with("error[BP101]"));
        assert!(read(ServiceErrorKind::Credentials, "ExpiredToken", "", queue).starts_with("error[BP108]"));
        assert!(read(ServiceErrorKind::Invalid, "NoRegion", "", queue).starts_with("error[BP102]"));
    }
}
