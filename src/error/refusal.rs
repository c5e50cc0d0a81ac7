//! One way from a refusal of a queue or a store to what the user reads, for every command and for the library.
//!
//! The code comes from the failure, the exit from the code, and the help from both and from what was being done. So
//! `run`, `map`, `submit`, `doctor` and a worker of the library say the same of the same refusal. A caller may add to
//! the cause or the help what it alone knows (how many jobs were given back), and changes neither code nor exit.

use std::fmt;

use super::{Code, Reason, ServiceError, Stage, UserError, escaped};

/// What was being done when a service refused: the same refusal has another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To take messages from a queue, or to look at a queue.
    Receive,
    /// To send messages to a queue.
    Send,
    /// To read or list objects.
    Read,
    /// To write objects.
    Write,
}

impl Role {
    /// Whether the queue was asked, and not a store.
    pub const fn is_queue(self) -> bool {
        matches!(self, Self::Receive | Self::Send)
    }

    /// What a stage does.
    pub const fn of(stage: Stage) -> Self {
        match stage {
            Stage::Receive | Stage::Acknowledge => Self::Receive,
            Stage::Send => Self::Send,
            Stage::Read | Stage::Download | Stage::Process => Self::Read,
            Stage::Upload => Self::Write,
        }
    }
}

/// What was being done when a service refused, and with what.
#[derive(Clone, Debug)]
pub struct Subject {
    role: Role,
    /// Completes "cannot …".
    doing: String,
}

impl Subject {
    /// To do what `doing` says, which completes "cannot …".
    pub fn new(role: Role, doing: impl Into<String>) -> Self {
        Self { role, doing: doing.into() }
    }

    /// To take messages from this queue.
    pub fn receive(queue: &str) -> Self {
        Self::new(Role::Receive, format!("receive from queue {queue:?}"))
    }

    /// To send messages to this queue.
    pub fn send(queue: &str) -> Self {
        Self::new(Role::Send, format!("send to queue {queue:?}"))
    }

    /// To read or list under this place, whose `Debug` form escapes its name.
    pub fn read(place: impl fmt::Debug) -> Self {
        Self::new(Role::Read, format!("read from {place:?}"))
    }

    /// To write under this place, whose `Debug` form escapes its name.
    pub fn write(place: impl fmt::Debug) -> Self {
        Self::new(Role::Write, format!("write to {place:?}"))
    }

    /// What a run does in `stage`, in which it was stopped.
    pub fn of(stage: Stage, queue: &str) -> Self {
        match Role::of(stage) {
            Role::Receive => Self::receive(queue),
            Role::Send => Self::send(queue),
            Role::Read => Self::new(Role::Read, "read the inputs"),
            Role::Write => Self::new(Role::Write, "write the outputs"),
        }
    }

    /// What is told of a run that stopped for this reason. A failure that no service made has its own words.
    pub fn stopped(&self, code: Code, cause: &str, failure: Option<&ServiceError>) -> UserError {
        if let Some(failure) = failure {
            return UserError { cause: escaped(cause), ..failure.told(self) };
        }
        let what = match code {
            Code::NoOutputNamed => "the messages name no output, and this worker has none".to_owned(),
            Code::PlaceNotAllowed => "the messages are about files, and this worker may touch none".to_owned(),
            Code::InternalPanic => "a part of batchpipe panicked".to_owned(),
            _ => format!("cannot {}", self.doing),
        };
        UserError::new(code, what, escaped(cause), help(code, None, self.role))
    }
}

impl ServiceError {
    /// What a person reads of this failure. Code, help and exit are the same wherever it happens.
    pub fn told(&self, subject: &Subject) -> UserError {
        let cause = format!("{}: {}", escaped(&self.code), escaped(&self.message));
        let what = format!("cannot {}", subject.doing);
        let code = self.bp_code(subject.role.is_queue());
        let told = match self.connection() {
            Some(error) => UserError { what, cause: escaped(&self.message), ..error.clone() },
            None => UserError::new(code, what, cause, help(code, self.reason.as_ref(), subject.role)),
        };
        told.with_source(self.clone())
    }
}

