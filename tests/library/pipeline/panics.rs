//! A panic is one job's failure or the worker's, never a job that is lost or a queue that looks empty.

use batchpipe::error::Code;
use batchpipe::processor::Work;
use batchpipe::stages::Settled;
use batchpipe::testing::{Fault, On, Rig};

use super::work::{copying, filter};

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_stage_is_its_jobs_failure_and_nobody_elses() {
    for on in [On::Get, On::Put] {
        let rig = Rig::new();
        (0..20).for_each(|name| drop(rig.job(&name.to_string(), 10)));
        rig.faults.next(on, Fault::Panic, 1);
        let settled = rig.run(copying()).await;
        assert_eq!((settled.done, settled.retried), (20, 1), "{on:?}: {settled:?}");
        assert!((0..20).all(|name| rig.is_copied(&name.to_string())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_panics_every_time_ends_in_the_dead_letters_with_the_words() {
    let mut rig = Rig::new();
    rig.max_receives = Some(2);
    rig.job("a", 10);
    rig.faults.always(On::Get, Fault::Panic);
    let settled = rig.run(copying()).await;
    assert_eq!((settled.retried, settled.rejected), (1, 1), "{settled:?}");
    let letters = rig.dead_letters.peek();
    let told = |name: &str| letters[0].attributes.get(name).map_or("", String::as_str);
    assert!(told("batchpipe-reason").contains("a fault for a test"), "{:?}", letters[0].attributes);
    assert_eq!((told("batchpipe-input"), told("batchpipe-output")), ("s3://input/a", "s3://output/a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_processor_gives_its_slot_back() {
    let mut rig = Rig::new();
    (rig.processors, rig.max_receives) = (1, Some(1));
    for name in 0..6 {
        rig.job(&name.to_string(), 10);
    }
    let work: Work = filter(|job, input, output| {
        assert!(!job.input.key().ends_with('3'), "not this one");
        std::io::copy(input, output)?;
        Ok(())
    });
    assert_eq!(rig.run(work).await, Settled { done: 5, rejected: 1, ..Settled::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_panics_fails_the_worker_instead_of_looking_like_an_empty_queue() {
    let rig = Rig::new();
    (0..20).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.next(On::Receive, Fault::Panic, 1);
    let running = rig.start(copying());
    let circuit = std::sync::Arc::clone(&running.circuit);
    running.end().await;
    let tripped = circuit.tripped().expect("it is no good end");
    assert_eq!(tripped.code, Code::InternalPanic);
    assert!(tripped.cause.contains("a fault for a test"), "{}", tripped.cause);
}
