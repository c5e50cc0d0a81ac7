//! Programs: what they get, and what their end means.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchpipe::error::{Code, Disposition, ErrorKind, JobError};
use batchpipe::link::Disconnected;
use batchpipe::processor::Work;
use batchpipe::processor::program::{Options, Program};
use batchpipe::processor::scratch::Scratch;
use batchpipe::record::Meters;
use batchpipe::stages::process;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{collect, feed, job, joined, run, sample};

pub(super) fn parse(argv: &[&str]) -> Program {
    Program::parse(argv.iter().map(OsString::from).collect(), Options::default()).unwrap()
}

pub(super) fn program(argv: &[&str]) -> Work {
    Work::Program(Arc::new(parse(argv)))
}

pub(super) fn sh(script: &str) -> Work {
    program(&["sh", "-c", script])
}

pub(super) async fn error(work: &Work) -> JobError {
    let (said, seen) = run(work, &job("x"), sample(1000)).await;
    assert_eq!(seen, Err(Disconnected), "a failure published its output");
    said.unwrap_err()
}

#[tokio::test]
async fn bytes_of_any_length_go_through_a_program_unchanged() {
    for length in [0, 1, (1 << 20) + 1, 64 << 20] {
        let data = sample(length);
        let (said, seen) = run(&program(&["cat"]), &job("x"), data.clone()).await;
        said.unwrap();
        assert!(seen.unwrap() == data, "{length}");
    }
}

#[tokio::test]
async fn a_program_may_stop_reading_or_never_begin() {
    let data = sample(5_000_000);
    let (said, seen) = run(&program(&["head", "-c", "10"]), &job("x"), data.clone()).await;
    said.unwrap();
    assert_eq!(seen.unwrap(), &data[..10]);
    let (said, seen) = run(&program(&["echo", "hello"]), &job("x"), data).await;
    said.unwrap();
    assert_eq!(seen.unwrap(), b"hello\n");
}

#[tokio::test]
async fn a_program_that_ends_does_not_wait_for_the_rest_of_a_slow_download() {
    let ends = joined();
    ends.to_process.send(Bytes::from_static(b"first")).await.unwrap();
    let (work, job) = (sh("exec true"), job("x"));
    let stage = process(&work, Arc::new(Semaphore::new(1)).into(), &job, ends.input, ends.output);
    tokio::time::timeout(Duration::from_secs(10), stage).await.unwrap().unwrap();
    assert_eq!(collect(ends.from_process).await, Ok(vec![]));
    drop(ends.to_process);
}

#[tokio::test]
async fn a_failure_after_half_the_output_publishes_nothing() {
    let error = error(&sh("head -c 300000 /dev/zero; cat >/dev/null; echo oops >&2; exit 1")).await;
    assert_eq!(
        (error.kind, error.code, error.disposition()),
        (ErrorKind::Failed, Code::ProgramFailed, Disposition::Retry)
    );
    assert_eq!(error.cause, "\"sh\" ended with status 1: oops");
    assert_eq!(error.stderr.as_deref(), Some("oops\n"));
}

#[tokio::test]
async fn the_exit_status_decides() {
    assert_eq!(error(&sh("exit 65")).await.disposition(), Disposition::Reject);
    assert_eq!(error(&sh("exit 75")).await.disposition(), Disposition::Retry);
    let killed = error(&sh("kill -TERM $$")).await;
    assert_eq!(killed.disposition(), Disposition::Retry);
    assert_eq!(killed.cause, "\"sh\" was killed by SIGTERM");
    let options = Options { reject_codes: BTreeSet::from([3]), ..Options::default() };
    let own = Program::parse(["sh", "-c", "exit 3"].map(OsString::from).to_vec(), options).unwrap();
    assert_eq!(error(&Work::Program(Arc::new(own))).await.disposition(), Disposition::Reject);
}

