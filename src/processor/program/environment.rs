//! The environment of a program: the worker's, less what a program has no business knowing, plus the job's names.
//!
//! That is no secret kept from a program which may look into the worker itself: the binary does not let it
//! (`config::machine::conceal`). The host of the library is not ours to hide.
//!
//! A key is data. In a variable no shell reads it unless the program's author writes one that does.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::job::Job;

/// The AWS variables that stay: they hold no secret and lead to none. Everything else that begins with `AWS_` goes,
/// so that a kind of credential invented tomorrow goes too
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html>).
const HARMLESS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The AWS variables that would win over a profile, or name another one.
const BESIDE_A_PROFILE: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
];

/// What a program inherits. The worker's own settings (`BATCHPIPE_*`) would be taken for the job's. A program that may
/// see the credentials is given the worker's `profile`, if it has one: it must not work in another account than the
/// worker.
pub(super) fn inherited(
    worker: Vec<(OsString, OsString)>,
    pass_credentials: bool,
    profile: Option<&str>,
) -> Vec<(OsString, OsString)> {
    let profile = profile.filter(|_| pass_credentials);
    let stays = |name: &OsStr| {
        let is_aws = name.as_bytes().starts_with(b"AWS_") && !HARMLESS.iter().any(|harmless| name == *harmless);
        let in_the_way = profile.is_some() && BESIDE_A_PROFILE.iter().any(|other| name == *other);
        !name.as_bytes().starts_with(b"BATCHPIPE_") && (pass_credentials || !is_aws) && !in_the_way
    };
    let profile = profile.map(|profile| ("AWS_PROFILE".into(), profile.into()));
    worker.into_iter().filter(|(name, _)| stays(name)).chain(profile).collect()
}

/// The variables that tell a program about its job.
pub(super) fn of_job(job: &Job) -> [(&'static str, String); 5] {
    [
        ("BATCHPIPE_INPUT", job.input.to_string()),
        ("BATCHPIPE_OUTPUT", job.output.to_string()),
        ("BATCHPIPE_KEY", job.input.key().to_owned()),
        ("BATCHPIPE_JOB_ID", job.id.clone()),
        ("BATCHPIPE_ATTEMPT", job.attempt.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pass_credentials: bool, profile: Option<&str>) -> Vec<String> {
        let worker = [
            "PATH",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_PROFILE",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_REGION",
            "AWS_SECRET_OF_TOMORROW",
            "BATCHPIPE_QUEUE",
            "MY_AWS_NOTE",
        ];
        let worker = worker.map(|name| (name.into(), "x".into())).to_vec();
        inherited(worker, pass_credentials, profile)
            .into_iter()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }

    #[test]
    fn a_program_sees_no_aws_secret_of_today_or_tomorrow_unless_the_operator_says_so() {
        assert_eq!(names(false, None), ["PATH", "AWS_REGION", "MY_AWS_NOTE"]);
        assert_eq!(names(false, Some("p2")), ["PATH", "AWS_REGION", "MY_AWS_NOTE"]);
        assert_eq!(names(true, None).len(), 7);
    }

    #[test]
    fn a_program_that_may_see_the_credentials_gets_the_workers_profile_and_not_the_keys_beside_it() {
        let names = names(true, Some("p2"));
        assert!(!names.contains(&"AWS_SECRET_ACCESS_KEY".to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(|name| *name == "AWS_PROFILE").count(), 1);
        let given = inherited(vec![("AWS_PROFILE".into(), "p1".into())], true, Some("p2"));
        assert_eq!(given, [("AWS_PROFILE".into(), OsString::from("p2"))]);
    }
}
