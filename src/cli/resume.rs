//! What an earlier run of the same `map` left, so that a job is sent once and counted once.
//!
//! A kill may come after a job was sent and before the journal says so. The queue is `map`'s own, so what it holds can
//! be read: such a job is not sent again. Without this, a killed run and the next one told more jobs than there are
//! files.
//!
//! Bounded by 16 bytes a job in the queue.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::ServiceError;
use crate::job::message::{self, Record, Request};
use crate::services::queue::local::LocalQueue;

/// A short name for what a job reads and writes. Of 10^9 jobs no two share one but with a chance of 10^-20.
type Name = [u8; 16];

/// The jobs that this run has or will have at work, whether it has sent them or found them.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// What was in the queue at the start.
    found: HashSet<Name>,
    /// What was sent since, where it matters.
    sent: Mutex<HashSet<Name>>,
}

impl Jobs {
    /// What the queue in `path` holds.
    pub(super) async fn of(path: &Path) -> Result<Self, ServiceError> {
        let found = LocalQueue::open(path)?.each_body(name).await?;
        Ok(Self { found: found.into_iter().collect(), sent: Mutex::default() })
    }

    /// Whether a job with this body was in the queue at the start.
    pub(super) fn was_found(&self, body: &str) -> bool {
        // Most runs find nothing, and need not read what they have just written.
        !self.found.is_empty() && name(body).is_some_and(|name| self.found.contains(&name))
    }

    /// Notes that a job with this body is sent.
    pub(super) fn note(&self, body: &str) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).extend(name(body));
    }

    /// Whether this run has worked a job with this body, or will.
    pub(super) fn is_at_work(&self, body: &str) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        name(body).is_some_and(|name| self.found.contains(&name) || sent.contains(&name))
    }
}

/// By what a job is about, and not by its body: another journal calls the same job by another id.
fn name(body: &str) -> Option<Name> {
    use md5::Digest;
    let records = message::parse(body).ok()?;
    let [Record::Job(Request { input, output, size, etag, .. })] = records.as_slice() else { return None };
    Some(md5::Md5::digest(format!("{:?}", (input, output, size, etag)).as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::queue::{JobQueue, Outgoing};

    #[tokio::test]
    async fn a_job_in_the_queue_is_known_by_what_it_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        let body = |id: &str, size: u64| {
            format!(r#"{{"v":1,"id":"{id}","input":"file:///in/a","output":"file:///out/a","size":{size}}}"#)
        };
        let queue = LocalQueue::open(&path).unwrap();
        queue.send(&[Outgoing { body: body("1", 5), ..Outgoing::default() }]).await.unwrap();
        // Somebody has it.
        let minute = std::time::Duration::from_secs(60);
        assert_eq!(queue.receive(1, std::time::Duration::ZERO, minute).await.unwrap().len(), 1);
        let jobs = Jobs::of(&path).await.unwrap();
        assert!(jobs.was_found(&body("1", 5)) && jobs.was_found(&body("2", 5)), "another journal has other ids");
        assert!(!jobs.was_found(&body("1", 6)), "a file that has changed is another job");
        assert!(jobs.is_at_work(&body("1", 5)) && !jobs.is_at_work(&body("1", 6)));
        jobs.note(&body("1", 6));
        assert!(jobs.is_at_work(&body("1", 6)) && !jobs.was_found(&body("1", 6)));
    }
}
