//! The flow between jobs, put together as `Pipeline::run` does it; what is done for a message is the model's.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use crate::capacity::budget::Room;
use crate::lease::Lease;
use crate::runtime::task;
use crate::services::queue::Message;
use crate::stages::receive::group::{Finish, InOrder};
use crate::stages::{Delivery, Finished, Intake, Receive, Settled, Settling, receive};

/// In the place of batchpipe's.
#[derive(Clone)]
pub struct Pipeline {
    pub intake: Intake,
    pub settling: Settling,
    pub jobs: Arc<dyn Jobs>,
}

/// What is done for a message.
pub trait Jobs: Send + Sync {
    fn finish<'a>(&'a self, message: Message, lease: Lease, room: &'a Room) -> BoxFuture<'a, Finished>;
}

impl Pipeline {
    /// Runs until `how` or the shutdown says to stop and every message taken has been settled.
    pub async fn run(&self, how: Receive, linger: std::time::Duration) -> Settled {
        let slots = self.intake.slots.ceiling();
        let finished = receive(self.intake.clone(), how)
            .map(|delivery| task::spawn(self.clone().deliver(delivery)))
            .buffer_unordered(slots)
            .map(|joined| joined.expect("no line panics"))
            .flat_map(stream::iter);
        crate::acknowledged(finished, &self.settling, linger, slots).await
    }

    async fn deliver(self, delivery: Delivery) -> Vec<Finished> {
        InOrder { settling: &self.settling, shutdown: &self.intake.shutdown, jobs: &self }.work(delivery).await
    }
}

impl Finish for Pipeline {
    async fn finish(&self, message: Message, lease: Lease, room: &Room) -> Finished {
        self.jobs.finish(message, lease, room).await
    }
}
