//! Cores in simulated time: a task holds a core for a while, and the others wait.
//!
//! On a simulated clock, real computation takes no time at all. Here a piece of work takes a given time on one of a
//! fixed number of cores, in turn, and [`time`](Cores::time) is the CPU time that a real machine would report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::record::Level;
use crate::runtime::cpu::CpuTime;

/// Cores of a simulated machine. Clones share one machine.
#[derive(Clone, Debug)]
pub struct Cores {
    number: usize,
    free: Arc<Semaphore>,
    taken: Arc<Level>,
}

impl Cores {
    /// A machine with this number of cores.
    pub fn new(number: usize) -> Self {
        Self { number, free: Arc::new(Semaphore::new(number)), taken: Arc::default() }
    }

    /// Computes for `time` on one core, as soon as one is free.
    pub async fn compute(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        // The semaphore is never closed.
        let _core = self.free.acquire().await;
        let _taken = self.taken.enter();
        tokio::time::sleep(time).await;
    }

    /// The CPU time that such a machine reports; all of its work is ours.
    pub fn time(&self) -> CpuTime {
        CpuTime { used: self.taken.sum().as_secs_f64(), idle: None, cores: self.number as f64 }
    }
}
