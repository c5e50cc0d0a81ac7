//! What a user reads when there are no credentials: where they were looked for, and what to do about it.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;

use super::AwsSettings;
use super::classify::{deepest, is_signed_out, one_line};
use crate::error::{Code, UserError};

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
                "see what it has:  aws configure list --profile {name} , or leave --profile out to use the environment \
                or a role"
            )
        }
        _ => credentials_help(settings),
    };
    UserError::new(Code::CredentialsMissing, "no AWS credentials found", cause, help)
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
