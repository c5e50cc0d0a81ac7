//! The queue in a SQLite file: the suite, and what is its own: processes that share a file, kills, groups, bad files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchpipe::error::ServiceErrorKind;
use batchpipe::services::queue::local::LocalQueue;
use batchpipe::services::queue::{JobQueue, Message, Outgoing};

use super::queue_conformance::{conforms, keeps_groups};

const LONG: Duration = Duration::from_secs(60);

fn plain(body: impl Into<String>) -> Outgoing {
    Outgoing { body: body.into(), ..Outgoing::default() }
}

fn grouped(body: &str, group: &str) -> Outgoing {
    Outgoing { group: Some(group.to_owned()), ..plain(body) }
}

async fn send(queue: &LocalQueue, messages: &[Outgoing]) {
    for outcome in queue.send(messages).await.unwrap() {
        outcome.unwrap();
    }
}

async fn receive(queue: &LocalQueue, max: usize) -> Vec<Message> {
    queue.receive(max, Duration::ZERO, LONG).await.unwrap()
}

async fn delete(queue: &LocalQueue, messages: &[Message]) {
    let receipts: Vec<_> = messages.iter().map(|message| message.receipt.clone()).collect();
    for outcome in queue.delete(&receipts).await.unwrap() {
        outcome.unwrap();
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_queue_keeps_every_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    conforms("sqlite", move || {
        let path = path.join(format!("{:016x}.queue", fastrand::u64(..)));
        Box::pin(async move { Arc::new(LocalQueue::open(&path).unwrap()) as Arc<dyn JobQueue> })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_queue_keeps_groups() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    keeps_groups("sqlite", move || {
        let path = path.join(format!("{:016x}.queue", fastrand::u64(..)));
        Box::pin(async move { Arc::new(LocalQueue::open(&path).unwrap()) as Arc<dyn JobQueue> })
    })
    .await;
}

/// Not a test: what another process does, for the tests below. They start this very program with `--ignored`.
#[tokio::test]
#[ignore = "run by other tests, in a process of its own"]
async fn another_process() {
    let (Ok(path), Ok(what)) = (std::env::var("OTHER_PATH"), std::env::var("OTHER_DOES")) else { return };
    let queue = LocalQueue::open(Path::new(&path)).unwrap();
    // On a machine with one processor the line begins with the name of the test.
    println!();
    match what.as_str() {
        "take" => loop {
            let got = receive(&queue, 10).await;
            if got.is_empty() {
                break;
            }
            let lines: Vec<String> = got.iter().map(|message| format!("got {}\n", message.body)).collect();
            print!("{}", lines.concat());
        },
        "send" => {
            for number in 0..100_000 {
                send(&queue, &[plain(number.to_string())]).await;
                println!("sent {number}");
            }
        }
        "hold" => {
            let got = receive(&queue, 3).await;
            println!("got {}", got.len());
            std::future::pending::<()>().await;
        }
        other => panic!("unknown: {other}"),
    }
}

fn start_another(path: &Path, what: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backends::local_queue::another_process", "--ignored", "--nocapture"])
        .env("OTHER_PATH", path)
        .env("OTHER_DOES", what)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// Numbers on the lines that begin with `word`.
fn numbers(output: &str, word: &str) -> Vec<u32> {
    output.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_share_a_file_never_get_the_same_message() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let queue = LocalQueue::open(&path).unwrap();
    for batch in 0..300 {
        let messages: Vec<Outgoing> = (0..10).map(|number| plain((batch * 10 + number).to_string())).collect();
        send(&queue, &messages).await;
    }
    let others: Vec<_> = (0..3).map(|_| start_another(&path, "take")).collect();
    let mut taken = Vec::new();
    loop {
        let got = receive(&queue, 10).await;
        if got.is_empty() {
            break;
        }
        taken.extend(got.iter().map(|message| message.body.parse::<u32>().unwrap()));
    }
    for other in others {
        let output = tokio::task::spawn_blocking(|| other.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success());
        taken.extend(numbers(&String::from_utf8_lossy(&output.stdout), "got "));
    }
    taken.sort_unstable();
    assert_eq!(taken, (0..3000).collect::<Vec<_>>(), "every message, each to one process");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_open_a_new_file_at_once_share_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let opening: Vec<_> = (0..8)
        .map(|number| {
            let path = path.clone();
            tokio::spawn(async move {
                let queue = LocalQueue::open(&path).unwrap();
                send(&queue, &[plain(number.to_string())]).await;
            })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap();
    }
    assert_eq!(LocalQueue::open(&path).unwrap().counts().await.unwrap().visible, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_killed_loses_nothing_that_was_acknowledged() {
    use std::io::BufRead;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let mut other = start_another(&path, "send");
    let mut lines = std::io::BufReader::new(other.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 200 {
        acknowledged.extend(numbers(&lines.next().unwrap().unwrap(), "sent "));
    }
    other.kill().unwrap();
    other.wait().unwrap();
    for line in lines {
        acknowledged.extend(numbers(&line.unwrap(), "sent "));
    }
    let queue = LocalQueue::open(&path).unwrap();
    let mut found = BTreeSet::new();
    loop {
        let got = receive(&queue, 10).await;
        if got.is_empty() {
            break;
        }
        found.extend(got.iter().map(|message| message.body.parse::<u32>().unwrap()));
    }
    for number in acknowledged {
        assert!(found.contains(&number), "{number} was acknowledged and is gone");
    }
}

/// Five messages, the first three of them in the hands of another process.
async fn held_by_another(path: &Path) -> std::process::Child {
    use std::io::BufRead;
    send(&LocalQueue::open(path).unwrap(), &["a", "b", "c", "d", "e"].map(plain)).await;
    let mut other = start_another(path, "hold");
    let mut lines = std::io::BufReader::new(other.stdout.as_mut().unwrap()).lines();
    while !lines.next().unwrap().unwrap().starts_with("got 3") {}
    other
}

/// The files of those that receive from `q`.
fn holders(directory: &Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains("q-holder-")).collect()
}

fn holder_rows(path: &Path) -> i64 {
    let file = rusqlite::Connection::open(path).unwrap();
    file.query_row("SELECT count(*) FROM meta WHERE key LIKE 'holder%'", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_held_comes_back_at_once_and_counts_as_received_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let mut other = held_by_another(&path).await;
    other.kill().unwrap();
    other.wait().unwrap();
    // By another name of the same file, which is the same queue.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let queue = LocalQueue::open(&link).unwrap();
    let got = receive(&queue, 10).await;
    let mut found: Vec<_> = got.iter().map(|message| (message.body.as_str(), message.attempt)).collect();
    found.sort_unstable();
    assert_eq!(found, [("a", 2), ("b", 2), ("c", 2), ("d", 1), ("e", 1)]);
    delete(&queue, &got).await;
    assert_eq!((holders(directory.path()).len(), holder_rows(&path)), (1, 1), "ours, not that of the dead");
    queue.done().await.unwrap();
    assert_eq!((holders(directory.path()).len(), holder_rows(&path)), (0, 0), "a clean end leaves nothing");
    let queue = LocalQueue::open(&path).unwrap();
    assert!(receive(&queue, 10).await.is_empty());
    drop(queue);
    assert_eq!((holders(directory.path()).len(), holder_rows(&path)), (0, 0), "nor does the last handle");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_what_a_live_or_stopped_process_holds_until_it_dies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let mut other = held_by_another(&path).await;
    let queue = LocalQueue::open(&path).unwrap();
    assert_eq!(bodies(&receive(&queue, 10).await), ["d", "e"]);
    let wait = Duration::from_millis(2500);
    assert!(queue.receive(10, wait, LONG).await.unwrap().is_empty(), "it lives");
    let pid = nix::unistd::Pid::from_raw(other.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    assert!(queue.receive(10, wait, LONG).await.unwrap().is_empty(), "it is stopped, not dead");
    let receiving = tokio::spawn(async move { queue.receive(10, Duration::from_secs(20), LONG).await.unwrap() });
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(bodies(&receiving.await.unwrap()), ["a", "b", "c"]);
}

/// One handle of this process is to another what another process is: it must not be taken for dead, nor lose by our
/// look.
#[tokio::test(flavor = "multi_thread")]
async fn two_handles_of_one_process_hold_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let (one, two) = (LocalQueue::open(&path).unwrap(), LocalQueue::open(&path).unwrap());
    send(&one, &[plain("a"), plain("b")]).await;
    let held = receive(&one, 1).await;
    assert_eq!(bodies(&receive(&two, 10).await), ["b"]);
    let third = LocalQueue::open(&path).unwrap();
    assert!(receive(&third, 10).await.is_empty());
    delete(&one, &held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_to_lock_the_visibility_timeout_rules() {
    for replaced in ["nothing", "a link", "a pipe"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("q");
        let mut other = held_by_another(&path).await;
        let holder = holders(directory.path()).remove(0);
        std::fs::remove_file(&holder).unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, "x").unwrap();
        match replaced {
            "a link" => std::os::unix::fs::symlink(&target, &holder).unwrap(),
            "a pipe" => nix::unistd::mkfifo(&holder, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => {}
        }
        other.kill().unwrap();
        other.wait().unwrap();
        let queue = LocalQueue::open(&path).unwrap();
        assert_eq!(bodies(&receive(&queue, 10).await), ["d", "e"], "{replaced}");
        assert_eq!(std::fs::read(&target).unwrap(), b"x");
        let rows = if replaced == "nothing" { 1 } else { 2 };
        assert_eq!(holder_rows(&path), rows, "{replaced}: only a row without a file is removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_stays_in_order_when_who_held_its_first_message_dies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let queue = LocalQueue::open(&path).unwrap();
    send(&queue, &[grouped("1", "g"), grouped("2", "g")]).await;
    let mut other = start_another(&path, "hold");
    while queue.counts().await.unwrap().in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let first = queue.receive(10, Duration::from_secs(20), LONG).await.unwrap();
    assert_eq!(bodies(&first), ["1"]);
    delete(&queue, &first).await;
    assert_eq!(bodies(&receive(&queue, 10).await), ["2"]);
}

/// A version that knows nothing of holders makes tokens that are random as a whole, in a file of the same schema.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_received_is_nobodys_even_if_who_held_it_before_dies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let mut other = held_by_another(&path).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    let received = "UPDATE messages SET token = random(), receives = receives + 1 WHERE body = 'b'";
    assert_eq!(file.execute(received, []).unwrap(), 1);
    other.kill().unwrap();
    other.wait().unwrap();
    let queue = LocalQueue::open(&path).unwrap();
    let mut got = receive(&queue, 10).await;
    got.sort_by(|one, other| one.body.cmp(&other.body));
    assert_eq!(bodies(&got), ["a", "c", "d", "e"]);
}

#[tokio::test]
async fn a_handle_that_is_dropped_leaves_its_messages_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let queue = LocalQueue::open(&path).unwrap();
    send(&queue, &[plain("a"), plain("b")]).await;
    let first = queue.receive(1, Duration::ZERO, Duration::from_millis(200)).await.unwrap();
    drop(queue);
    let queue = LocalQueue::open(&path).unwrap();
    assert_eq!(bodies(&receive(&queue, 10).await), ["b"], "a is still hidden");
    let again = queue.receive(1, Duration::from_secs(5), LONG).await.unwrap();
    assert_eq!((&again[0].body, &again[0].id, again[0].attempt), (&first[0].body, &first[0].id, 2));
}

#[tokio::test]
async fn a_long_poll_wakes_for_another_process_and_for_a_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let (here, there) = (LocalQueue::open(&path).unwrap(), LocalQueue::open(&path).unwrap());
    let begun = Instant::now();
    let (got, ()) = tokio::join!(here.receive(1, Duration::from_secs(10), Duration::from_millis(300)), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        send(&there, &[plain("a")]).await;
    });
    assert_eq!(bodies(&got.unwrap()), ["a"]);
    let back = here.receive(1, Duration::from_secs(10), LONG).await.unwrap();
    assert_eq!(bodies(&back), ["a"]);
    assert!(begun.elapsed() < Duration::from_secs(8), "took {:?}", begun.elapsed());
}

#[test]
fn one_handle_serves_two_runtimes() {
    let directory = tempfile::tempdir().unwrap();
    let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let theirs = queue.clone();
    let waiting = std::thread::spawn(move || {
        runtime().block_on(async { theirs.receive(1, Duration::from_secs(10), LONG).await.unwrap() })
    });
    std::thread::sleep(Duration::from_millis(50));
    runtime().block_on(send(&queue, &[plain("across")]));
    assert_eq!(bodies(&waiting.join().unwrap()), ["across"]);
}

#[tokio::test]
async fn an_old_receipt_is_lost_and_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
    send(&queue, &[plain("a")]).await;
    let old = queue.receive(1, Duration::ZERO, Duration::ZERO).await.unwrap().remove(0).receipt;
    let lost = queue.extend(std::slice::from_ref(&old), LONG).await.unwrap().remove(0).unwrap_err();
    assert_eq!(lost.kind, ServiceErrorKind::LeaseLost, "its time is over");
    let new = receive(&queue, 1).await.remove(0).receipt;
    for outcome in [
        queue.extend(std::slice::from_ref(&old), LONG).await.unwrap().remove(0),
        queue.delete(std::slice::from_ref(&old)).await.unwrap().remove(0),
    ] {
        assert_eq!(outcome.unwrap_err().kind, ServiceErrorKind::LeaseLost);
    }
    queue.extend(std::slice::from_ref(&new), LONG).await.unwrap().remove(0).unwrap();
    queue.delete(&[new]).await.unwrap().remove(0).unwrap();
    queue.delete(&[old]).await.unwrap().remove(0).expect("what is gone counts as deleted");
}

#[tokio::test]
async fn a_group_is_handed_out_in_order_and_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
    send(&queue, &[grouped("a1", "a"), grouped("a2", "a"), grouped("b1", "b"), plain("free"), grouped("a3", "a")])
        .await;
    let first = receive(&queue, 10).await;
    assert_eq!(bodies(&first), ["a1", "b1", "free"]);
    assert_eq!(first[0].group.as_deref(), Some("a"));
    assert!(receive(&queue, 10).await.is_empty(), "a2 waits for a1");
    // Given back, it comes again before what was sent after it.
    queue.extend(std::slice::from_ref(&first[0].receipt), Duration::ZERO).await.unwrap().remove(0).unwrap();
    let again = receive(&queue, 10).await;
    assert_eq!(bodies(&again), ["a1"]);
    let (next, ()) = tokio::join!(queue.receive(10, Duration::from_secs(5), LONG), delete(&queue, &again));
    assert_eq!(bodies(&next.unwrap()), ["a2"]);
    assert_eq!(queue.counts().await.unwrap().delayed, 1, "a3 waits for a2");
}

#[tokio::test]
async fn a_repeated_deduplication_name_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
    let once = Outgoing { deduplication: Some("once".to_owned()), ..plain("a") };
    send(&queue, &[once.clone(), once.clone(), plain("b")]).await;
    send(&queue, &[once]).await;
    assert_eq!(bodies(&receive(&queue, 10).await), ["a", "b"]);
}

#[tokio::test]
async fn a_body_over_the_limit_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
    let outcomes = queue.send(&[plain("x".repeat(1024 * 1024 + 1)), plain("\0 nul")]).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind, ServiceErrorKind::Invalid);
    assert!(outcomes[1].is_ok());
    assert_eq!(bodies(&receive(&queue, 10).await), ["\0 nul"]);
}

#[tokio::test]
async fn the_cost_of_a_receive_does_not_grow_with_the_depth() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let queue = LocalQueue::open(&path).unwrap();
    let cost = async || {
        let begun = Instant::now();
        for _ in 0..50 {
            delete(&queue, &receive(&queue, 10).await).await;
        }
        begun.elapsed()
    };
    // 100,000 plain rows and a group of 100,000, put there as the queue would.
    let fill = rusqlite::Connection::open(&path).unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                INSERT INTO messages (queue, visible_at, sent_at, grp, body) ";
    fill.execute(&format!("{rows} SELECT 0, 1, 1, NULL, i FROM n"), [600]).unwrap();
    let shallow = cost().await;
    fill.execute(&format!("{rows} SELECT 0, 1, 1, NULL, i FROM n"), [100_000]).unwrap();
    fill.execute(&format!("{rows} SELECT 0, iif(i = 1, 0, ?2), 1, 'g', i FROM n"), [100_000, i64::MAX]).unwrap();
    let deep = cost().await;
    println!("500 messages: {shallow:?} at depth 600, {deep:?} at depth 200,000");
    assert!(deep < 10 * shallow + Duration::from_millis(200), "{deep:?} against {shallow:?}");
}

#[test]
fn a_file_that_is_no_queue_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let refused = |name: &str| LocalQueue::open(&at(name)).expect_err(name);
    std::fs::write(at("text"), "hello, I am a letter and no database at all. ".repeat(100)).unwrap();
    assert_eq!(refused("text").code, "SQLITE_NOTADB");
    let other = rusqlite::Connection::open(at("other")).unwrap();
    other.execute_batch("CREATE TABLE theirs (x); PRAGMA journal_mode = DELETE;").unwrap();
    drop(other);
    let before = std::fs::read(at("other")).unwrap();
    let error = refused("other");
    assert!(error.message.contains("another program"), "{error}");
    assert!(error.message.contains("other"), "the error names the file: {error}");
    assert_eq!(std::fs::read(at("other")).unwrap(), before);
    drop(LocalQueue::open(&at("future")).unwrap());
    rusqlite::Connection::open(at("future")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(refused("future").message.contains("schema 99"));
    assert_eq!(refused("no/such/directory").kind, ServiceErrorKind::Missing);
    std::fs::create_dir(at("directory")).unwrap();
    assert_eq!(refused("directory").kind, ServiceErrorKind::Invalid);
}

/// Only this user, and its group as far as the umask lets it in; what people have changed stays so.
#[tokio::test]
async fn a_new_queue_is_closed_to_others_and_one_that_is_there_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let modes = || {
        let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
        let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("q.db"));
        files.map(|entry| entry.metadata().unwrap().permissions().mode() & 0o777).collect::<Vec<_>>()
    };
    let (path, link) = (directory.path().join("q.db"), directory.path().join("link"));
    std::os::unix::fs::symlink("q.db", &link).unwrap();
    let used = async || {
        let queue = LocalQueue::open(&link).unwrap();
        send(&queue, &[plain("a")]).await;
        receive(&queue, 1).await;
        queue
    };
    let queue = used().await;
    let found = modes();
    assert!(found.len() == 4 && found.iter().all(|mode| mode & !0o660 == 0 && mode & 0o600 == 0o600), "{found:?}");
    assert!(found.iter().all(|mode| *mode == found[0]), "the database, its -wal, its -shm and the holder: {found:?}");
    drop(queue);
    for mode in [0o600, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let queue = used().await;
        assert_eq!(modes(), [mode; 4]);
        drop(queue);
    }
}

