//! Process groups: no program, and nothing it started, outlives its job or takes a cut for an end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchpipe::error::ErrorKind;
use batchpipe::stages::process;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::programs::{error, program, sh};
use super::{job, joined, run};

/// Both pids, once the script has written them.
async fn pids(file: &Path) -> Vec<u32> {
    for _ in 0..500 {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.ends_with("end\n") {
            return text.lines().filter_map(|line| line.parse().ok()).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the script did not begin");
}

/// A process that is dead but not yet reaped by its new parent is dead enough.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

async fn all_die(pids: &[u32]) {
    let until = Instant::now() + Duration::from_secs(5);
    while pids.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < until, "{pids:?} outlived their job");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const STUBBORN: &str = "trap '' TERM INT HUP; sh -c 'trap \"\" TERM; sleep 300; true' & \
                        { echo $$; echo $!; echo end; } >\"$0\"; sleep 300; true";

#[tokio::test]
async fn a_stubborn_program_and_its_children_die_with_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let (work, slots) = (program(&["sh", "-c", STUBBORN, file.to_str().unwrap()]), Arc::new(Semaphore::new(1)));
    let ends = joined();
    ends.to_process.send(Bytes::from_static(b"x")).await.unwrap();
    let task = {
        let slots = Arc::clone(&slots);
        tokio::spawn(async move { process(&work, slots.into(), &job("x"), ends.input, ends.output).await })
    };
    let pids = pids(&file).await;
    assert!(pids.len() == 2 && pids.iter().all(|pid| lives(*pid)));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    all_die(&pids).await;
    assert_eq!(slots.available_permits(), 1);
}

#[tokio::test]
async fn a_program_dies_when_the_upload_does_though_it_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let work = program(&["sh", "-c", STUBBORN, file.to_str().unwrap()]);
    let ends = joined();
    ends.to_process.send(Bytes::from_static(b"x")).await.unwrap();
    let job = job("x");
    let stage = process(&work, Arc::new(Semaphore::new(1)).into(), &job, ends.input, ends.output);
    let upload = async {
        let pids = pids(&file).await;
        drop(ends.from_process);
        pids
    };
    let both = async { tokio::join!(stage, upload) };
    let (said, pids) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!(said.unwrap_err().kind, ErrorKind::Disconnected);
    all_die(&pids).await;
}

#[tokio::test]
async fn a_broken_download_never_looks_like_the_end_of_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let ready = folder.path().join("ready");
    let script = "echo end >\"$1\"; cat >/dev/null; touch \"$0\"";
    let work = program(&["sh", "-c", script, marker.to_str().unwrap(), ready.to_str().unwrap()]);
    let ends = joined();
    ends.to_process.send(Bytes::from_static(b"half")).await.unwrap();
    let job = job("x");
    let stage = process(&work, Arc::new(Semaphore::new(1)).into(), &job, ends.input, ends.output);
    let download = async {
        pids(&ready).await;
        drop(ends.to_process);
    };
    let (said, ()) = tokio::join!(stage, download);
    assert_eq!(said.unwrap_err().kind, ErrorKind::Disconnected);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!marker.exists(), "the program acted on half an object");
}

#[tokio::test]
async fn what_a_program_leaves_running_neither_hangs_the_job_nor_cuts_its_output() {
    // It writes on after its parent is gone: that is part of the output.
    let (said, seen) = run(&sh("(sleep 0.3; echo late) & echo early"), &job("x"), vec![]).await;
    said.unwrap();
    assert_eq!(seen.unwrap(), b"early\nlate\n");
    // It holds stdout and says nothing: what there is may be half of it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let script = "sleep 300 & { echo $!; echo end; } >\"$0\"; echo early";
    let began = Instant::now();
    let error = error(&program(&["sh", "-c", script, file.to_str().unwrap()])).await;
    assert!(error.cause.contains("still holds its stdout"), "{}", error.cause);
    assert!(began.elapsed() < Duration::from_secs(20));
    all_die(&pids(&file).await).await;
    // It holds stderr only: the output is whole.
    let script = "sleep 300 >/dev/null & { echo $!; echo end; } >\"$0\"; echo whole";
    let began = Instant::now();
    let (said, seen) = run(&program(&["sh", "-c", script, file.to_str().unwrap()]), &job("x"), vec![]).await;
    said.unwrap();
    assert_eq!(seen.unwrap(), b"whole\n");
    assert!(began.elapsed() < Duration::from_secs(3));
    all_die(&pids(&file).await).await;
}
