//! Outputs that are there already: recognised, made again or left alone.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchpipe::error::ServiceErrorKind::Unavailable;
use batchpipe::processor::Work;
use batchpipe::processor::work_from_steps;
use batchpipe::services::store::{ObjectStore, Writing};
use batchpipe::stages::{IfExists, Settled};
use batchpipe::stop::shutdown::Shutdown;
use batchpipe::testing::{Fault, On, Operation, Rig};
use batchpipe::{Job, ProcessError, Processor};

use super::work::{copying, filter};

const PART: u64 = 64 * 1024;

fn rig(if_exists: IfExists) -> Rig {
    let mut rig = Rig::new();
    rig.if_exists = if_exists;
    rig
}

/// A run of what is in the queue; there may have been others.
async fn run(rig: &Rig, work: Work) -> Settled {
    let mut rig = rig.clone();
    rig.shutdown = Shutdown::default();
    rig.run(work).await
}

/// How often an output was written.
fn writes(rig: &Rig) -> usize {
    rig.log.count(|operation| match operation {
        Operation::Put { at } | Operation::Complete { at } => at.is_under(&Rig::output("")),
        _ => false,
    })
}

const DONE: Settled = Settled { done: 1, skipped: 0, retried: 0, rejected: 0, released: 0, abandoned: 0 };
const SKIPPED: Settled = Settled { done: 0, skipped: 1, ..DONE };
const REJECTED: Settled = Settled { done: 0, rejected: 1, ..DONE };

/// Copies, in the name of `0`, and lets something else happen before it ends.
struct Named<F>(&'static str, F);

impl<F: Fn() + Send + Sync + 'static> Processor for Named<F> {
    fn process(&self, _: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        std::io::copy(input, output)?;
        (self.1)();
        Ok(())
    }

    fn id(&self) -> Option<String> {
        Some(self.0.to_owned())
    }
}

