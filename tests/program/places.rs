//! Where an output may go: only where the operator said, wherever links and mounts lead, and over no file that
//! batchpipe needs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn batchpipe(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(args).env_clear().env("HOME", folder).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with these files, each of which holds its own name.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

fn read(folder: &tempfile::TempDir, file: &str) -> String {
    fs::read_to_string(folder.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn a_link_in_the_destination_leads_no_output_among_the_inputs() {
    let folder = folder(&["in/a/x", "in/b/x", "out/real/y", "all/src/a/x", "all/src/b/x"]);
    let at = |name: &str| folder.path().join(name);
    symlink("../in/b", at("out/a")).unwrap();
    symlink("real", at("out/b")).unwrap();
    let mapped = batchpipe(folder.path(), &["map", "in", "out"]);
    let said = stderr(&mapped);
    assert_eq!(mapped.status.code(), Some(8), "{said}");
    assert_eq!(read(&folder, "in/b/x"), "in/b/x", "{said}");
    assert_eq!(read(&folder, "out/real/x"), "in/b/x", "a link that stays in DEST is followed");
    assert!(said.contains("out/a/x") && said.contains("leads out of the folder that outputs go to"), "named: {said}");
    // The inputs lie in the destination: what a link among the outputs leads to is an input all the same.
    symlink("src/b", at("all/a")).unwrap();
    let mapped = batchpipe(folder.path(), &["map", "all/src", "all"]);
    let said = stderr(&mapped);
    assert_eq!(mapped.status.code(), Some(8), "{said}");
    assert_eq!(read(&folder, "all/src/b/x"), "all/src/b/x", "{said}");
    assert_eq!(read(&folder, "all/b/x"), "all/src/b/x", "{said}");
}

#[test]
fn a_link_leads_no_upload_of_a_submit_among_its_sources_or_the_outputs() {
    let folder = folder(&["all/src/a/x", "all/src/b/x", "all/src/src/b/x", "out/x", "in/x"]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    symlink("src/b", at("all/a")).unwrap();
    let submit = |source: &str, input: &str| {
        let args = ["submit", source, "--input", &at(input), "--output", &at("out"), "--queue", "sqlite:q.db"];
        batchpipe(folder.path(), &args)
    };
    let submitted = submit("all/src", "all");
    let said = stderr(&submitted);
    assert_eq!(submitted.status.code(), Some(8), "{said}");
    assert_eq!(read(&folder, "all/src/b/x"), "all/src/b/x", "{said}");
    assert_eq!(read(&folder, "all/b/x"), "all/src/b/x", "{said}");
    // `in/x` is to be uploaded as `store/x`; the store is a link to nothing of its own but to where the outputs are.
    fs::create_dir(at("store")).unwrap();
    fs::create_dir(at("in/deep")).unwrap();
    fs::write(at("in/deep/x"), "new").unwrap();
    symlink("../out", at("store/deep")).unwrap();
    let said = stderr(&submit("in", "store"));
    assert_eq!((read(&folder, "out/x"), read(&folder, "store/x")), ("out/x".into(), "in/x".into()), "{said}");
}

#[test]
fn no_output_replaces_the_queue_or_the_log_of_the_worker() {
    let folder = folder(&["in/queue.db", "in/queue.db-wal/x", "in/log", "in/a", "in/b", "in/c"]);
    fs::create_dir(folder.path().join("out")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (queue, output) = (format!("sqlite:{}", at("out/queue.db")), at("out"));
    let sent = batchpipe(folder.path(), &["submit", "in", "--input", &at("store"), "--queue", &queue]);
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let log = at("out/log");
    let run = ["run", "--queue", &queue, "--output", &output, "--allow", &at("store"), "--input-prefix"];
    let prefix = format!("{}/", at("store"));
    let worked = batchpipe(
        folder.path(),
        &[&run[..], &[&prefix, "--log-file", &log, "--metrics-addr", "none", "--until-empty", "--process", "copy"]]
            .concat(),
    );
    let said = stderr(&worked) + &fs::read_to_string(&log).unwrap();
    assert_eq!(worked.status.code(), Some(8), "{said}");
    for name in ["a", "b", "c"] {
        assert_eq!(read(&folder, &format!("out/{name}")), format!("in/{name}"), "{said}");
    }
    let letters = batchpipe(folder.path(), &["dlq", "list", "--queue", &queue]);
    let told = String::from_utf8_lossy(&letters.stdout).into_owned();
    assert_eq!(told.matches("BP504").count(), 2, "the queue and the log: {told} {said}");
    assert_eq!(told.matches("ENOTDIR").count(), 1, "no folder takes the place of what the queue has beside it: {told}");
}

#[test]
fn no_upload_of_a_submit_and_no_output_of_a_map_replaces_a_file_of_the_command() {
    let folder = folder(&["in/q.db", "in/journal", "in/log", "in/a"]);
    fs::create_dir(folder.path().join("store")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let queue = format!("sqlite:{}", at("store/q.db"));
    let (journal, log, input) = (at("store/journal"), at("store/log"), at("store"));
    let args = ["submit", "in", "--input", &input, "--queue", &queue, "--journal", &journal, "--log-file", &log];
    let sent = batchpipe(folder.path(), &args);
    let said = stderr(&sent);
    assert_eq!(sent.status.code(), Some(8), "{said}");
    assert_eq!(said.matches("BP504").count(), 3, "{said}");
    assert_eq!(read(&folder, "store/a"), "in/a");
    let status = batchpipe(folder.path(), &["status", "--queue", &queue]);
    assert!(status.status.success(), "the queue is there: {}", stderr(&status));
    let again = stderr(&batchpipe(folder.path(), &args));
    assert!(!again.contains("BP124") && again.contains("BP504"), "and so is the journal: {again}");
    fs::create_dir(at("out")).unwrap();
    let mapped = batchpipe(folder.path(), &["map", "in", "out", "--log-file", "out/log"]);
    let said = stderr(&mapped) + &read(&folder, "out/log");
    assert_eq!(mapped.status.code(), Some(8), "{said}");
    assert!(said.contains("BP504") && read(&folder, "out/log") != "in/log", "{said}");
}

#[test]
fn the_step_up_from_a_link_is_taken_where_the_link_leads_as_the_kernel_takes_it() {
    let folder = folder(&["in/a", "o/a", "r/s/x"]);
    symlink("r/s", folder.path().join("L")).unwrap();
    let mapped = batchpipe(folder.path(), &["map", "in", "L/../o"]);
    assert_eq!(mapped.status.code(), Some(0), "{}", stderr(&mapped));
    assert_eq!((read(&folder, "o/a"), read(&folder, "r/o/a")), ("o/a".to_owned(), "in/a".to_owned()));
    // DEST is the source by another name.
    let refused = batchpipe(folder.path(), &["map", "r", "L/../../r/o"]);
    assert!(stderr(&refused).contains("BP113"), "{}", stderr(&refused));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_said_to_be_empty_and_holds_bytes_never_becomes_an_empty_output() {
    let folder = folder(&["in/a"]);
    for args in [&["map", "/proc/self/status", "out"][..], &["map", "/proc/self/limits", "out", "--process", "gzip"]] {
        let mapped = batchpipe(folder.path(), args);
        let said = stderr(&mapped);
        assert_eq!(mapped.status.code(), Some(8), "{said}");
        assert!(said.contains("holds more bytes than the system says"), "{said}");
        let made = fs::read_dir(folder.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(made.collect::<Vec<_>>(), [".batchpipe"], "{said}");
    }
    let store = folder.path().join("store").display().to_string();
    let sent = ["submit", "/proc/self/status", "--input", &store, "--queue", "sqlite:q.db"];
    let sent = batchpipe(folder.path(), &sent);
    assert_eq!(sent.status.code(), Some(8), "{}", stderr(&sent));
    assert!(!folder.path().join("store/status").exists(), "{}", stderr(&sent));
}

/// Runs a script whose mounts nobody else sees; `None` where this user may make none (in most containers).
#[cfg(target_os = "linux")]
fn with_mounts(folder: &Path, script: &str) -> Option<Output> {
    let unshared = |script: &str| {
        let script = format!("BP={:?}\n{script}", env!("CARGO_BIN_EXE_batchpipe"));
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-ec", &script]).env("HOME", folder).current_dir(folder).stdin(Stdio::null());
        command.output()
    };
    let may = unshared("mkdir -p one two; mount --bind one two; rmdir one").is_ok_and(|tried| tried.status.success());
    may.then(|| unshared(script).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_bind_mount_leads_no_output_among_the_inputs() {
    let refused = "BP113";
    let script = |mount: &str, map: &str| format!("mkdir -p m d; mount --bind {mount}; $BP map {map}");
    for (mount, map, wanted) in [
        ("in/sub m", "in m", refused),
        ("in/sub m", "in m/new", refused),
        ("in m", "m in/sub", refused),
        // The source is a folder of the destination, and an output would lie in it.
        ("all/s m", "m all", "its output would lie in the source"),
        // A folder of the destination is a folder of the source.
        ("in/b out/a", "in out", "leads out of the folder"),
        // A folder of the source is one of the destination: what is in it is no input.
        ("out/sub in/m", "in out", "done=4"),
    ] {
        let files = ["in/x", "in/sub/x", "in/a/x", "in/b/x", "in/m/-", "all/s/s/x", "all/s/x", "out/a/-", "out/sub/x"];
        let folder = folder(&files);
        let Some(mapped) = with_mounts(folder.path(), &script(mount, map)) else {
            println!("no mounts here: the unit tests of src/runtime/mounts.rs are all there is");
            return;
        };
        let said = stderr(&mapped);
        assert!(said.contains(wanted), "{mount}, {map}: {said}");
        assert_eq!(mapped.status.code() == Some(0), wanted == "done=4", "{mount}, {map}: {said}");
        // What was there before is replaced by the output of its own input.
        let replaced = |file: &str| map == "in out" && file == "out/sub/x";
        for file in files.into_iter().filter(|file| !replaced(file)) {
            assert_eq!(read(&folder, file), file, "{mount}, {map}: {said}");
        }
    }
}
