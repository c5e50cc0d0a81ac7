//! When going on would only burn jobs: the worker stops, or takes one message at a time.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::error::Code;
use batchpipe::error::ServiceErrorKind::{Denied, Unavailable};
use batchpipe::processor::Work;
use batchpipe::testing::{Fault, On, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_delete_stops_instead_of_doing_all_again() {
    let mut rig = Rig::new();
    rig.concurrency = 2;
    (0..20).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.always(On::Delete, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    running.end().await;
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code(104)));
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (20, 0), "nothing was burned");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_is_not_paid_with_the_receives_of_every_message() {
    let mut rig = Rig::new();
    rig.concurrency = 4;
    (0..80).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.always(On::Get, Fault::Fail(Unavailable));
    let running = rig.start(Work::Copy);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    rig.shutdown.advance(batchpipe::shutdown::Phase::Draining);
    running.end().await;
    // Five attempts a message: without care all of them would have been received by now.
    let reads = rig.faults.calls(On::Get);
    assert!((20..200).contains(&reads), "{reads} reads of a store that is away");
}
