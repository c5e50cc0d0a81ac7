//! `map` and `run` on the embedded backends, as a new user meets them: the real program on real files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn batchpipe(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(args).env_clear().env("HOME", folder).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    batchpipe(folder, args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with `in/` of `count` small files.
fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("in/deeper")).unwrap();
    for number in 0..count {
        let name = if number % 3 == 0 { format!("in/deeper/{number}") } else { format!("in/{number}") };
        fs::write(folder.path().join(name), content(number)).unwrap();
    }
    folder
}

fn content(number: usize) -> Vec<u8> {
    format!("line {number}\n").repeat(number * 7).into_bytes()
}

/// Waits for something that happens within a few seconds on any machine.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Ends within seconds, or the test fails.
fn ended(mut child: Child) -> Option<i32> {
    let mut status = None;
    eventually("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

#[test]
fn map_compresses_a_directory_and_says_what_to_do_next() {
    let folder = folder(25);
    let output = run(folder.path(), &["map", "in", "out", "--process", "zstd"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stdout.is_empty(), "stdout is for results");
    assert!(said.contains("done=25 failed=0") && said.contains("ls -R"), "{said}");
    for number in 0..25 {
        let name = if number % 3 == 0 { format!("out/deeper/{number}.zst") } else { format!("out/{number}.zst") };
        let compressed = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(zstd::decode_all(&compressed[..]).unwrap(), content(number));
    }
}

#[test]
fn a_link_that_leaves_the_source_is_neither_mapped_nor_submitted_and_is_told() {
    let folder = folder(2);
    fs::write(folder.path().join("secret"), "x").unwrap();
    for (to, from) in [("../secret", "leaves"), ("1", "stays")] {
        std::os::unix::fs::symlink(to, folder.path().join("in").join(from)).unwrap();
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("store")).unwrap();
    let input = at("store/");
    let submit = ["submit", "in", "--input", &input, "--queue", "sqlite:jobs.db"];
    for (args, to) in [(&["map", "in", "out"][..], "out"), (&submit[..], "store")] {
        let output = run(folder.path(), args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(said.contains("leaves\": it is a link that leaves the directory"), "{said}");
        if args[0] == "map" {
            assert!(
                said.contains("\n1 file not read, see above; all others are done."),
                "no dead letter has it: {said}"
            );
        }
        let to = folder.path().join(to);
        assert!(to.join("stays").exists() && !to.join("leaves").exists(), "{said}");
    }
}

#[test]
fn a_second_map_does_only_what_is_new_changed_or_gone() {
    let folder = folder(6);
    let map = ["map", "in", "out", "--", "sh", "-c", "echo x >> ran; cat"];
    let first = run(folder.path(), &map);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let again = run(folder.path(), &map);
    assert!(stderr(&again).contains("All 6 were done before"), "{}", stderr(&again));
    fs::write(folder.path().join("in/new"), "new").unwrap();
    fs::write(folder.path().join("in/1"), "changed").unwrap();
    fs::remove_file(folder.path().join("out/2")).unwrap();
    let third = run(folder.path(), &map);
    assert!(stderr(&third).contains("done=3 failed=0"), "{}", stderr(&third));
    assert_eq!(fs::read(folder.path().join("out/1")).unwrap(), b"changed");
    assert_eq!(fs::read(folder.path().join("out/2")).unwrap(), content(2));
    assert_eq!(fs::read_to_string(folder.path().join("ran")).unwrap().lines().count(), 9);
}

#[test]
fn a_map_killed_in_the_middle_goes_on_where_it_was() {
    let folder = folder(40);
    // With the visibility timeout of a minute: nobody waits for it.
    let map = ["map", "in", "out", "--concurrency", "2", "--", "sh", "-c", "sleep 0.05; cat"];
    let mut child = batchpipe(folder.path(), &map).stderr(Stdio::null()).spawn().unwrap();
    let count = || fs::read_dir(folder.path().join("out")).map_or(0, |entries| entries.count());
    eventually("a few outputs are there", || count() > 8);
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    let again = run(folder.path(), &map);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}: {}", begun.elapsed(), stderr(&again));
    let files = |at: &str| fs::read_dir(folder.path().join(at)).unwrap().map(|entry| entry.unwrap());
    // A kill may leave what was being written, by a name that no output has, for `gc`.
    let whole = |entry: &fs::DirEntry| !entry.file_name().to_str().unwrap().starts_with(".batchpipe");
    assert_eq!(files("out").filter(|entry| entry.path().is_file() && whole(entry)).count(), 26, "each once");
    assert_eq!(files("out/deeper").filter(whole).count(), 14);
    let left = files("out/.batchpipe").filter(|entry| entry.file_name().to_str().unwrap().contains("holder")).count();
    assert_eq!(left, 0, "neither the killed one nor the last leaves a trace");
    for number in 0..40 {
        let name = if number % 3 == 0 { format!("out/deeper/{number}") } else { format!("out/{number}") };
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), content(number), "{number}");
    }
}

#[test]
fn a_program_that_fails_on_one_file_ends_in_exit_8_and_is_told_by_name() {
    let folder = folder(5);
    let script = "case $BATCHPIPE_KEY in */4) echo bad picture >&2; exit 65;; esac; cat";
    let output = run(folder.path(), &["map", "in", "out", "--", "sh", "-c", script]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(!folder.path().join("out/4").exists(), "a failed job publishes nothing");
    assert_eq!(fs::read(folder.path().join("out/2")).unwrap(), content(2));
    let queue = format!("sqlite:{}", folder.path().join("out/.batchpipe/queue.db").display());
    assert!(said.contains(&format!("batchpipe dlq list --queue {queue}")), "{said}");
    let letters = run(folder.path(), &["dlq", "list", "--queue", &queue]);
    let listed = String::from_utf8_lossy(&letters.stdout).into_owned();
    assert!(listed.contains("BP401") && listed.contains("in/4"), "{listed}");
}

#[test]
fn json_events_are_one_a_line_on_stdout_and_end_with_the_summary() {
    let folder = folder(3);
    let output = run(folder.path(), &["map", "in", "out", "--process", "gzip", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let events: Vec<serde_json::Value> =
        BufReader::new(&output.stdout[..]).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(events.iter().all(|event| event["schema"] == "batchpipe.event/1"), "{events:?}");
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["exit"]), (&"summary".into(), &0.into()));
}

#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let folder = folder(3);
    let output = run(folder.path(), &["map", "in", "out", "--process", "gzip", "--dry-run"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("(dry run) would run \"gzip\" on 3 files"));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn submit_then_run_on_the_embedded_queue_and_a_repeat_sends_nothing_twice() {
    let folder = folder(12);
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("store")).unwrap();
    let submit =
        ["submit", "in", "--input", &at("store/in/"), "--output", &at("store/out/"), "--queue", "sqlite:jobs.db"];
    let first = run(folder.path(), &submit);
    assert!(first.status.success() && stderr(&first).contains("Sent 12 jobs"), "{}", stderr(&first));
    let repeat = run(folder.path(), &submit);
    assert!(stderr(&repeat).contains("Nothing new: 12 jobs, all sent by an earlier run"), "{}", stderr(&repeat));
    let allow = at("store/");
    let work = ["run", "--queue", "sqlite:jobs.db", "--allow", &allow, "--until-empty", "--metrics-addr", "none"];
    let worked = run(folder.path(), &[&work[..], &["--process", "copy"]].concat());
    assert!(worked.status.success() && stderr(&worked).contains("done=12 failed=0"), "{}", stderr(&worked));
    assert_eq!(fs::read(at("store/out/7")).unwrap(), content(7));
    let empty = run(folder.path(), &[&work[..], &["--process", "copy", "--fail-if-empty"]].concat());
    assert_eq!(empty.status.code(), Some(9), "{}", stderr(&empty));
    let idle = ["run", "--queue", "sqlite:jobs.db", "--idle-exit", "1s", "--metrics-addr", "none", "--process", "copy"];
    assert_eq!(run(folder.path(), &idle).status.code(), Some(10));
}

/// What starts workers goes by the code, and a worker that has left must not be started again for the jobs that failed.
#[test]
fn a_worker_that_leaves_when_idle_says_so_even_if_jobs_have_failed() {
    let folder = folder(2);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let submit = ["submit", "in", "--input", &at("s/in/"), "--output", &at("s/out/"), "--queue", "sqlite:jobs.db"];
    assert!(run(folder.path(), &submit).status.success());
    let allow = at("s/");
    let work = ["run", "--queue", "sqlite:jobs.db", "--allow", &allow, "--metrics-addr", "none"];
    let left = run(folder.path(), &[&work[..], &["--process", "decompress:gzip", "--idle-exit", "1s"]].concat());
    assert_eq!(left.status.code(), Some(10), "{}", stderr(&left));
    assert!(stderr(&left).contains("failed=2 ") && stderr(&left).contains("batchpipe dlq list"), "{}", stderr(&left));
}

#[test]
fn the_counts_of_a_queue_and_of_its_dead_letters_stand_below_each_other() {
    let folder = folder(1);
    for queue in ["sqlite:q.db", "sqlite:a folder with a longer name.db"] {
        let told = run(folder.path(), &["status", "--queue", queue]);
        let told = String::from_utf8(told.stdout).unwrap();
        let places: Vec<_> = told.lines().map(|line| line.find("0 waiting")).collect();
        assert!(places.len() == 2 && places[0].is_some() && places[0] == places[1], "{told}");
    }
}

/// A worker whose jobs take `seconds`, at work on one.
fn busy_worker(folder: &Path, seconds: &str, drain: &str) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    let submitted =
        run(folder, &["submit", "in", "--input", &at("s/"), "--output", &at("o/"), "--queue", "sqlite:q.db"]);
    assert!(submitted.status.success(), "{}", stderr(&submitted));
    let script = format!("touch began; sleep {seconds}; cat");
    let child = batchpipe(
        folder,
        &[
            "run",
            "--queue",
            "sqlite:q.db",
            "--allow",
            &at("s/"),
            "--allow",
            &at("o/"),
            "--concurrency",
            "1",
            "--drain-timeout",
            drain,
            "--metrics-addr",
            "none",
            "--",
            "sh",
            "-c",
            &script,
        ],
    )
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    eventually("the job begins", || folder.join("began").exists());
    child
}

fn counts(folder: &Path) -> String {
    String::from_utf8(run(folder, &["status", "--queue", "sqlite:q.db"]).stdout).unwrap()
}

#[test]
fn a_sigterm_lets_the_job_finish_and_exits_0() {
    let folder = folder(1);
    let child = busy_worker(folder.path(), "1", "20s");
    signal(&child, Signal::SIGTERM);
    assert_eq!(ended(child), Some(0));
    assert_eq!(fs::read(folder.path().join("o/deeper/0")).unwrap(), content(0));
    assert!(counts(folder.path()).contains("0 waiting   0 in flight"), "{}", counts(folder.path()));
}

#[test]
fn a_closed_terminal_is_a_sigterm_and_leaves_no_program_behind() {
    let folder = folder(1);
    let child = busy_worker(folder.path(), "60 & echo $! >program; wait", "1s");
    signal(&child, Signal::SIGHUP);
    assert_eq!(ended(child), Some(5));
    let program = fs::read_to_string(folder.path().join("program")).unwrap();
    eventually("the program is gone", || {
        kill(Pid::from_raw(program.trim().parse().unwrap()), None) == Err(nix::errno::Errno::ESRCH)
    });
    assert!(counts(folder.path()).contains("1 waiting   0 in flight"), "{}", counts(folder.path()));
}

#[test]
fn a_source_that_cannot_be_listed_is_one_error_with_its_own_exit_code() {
    let folder = folder(1);
    let told = |environment: &[(&str, &str)]| {
        let mut command = batchpipe(folder.path(), &["map", "s3://acme-in/", "out"]);
        command
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", "eu-west-1")
            .envs(environment.iter().copied());
        command.output().unwrap()
    };
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    let away = told(&keys);
    assert!(stderr(&away).starts_with("error[BP107]: cannot read s3://acme-in/\n"), "{}", stderr(&away));
    assert_eq!(away.status.code(), Some(1));
    let without = told(&[]);
    assert!(stderr(&without).starts_with("error[BP101]: cannot read s3://acme-in/\n"), "{}", stderr(&without));
    assert_eq!(without.status.code(), Some(6));
    assert!(!folder.path().join("out").exists(), "nothing was begun");
}

#[test]
fn a_server_that_is_not_there_is_told_before_any_file_is_read() {
    let folder = folder(3);
    let map = ["map", "in", "s3://out/gz/", "--process", "gzip", "--endpoint-url", "http://127.0.0.1:9"];
    let keys = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let output = batchpipe(folder.path(), &map).envs(keys).output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error[BP107]: cannot write to s3://out/gz/\n  cause: ConnectionRefused"), "{told}");
}

#[test]
fn keys_that_are_missing_are_told_before_any_file_is_read() {
    let folder = folder(3);
    let map = ["map", "in", "s3://out/gz/", "--process", "gzip", "--region", "eu-west-1"];
    let output = batchpipe(folder.path(), &map).env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(6), "{told}");
    assert!(told.starts_with("error[BP101]: cannot write to s3://out/gz/\n") && told.lines().count() == 3, "{told}");
}

