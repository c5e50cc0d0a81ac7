//! A submit: what is announced is complete and is what the file was, and what fails is told by its own reason.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use batchpipe::error::ServiceErrorKind::{Denied, NoSpace, Unavailable};
use batchpipe::error::{Code, Stage};
use batchpipe::pipeline::Shared;
use batchpipe::services::queue::local::LocalQueue;
use batchpipe::services::queue::{JobQueue, Outgoing};
use batchpipe::services::store::ObjectStore;
use batchpipe::stop::circuit::Circuit;
use batchpipe::stop::shutdown::Phase;
use batchpipe::submit::journal::Journal;
use batchpipe::submit::{Item, Submit, Submitted};
use batchpipe::testing::{Fault, Faulty, FaultyQueue, On, Rig};
use futures::stream;

const PART: u64 = 64 * 1024;

/// A submit to the queue and the store of a rig.
fn submit_of(rig: &Rig) -> (Submit, Arc<Circuit>) {
    let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(Arc::new(rig.store.clone()), rig.faults.clone()));
    let shared = Shared::new(Arc::clone(&rig.meters), rig.shutdown.clone(), rig.transfer.retry);
    let circuit = Arc::clone(&shared.circuit);
    let queue = Arc::new(FaultyQueue::new(Arc::clone(&rig.queue) as Arc<dyn JobQueue>, rig.faults.clone()));
    let submit = Submit {
        concurrency: 2,
        linger: Duration::from_millis(10),
        ..Submit::new(shared, queue, store, rig.memory, rig.transfer.clone())
    };
    (submit, circuit)
}