/// What to do about a refusal: the help of its code, or a closer one where more is known.
fn help(code: Code, reason: Option<&Reason>, role: Role) -> String {
    match (code, reason, role) {
        (Code::QueueDenied, _, Role::Send) => {
            "the role needs sqs:SendMessage, GetQueueUrl and GetQueueAttributes; see ops/submit-role.json".to_owned()
        }
        (Code::AccessDenied, _, Role::Write) => {
            "the role needs s3:PutObject and s3:AbortMultipartUpload there (see ops/role.json); of local files, check \
             owner and mode"
                .to_owned()
        }
        (Code::ObjectMissing, _, Role::Write) => {
            "create the bucket, or correct its name; list the buckets there are:  aws s3 ls".to_owned()
        }
        (Code::WrongRegion, Some(Reason::InRegion(region)), _) => format!("add  --region {}", escaped(region)),
        (Code::CredentialsMissing, Some(Reason::SignedOut), _) => "sign in to the profile:  aws sso login".to_owned(),
        (Code::CredentialsExpired, Some(Reason::Expired), _) => {
            "fixed keys can't be renewed: use a profile or a role, or sign in again:  aws sso login".to_owned()
        }
        _ => code.help().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, ServiceErrorKind};

    #[test]
    fn each_refusal_has_its_code_its_exit_and_its_help() {
        use ServiceErrorKind::{Credentials, Denied, Missing, Throttled, Unavailable, WrongRegion};
        let table = [
            (Missing, None, Role::Receive, Code::QueueMissing, Exit::Access, "list-queues"),
            (Missing, Some(Reason::BucketMissing), Role::Read, Code::ObjectMissing, Exit::Access, "aws s3 ls"),
            (Missing, Some(Reason::BucketMissing), Role::Write, Code::ObjectMissing, Exit::Access, "create the bucket"),
            (Denied, None, Role::Receive, Code::QueueDenied, Exit::Access, "sqs:ReceiveMessage"),
            (Denied, None, Role::Send, Code::QueueDenied, Exit::Access, "sqs:SendMessage"),
            (Denied, None, Role::Read, Code::AccessDenied, Exit::Access, "s3:GetObject"),
            (Denied, None, Role::Write, Code::AccessDenied, Exit::Access, "s3:PutObject"),
            (
                Credentials,
                Some(Reason::NoCredentials),
                Role::Read,
                Code::CredentialsMissing,
                Exit::Credentials,
                "AWS_PROFILE",
            ),
            (
                Credentials,
                Some(Reason::SignedOut),
                Role::Read,
                Code::CredentialsMissing,
                Exit::Credentials,
                "sso login",
            ),
            (Credentials, Some(Reason::Expired), Role::Read, Code::CredentialsExpired, Exit::Credentials, "a role"),
            (Credentials, None, Role::Receive, Code::CredentialsExpired, Exit::Credentials, "belong together"),
            (
                WrongRegion,
                Some(Reason::InRegion("us-east-1".into())),
                Role::Read,
                Code::WrongRegion,
                Exit::Access,
                "us-east-1",
            ),
            (Throttled, None, Role::Read, Code::Throttled, Exit::Failed, "wait a moment"),
            (Unavailable, None, Role::Read, Code::Unreachable, Exit::Failed, "the endpoint"),
            (
                Unavailable,
                Some(Reason::NoProof),
                Role::Write,
                Code::StoreProvesNothing,
                Exit::Failed,
                "the store itself",
            ),
            (Unavailable, Some(Reason::NoAnswer), Role::Send, Code::QueueAnswerIncomplete, Exit::Failed, "SQS itself"),
        ];
        for (kind, reason, role, code, exit, help) in table {
            let error = ServiceError { reason, ..ServiceError::new(kind, "Name", "words\u{1b}[2J") };
            let told = error.told(&Subject::new(role, "do this"));
            assert_eq!((told.code, told.exit, told.what.as_str()), (code, exit, "cannot do this"), "{told}");
            assert!(told.help.contains(help) && !told.to_string().contains('\u{1b}'), "{told}");
        }
    }

    #[test]
    fn a_connection_that_can_not_be_made_keeps_its_code_its_help_and_its_exit() {
        let no_region = UserError::new(Code::RegionMissing, "no region", "nothing sets one", "add  --region eu-west-1");
        let error = ServiceError::not_connected(no_region.clone());
        let told = error.told(&Subject::read("s3://b/"));
        assert_eq!((told.code, &told.help, told.exit), (no_region.code, &no_region.help, no_region.exit));
        assert_eq!(error.at(Stage::Download).code, Code::RegionMissing);
    }
}