fn named(name: &'static str, meanwhile: impl Fn() + Send + Sync + 'static) -> Work {
    Work::Filter(Arc::new(Named(name, meanwhile)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_the_same_source_and_processor_is_skipped_and_any_other_made_again() {
    for size in [10, 3 * PART] {
        let mut rig = rig(IfExists::Overwrite);
        rig.job("a", size);
        assert_eq!(run(&rig, Work::Copy).await, DONE);
        rig.if_exists = IfExists::Skip;
        rig.message("a");
        assert_eq!(run(&rig, Work::Copy).await, SKIPPED, "{size} bytes, made by a plain run");
        assert_eq!(writes(&rig), 1);
        rig.message("a");
        assert_eq!(run(&rig, named("other", || ())).await, DONE, "another processor");
        rig.message("a");
        assert_eq!(run(&rig, named("other", || ())).await, SKIPPED, "the same one again");
        rig.store.insert(Rig::input("a"), "a new version");
        rig.message("a");
        assert_eq!(run(&rig, named("other", || ())).await, DONE, "another version of the source");
        assert_eq!(rig.store.contents(&Rig::output("a")).unwrap(), "a new version");
        rig.store.insert(Rig::output("a"), "of another tool");
        rig.message("a");
        assert_eq!(run(&rig, named("other", || ())).await, DONE, "without marks");
        assert!(rig.is_copied("a"));
    }
}

/// A message that asks for one output of all.
fn ask_for_one(rig: &Rig, name: &str) {
    rig.body(format!(r#"{{"v":1,"input":"{}","output":"s3://output/one"}}"#, Rig::input(name)), &["one"]);
}

/// A renamed object is another source, though it holds the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_an_input_that_was_renamed_is_made_again() {
    let rig = rig(IfExists::Skip);
    for (name, before) in [("a", None), ("b", Some("a"))] {
        if let Some(before) = before {
            rig.store.remove(&Rig::input(before));
        }
        rig.store.insert(Rig::input(name), "the same");
        ask_for_one(&rig, name);
        assert_eq!(run(&rig, Work::Copy).await, DONE, "{name}");
    }
}

/// Whichever is later would replace the other's output.
#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_another_input_that_is_still_there_is_not_replaced_and_the_letter_names_both() {
    for if_exists in [IfExists::Skip, IfExists::Fail] {
        let rig = rig(if_exists);
        ["a", "b"].iter().for_each(|name| rig.store.insert(Rig::input(name), *name));
        for (name, settled) in [("a", DONE), ("b", REJECTED), ("a", SKIPPED)] {
            ask_for_one(&rig, name);
            assert_eq!(run(&rig, Work::Copy).await, settled, "{if_exists:?} {name}");
        }
        assert_eq!(rig.store.contents(&Rig::output("one")).unwrap(), "a");
        let letters = rig.dead_letters.peek();
        let facts = &letters[0].attributes;
        assert_eq!((facts["batchpipe-code"].as_str(), letters.len()), ("BP315", 1));
        for input in ["a", "b"].map(Rig::input) {
            assert!(facts["batchpipe-reason"].contains(&format!("{:?}", input.to_string())), "{facts:?}");
        }
    }
}

/// What others wrote into an output must not lead a worker to look at places that no message may name.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_messages_may_not_name_is_not_looked_at_though_an_output_names_it() {
    let mut rig = rig(IfExists::Skip);
    rig.rules.allow = ["input", "output"].map(|bucket| batchpipe::Location::s3(bucket, "")).into();
    rig.job("one", 10);
    let metadata = [("batchpipe-input".to_owned(), "s3://secret/gone".to_owned())].into();
    rig.store.put(&Rig::output("one"), "x".into(), &Writing { metadata, ..Writing::default() }).await.unwrap();
    assert_eq!(run(&rig, Work::Copy).await, REJECTED, "it counts as there");
    assert_eq!(rig.faults.calls(On::Head), 1, "the output was looked at, and nothing else");
}

/// Outputs that were made before there was such a mark, or without a reason to write it.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_does_not_tell_its_input_is_made_again_or_left_as_before() {
    for (if_exists, settled) in [(IfExists::Skip, DONE), (IfExists::Fail, REJECTED)] {
        let mut rig = rig(IfExists::Overwrite);
        for (name, settled) in [("a", DONE), ("b", settled)] {
            rig.store.insert(Rig::input(name), name);
            ask_for_one(&rig, name);
            assert_eq!(run(&rig, Work::Copy).await, settled, "{if_exists:?} {name}");
            rig.if_exists = if_exists;
        }
        let letters = rig.dead_letters.peek();
        assert!(letters.iter().all(|letter| letter.attributes["batchpipe-code"] == "BP307"), "{letters:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_level_another_argument_and_another_command_line_are_other_processors() {
    let program = |argv: &[&str]| {
        let argv = argv.iter().map(Into::into).collect();
        let program = batchpipe::processor::program::Program::parse(argv, Default::default()).unwrap();
        Work::Program(Arc::new(program))
    };
    type Make = Box<dyn Fn() -> Work>;
    let works: [(&str, Make, &str); 5] = [
        ("zstd:3", Box::new(|| work_from_steps("zstd:3").unwrap()), ""),
        ("zstd:4", Box::new(|| work_from_steps("zstd:4").unwrap()), ""),
        ("cat", Box::new(move || program(&["cat"])), ""),
        ("cat -u", Box::new(move || program(&["cat", "-u"])), ""),
        ("cat -u, of a job with arguments", Box::new(move || program(&["cat", "-u"])), r#","args":["x"]"#),
    ];
    let rig = rig(IfExists::Skip);
    rig.store.insert(Rig::input("a"), "text");
    for (name, work, more) in works {
        let body = || format!(r#"{{"v":1,"input":"s3://input/a","output":"s3://output/a"{more}}}"#);
        rig.body(body(), &["a"]);
        assert_eq!(run(&rig, work()).await, DONE, "{name} makes it");
        rig.body(body(), &["a"]);
        assert_eq!(run(&rig, work()).await, SKIPPED, "{name} knows its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_processor_without_a_name_is_made_again() {
    let rig = rig(IfExists::Skip);
    for _ in 0..2 {
        rig.job("a", 10);
        assert_eq!(run(&rig, copying()).await, DONE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fail_an_output_of_another_rejects_the_job_and_our_own_does_not() {
    for size in [10, 3 * PART] {
        let rig = rig(IfExists::Fail);
        rig.job("a", size);
        assert_eq!(run(&rig, Work::Copy).await, DONE);
        // Delivered again: the worker was killed before it deleted the message.
        rig.message("a");
        assert_eq!(run(&rig, Work::Copy).await, SKIPPED, "the same job has made it");
        assert_eq!(writes(&rig), 1);
        rig.store.insert(Rig::output("a"), "before");
        rig.message("a");
        assert_eq!(run(&rig, Work::Copy).await, REJECTED);
        assert_eq!(rig.store.contents(&Rig::output("a")).unwrap(), "before");
        let letters = rig.dead_letters.peek();
        assert!(letters.iter().all(|letter| letter.attributes["batchpipe-code"] == "BP307"), "{letters:?}");
    }
}

/// The write is refused the second time, because the first has happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_done_in_every_mode() {
    for if_exists in [IfExists::Overwrite, IfExists::Skip, IfExists::Fail] {
        for (size, on) in [(10, On::Put), (3 * PART, On::Complete)] {
            let rig = rig(if_exists);
            rig.job("a", size);
            rig.faults.next(on, Fault::Lost, 1);
            assert_eq!(run(&rig, Work::Copy).await, DONE, "{if_exists:?} {size}");
            assert!(rig.is_copied("a") && rig.dead_letters.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_appears_meanwhile_is_never_replaced_unseen() {
    for size in [10, 5 * PART] {
        for if_exists in [IfExists::Skip, IfExists::Fail] {
            let rig = rig(if_exists);
            rig.job("a", size);
            let (store, once) = (rig.store.clone(), AtomicBool::new(false));
            let settled = run(
                &rig,
                named("copy", move || {
                    if !once.swap(true, SeqCst) {
                        store.insert(Rig::output("a"), "of another");
                    }
                }),
            );
            let settled = settled.await;
            if if_exists == IfExists::Fail {
                assert_eq!(settled, REJECTED, "{size}");
                assert_eq!(rig.store.contents(&Rig::output("a")).unwrap(), "of another");
            } else {
                assert_eq!(settled, Settled { retried: 1, ..DONE }, "{size}: seen, it is made again");
                assert!(rig.is_copied("a"));
                let at_once = |operation: &Operation| match operation {
                    Operation::Extend { ids, timeout } => !ids.is_empty() && timeout.is_zero(),
                    _ => false,
                };
                assert_eq!(rig.log.count(at_once), 1, "{size}: there is nothing to wait for");
            }
        }
    }
}

/// A slow worker, on an old version, and a quick one that has made the newer output in the meantime.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_output_is_not_replaced_by_a_slow_job_of_an_older_version() {
    for size in [10, 5 * PART] {
        let rig = rig(IfExists::Skip);
        rig.store.insert(Rig::output("a"), "stale, and of another tool");
        rig.job("a", size);
        let (store, runtime) = (rig.store.clone(), tokio::runtime::Handle::current());
        let quick = Arc::new(Mutex::new(None));
        let ended = Arc::clone(&quick);
        let settled = run(
            &rig,
            named("copy", move || {
                let mut ended = ended.lock().unwrap();
                if ended.is_none() {
                    store.insert(Rig::input("a"), "the newer version");
                    let mut quick = Rig::new();
                    quick.if_exists = IfExists::Skip;
                    // That of the slow one.
                    quick.may_leave_uploads = true;
                    quick.store = store.clone().with_log(quick.log.clone());
                    quick.message("a");
                    *ended = Some(runtime.block_on(run(&quick, named("copy", || ()))));
                }
            }),
        );
        let settled = settled.await;
        assert_eq!(*quick.lock().unwrap(), Some(DONE), "the quick one");
        assert_eq!(settled, DONE, "looked at again, the output is that of the version there is");
        assert_eq!(rig.store.contents(&Rig::output("a")).unwrap(), "the newer version");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_costs_one_question_and_a_second_only_for_an_output_of_the_same_processor() {
    let asked = |rig: &Rig| (rig.faults.calls(On::Head), rig.faults.calls(On::Get));
    let plain = rig(IfExists::Overwrite);
    plain.job("a", 10);
    run(&plain, Work::Copy).await;
    assert_eq!((asked(&plain), plain.faults.calls(On::Put)), ((0, 1), 1), "what a run costs that does not look");

    let mut careful = rig(IfExists::Skip);
    careful.job("a", 10);
    run(&careful, Work::Copy).await;
    assert_eq!(asked(&careful), (1, 1), "nothing there");
    careful.message("a");
    run(&careful, Work::Copy).await;
    assert_eq!(asked(&careful), (2, 2), "the version of the input is asked for, not its bytes");
    careful.rules = Default::default();
    let etag = careful.store.head(&Rig::input("a")).await.unwrap().unwrap().version.etag.unwrap();
    let body = format!(r#"{{"v":1,"input":"s3://input/a","output":"s3://output/a","etag":"{etag}","size":10}}"#);
    careful.body(body, &["a"]);
    assert_eq!(run(&careful, Work::Copy).await, SKIPPED);
    assert_eq!(asked(&careful), (3, 2), "the message tells the version");
    let bytes = careful.log.count(|operation| matches!(operation, Operation::Get { range, .. } if !range.is_empty()));
    assert_eq!(bytes, 1);
}

/// A message that means a version which is gone is not answered with the output of another one.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_the_message_means_is_the_one_that_counts() {
    let rig = rig(IfExists::Skip);
    rig.job("a", 10);
    assert_eq!(run(&rig, Work::Copy).await, DONE);
    for (more, code) in
        [(r#""etag":"gone","size":10"#, "BP302"), (r#""etag":"gone""#, "BP302"), (r#""size":9"#, "BP302")]
    {
        let body = format!(r#"{{"v":1,"input":"s3://input/a","output":"s3://output/a",{more}}}"#);
        rig.body(body, &["a"]);
        assert_eq!(run(&rig, Work::Copy).await, REJECTED, "{more}");
        assert_eq!(rig.dead_letters.peek().last().unwrap().attributes["batchpipe-code"], code);
    }
    assert!(rig.is_copied("a"));
}

/// Half of a batch is done, one input has changed since and one output is gone: three of six are to be done.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_submitted_again_does_only_what_is_missing_or_has_changed() {
    let rig = rig(IfExists::Skip);
    let names = ["a", "b", "c", "d", "e", "f"];
    names[..5].iter().for_each(|name| drop(rig.job(name, 3 * PART)));
    assert_eq!(run(&rig, Work::Copy).await.done, 5);
    rig.store.insert_pattern(Rig::input("f"), 10);
    rig.store.insert(Rig::input("b"), "changed");
    rig.store.insert(Rig::output("c"), "spoilt");
    names.iter().for_each(|name| drop(rig.message(name)));
    let settled = run(&rig, Work::Copy).await;
    assert_eq!((settled.done, settled.skipped), (3, 3));
    names.iter().for_each(|name| assert!(rig.is_copied(name), "{name}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_while_we_look_fails_no_job_for_good() {
    let rig = rig(IfExists::Skip);
    rig.job("a", 10);
    rig.faults.next(On::Head, Fault::Fail(Unavailable), 7);
    rig.faults.next(On::Head, Fault::Delay(Duration::from_millis(20)), 1);
    let settled = run(&rig, Work::Copy).await;
    assert_eq!((settled.done, settled.retried), (1, 1));
}

/// What a file system without extended attributes, or another tool, leaves: no marks.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_with_half_of_the_marks_is_not_recognised() {
    let rig = rig(IfExists::Skip);
    rig.job("a", 10);
    let metadata = [("batchpipe-processor".to_owned(), "copy".to_owned())].into();
    let how = Writing { metadata, ..Writing::default() };
    rig.store.put(&Rig::output("a"), "half".into(), &how).await.unwrap();
    assert_eq!(run(&rig, Work::Copy).await, DONE);
    assert!(rig.is_copied("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_a_closure_has_no_name() {
    assert_eq!(filter(|_, _, _| Ok(())).id(), None);
    assert_eq!(work_from_steps("gzip,copy").unwrap().id().as_deref(), Some("gzip:6,copy"));
    assert_eq!(Work::Copy.id().as_deref(), Some("copy"));
}