#[tokio::test]
async fn the_policy_is_what_the_file_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    let queue = LocalQueue::open(&path).unwrap();
    assert_eq!(queue.policy().await.unwrap().max_receives, None);
    rusqlite::Connection::open(&path).unwrap().execute("INSERT INTO meta VALUES ('max_receives', 5)", []).unwrap();
    assert_eq!(queue.policy().await.unwrap().max_receives, Some(5));
    let letters = queue.dead_letters().await.unwrap().unwrap();
    assert_eq!(letters.policy().await.unwrap().max_receives, None);
    assert!(letters.dead_letters().await.unwrap().is_none());
    assert_ne!(letters.name(), queue.name());
}

/// Prints how fast it is; run by hand with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed() {
    let directory = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or("/tmp".into())).unwrap();
    let queue = LocalQueue::open(&directory.path().join("q")).unwrap();
    let body = "x".repeat(250);
    for (count, senders) in [(2_000, 1), (10_000, 1), (10_000, 8), (80_000, 16)] {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..senders)
            .map(|_| {
                let (queue, body) = (queue.clone(), body.clone());
                tokio::spawn(async move {
                    for _ in 0..count / 10 / senders {
                        send(&queue, &vec![plain(body.clone()); 10]).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        println!("send {count} by {senders}: {:.0}/s", count as f64 / begun.elapsed().as_secs_f64());
    }
    println!("{:?}", queue.counts().await.unwrap());
    let begun = Instant::now();
    println!("counts {:?}", {
        queue.counts().await.unwrap();
        begun.elapsed()
    });
    for round in 0..2 {
        let begun = Instant::now();
        for _ in 0..1000 {
            let got = receive(&queue, 10).await;
            assert_eq!(got.len(), 10);
            delete(&queue, &got).await;
        }
        println!("receive+delete round {round}: {:.0}/s", 10_000.0 / begun.elapsed().as_secs_f64());
    }
}