#[tokio::test]
async fn the_last_of_a_flood_on_stderr_is_kept_and_the_flood_blocks_nothing() {
    let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line of sixty-four bytes, or near enough to fill pipes' >&2; \
                  i=$((i+1)); done; cat >/dev/null; printf 'last \\033[31m\\377words' >&2; exit 1";
    let error = error(&sh(script)).await;
    let stderr = error.stderr.unwrap();
    assert!(stderr.ends_with("last \u{1b}[31m\u{fffd}words") && (4000..4200).contains(&stderr.len()), "{stderr:?}");
    assert!(error.cause.ends_with("\u{fffd}words"));
}

#[tokio::test]
async fn a_program_knows_its_job_and_no_secret() {
    let mut options = Options::default();
    for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "BATCHPIPE_QUEUE"] {
        options.environment.push((name.into(), "canary".into()));
    }
    let argv = || vec!["env".into()];
    assert!(!format!("{options:?}").contains("canary"));
    let shy = Program::parse(argv(), options.clone()).unwrap();
    let (said, seen) = run(&Work::Program(Arc::new(shy)), &job("a b"), vec![]).await;
    said.unwrap();
    let seen = String::from_utf8(seen.unwrap()).unwrap();
    assert!(!seen.contains("canary"), "{seen}");
    for line in [
        "BATCHPIPE_INPUT=s3://in-bucket/a b",
        "BATCHPIPE_OUTPUT=s3://out-bucket/done/a b",
        "BATCHPIPE_KEY=a b",
        "BATCHPIPE_JOB_ID=job-1",
        "BATCHPIPE_ATTEMPT=2",
    ] {
        assert!(seen.lines().any(|found| found == line), "{line} is missing");
    }
    options.pass_credentials = true;
    let trusted = Program::parse(argv(), options).unwrap();
    assert!(!format!("{trusted:?}").contains("canary"), "a secret would be logged");
    let (_, seen) = run(&Work::Program(Arc::new(trusted)), &job("x"), vec![]).await;
    assert!(String::from_utf8(seen.unwrap()).unwrap().contains("AWS_SECRET_ACCESS_KEY=canary"));
}

#[tokio::test]
async fn no_key_and_no_argument_of_a_job_is_ever_more_than_text() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let evil = format!(
        "; touch {0}\n`touch {0}` $(touch {0}) '\" -rf ../../etc/passwd \u{1b}[31m {{input}}",
        marker.display()
    );
    let mut job = job(&evil);
    job.args = vec![evil.clone(), String::new(), "{input}".into()];
    let scratch = Scratch::new(folder.path(), &Arc::new(Meters::default())).unwrap();
    let work = parse(&["sh", "-c", "cat \"$0\"; printf '%s|' \"$BATCHPIPE_KEY\" \"$@\"", "{input}", "{args}"]);
    let (said, seen) = run(&Work::Program(Arc::new(work.with_scratch(scratch))), &job, b"data".to_vec()).await;
    said.unwrap();
    assert_eq!(String::from_utf8(seen.unwrap()).unwrap(), format!("data{evil}|{evil}||{{input}}|"));
    assert!(!marker.exists());

    job.input = batchpipe::Location::s3("in-bucket", "a\0b");
    let said = run(&program(&["cat"]), &job, vec![]).await.0.unwrap_err();
    assert_eq!(said.kind, ErrorKind::Rejected);
    assert!(said.cause.contains("NUL") && !said.cause.contains('\0'), "{}", said.cause);
}

