//! How the bytes in flight are shared between a large object and small ones, on the runtime's clock.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::processor::Work;
use batchpipe::testing::{Fault, MemoryQueue, MemoryStore, On, Operation, Rig};
use tokio::time::Instant;

const LATENCY: Duration = Duration::from_millis(20);
const MIB: u64 = 1 << 20;

/// What happened between the begin of a large object's upload and its end.
#[derive(Debug)]
struct Beside {
    /// How long it was.
    took: Duration,
    /// Small objects written meanwhile.
    small: usize,
    /// The longest time in which none was.
    stall: Duration,
}

/// A large object, and so many small ones behind it, in a budget of 64 MiB.
async fn beside(receivers: usize, small: u32) -> Beside {
    let mut rig = Rig::new();
    rig.queue = Arc::new(MemoryQueue::new("jobs").with_log(rig.log.clone()));
    rig.store = MemoryStore::sink().with_log(rig.log.clone());
    rig.visibility = Duration::from_secs(12 * 60 * 60);
    (rig.transfer.part, rig.transfer.parallel, rig.memory) = (5 * MIB, 8, 64 * MIB);
    (rig.concurrency, rig.receive.receivers) = (8, Some(receivers));
    for on in [On::Get, On::Put, On::Part, On::Receive] {
        rig.faults.always(on, Fault::Late(LATENCY));
    }
    rig.job("large", 2048 * MIB);
    (0..small).for_each(|number| drop(rig.job(&number.to_string(), 1000)));
    let running = rig.start(Work::Copy);
    let count = |so: fn(&Operation) -> bool| rig.log.count(so);
    while count(|operation| matches!(operation, Operation::Part { .. })) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let puts = || count(|operation| matches!(operation, Operation::Put { .. }));
    let (began, before) = (Instant::now(), puts());
    let (mut last, mut seen, mut stall) = (began, before, Duration::ZERO);
    while count(|operation| matches!(operation, Operation::Complete { .. })) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if puts() > seen || seen == small as usize {
            (last, seen) = (Instant::now(), puts());
        }
        stall = stall.max(last.elapsed());
    }
    let beside = Beside { took: began.elapsed(), small: puts() - before, stall };
    running.end().await;
    beside
}

#[tokio::test(start_paused = true)]
async fn small_objects_go_on_beside_a_large_one_and_leave_it_its_window() {
    for receivers in [1, 3] {
        let (alone, both) = (beside(receivers, 0).await, beside(receivers, 3000).await);
        // 410 parts, eight at a time, take a second; what idle receivers hold costs some of the eight.
        assert!(alone.took < Duration::from_secs(3), "the large one alone: {alone:?}");
        assert!(both.took < Duration::from_secs(8), "{both:?}");
        assert!(both.small > 200 && both.stall < Duration::from_millis(200), "{both:?}");
    }
}
