//! What is told of messages that did not end well: in which words, how often, and what counts as whose mistake.
//!
//! On one thread, so that a log and a recorder of the test's own have everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use batchpipe::ProcessError;
use batchpipe::processor::Work;
use batchpipe::stop::shutdown::Phase;
use batchpipe::testing::Rig;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::settling::Said;
use super::work::filter;

#[tokio::test]
async fn a_job_that_a_stop_cuts_is_told_as_given_back_and_one_that_fails_as_failed() {
    let (said, _listening) = Said::listen();
    let mut rig = Rig::new();
    rig.receive.until_empty = false;
    rig.job("a", 10);
    let runs = Arc::new(AtomicU32::new(0));
    let begun = Arc::clone(&runs);
    let running = rig.start(filter(move |_, _, _| {
        if begun.fetch_add(1, SeqCst) == 0 {
            return Err(ProcessError::Retry { reason: "busy".into(), after: Some(Duration::ZERO) });
        }
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    }));
    while runs.load(SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.shutdown.advance(Phase::Cutting);
    assert_eq!(running.end().await.released, 1);
    let text = said.text();
    let (failed, given_back): (Vec<&str>, Vec<&str>) = (
        text.lines().filter(|line| line.contains("job failed")).collect(),
        text.lines().filter(|line| line.contains("job given back")).collect(),
    );
    assert!(failed.len() == 1 && failed[0].contains("WARN") && failed[0].contains("busy"), "{text}");
    assert!(given_back.len() == 1 && given_back[0].contains("INFO") && given_back[0].contains("BP604"), "{text}");
}

#[tokio::test]
async fn only_a_rejected_job_counts_as_a_bad_input() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let rig = Rig::new();
    (0..3).for_each(|name| drop(rig.job(&name.to_string(), 10)));
    let settled = rig
        .run(filter(|job, input, output| match (job.input.key(), job.attempt) {
            ("0", _) => Err(ProcessError::reject("never")),
            // Twice, so that what is counted shows which of the two is.
            ("1", 1 | 2) => Err(ProcessError::retry("not yet")),
            _ => {
                std::io::copy(input, output)?;
                Ok(())
            }
        }))
        .await;
    assert_eq!((settled.rejected, settled.retried, settled.done), (1, 2, 2));
    let counted = seen.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| match value {
        DebugValue::Counter(number) if key.key().name() == "batchpipe_bad_inputs_total" => Some(number),
        _ => None,
    });
    assert_eq!(counted.collect::<Vec<_>>(), [1]);
}

/// Rejects two jobs, the second when the first has been settled for long, with nowhere to move them to; what was said
/// of that: how often that messages are kept, and how often that one holds up its group.
async fn kept(mut rig: Rig, send: impl Fn(&Rig, &str)) -> (usize, usize) {
    let (said, _listening) = Said::listen();
    rig.has_dead_letters = false;
    // As on SQS: long after the run.
    rig.longest_back_off = Duration::from_secs(60 * 60);
    ["a", "b"].iter().for_each(|name| send(&rig, name));
    let work: Work = filter(|job, _, _| {
        if job.input.key() == "b" {
            std::thread::sleep(Duration::from_millis(300));
        }
        Err(ProcessError::reject("never"))
    });
    assert_eq!(rig.run(work).await.rejected, 2);
    let count = |words: &str| said.text().lines().filter(|line| line.contains(words)).count();
    assert_eq!(count("job failed"), 2, "each by itself: {}", said.text());
    (count("rejected messages are kept"), count("BP607"))
}

#[tokio::test]
async fn what_it_means_that_rejected_messages_stay_is_said_once() {
    assert_eq!(kept(Rig::new(), |rig, name| drop(rig.job(name, 10))).await, (1, 0));
    assert_eq!(kept(Rig::fifo(), |rig, name| drop(rig.job_in(name, name, 10))).await, (0, 1));
}