#[tokio::test]
async fn files_come_and_go_for_programs_that_need_them() {
    let folder = tempfile::tempdir().unwrap();
    let meters = Arc::new(Meters::default());
    let scratch = Scratch::new(folder.path(), &meters).unwrap();
    let with_files = |argv: &[&str]| Work::Program(Arc::new(parse(argv).with_scratch(Arc::clone(&scratch))));
    let data = sample(1_000_001);
    for argv in [
        &["cp", "{input}", "{output}"][..],
        &["dd", "if={input}", "of={output}", "status=none"],
        &["cat", "{input}"],
        &["tee", "{output}.bin"],
    ] {
        let (said, seen) = run(&with_files(argv), &job("../../x"), data.clone()).await;
        said.unwrap();
        assert!(seen.unwrap() == data, "{argv:?}");
    }
    let (said, seen) = run(&with_files(&["touch", "{output}"]), &job("x"), data.clone()).await;
    said.unwrap();
    assert_eq!(seen, Ok(vec![]), "an empty output is an output");
    for script in ["exit 0", "mkdir \"$0\"", "ln -s /etc/passwd \"$0\""] {
        let error = error(&with_files(&["sh", "-c", script, "{output}"])).await;
        assert_eq!((error.code, error.disposition()), (Code::ProgramOutputMissing, Disposition::Retry), "{script}");
    }
    assert_eq!(meters.temp_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
    let left: Vec<_> = std::fs::read_dir(scratch.folder()).unwrap().flatten().map(|left| left.file_name()).collect();
    assert!(left.len() <= 2, "files were left: {left:?}");
    drop(scratch);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_program_with_a_file_begins_when_the_file_is_complete_and_never_on_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (marker, meters) = (folder.path().join("marker"), Arc::new(Meters::default()));
    let scratch = Scratch::new(folder.path(), &meters).unwrap();
    let work = parse(&["sh", "-c", "touch \"$0\"; cat \"$1\"", marker.to_str().unwrap(), "{input}"]);
    let (work, slots, job) =
        (Work::Program(Arc::new(work.with_scratch(scratch))), Arc::new(Semaphore::new(1)), job("x"));
    let ends = joined();
    let stage = process(&work, Arc::clone(&slots).into(), &job, ends.input, ends.output);
    let download = async {
        ends.to_process.send(Bytes::from_static(b"half")).await.unwrap();
        while meters.temp_bytes.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(slots.available_permits(), 1, "a slot was taken for a file that is not there yet");
        drop(ends.to_process);
    };
    let both = async { tokio::join!(stage, download) };
    let (said, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!(said.unwrap_err().kind, ErrorKind::Disconnected);
    assert!(!marker.exists());
    assert_eq!(meters.temp_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn arguments_that_no_program_can_be_given_are_the_jobs_fault() {
    let mut job = job("x");
    // MAX_ARG_STRLEN is 128 KiB (execve(2)).
    job.args = vec!["x".repeat(200_000)];
    let said = run(&program(&["echo", "{args}"]), &job, vec![]).await.0.unwrap_err();
    assert_eq!((said.code, said.disposition()), (Code::ProgramFailed, Disposition::Reject), "{}", said.cause);
    job.args = vec!["x".repeat(100_000)];
    run(&program(&["echo", "{args}"]), &job, vec![]).await.0.unwrap();
}

/// `cargo test --test library processors:: -- --ignored --nocapture how_fast`; our own code is not optimised in a test
/// build.
#[tokio::test]
#[ignore = "a measurement"]
async fn how_fast_bytes_go_through_a_program() {
    let chunk = Bytes::from(vec![7; 8 << 20]);
    for _ in 0..4 {
        let ends = joined();
        let (work, job) = (program(&["cat"]), job("x"));
        let began = Instant::now();
        let stage = process(&work, Arc::new(Semaphore::new(1)).into(), &job, ends.input, ends.output);
        let feeding = async {
            for _ in 0..64 {
                ends.to_process.send(chunk.clone()).await.unwrap();
            }
            ends.to_process.finish().await.unwrap();
        };
        let mut from_process = ends.from_process;
        let counting = async { while from_process.recv().await.unwrap().is_some() {} };
        let (said, (), ()) = tokio::join!(stage, feeding, counting);
        said.unwrap();
        println!("cat, 512 MiB: {:.0} MiB/s", 512.0 / began.elapsed().as_secs_f64());
    }
}

#[tokio::test]
async fn programs_wait_for_a_slot_and_begin_when_there_is_work() {
    let slots = Arc::new(Semaphore::new(0));
    let (work, job) = (program(&["cat"]), job("x"));
    let ends = joined();
    let meters = Arc::clone(&ends.meters);
    let stage = process(&work, Arc::clone(&slots).into(), &job, ends.input, ends.output);
    let rest = async {
        feed(ends.to_process, b"data".to_vec()).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let waiting = meters.stage(batchpipe::error::Stage::Process).in_state();
        assert_eq!(waiting[batchpipe::record::State::WaitPermit as usize], 1);
        slots.add_permits(1);
        collect(ends.from_process).await
    };
    let (said, seen) = tokio::join!(stage, rest);
    said.unwrap();
    assert_eq!(seen.unwrap(), b"data");
}

#[test]
fn a_program_that_can_not_work_is_refused_before_the_first_job() {
    let message = |argv: &[&str]| {
        let argv = argv.iter().map(OsString::from).collect();
        Program::parse(argv, Options::default()).unwrap_err().to_string()
    };
    assert!(message(&[]).starts_with("error[BP111]"));
    assert!(message(&["{input}"]).contains("can't be a placeholder"));
    assert!(message(&["cat", "{in}"]).contains("did you mean {input}?"));
    assert!(message(&["no-such-program-of-ours"]).starts_with("error[BP112]"));
    assert!(message(&["/"]).contains("is a directory"));
    assert!(parse(&["awk", "{print $1}"]).wants_scratch().eq(&false));
}
