//! Cores in simulated time: whoever has one keeps it for a while, and the others wait.
//!
//! On a clock that jumps, real computation takes no time at all. Here a piece of work is so much time on one of a fixed
//! number of cores, in turn, and [`time`](Cores::time) is what a real machine would tell of its CPU.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::record::Level;
use crate::runtime::cpu::CpuTime;

/// Cores of a simulated machine. Clones are one machine.
#[derive(Clone, Debug)]
pub struct Cores {
    number: usize,
    free: Arc<Semaphore>,
    taken: Arc<Level>,
}

impl Cores {
    /// A machine with so many.
    pub fn new(number: usize) -> Self {
        Self { number, free: Arc::new(Semaphore::new(number)), taken: Arc::default() }
    }

    /// Computes for `time` on one core, when one is free.
    pub async fn compute(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        // Never closed; without a core there would be nobody to wait for.
        let _core = self.free.acquire().await;
        let _taken = self.taken.enter();
        tokio::time::sleep(time).await;
    }

    /// What such a machine tells of its CPU, all of whose work is ours.
    pub fn time(&self) -> CpuTime {
        CpuTime { used: self.taken.sum().as_secs_f64(), idle: None, cores: self.number as f64 }
    }
}
