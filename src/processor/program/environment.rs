//! The environment of a program: the worker's environment without the variables that a program must not see, plus
//! the job's variables.
//!
//! Removing variables does not protect them from a program that can look into the worker itself; the binary prevents
//! that (`config::machine::conceal`). In a library user's process, hiding is up to the user.
//!
//! A key is data. No shell interprets a key in a variable, unless the program's author writes a script that does.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::job::Job;

/// The AWS variables that are kept: they contain no secret and lead to none. All others that begin with `AWS_` are
/// removed, so that future kinds of credentials are removed too
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html>).
const HARMLESS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The AWS variables that would take precedence over a profile, or select another profile.
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

/// The variables that a program inherits. The worker's own settings (`BATCHPIPE_*`) are removed because they would look
/// like the job's. A program that may see the credentials gets the worker's `profile`, if there is one, because it must
/// not work in another account than the worker.
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

/// The variables that describe the job to the program.
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
