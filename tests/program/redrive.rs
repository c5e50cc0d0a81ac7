//! `dlq redrive` of the real program, killed at moments of chance: a letter may be sent twice then, and none is lost.
//!
//! It sends a letter, which waits for the disk, and then deletes it, which does not: most kills come while a letter is
//! being sent. One that deleted first would have deleted it by then.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use batchpipe::services::queue::local::LocalQueue;
use batchpipe::services::queue::{JobQueue, Outgoing};

const KILLS: usize = 20;

/// A killed redrive leaves up to ten letters hidden that it has received, so many are left to move after all kills.
const LETTERS: usize = 30 * KILLS;

fn redrive(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(["dlq", "redrive", "--queue", "sqlite:jobs.db"]).env_clear().env("HOME", folder).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn visible(queue: &dyn JobQueue) -> u64 {
    queue.counts().await.unwrap().visible
}

#[tokio::test]
async fn a_redrive_that_is_killed_at_any_moment_loses_no_letter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let jobs = LocalQueue::open(&path).unwrap();
    let dead = jobs.dead_letters().await.unwrap().unwrap();
    let bodies: Vec<String> = (0..LETTERS).map(|number| format!("letter {number}")).collect();
    for bodies in bodies.chunks(10) {
        let letters: Vec<_> =
            bodies.iter().map(|body| Outgoing { body: body.clone(), ..Outgoing::default() }).collect();
        assert!(dead.send(&letters).await.unwrap().iter().all(Result::is_ok));
    }

    let mut kills = 0;
    while kills < KILLS {
        let before = visible(&jobs).await;
        let mut child = redrive(folder.path()).spawn().unwrap();
        let begun = Instant::now();
        while visible(&jobs).await == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "it moves nothing");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // This machine was so slow to look that all were moved before the kill.
            break;
        }
        kills += 1;
    }

    // What the killed ones have received is hidden for a minute; nobody waits for that here.
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute("UPDATE messages SET visible_at = 0", []).unwrap();
    drop(database);
    assert!(redrive(folder.path()).status().unwrap().success());
    assert_eq!(visible(&*dead).await, 0);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let messages = jobs.receive(10, Duration::ZERO, Duration::from_secs(600)).await.unwrap();
        if messages.is_empty() {
            break;
        }
        messages.into_iter().for_each(|message| *found.entry(message.body).or_default() += 1);
    }
    let lost: Vec<&String> = bodies.iter().filter(|body| !found.contains_key(*body)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let sent: usize = found.values().sum();
    assert!(kills > KILLS / 2, "only {kills} kills");
    assert!(found.len() == LETTERS && sent <= LETTERS + kills, "{sent} messages of {LETTERS} letters");
}

#[test]
fn dead_letters_that_are_the_queue_itself_are_refused_by_whatever_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(LocalQueue::open(&folder.path().join("jobs.db")).unwrap());
    drop(LocalQueue::open(&folder.path().join("dead.db")).unwrap());
    std::os::unix::fs::symlink("jobs.db", folder.path().join("link.db")).unwrap();
    let itself = ["sqlite:jobs.db", "sqlite:./jobs.db", "sqlite:link.db"];
    let told = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
        command.args(words).env_clear().env("HOME", folder.path()).current_dir(folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for dead in itself {
        let run: &[&str] = &["run", "--process", "copy", "--metrics-addr", "none", "--until-empty"];
        for command in [&["dlq", "redrive"][..], &["dlq", "list"], &["dlq", "purge", "--yes"], run] {
            let queues = ["--queue", "sqlite:jobs.db", "--dead-letter", dead];
            let (exit, text) = told(&[command, &queues].concat());
            assert_eq!(exit, Some(2), "{command:?} {dead}: {text}");
            assert!(text.starts_with("error[BP110]") && text.contains("the same queue"), "{command:?} {dead}: {text}");
        }
    }
    for to in itself {
        let words = ["dlq", "redrive", "--queue", "sqlite:dead.db", "--dead-letter", "sqlite:jobs.db", "--to", to];
        let (exit, text) = told(&words);
        assert_eq!(exit, Some(2), "{to}: {text}");
        assert!(text.starts_with("error[BP110]: --to names the dead-letter queue itself"), "{to}: {text}");
    }
}
