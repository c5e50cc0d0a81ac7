//! When going on would only burn jobs: the worker stops, or takes one message at a time.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::error::Code;
use batchpipe::error::ServiceErrorKind::{Credentials, Denied, Unavailable};
use batchpipe::processor::Work;
use batchpipe::stages::{IfExists, Settled};
use batchpipe::testing::{Fault, On, Rig};

use super::work::filter;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_delete_stops_instead_of_doing_all_again() {
    let mut rig = Rig::new();
    rig.concurrency = 2;
    (0..20).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    rig.faults.always(On::Delete, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    running.end().await;
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::QueueDenied));
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
    rig.shutdown.advance(batchpipe::stop::shutdown::Phase::Draining);
    running.end().await;
    // Five attempts a message: without care all of them would have been received by now.
    let reads = rig.faults.calls(On::Get);
    assert!((20..200).contains(&reads), "{reads} reads of a store that is away");
}

/// A rig whose role may read and not list: what is missing is refused.
fn unlisted() -> Rig {
    let mut rig = Rig::new();
    rig.store = rig.store.clone().unlisted();
    rig.max_receives = Some(2);
    rig.concurrency = 1;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_inputs_stop_no_worker_that_can_read_what_lies_beside_them() {
    let rig = unlisted();
    rig.job("day/there", 10);
    (0..6).for_each(|number| drop(rig.message(&format!("day/gone-{number}"))));
    rig.job("day/also there", 10);
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    assert_eq!(running.end().await, Settled { done: 2, retried: 6, rejected: 6, ..Settled::default() });
    assert_eq!(circuit.tripped(), None);
    let letters = rig.dead_letters.peek();
    assert!(letters.iter().all(|letter| letter.attributes["batchpipe-code"] == "BP313"), "{letters:?}");
    assert!(letters[0].attributes["batchpipe-reason"].contains("s3:ListBucket"), "{letters:?}");
}

/// Though another object could be read: by then they may have been renewed, or only one server has heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_never_one_objects_matter() {
    let mut rig = Rig::new();
    rig.concurrency = 1;
    rig.receive.until_empty = false;
    rig.receive.max_messages = Some(2);
    ["day/a", "day/b"].iter().for_each(|name| drop(rig.job(name, 10)));
    let faults = rig.faults.clone();
    let work = filter(move |job, input, output| {
        std::io::copy(input, output)?;
        if job.input.key() == "day/a" {
            faults.next(On::Get, Fault::Fail(Credentials), 1);
        }
        Ok(())
    });
    assert_eq!(rig.run(work).await, Settled { done: 1, released: 1, ..Settled::default() });
    assert_eq!(rig.faults.calls(On::Get), 2, "nobody else was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_which_nothing_was_read_proves_nothing_and_stops_the_worker() {
    let rig = unlisted();
    rig.job("day 1/there", 10);
    (0..6).for_each(|number| drop(rig.message(&format!("day 2/gone-{number}"))));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    running.end().await;
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::AccessDenied));
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (6, 0), "nothing was burned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_stops_a_worker_that_has_read_before() {
    let mut rig = unlisted();
    rig.max_receives = None;
    (0..20).for_each(|name| drop(rig.job(&format!("day/{name}"), 10)));
    let faults = rig.faults.clone();
    let running = rig.start(filter(move |_, input, output| {
        std::io::copy(input, output)?;
        faults.always(On::Get, Fault::Fail(Denied));
        Ok(())
    }));
    let circuit = Arc::clone(&running.circuit);
    let settled = running.end().await;
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::AccessDenied));
    assert_eq!((settled.done, rig.queue.len(), rig.dead_letters.len()), (1, 19, 0), "nothing was burned");
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_not_there_stop_no_worker_that_may_not_list() {
    for if_exists in [IfExists::Skip, IfExists::Fail] {
        let mut rig = unlisted();
        rig.if_exists = if_exists;
        (0..6).for_each(|name| drop(rig.job(&name.to_string(), 10)));
        rig.store.insert(Rig::output("5"), "of another");
        let running = rig.start(Work::Copy);
        let circuit = Arc::clone(&running.circuit);
        let settled = running.end().await;
        assert_eq!(circuit.tripped(), None, "{if_exists:?}");
        (0..5).for_each(|name| assert!(rig.is_copied(&name.to_string())));
        match if_exists {
            IfExists::Fail => {
                assert_eq!((settled.done, settled.rejected), (5, 1));
                assert!(!rig.is_copied("5"), "what is there is not replaced");
            }
            _ => assert_eq!((settled.done, rig.is_copied("5")), (6, true), "what is there can be looked at"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_look_at_outputs_stops_before_it_replaces_one() {
    let mut rig = Rig::new();
    (rig.if_exists, rig.concurrency) = (IfExists::Skip, 1);
    for name in 0..6 {
        rig.job(&name.to_string(), 10);
        rig.store.insert(Rig::output(&name.to_string()), "of another");
    }
    rig.faults.always(On::Head, Fault::Fail(Denied));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    running.end().await;
    let tripped = circuit.tripped().expect("a right is missing");
    assert_eq!(tripped.code, Code::AccessDenied);
    assert!(tripped.cause.contains("may not be looked at"), "{}", tripped.cause);
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (6, 0), "nothing was burned");
    (0..6).for_each(|name| assert!(!rig.is_copied(&name.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_an_output_stops_at_the_third_message_that_names_none_and_burns_nothing() {
    let mut rig = Rig::new();
    rig.max_receives = Some(5);
    rig.concurrency = 1;
    for number in 0..20 {
        rig.body(format!(r#"{{"input":"s3://input/{number}"}}"#), &[]);
    }
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    let settled = running.end().await;
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::NoOutputNamed));
    assert_eq!(settled, Settled { released: settled.released, ..Settled::default() });
    assert_eq!((rig.queue.len(), rig.dead_letters.len()), (20, 0), "nothing was burned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_touch_no_file_stops_at_the_third_message_about_files_unless_others_may_be_touched() {
    for (allowed, stops) in [(None, true), (Some(Rig::input("")), false)] {
        let mut rig = Rig::new();
        rig.rules.allow.extend(allowed);
        rig.max_receives = Some(5);
        rig.concurrency = 1;
        for number in 0..6 {
            rig.body(format!(r#"{{"input":"file:///in/{number}","output":"s3://output/{number}"}}"#), &[]);
        }
        let running = rig.start(Work::Copy);
        let circuit = Arc::clone(&running.circuit);
        running.end().await;
        assert_eq!(circuit.tripped().map(|tripped| tripped.code), stops.then_some(Code::PlaceNotAllowed));
        assert_eq!((rig.queue.len(), rig.dead_letters.len()), if stops { (6, 0) } else { (0, 6) });
    }
}

/// Its sender's mistake: the other messages tell that the worker needs no output of its own.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_name_no_output_stop_no_worker_that_has_done_a_job_without_one() {
    let mut rig = Rig::new();
    rig.max_receives = Some(5);
    rig.concurrency = 1;
    rig.job("first", 10);
    for number in 0..6 {
        rig.body(format!(r#"{{"input":"s3://input/{number}"}}"#), &[]);
    }
    rig.job("last", 10);
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    assert_eq!(running.end().await, Settled { done: 2, rejected: 6, ..Settled::default() });
    assert_eq!(circuit.tripped(), None);
    assert!(rig.dead_letters.peek().iter().all(|letter| letter.attributes["batchpipe-code"] == "BP210"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_output_that_was_received_too_often_is_not_spared() {
    let mut rig = Rig::new();
    rig.max_receives = Some(2);
    rig.body(r#"{"input":"s3://input/a"}"#, &[]);
    let settled = Settled { released: 1, rejected: 1, ..Settled::default() };
    assert_eq!(rig.run(Work::Copy).await, settled);
    assert_eq!(rig.dead_letters.peek()[0].attributes["batchpipe-code"], "BP210");
}

/// One job, or more than run at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_ends_the_run_that_minds_and_loses_no_job() {
    for (jobs, on) in [(1, On::Get), (20, On::Get), (20, On::Put)] {
        let mut rig = Rig::new();
        rig.max_receives = Some(3);
        (0..jobs).for_each(|name| drop(rig.job(&name.to_string(), 10)));
        rig.faults.always(on, Fault::Fail(Unavailable));
        rig.faults.always(On::Head, Fault::Fail(Unavailable));
        let running = rig.start(Work::Copy);
        let circuit = Arc::clone(&running.circuit);
        circuit.stop_rather_than_wait();
        let settled = running.end().await;
        assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::Unreachable), "{jobs} {on:?}");
        assert_eq!((settled.done, settled.rejected), (0, 0), "{settled:?}");
        assert_eq!((rig.queue.len(), rig.dead_letters.len()), (jobs, 0), "nothing was burned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_on_some_objects_and_answers_is_not_away() {
    let mut rig = Rig::new();
    rig.max_receives = Some(3);
    ["a", "b"].iter().for_each(|name| drop(rig.job(name, 10)));
    rig.faults.always(On::Get, Fault::Fail(Unavailable));
    let running = rig.start(Work::Copy);
    let circuit = Arc::clone(&running.circuit);
    circuit.stop_rather_than_wait();
    assert_eq!(running.end().await.rejected, 2);
    assert_eq!(circuit.tripped(), None);
}