#[test]
fn under_nohup_a_closed_terminal_is_nothing() {
    let folder = folder(1);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut nohup = Command::new("nohup");
    let script = "touch began; sleep 1; cat";
    nohup.args([env!("CARGO_BIN_EXE_batchpipe"), "map", "in", &at("o"), "--", "sh", "-c", script]);
    nohup.current_dir(folder.path()).env("HOME", folder.path()).stdin(Stdio::null());
    let child = nohup.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the job begins", || folder.path().join("began").exists());
    signal(&child, Signal::SIGHUP);
    assert_eq!(ended(child), Some(0));
    assert_eq!(fs::read(at("o/deeper/0")).unwrap(), content(0));
}

#[test]
fn a_drain_that_takes_too_long_gives_the_job_back_at_once_and_exits_5() {
    let folder = folder(1);
    let child = busy_worker(folder.path(), "60", "1s");
    signal(&child, Signal::SIGTERM);
    assert_eq!(ended(child), Some(5));
    assert!(!folder.path().join("o/deeper/0").exists());
    assert!(counts(folder.path()).contains("1 waiting   0 in flight"), "{}", counts(folder.path()));
}

#[test]
fn a_second_signal_ends_within_a_second_and_publishes_nothing() {
    let folder = folder(1);
    let child = busy_worker(folder.path(), "60", "60s");
    signal(&child, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    let second = Instant::now();
    signal(&child, Signal::SIGINT);
    assert_eq!(ended(child), Some(130));
    assert!(second.elapsed() < Duration::from_secs(5), "{:?}", second.elapsed());
    assert!(!folder.path().join("o/deeper/0").exists());
}

#[test]
fn a_worker_killed_in_the_middle_of_a_job_loses_nothing() {
    let folder = folder(1);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut child = busy_worker(folder.path(), "60", "60s");
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    let args = [
        "run",
        "--queue",
        "sqlite:q.db",
        "--allow",
        &at("s/"),
        "--allow",
        &at("o/"),
        "--until-empty",
        "--metrics-addr",
        "none",
        "--process",
        "copy",
    ];
    let again = run(folder.path(), &args);
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for the dead worker's lease: {:?}", begun.elapsed());
    assert_eq!(fs::read(folder.path().join("o/deeper/0")).unwrap(), content(0));
}

#[test]
fn the_metrics_listener_answers_while_jobs_run() {
    use std::io::{Read, Write};
    let folder = folder(1);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let args =
        ["run", "--queue", "sqlite:q.db", "--output", &at("o/"), "--metrics-addr", &address, "--process", "copy"];
    let child = batchpipe(folder.path(), &args).stderr(Stdio::null()).spawn().unwrap();
    let get = |path: &str| -> Option<String> {
        let mut stream = std::net::TcpStream::connect(&address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    eventually("it is ready", || get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")));
    let metrics = get("/metrics").unwrap();
    for stage in ["receive", "download", "process", "upload", "delete"] {
        let name = format!("batchpipe_stage_time_seconds_total{{stage=\"{stage}\",state=\"busy\"}}");
        assert!(metrics.contains(&name), "{name}\n{metrics}");
    }
    signal(&child, Signal::SIGTERM);
    assert_eq!(ended(child), Some(0));
}

/// Without its journal, a map knows by the outputs alone what is done.
#[test]
fn map_with_skip_makes_only_what_its_outputs_do_not_show_as_done() {
    let folder = folder(9);
    let map = |more: &[&str]| {
        let output = run(folder.path(), &[&["map", "in", "out", "--if-exists", "skip"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::remove_dir_all(folder.path().join("out/.batchpipe")).unwrap();
        stderr(&output)
    };
    assert!(map(&["--process", "zstd"]).contains("done=9 failed=0"));
    let one = folder.path().join("out/1.zst");
    // On a file system that keeps no marks nothing is recognised, and everything made again.
    let marked = rustix::fs::getxattr(&one, "user.batchpipe", &mut vec![0; 1000]).is_ok();
    fs::remove_file(&one).unwrap();
    fs::write(folder.path().join("in/2"), "changed").unwrap();
    let done = if marked { "done=2 failed=0" } else { "done=9 failed=0" };
    let said = map(&["--process", "zstd"]);
    assert!(said.contains(done), "{said}");
    assert_eq!(zstd::decode_all(&fs::read(one).unwrap()[..]).unwrap(), content(1));
    assert_eq!(zstd::decode_all(&fs::read(folder.path().join("out/2.zst")).unwrap()[..]).unwrap(), b"changed");
    let said = map(&["--process", "zstd:1"]);
    assert!(said.contains("done=9 failed=0"), "another level is another process: {said}");
    assert!(said.contains("\nLook at them:"), "none was there: {said}");
    let said = map(&["--process", "zstd:1"]);
    if marked {
        assert!(said.contains("done=0 failed=0") && said.contains("exit=0 skipped=9\n"), "{said}");
        assert!(said.contains("\n9 outputs were there already. Look at them:  ls"), "{said}");
    }
}

/// The peak of a process's resident memory, which only grows.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
}

#[test]
#[cfg(target_os = "linux")]
fn the_tables_of_a_codec_are_within_the_memory_that_was_given() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    for number in 0..8 {
        // Long enough that the tables are used, and read at once.
        fs::write(folder.path().join(format!("in/{number}")), content(200)).unwrap();
    }
    // A zstd:20 has tables of 200 MiB: eight would take 1.5 GiB.
    // Behind another step it can't know how short its input is, and make smaller ones.
    let args = ["map", "in", "out", "--process", "gzip,zstd:20", "--processors", "8", "--memory", "300MiB"];
    let mut child = batchpipe(folder.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(&child).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    let said = stderr(&child.wait_with_output().unwrap());
    assert!(said.contains("done=8 failed=0"), "{said}");
    assert!(said.contains("a processor: 1 at once, not 8"), "{said}");
    assert!(most > 100 << 10, "the peak was not seen: {most} KiB");
    assert!(most <= (300 + 64) << 10, "{most} KiB");

    let output = run(folder.path(), &["map", "in", "out2", "--process", "zstd:20", "--memory", "64MiB"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error[BP121]: --memory 64MiB is too little for zstd:20"), "{said}");
}

/// The program as an ordinary user, who can't list `folder` but pass through it; it is that user's where the test is
/// run by one.
fn as_nobody(folder: &Path, args: &[&str]) -> Command {
    const NOBODY: u32 = 65534;
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o311)).unwrap();
        return batchpipe(folder, args);
    }
    for entry in walkdir::WalkDir::new(folder).min_depth(1) {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
    let mut command = batchpipe(folder, args);
    command.uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn map_writes_below_a_directory_whose_parent_it_may_not_list() {
    let folder = folder(4);
    fs::create_dir(folder.path().join("out")).unwrap();
    let output = as_nobody(folder.path(), &["map", "in", "out", "--process", "copy"]).output().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::read(folder.path().join("out/deeper/3")).unwrap(), content(3));
}

#[test]
fn map_does_what_it_can_beside_files_that_it_may_not_read() {
    let folder = folder(20);
    for name in ["in/1", "in/10", "in/11", "in/13", "in/deeper/0", "in/deeper/12"] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    fs::create_dir(folder.path().join("out")).unwrap();
    let output = as_nobody(folder.path(), &["map", "in", "out", "--process", "copy"]).output().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert_eq!(fs::read(folder.path().join("out/deeper/3")).unwrap(), content(3), "{said}");
    assert_eq!(fs::read(folder.path().join("out/2")).unwrap(), content(2), "{said}");
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_map_leaves_the_folders_of_others_in_its_work_directory_as_they_are() {
    let folder = folder(3);
    let at = |name: &str| folder.path().join(name);
    for name in ["wd/batchpipe-photos/p", "wd/batchpipe-out/1"] {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), "mine").unwrap();
        let long_ago = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        fs::File::open(at(name).parent().unwrap()).unwrap().set_times(long_ago).unwrap();
    }
    // The outputs may well lie in a folder of such a name.
    let map = ["map", "in", "wd/batchpipe-out", "--work-dir", "wd", "--", "cp", "{input}", "{output}"];
    let output = run(folder.path(), &map);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::read(at("wd/batchpipe-photos/p")).unwrap(), b"mine");
    assert_eq!(fs::read(at("wd/batchpipe-out/1")).unwrap(), content(1));
    assert_eq!(names(&at("wd")), ["batchpipe-out", "batchpipe-photos"], "and nothing of ours is left");
}

#[test]
fn the_next_map_removes_what_a_killed_one_left_half_written_and_nothing_of_the_living() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let half = |dest: &str| -> Vec<String> {
        let all = walkdir::WalkDir::new(at(dest)).into_iter().flatten();
        let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".batchpipe-")).collect()
    };
    for source in ["in/deeper", "in2", "in3"] {
        fs::create_dir_all(at(source)).unwrap();
        fs::write(at(source).join("large"), vec![7; 2 << 20]).unwrap();
    }
    // A first part is there, and the next never comes.
    let stalled = |source: &str, dest: &str| {
        let program = ["--part-size", "64KiB", "--memory", "64MiB", "--", "sh", "-c", "head -c 1000000; sleep 60"];
        let map = [&["map", source, dest][..], &program].concat();
        batchpipe(folder.path(), &map).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut killed = stalled("in", "out");
    eventually("half an output", || at("out").is_dir() && half("out").len() == 1);
    let mut alive = stalled("in2", "out/sub");
    eventually("another half", || half("out").len() == 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    fs::write(at("out/.batchpipe-0123456789abcdef"), "of a version that has no locks").unwrap();
    fs::write(at("out/.batchpipe-notes"), "somebody's").unwrap();
    let next = run(folder.path(), &["map", "in3", "out3"]);
    assert_eq!((next.status.code(), half("out").len()), (Some(0), 4), "another DEST is none of its business");
    // `gc` may be as eager as it can be told to be: what a live process writes stays.
    let look = run(folder.path(), &["gc", "out", "--older-than", "0s", "--dry-run"]);
    let told = String::from_utf8_lossy(&look.stdout).into_owned();
    assert!(told.contains("would discard 2") && told.contains("left 1 that a live process writes"), "{told}");
    let next = run(folder.path(), &["map", "in", "out", "--process", "copy"]);
    assert_eq!(next.status.code(), Some(0), "{}", stderr(&next));
    let left = half("out");
    assert!(left.len() == 3 && left.contains(&".batchpipe-notes".to_owned()), "{left:?}");
    alive.kill().unwrap();
    alive.wait().unwrap();
    let gc = run(folder.path(), &["gc", "out"]);
    assert!(
        gc.status.success() && half("out").len() == 2,
        "the young one without a lock stays a day: {:?}",
        half("out")
    );
    run(folder.path(), &["gc", "out", "--older-than", "0s"]);
    assert_eq!(half("out"), [".batchpipe-notes"]);
}

#[test]
fn a_file_that_is_no_journal_of_this_command_is_refused_and_left_as_it_is() {
    let folder = folder(2);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let submit = |source: &str, journal: &str| {
        run(folder.path(), &["submit", source, "--input", &at("s/"), "--queue", "sqlite:q.db", "--journal", journal])
    };
    fs::write(at("zeros"), vec![0; 1_000_000]).unwrap();
    let refused = submit("in", "zeros");
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("error[BP124]") && said.contains("is not a journal of batchpipe"), "{said}");
    assert_eq!(fs::read(at("zeros")).unwrap(), vec![0; 1_000_000]);
    assert!(submit("in", "journal").status.success());
    assert_eq!(mode(&folder.path().join("journal")), 0o600);
    let before = fs::read(at("journal")).unwrap();
    let refused = submit("in/deeper", "journal");
    let said = stderr(&refused);
    assert!(refused.status.code() == Some(2) && said.contains("error[BP124]"), "{said}");
    assert!(said.contains(&format!("{:?}", at("in"))) && said.contains(&format!("{:?}", at("in/deeper"))), "{said}");
    assert_eq!(fs::read(at("journal")).unwrap(), before);
    let again = submit("in", "journal");
    assert!(stderr(&again).contains("Nothing new: 2 jobs"), "{}", stderr(&again));
}

#[test]
fn what_is_private_stays_private() {
    let folder = folder(2);
    let at = |name: &str| folder.path().join(name);
    fs::set_permissions(at("in/1"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(at("in/deeper"), fs::Permissions::from_mode(0o700)).unwrap();
    let output = run(folder.path(), &["map", "in", "out", "--process", "gzip"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(mode(&at("out/1.gz")), 0o600);
    assert_eq!(mode(&at("out/deeper/0.gz")), mode(&at("in/deeper/0")));
    assert_eq!(mode(&at("out/deeper")), 0o700, "what lies in a closed folder is not laid open");
    assert_eq!(mode(&at("out")), mode(&at("in")));
    fs::set_permissions(at("in"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(run(folder.path(), &["map", "in", "new/out2"]).status.success());
    assert_eq!(mode(&at("new/out2")), 0o700);
    let state = names(&at("out/.batchpipe"));
    for name in &state {
        let wanted = if name.ends_with(".journal") { 0o600 } else { 0o660 };
        assert_eq!(mode(&at("out/.batchpipe").join(name)) & !wanted, 0, "{name}");
    }
    assert!(state.len() >= 2, "{state:?}");
}

#[test]
fn an_output_folder_among_the_inputs_is_refused_through_a_link_too_and_never_read_where_it_is_allowed() {
    let folder = folder(4);
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("in", at("link")).unwrap();
    for dest in ["link/out", "link", "in/out"] {
        let refused = run(folder.path(), &["map", "in", dest]);
        assert!(refused.status.code() == Some(2) && stderr(&refused).contains("BP113"), "{}", stderr(&refused));
    }
    assert_eq!(names(&at("in")), ["1", "2", "deeper"], "nothing was made");
    fs::create_dir(at("in/deeper/.BatchPipe")).unwrap();
    fs::write(at("in/deeper/.BatchPipe/mine"), "x").unwrap();
    for nth in 0..2 {
        let map = ["map", "in", "link/out", "--allow-nested-output", "--log-file", "in/log", "--work-dir", "in/deeper"];
        let output = run(folder.path(), &[&map[..], &["--", "cp", "{input}", "{output}"]].concat());
        let said = stderr(&output) + &fs::read_to_string(at("in/log")).unwrap();
        assert_eq!(output.status.code(), Some(0), "run {nth}: {said}");
        assert_eq!(names(&at("in/out")), [".batchpipe", "1", "2", "deeper"], "run {nth}: {said}");
        assert_eq!(names(&at("in/out/deeper")), ["0", "3"], "run {nth}: {said}");
        assert_eq!(said.matches("left out of the source").count(), nth + 1, "told once a run: {said}");
        assert!(!said.contains("in/out"), "what is our own is no news: {said}");
    }
}

#[test]
fn an_output_never_lands_among_the_inputs_where_the_source_lies_in_the_destination() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("all/src/src")).unwrap();
    for name in ["all/src/x", "all/src/src/x", "all/src/y"] {
        fs::write(at(name), name).unwrap();
    }
    let output = run(folder.path(), &["map", "all/src", "all"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("\"src/x\": its output would lie in the source"), "{said}");
    assert_eq!(fs::read(at("all/src/x")).unwrap(), b"all/src/x", "the input is as it was");
    assert_eq!(fs::read(at("all/y")).unwrap(), b"all/src/y");
    // One file, whose folder is the destination by another name.
    std::os::unix::fs::symlink("all", at("link")).unwrap();
    fs::write(at("all/z"), "z").unwrap();
    let output = run(folder.path(), &["map", "all/z", "link", "--", "tr", "a-z", "A-Z"]);
    assert_eq!((output.status.code(), fs::read(at("all/z")).unwrap()), (Some(8), b"z".to_vec()), "{}", stderr(&output));
}

#[test]
fn a_submit_leaves_out_its_own_queue_and_what_it_puts_into_its_source() {
    let folder = folder(3);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let submit = |more: &[&str]| {
        let queue = format!("sqlite:{}", at("in/q.db"));
        let args = ["submit", "in", "--input", &at("in/store/"), "--queue", &queue, "--journal", &at("in/journal")];
        run(folder.path(), &[&args[..], more].concat())
    };
    let refused = submit(&[]);
    assert!(refused.status.code() == Some(2) && stderr(&refused).contains("BP113"), "{}", stderr(&refused));
    let first = submit(&["--allow-nested-output"]);
    assert!(stderr(&first).contains("Sent 3 jobs"), "{}", stderr(&first));
    let again = submit(&["--allow-nested-output"]);
    assert!(stderr(&again).contains("Nothing new: 3 jobs"), "{}", stderr(&again));
}

/// The number behind `name=` in the summary.
fn told(said: &str, name: &str) -> u64 {
    let summary = said.lines().rfind(|line| line.contains(" summary ")).unwrap_or_else(|| panic!("{said}"));
    let word = summary.split(' ').find_map(|word| word.strip_prefix(&format!("{name}="))).unwrap();
    word.parse().unwrap()
}

/// A kill between the send of a job and the line of the journal that tells of it, as often as there are jobs.
#[test]
fn a_map_that_goes_on_sends_no_job_twice_and_counts_each_file_once() {
    let folder = folder(40);
    let map = ["map", "in", "out", "--concurrency", "2", "--", "sh", "-c", "sleep 0.1; cat"];
    let mut child = batchpipe(folder.path(), &map).stderr(Stdio::null()).spawn().unwrap();
    eventually("some outputs", || folder.path().join("out/2").exists() || folder.path().join("out/1").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let state = folder.path().join("out/.batchpipe");
    let journal = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "journal")).unwrap();
    // As if the kill had come before any of its lines but the first was written.
    let first = fs::read_to_string(&journal).unwrap().lines().next().unwrap().to_owned() + "\n";
    let whole = fs::read_to_string(&journal).unwrap();
    let queued = waiting(folder.path(), "out/.batchpipe/queue.db");
    assert!(queued > 0 && whole.lines().count() > 1, "{queued} waiting, {whole}");
    fs::write(&journal, &first).unwrap();
    let again = run(folder.path(), &["map", "in", "out", "--progress", "lines", "--", "sh", "-c", "cat"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let done = told(&stderr(&again), "done");
    assert!(done >= queued && done <= 40, "{}", stderr(&again));
    for number in 0..40 {
        let name = if number % 3 == 0 { format!("out/deeper/{number}") } else { format!("out/{number}") };
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), content(number));
    }
}

/// How many messages a queue of `map` holds.
fn waiting(folder: &Path, queue: &str) -> u64 {
    let told = run(folder, &["status", "--queue", &format!("sqlite:{queue}"), "--json"]);
    let text = String::from_utf8(told.stdout).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let number = |name: &str| line["messages"][name].as_u64().unwrap_or_else(|| panic!("{text}"));
    number("visible") + number("in_flight")
}

#[test]
fn a_map_that_goes_on_tells_each_failure_once_and_what_was_done_before() {
    let folder = folder(12);
    fs::write(folder.path().join("in/bad"), "bad").unwrap();
    let script = "sleep 0.1; test $BATCHPIPE_KEY != $PWD/in/bad || exit 65; cat";
    let map = ["map", "in", "out", "--concurrency", "1", "--", "sh", "-c", script];
    let mut child = batchpipe(folder.path(), &map).stderr(Stdio::null()).spawn().unwrap();
    let outputs = || (0..12).filter(|number| folder.path().join(format!("out/{number}")).exists()).count();
    eventually("some outputs", || outputs() > 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let again = run(folder.path(), &map);
    let said = stderr(&again);
    assert_eq!(again.status.code(), Some(8), "{said}");
    assert_eq!(told(&said, "failed"), 1, "{said}");
    let done = told(&said, "done");
    assert!((1..12).contains(&done), "{said}");
    let letters = run(folder.path(), &["dlq", "list", "--queue", "sqlite:out/.batchpipe/queue.db"]);
    let letters = String::from_utf8(letters.stdout).unwrap();
    assert_eq!(letters.matches("BP401").count(), 1, "{letters}");
    fs::remove_file(folder.path().join("in/bad")).unwrap();
    fs::write(folder.path().join("in/new"), "new").unwrap();
    let last = run(folder.path(), &map);
    assert!(last.status.success() && stderr(&last).contains("12 files more done before."), "{}", stderr(&last));
}

#[test]
fn a_dead_letter_is_shown_with_why_its_job_failed_and_no_other_reason() {
    let folder = folder(1);
    let failed = run(folder.path(), &["map", "in", "out", "--", "sh", "-c", "echo no such codec >&2; exit 65"]);
    assert_eq!(failed.status.code(), Some(8), "{}", stderr(&failed));
    let queue = "sqlite:out/.batchpipe/queue.db";
    let listed = run(folder.path(), &["dlq", "list", "--queue", queue, "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let letter: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    let show = |more: &[&str]| {
        let args = [&["dlq", "show", letter["id"].as_str().unwrap(), "--queue", queue], more].concat();
        String::from_utf8(run(folder.path(), &args).stdout).unwrap()
    };
    for shown in [show(&[]), show(&["--json"])] {
        assert!(shown.contains("BP401") && shown.contains("no such codec"), "{shown}");
        assert!(!shown.contains("BP207") && !shown.contains("allow-list"), "{shown}");
    }
}

#[test]
fn a_program_that_writes_nothing_is_told_once_and_then_counted() {
    let folder = folder(5);
    fs::write(folder.path().join("in/empty"), "").unwrap();
    let silent = run(folder.path(), &["map", "in", "out", "--", "sh", "-c", "cat >/dev/null"]);
    let said = stderr(&silent);
    assert!(silent.status.success(), "{said}");
    assert_eq!(said.matches("the program wrote nothing").count(), 1, "{said}");
    // File 0 is empty, as is the one of that name.
    assert!(said.contains("BP402") && said.contains("jobs=4"), "{said}");
    let talks = run(folder.path(), &["map", "in", "out2", "--", "cat"]);
    assert!(!stderr(&talks).contains("wrote nothing"), "{}", stderr(&talks));
    let file = run(folder.path(), &["map", "in", "out3", "--max-receives", "1", "--", "true", "{input}", "{output}"]);
    assert_eq!(file.status.code(), Some(8), "{}", stderr(&file));
    assert!(stderr(&file).contains("BP402") && told(&stderr(&file), "failed") == 6, "{}", stderr(&file));
    let empty = run(folder.path(), &["map", "in", "out4", "--", "sh", "-c", ": > \"$1\"", "sh", "{output}"]);
    assert!(empty.status.success() && stderr(&empty).contains("jobs=4"), "{}", stderr(&empty));
}

#[test]
fn what_is_compressed_already_is_told_and_decompress_any_takes_all_kinds() {
    let folder = folder(4);
    let gzip = run(folder.path(), &["map", "in", "gz", "--process", "gzip"]);
    assert!(gzip.status.success() && !stderr(&gzip).contains("compressed already"), "{}", stderr(&gzip));
    fs::write(folder.path().join("gz/plain"), "as it is").unwrap();
    let twice = run(folder.path(), &["map", "gz", "twice", "--process", "zstd"]);
    let said = stderr(&twice);
    assert!(twice.status.success() && said.contains("BP318") && said.contains("inputs=4"), "{said}");
    assert_eq!(said.matches("is compressed already").count(), 1, "{said}");
    let any = run(folder.path(), &["map", "gz", "any", "--process", "decompress:any"]);
    assert!(any.status.success() && told(&stderr(&any), "done") == 5, "{}", stderr(&any));
    assert_eq!(fs::read(folder.path().join("any/1")).unwrap(), content(1));
    assert_eq!(fs::read(folder.path().join("any/plain")).unwrap(), b"as it is");
    let strict = run(folder.path(), &["map", "gz", "strict", "--process", "decompress"]);
    assert!(strict.status.code() == Some(8) && stderr(&strict).contains("BP306"), "{}", stderr(&strict));
}

#[test]
fn an_image_of_zeros_comes_back_with_a_larger_ratio_and_padding_of_a_tape_is_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let image = fs::File::create(folder.path().join("in/disk.img")).unwrap();
    image.set_len(200 << 20).unwrap();
    let at = |args: &[&str]| run(folder.path(), args);
    let made = at(&["map", "in", "z", "--process", "zstd:1"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let refused = at(&["map", "z", "back", "--process", "decompress"]);
    assert_eq!(refused.status.code(), Some(8), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("BP304") && stderr(&refused).contains("--max-ratio"), "{}", stderr(&refused));
    let mut command = batchpipe(folder.path(), &["map", "z", "back", "--process", "decompress"]);
    let back = command.env("BATCHPIPE_MAX_RATIO", "none").output().unwrap();
    assert!(back.status.success(), "{}", stderr(&back));
    assert_eq!(fs::metadata(folder.path().join("back/disk.img")).unwrap().len(), 200 << 20);

    fs::write(folder.path().join("in/disk.img"), content(3)).unwrap();
    assert!(at(&["map", "in", "tape", "--process", "gzip"]).status.success());
    let tape = folder.path().join("tape/disk.img.gz");
    let padded = [fs::read(&tape).unwrap(), vec![0; 10_240]].concat();
    fs::write(&tape, padded).unwrap();
    let read = at(&["map", "tape", "read", "--process", "decompress"]);
    assert!(read.status.success(), "{}", stderr(&read));
    assert_eq!(fs::read(folder.path().join("read/disk.img")).unwrap(), content(3));
}

#[test]
fn an_output_that_no_message_used_is_told_and_one_that_can_not_be_ends_the_start() {
    let folder = folder(3);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let submit = ["submit", "in", "--input", &at("s/"), "--output", &at("o/"), "--queue", "sqlite:q.db"];
    assert!(run(folder.path(), &submit).status.success());
    let (allow_s, allow_o) = (at("s/"), at("o/"));
    let work = |more: &[&str]| {
        let usual = ["run", "--queue", "sqlite:q.db", "--allow", &allow_s, "--allow", &allow_o, "--process", "copy"];
        run(folder.path(), &[&usual, &["--until-empty", "--metrics-addr", "none"][..], more].concat())
    };
    fs::write(folder.path().join("file"), "").unwrap();
    for (place, code) in [("no/such/folder/", "BP301"), ("file/", "BP106"), ("file/below/", "BP106")] {
        let refused = work(&["--output", &at(place)]);
        let said = stderr(&refused);
        assert!(
            refused.status.code() == Some(4) && said.contains(&format!("error[{code}]: cannot write to")),
            "{said}"
        );
    }
    assert_eq!(waiting(folder.path(), "q.db"), 3, "no message was touched");
    let worked = work(&["--output", &at("elsewhere/")]);
    let said = stderr(&worked);
    assert!(worked.status.success() && said.contains("BP128") && told(&said, "done") == 3, "{said}");
    assert!(said.contains("--output was not used") && !folder.path().join("elsewhere").exists(), "{said}");
    let nothing = work(&["--output", &at("elsewhere/")]);
    assert!(!stderr(&nothing).contains("BP128"), "there was no message: {}", stderr(&nothing));
    let queue = rusqlite::Connection::open(folder.path().join("q.db")).unwrap();
    let garbage =
        "INSERT INTO messages (queue, visible_at, sent_at, attributes, body) VALUES (0, 0, 0, '{}', 'garbage')";
    queue.execute(garbage, []).unwrap();
    drop(queue);
    let garbage = work(&["--output", &at("elsewhere/")]);
    let said = stderr(&garbage);
    assert!(told(&said, "failed") == 1 && !said.contains("BP128"), "there was no job: {said}");
    let bare = ["submit", "in", "--input", &at("t/"), "--queue", "sqlite:q.db"];
    assert!(run(folder.path(), &bare).status.success());
    let allow_t = at("t/");
    let used = work(&["--output", &at("elsewhere/"), "--allow", &allow_t]);
    assert!(used.status.success() && !stderr(&used).contains("BP128"), "{}", stderr(&used));
}
