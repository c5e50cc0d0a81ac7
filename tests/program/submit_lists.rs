//! `submit` of lists of names, as a user pipes them in: the real program on real files and an embedded queue.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;

/// A folder with some files, two of which have names that not every list can hold.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("deep/er")).unwrap();
    for name in ["a.csv", "b.csv", "deep/c.csv", "new\nline", "return\r"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    folder
}

/// Submits what `list` names, with further arguments.
fn submit(folder: &Path, source: &str, list: &[u8], more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(["submit", source, "--input", "put/", "--queue", "sqlite:q.db", "--journal", "none"]).args(more);
    // Nobody is at this port: no list of files asks S3 anything.
    command.env_clear().env("HOME", folder).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever refuses the flags does not read.
    drop(child.stdin.take().unwrap().write_all(list));
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The names of the inputs of all jobs in the queue, in their order.
fn jobs(folder: &Path) -> Vec<String> {
    let file = Connection::open(folder.join("q.db")).unwrap();
    let mut rows = file.prepare("SELECT body FROM messages").unwrap();
    let bodies = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let name = |body: String| {
        let job: serde_json::Value = serde_json::from_str(&body).unwrap();
        let input = job["input"].as_str().unwrap().to_owned();
        input.rsplit_once("/put/").map(|(_, name)| name.to_owned()).unwrap_or(input)
    };
    let mut names: Vec<String> = bodies.map(|body| name(body.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn a_name_that_cannot_be_submitted_fails_alone_by_its_line() {
    let folder = folder();
    let long = "x".repeat(1_000_000);
    let mut list = b"a.csv\r\n\n".to_vec();
    list.extend(b"caf\xe9.csv\n");
    list.extend(format!("{long}\nmissing\ndeep\n../up\ns3://\n./deep/c.csv\n").bytes());
    list.extend(b"b.csv");
    let output = submit(folder.path(), "-", &list, &[]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(8), "{told}");
    assert_eq!(jobs(folder.path()), ["a.csv", "b.csv", "deep/c.csv"], "{told}");
    for failure in [
        r#"line 3: "caf\xE9.csv": its name is not UTF-8"#,
        r#"line 4: "xxx"#,
        "it has more than 8192 bytes",
        r#"line 5: "missing": No such file"#,
        r#"line 6: "deep": it is not a regular file"#,
        r#"line 7: "../up": a name with .."#,
        r#"line 8: "s3://": it names no object"#,
    ] {
        assert!(told.contains(failure), "{failure}\n{told}");
    }
    assert_eq!(told.matches("not submitted: ").count(), 6, "{told}");
    assert!(folder.path().join("put/deep/c.csv").is_file());
}

#[test]
fn names_that_end_in_a_nul_are_taken_as_they_are() {
    for (flag, source) in [("--null", "-"), ("-0", "@list")] {
        let folder = folder();
        let list = b"a.csv\0\0new\nline\0return\r\0caf\xe9\0deep/c.csv";
        fs::write(folder.path().join("list"), list).unwrap();
        let output = submit(folder.path(), source, list, &[flag]);
        assert_eq!(output.status.code(), Some(8), "{}", told(&output));
        assert_eq!(jobs(folder.path()), ["a.csv", "deep/c.csv", "new\nline", "return\r"], "{}", told(&output));
        assert!(told(&output).contains("line 5: "), "{}", told(&output));
    }
    let folder = folder();
    let output = submit(folder.path(), "deep", b"", &["--null"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("--null has no meaning"), "{}", told(&output));
}

#[test]
fn an_empty_list_is_no_failure_and_a_list_that_cannot_be_read_is_one() {
    let folder = folder();
    for list in ["", "\n\n", "\r\n"] {
        let output = submit(folder.path(), "-", list.as_bytes(), &[]);
        assert!(output.status.success() && told(&output).contains("Sent 0 jobs"), "{list:?}: {}", told(&output));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(["submit", "-", "--input", "put/", "--queue", "sqlite:q.db", "--journal", "none"]);
    let output = command.env_clear().env("HOME", folder.path()).current_dir(folder.path());
    let output = output.stdin(fs::File::open(folder.path()).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{}", told(&output));
    assert!(told(&output).contains("the list of names ends at line 1: Is a directory"), "{}", told(&output));
}
