//! What a service's failure looks like to the person at the command line.

use super::output::escaped;
use crate::error::{Exit, ServiceError, ServiceErrorKind, UserError};

/// Which kind of service failed: the same failure has another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The queue.
    Queue,
    /// The store.
    Store,
}

/// The error of not being able to do `what` (which completes "cannot …"), for the reason the service gave.
pub fn failed(service: Service, what: &str, error: &ServiceError) -> UserError {
    use ServiceErrorKind::{Credentials, Denied, Missing, NoSpace, Throttled, Unavailable, WrongRegion};
    let queue = service == Service::Queue;
    let (code, exit, help) = match error.kind {
        Missing if queue => (103, Exit::Access, "check the name and the region; list them:  aws sqs list-queues"),
        Missing => (301, Exit::Access, "check the name and the region; list them:  aws s3 ls"),
        Denied if queue => (
            104,
            Exit::Access,
            "the role needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueAttributes",
        ),
        Denied => (106, Exit::Access, "run  batchpipe doctor  to see the missing rights"),
        Credentials => (108, Exit::Credentials, "set AWS_PROFILE=<name>, or log in again:  aws sso login"),
        WrongRegion => (105, Exit::Access, "add  --region  with the region named above"),
        Throttled => (308, Exit::Failed, "wait a moment and repeat the command"),
        Unavailable => (107, Exit::Failed, "check the network and --endpoint-url, and repeat the command"),
        NoSpace => (501, Exit::Failed, "make room on the disk and repeat the command"),
        _ => (309, Exit::Failed, "the request is not one the service takes; check the names"),
    };
    let cause = format!("{}: {}", escaped(&error.code), escaped(&error.message));
    UserError::usage(code, format!("cannot {what}"), cause, help).exit(exit)
}
