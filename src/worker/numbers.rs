//! The numbers that a worker may be given. `checks.rs` holds their bounds.

use std::path::PathBuf;
use std::time::Duration;

use super::builder::WorkerBuilder;
use super::choices::Concurrency;

/// How much at once, and for how long.
impl WorkerBuilder {
    /// Jobs in flight: a number, or [`Concurrency::Auto`], which is the default.
    pub fn concurrency(mut self, jobs: impl Into<Concurrency>) -> Self {
        self.concurrency = Some(jobs.into());
        self
    }

    /// Processors that run at once. The default is the number of cores, and for steps a quarter more.
    pub fn processors(mut self, processors: usize) -> Self {
        self.processors = Some(processors);
        self
    }

    /// Bytes of objects held in memory at any time, with what the processors state they need. The default is a quarter
    /// of the memory of the machine or its cgroup.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Bytes of a ranged read and of an uploaded part. The default is 8 MiB.
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.settings.part = bytes;
        self
    }

    /// Long polls in flight. The default is as many as fill the jobs in flight, and one while the queue is empty.
    pub fn receivers(mut self, polls: usize) -> Self {
        self.how.receivers = Some(polls);
        self
    }

    /// How long a receive waits for a message, at most 20 s, which is the default.
    pub fn wait_time(mut self, wait: Duration) -> Self {
        self.how.wait = wait;
        self
    }

    /// How long a message stays with this worker without a sign of life. The default is 60 s.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.settings.visibility = timeout;
        self
    }

    /// How long one attempt at a job may take; then it is cut and tried again. By default there is no limit.
    pub fn job_timeout(mut self, timeout: Duration) -> Self {
        self.settings.job_timeout = Some(timeout);
        self
    }

    /// Fails a job whose decompressed input grows beyond this. Steps only; by default there is no limit.
    pub fn max_expanded_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_expanded_bytes = Some(bytes);
        self
    }

    /// Where a program's files are kept. The default is the system's temporary directory.
    pub fn work_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.work_dir = Some(folder.into());
        self
    }

    /// Lets a program see the AWS credentials in its environment.
    pub fn pass_credentials(mut self) -> Self {
        self.pass_credentials = true;
        self
    }

    /// Exit codes of a program that reject the job, beside 64 to 78 without 75.
    pub fn reject_codes(mut self, codes: impl IntoIterator<Item = u8>) -> Self {
        self.reject_codes.extend(codes);
        self
    }
}