/// The file `name` in `folder`, listed with `size` bytes.
fn item(folder: &Path, name: &str, size: u64) -> std::io::Result<Item> {
    let (name, file) = (name.to_owned(), folder.join(name));
    let (input, version) = (Rig::input(&name), name.clone());
    Ok(Item { name, file: Some(file), input, size, version, message: Outgoing::default(), queued: false })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_store_is_away_stops_and_sends_nothing() {
    // In one request, and in parts.
    for (size, on) in [(1, On::Put), (3 * PART, On::Begin)] {
        let rig = Rig::new();
        let folder = tempfile::tempdir().unwrap();
        let item = |number: usize| {
            std::fs::write(folder.path().join(number.to_string()), vec![b'x'; size as usize]).unwrap();
            item(folder.path(), &number.to_string(), size)
        };
        let (submit, circuit) = submit_of(&rig);
        // Two that fail by themselves, in a store that answers, and then nobody answers any more.
        rig.faults.next(on, Fault::Fail(Unavailable), 10);
        let two = submit.run(stream::iter((0..2).map(item))).await;
        assert_eq!((two.failed, circuit.tripped()), (2, None));
        rig.faults.always(on, Fault::Fail(Unavailable));
        rig.faults.always(On::Head, Fault::Fail(Unavailable));
        let all = submit.run(stream::iter((0..100).map(item))).await;
        assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::Unreachable), "{on:?}");
        assert!((3..10).contains(&all.failed), "{all:?}");
        assert_eq!((all.sent, rig.queue.len()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_whose_upload_is_refused_is_told_so_and_stops_the_submit_as_a_small_one_does() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    names.iter().for_each(|name| std::fs::write(folder.path().join(name), vec![b'x'; 9 * PART as usize]).unwrap());
    rig.faults.always(On::Begin, Fault::Fail(Denied));
    let (submit, circuit) = submit_of(&rig);
    let all = submit.run(stream::iter(names.iter().map(|name| item(folder.path(), name, 9 * PART)))).await;
    assert!(all.failures.iter().all(|(_, reason)| reason.contains("BP106")), "{:?}", all.failures);
    assert_eq!(circuit.tripped().map(|tripped| tripped.code), Some(Code::AccessDenied));
    assert!((3..10).contains(&all.failed), "each further file would fail the same way: {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_grown_is_not_cut_where_it_ended_before() {
    for size in [PART - 1, PART, 2 * PART] {
        let rig = Rig::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), vec![b'x'; size as usize + 1]).unwrap();
        let all = submit_of(&rig).0.run(stream::iter([item(folder.path(), "a", size)])).await;
        assert_eq!((all.sent, all.failed, rig.queue.len()), (0, 1, 0), "{size}");
        assert!(all.failures[0].1.contains("BP302"), "{:?}", all.failures);
        assert!(rig.store.locations().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_while_it_is_read_becomes_no_object_of_two_versions() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let (path, size) = (folder.path().join("a"), 40 * PART);
    std::fs::write(&path, vec![b'1'; size as usize]).unwrap();
    rig.faults.always(On::Part, Fault::Delay(Duration::from_millis(20)));
    let submit = submit_of(&rig).0;
    let read = item(folder.path(), "a", size);
    let running = tokio::spawn(async move { submit.run(stream::iter([read])).await });
    while rig.faults.calls(On::Part) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::fs::write(&path, vec![b'2'; size as usize]).unwrap();
    let all = running.await.unwrap();
    assert_eq!((all.sent, all.failed, rig.queue.len()), (0, 1, 0));
    assert!(all.failures[0].1.contains("BP302"), "{:?}", all.failures);
    assert!(rig.store.locations().is_empty());
    assert_eq!(rig.store.uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_upload_panics_counts_as_failed() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    ["a", "b"].iter().for_each(|name| std::fs::write(folder.path().join(name), "x").unwrap());
    rig.faults.next(On::Put, Fault::Panic, 1);
    let items = ["a", "b"].map(|name| item(folder.path(), name, 1));
    let all = submit_of(&rig).0.run(stream::iter(items)).await;
    assert_eq!((all.sent, all.failed, all.failures.len()), (1, 1, 1), "{all:?}");
}

/// Submits files of a byte each, named by number, whose messages say that number.
async fn submit_numbers(submit: &Submit, folder: &Path, numbers: std::ops::Range<usize>) -> Submitted {
    let items = numbers.map(|number| {
        std::fs::write(folder.join(number.to_string()), "x")?;
        let body = number.to_string();
        Ok(Item { message: Outgoing { body, ..Outgoing::default() }, ..item(folder, &number.to_string(), 1)? })
    });
    submit.run(stream::iter(items)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_queue_is_away_stops_at_the_third_batch_and_goes_on_where_it_was() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = || Some(Arc::new(Journal::open(&folder.path().join("journal"), "batch").unwrap()));
    // Whole batches, one after the other.
    let (mut submit, circuit) = submit_of(&rig);
    (submit.journal, submit.concurrency, submit.linger) = (journal(), 1, Duration::from_secs(60));
    // Two batches that fail, one that is sent, and then nobody answers any more.
    let attempts = rig.transfer.retry.attempts;
    rig.faults.next(On::Send, Fault::Fail(Unavailable), 2 * attempts);
    let first = submit_numbers(&submit, folder.path(), 0..30).await;
    assert_eq!((first.sent, first.failed, circuit.tripped()), (10, 20, None), "{first:?}");
    rig.faults.always(On::Send, Fault::Fail(Unavailable));
    let calls = rig.faults.calls(On::Send);
    let more = submit_numbers(&submit, folder.path(), 30..500).await;
    let tripped = circuit.tripped().map(|tripped| (tripped.code, tripped.stage));
    assert_eq!((tripped, more.sent), (Some((Code::Unreachable, Stage::Send)), 0));
    assert!((30..100).contains(&more.failed), "what was not tried has not failed: {}", more.failed);
    assert_eq!(rig.faults.calls(On::Send) - calls, 3 * u64::from(attempts), "three batches, and no more");

    let healthy = Rig::new();
    let (mut again, _) = submit_of(&healthy);
    (again.store, again.journal) = (submit.store, journal());
    let all = submit_numbers(&again, folder.path(), 0..500).await;
    assert_eq!((all.sent, all.before, all.failed), (500, 10, 0));
    let mut sent: Vec<_> =
        [&rig, &healthy].iter().flat_map(|rig| rig.queue.peek()).map(|message| message.body).collect();
    sent.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(sent, (0..500).map(|number| number.to_string()).collect::<Vec<_>>(), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_queue_is_full_stops_at_the_third_batch() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let (mut submit, circuit) = submit_of(&rig);
    (submit.concurrency, submit.linger) = (1, Duration::from_secs(60));
    rig.faults.always(On::Send, Fault::Fail(NoSpace));
    let all = submit_numbers(&submit, folder.path(), 0..500).await;
    let tripped = circuit.tripped().map(|tripped| (tripped.code, tripped.stage));
    assert_eq!((tripped, all.sent), (Some((Code::NoSpace, Stage::Send)), 0));
    assert!((30..100).contains(&all.failed), "{}", all.failed);
    assert_eq!(rig.faults.calls(On::Send), 3, "what is full is not asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_is_cut_does_not_wait_for_a_silent_queue() {
    let mut rig = Rig::new();
    rig.transfer.retry.deadline = Duration::from_secs(60);
    rig.faults.always(On::Send, Fault::Silence);
    let folder = tempfile::tempdir().unwrap();
    let (submit, circuit) = submit_of(&rig);
    let cutting = async {
        while rig.faults.calls(On::Send) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.shutdown.advance(Phase::Cutting);
    };
    let both = async { tokio::join!(submit_numbers(&submit, folder.path(), 0..30), cutting) };
    let (submitted, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("it ends");
    assert_eq!((submitted.sent, circuit.tripped()), (0, None));
    assert!(submitted.failed >= 1, "{submitted:?}");
}

/// A send that is given up while it is written is written all the same: sent again, it would be there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_on_a_slow_disk_has_each_message_once() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "x").unwrap();
    let queue: Arc<dyn JobQueue> = Arc::new(LocalQueue::open(&folder.path().join("queue.db")).unwrap());
    rig.faults.always(On::Send, Fault::Late(Duration::from_millis(500)));
    let mut submit = submit_of(&rig).0;
    submit.queue = Arc::new(FaultyQueue::new(Arc::clone(&queue), rig.faults.clone()));
    submit.transfer.retry.deadline = Duration::from_millis(100);
    let all = submit.run(stream::iter([item(folder.path(), "a", 1)])).await;
    assert_eq!((all.sent, all.failed), (1, 0), "{all:?}");
    assert_eq!((queue.counts().await.unwrap().visible, rig.faults.calls(On::Send)), (1, 1));
}
