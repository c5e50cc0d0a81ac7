//! What an exit status means for a job.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use crate::error::{Code, ErrorKind, JobError, Stage};

/// The statuses of sysexits.h except EX_TEMPFAIL: each means that a retry is useless
/// (<https://man.freebsd.org/cgi/man.cgi?query=sysexits&sektion=3>).
const SYSEXITS: std::ops::RangeInclusive<i32> = 64..=78;
const TEMPFAIL: i32 = 75;

/// `None` for success, otherwise what the failure means.
pub(super) fn kind(status: ExitStatus, reject_codes: &BTreeSet<u8>) -> Option<ErrorKind> {
    if status.success() {
        return None;
    }
    let rejects = |code: i32| {
        (SYSEXITS.contains(&code) && code != TEMPFAIL)
            || u8::try_from(code).is_ok_and(|code| reject_codes.contains(&code))
    };
    Some(if status.code().is_some_and(rejects) { ErrorKind::Rejected } else { ErrorKind::Failed })
}

/// How a program ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(name) => format!("was killed by {name}"),
            Err(_) => format!("was killed by signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

/// The failure of a program: what happened, and the last line of its stderr.
pub(super) fn failure(kind: ErrorKind, code: Code, what: String, stderr: &str) -> JobError {
    let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    let cause = last.map_or_else(|| what.clone(), |last| format!("{what}: {last}"));
    let error = JobError::new(Stage::Process, kind, code, cause);
    JobError { stderr: (!stderr.is_empty()).then(|| stderr.to_owned()), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_that_says_the_input_is_bad_rejects() {
        let own = BTreeSet::from([3, 75]);
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, codes, expected) in [
            (exit(0), &own, None),
            (exit(1), &own, Some(ErrorKind::Failed)),
            (exit(3), &own, Some(ErrorKind::Rejected)),
            (exit(64), &BTreeSet::new(), Some(ErrorKind::Rejected)),
            (exit(78), &BTreeSet::new(), Some(ErrorKind::Rejected)),
            (exit(79), &BTreeSet::new(), Some(ErrorKind::Failed)),
            (exit(75), &BTreeSet::new(), Some(ErrorKind::Failed)),
            (exit(75), &own, Some(ErrorKind::Rejected)),
            (ExitStatus::from_raw(9), &own, Some(ErrorKind::Failed)),
        ] {
            assert_eq!(kind(status, codes), expected, "{status}");
        }
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed by SIGKILL");
        assert_eq!(describe(exit(65)), "ended with status 65");
    }

    #[test]
    fn the_last_line_of_stderr_is_the_cause() {
        let error =
            failure(ErrorKind::Failed, Code::ProgramFailed, "\"x\" ended with status 1".into(), "one\ntwo \n\n");
        assert_eq!(error.cause, "\"x\" ended with status 1: two");
        assert_eq!(error.stderr.as_deref(), Some("one\ntwo \n\n"));
    }
}
