//! The front door of version 0.1.0, built on the builder.

use super::Settings;
use super::build::location;
use super::builder::WorkerBuilder;
use super::run::Worker;
use crate::error::UserError;
use crate::processor::Processor;
use crate::services::aws::AwsSettings;
use crate::stages::Settled;
use crate::stop::shutdown::Shutdown;

/// What [`Worker::new`] returns.
#[derive(Debug)]
#[doc(hidden)]
pub struct OldWorker(WorkerBuilder);

impl Worker {
    /// A worker of `queue`: an SQS queue by name, ARN or URL, or `sqlite:PATH`.
    #[deprecated(since = "0.2.0", note = "use Worker::builder(queue).process(processor)")]
    #[expect(clippy::new_ret_no_self, reason = "the calls that may follow are those of version 0.1.0")]
    pub fn new(queue: &str, processor: impl Processor) -> OldWorker {
        OldWorker(Self::builder(queue).process(processor))
    }
}

impl OldWorker {
    /// Where outputs go of messages that name none.
    pub fn output(mut self, uri: &str) -> Result<Self, UserError> {
        self.0.output = Some(location(uri)?.to_string());
        Ok(self)
    }

    /// A prefix that messages may read and write.
    pub fn allow(mut self, uri: &str) -> Result<Self, UserError> {
        self.0.allow.push(location(uri)?.to_string());
        Ok(self)
    }

    /// The numbers.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.0.settings = settings;
        // As they were given: nothing of them follows from the machine.
        self.0.concurrency = None;
        (self.0.processors, self.0.memory) = (Some(settings.processors), Some(settings.memory));
        self
    }

    /// How to reach AWS.
    #[must_use]
    pub fn aws(self, aws: AwsSettings) -> Self {
        Self(self.0.aws_settings(aws))
    }

    /// Stops when the queue holds nothing that could still come.
    #[must_use]
    pub fn until_empty(self) -> Self {
        Self(self.0.until_empty())
    }

    /// What stops the worker.
    pub fn shutdown(&self) -> Shutdown {
        self.0.shutdown.clone()
    }

    /// Works until the queue is empty, if so asked, or until the shutdown says to stop.
    pub async fn run(self) -> Result<Settled, UserError> {
        Ok(Box::pin(self.0.build().await?.run()).await?.settled())
    }
}
