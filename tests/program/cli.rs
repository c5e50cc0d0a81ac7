//! The program as people and scripts meet it: exit codes, stdout and stderr, help, settings from real places.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const COMMANDS: [&str; 11] =
    ["run", "submit", "map", "status", "dlq", "doctor", "explain", "gc", "config", "completions", "man"];

/// The program in an empty directory with an empty environment.
fn batchpipe(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(args).env_clear().env("HOME", directory).current_dir(directory).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    batchpipe(directory.path(), args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What `config explain` says of a setting: value and origin.
fn setting(command: &mut Command, name: &str) -> (String, String) {
    let output = command.args(["config", "explain", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = stdout(&output);
    let rows = rows.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
    (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
}

#[cfg(feature = "jemalloc")]
#[test]
fn the_program_takes_its_memory_from_jemalloc() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = batchpipe(directory.path(), &["--version"]);
    let output = command.env("_RJEM_MALLOC_CONF", "stats_print:true").output().unwrap();
    assert!(output.status.success());
    assert!(stderr(&output).contains("Begin jemalloc statistics"), "{}", stderr(&output));
}

#[test]
fn no_words_give_the_concise_help_on_stderr_and_exit_2() {
    let output = output(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let help = stderr(&output);
    assert!(help.contains("Examples:") && help.contains("batchpipe map") && help.lines().count() < 45, "{help}");
}

#[test]
fn every_command_has_a_short_and_a_long_help_on_stdout() {
    for command in COMMANDS {
        let short = output(&[command, "-h"]);
        let long = output(&[command, "--help"]);
        for help in [&short, &long] {
            assert_eq!(help.status.code(), Some(0), "{command}");
            assert!(help.stderr.is_empty() && stdout(help).contains("Usage: batchpipe"), "{command}");
        }
        assert!(stdout(&short).len() < stdout(&long).len(), "{command}");
    }
    for command in ["run", "submit", "map", "status", "dlq", "doctor", "explain", "gc", "completions"] {
        let help = stdout(&output(&[command, "-h"]));
        let examples = help.find("Examples:").unwrap_or(usize::MAX);
        let usage = help.find("Usage:").unwrap();
        assert!(examples < usage, "the examples of {command} come first");
        let longest = help[examples..usage].lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(79), "the examples of {command} wrap on a small terminal");
    }
    let version = output(&["--version"]);
    assert_eq!(stdout(&version), format!("batchpipe {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_help_names_every_flag_that_scripts_rely_on() {
    let run = stdout(&output(&["run", "--help"]));
    for flag in [
        "queue",
        "concurrency",
        "processors",
        "memory",
        "part-size",
        "receivers",
        "visibility-timeout",
        "wait-time",
        "job-timeout",
        "max-receives",
        "dead-letter",
        "output",
        "input-prefix",
        "output-suffix",
        "if-exists",
        "allow",
        "work-dir",
        "drain-timeout",
        "until-empty",
        "max-jobs",
        "idle-exit",
        "fail-if-empty",
        "metrics-addr",
        "metrics-allow",
        "metrics-host",
        "reject-codes",
        "pass-credentials",
        "max-expanded-bytes",
        "allow-nested-output",
        "process",
        "profile",
        "region",
        "endpoint-url",
        "config",
        "verbose",
        "quiet",
        "log-format",
        "log-file",
        "color",
        "json",
        "progress",
        "no-input",
        "yes",
    ] {
        assert!(run.contains(&format!("--{flag}")), "run --{flag}");
    }
    let submit = stdout(&output(&["submit", "--help"]));
    for flag in [
        "input",
        "output",
        "queue",
        "include",
        "exclude",
        "dry-run",
        "batch",
        "wait",
        "format",
        "concurrency",
        "journal",
        "part-size",
        "memory",
    ] {
        assert!(submit.contains(&format!("--{flag}")), "submit --{flag}");
    }
}

#[test]
fn global_flags_are_read_before_and_after_the_command() {
    for args in [
        ["--json", "--region", "eu-west-1", "config", "explain"],
        ["config", "explain", "--region", "eu-west-1", "--json"],
        ["--json", "config", "--region", "eu-west-1", "explain"],
    ] {
        let output = output(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains(r#""name":"region","origin":"command line""#), "{args:?}");
    }
}

#[test]
fn settings_come_from_flag_then_variable_then_the_nearest_file() {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("xdg/batchpipe/config.toml", "memory = \"30%\"\nprocessors = 3\n");
    let xdg = directory.path().join("xdg");
    let fresh = || {
        let mut command = batchpipe(directory.path(), &[]);
        command.env("XDG_CONFIG_HOME", &xdg);
        command
    };
    let personal = format!("{}:1", xdg.join("batchpipe/config.toml").display());
    assert_eq!(setting(&mut fresh(), "memory"), ("30%".to_owned(), personal));
    write("batchpipe.toml", "# near\nmemory = \"20%\"\n");
    assert_eq!(setting(&mut fresh(), "memory"), ("20%".to_owned(), "batchpipe.toml:2".to_owned()));
    assert_eq!(setting(&mut fresh(), "processors").0, "3", "the nearer file hides only what it names");
    let mut by_variable = fresh();
    by_variable.env("BATCHPIPE_MEMORY", "10%");
    assert_eq!(setting(&mut by_variable, "memory"), ("10%".to_owned(), "BATCHPIPE_MEMORY".to_owned()));
    let mut without = fresh();
    without.args(["--config", "none"]);
    assert_eq!(setting(&mut without, "memory").1, "default");
    let mut theirs = fresh();
    theirs.env("AWS_REGION", "eu-west-1");
    assert_eq!(setting(&mut theirs, "region"), ("eu-west-1".to_owned(), "AWS_REGION".to_owned()));
    let mut named = fresh();
    named.env("BATCHPIPE_CONFIG", xdg.join("batchpipe/config.toml"));
    assert_eq!(setting(&mut named, "memory").0, "30%");
}

#[test]
fn a_configuration_that_everybody_may_write_or_that_is_a_pipe_is_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("batchpipe.toml");
    let refused = |text: &str| {
        let output = batchpipe(directory.path(), &["config", "explain"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    };
    fs::write(&file, "memory = \"20%\"\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    refused("everybody on this machine may write to it");
    fs::write(&file, [b'a', 0xff]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused("it is not UTF-8 at byte 1");
    fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    refused("more than a configuration ever has");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("it is not a regular file");
}

#[test]
fn completions_and_manual_pages_are_made_for_every_shell_and_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(&output(&["completions", shell])).contains("visibility-timeout"), "{shell}");
    }
    assert!(stdout(&output(&["man"])).contains(".TH batchpipe"));
    for command in COMMANDS {
        assert!(stdout(&output(&["man", command])).contains(".SH"), "{command}");
    }
    assert_eq!(output(&["man", "nothing"]).status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = batchpipe(directory.path(), &["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than a pipe holds is written, so that the write meets the closed end.
    drop(child.stdout.take());
    let gone = child.wait_with_output().unwrap();
    assert_eq!((gone.status.code(), stderr(&gone).as_str()), (Some(0), ""));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = batchpipe(directory.path(), &["man"]).stdout(full).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(stderr(&full).starts_with("error[BP122]: cannot write to stdout\n"), "{}", stderr(&full));
}

#[test]
fn explain_knows_codes_and_messages_wherever_they_come_from() {
    let directory = tempfile::tempdir().unwrap();
    let message = r#"{"bucket":"photos","key":"a b.jpg"}"#;
    fs::write(directory.path().join("m.json"), message).unwrap();
    let page = output(&["explain", "bp303"]);
    assert_eq!(page.status.code(), Some(0));
    assert!(stdout(&page).starts_with("BP303: "));
    let by_text = output(&["explain", message]);
    assert!(stdout(&by_text).contains("s3://photos/a b.jpg"), "{}", stdout(&by_text));
    let by_file = batchpipe(directory.path(), &["explain", "@m.json"]).output().unwrap();
    assert_eq!(by_file.stdout, by_text.stdout);
    let mut child =
        batchpipe(directory.path(), &["explain", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, by_text.stdout);
    let refused = output(&["explain", "{}", "--json"]);
    assert_eq!(refused.status.code(), Some(1), "a message that is no job");
    let event: serde_json::Value = serde_json::from_str(&stdout(&refused)).unwrap();
    assert_eq!((&event["schema"], &event["type"]), (&"batchpipe.event/1".into(), &"message".into()));
}

#[test]
fn words_of_others_reach_the_terminal_escaped() {
    for args in
        [["run", "--queue", "a\u{1b}[2J\nb"], ["frob\u{1b}[31m\nnicate", "x", "y"], ["run", "--\u{1b}]0;x", "y"]]
    {
        let output = output(&args);
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 3, "{text:?}");
    }
}

#[test]
fn a_note_is_logged_as_text_or_json_to_stderr_or_a_file_and_never_to_stdout() {
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = batchpipe(directory.path(), &["explain", "BP101"]);
        command.args(args).env("BATCHPIPE_CONCURENCY", "4").output().unwrap()
    };
    let note = "BATCHPIPE_CONCURENCY is not a setting; did you mean BATCHPIPE_CONCURRENCY?";
    let text = run(&[]);
    assert!(stderr(&text).contains(note) && !stderr(&text).contains('\u{1b}'), "{}", stderr(&text));
    assert!(!stdout(&text).contains(note));
    assert!(stderr(&run(&["--color", "always"])).contains('\u{1b}'));
    assert_eq!(stderr(&run(&["-qq"])), "");
    let json: serde_json::Value = serde_json::from_str(&stderr(&run(&["--log-format", "json"]))).unwrap();
    assert_eq!((&json["message"], &json["level"]), (&note.into(), &"WARN".into()));
    let filed = run(&["--log-file", "log"]);
    assert_eq!(stderr(&filed), "");
    assert!(fs::read_to_string(directory.path().join("log")).unwrap().contains(note));
}

#[test]
fn a_small_limit_of_open_files_is_named_and_odd_surroundings_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let mut limited = Command::new("prlimit");
    limited.args(["--nofile=64:64", env!("CARGO_BIN_EXE_batchpipe"), "run", "--queue", "q", "--concurrency", "100"]);
    let limited = limited.env_clear().env("PATH", "/usr/bin:/bin").current_dir(directory.path()).output().unwrap();
    assert_eq!(limited.status.code(), Some(2));
    assert!(
        stderr(&limited).starts_with("error[BP119]: 100 jobs in flight need more open files than the 64 allowed\n")
    );
    let bare = Command::new(env!("CARGO_BIN_EXE_batchpipe")).args(["config", "explain"]).env_clear().output().unwrap();
    assert_eq!(bare.status.code(), Some(0), "without HOME");
    let mut dumb = batchpipe(directory.path(), &["run", "-h"]);
    let dumb = dumb.env("TERM", "dumb").env("LC_ALL", "C").env("COLUMNS", "20").output().unwrap();
    assert!(dumb.status.success() && !stdout(&dumb).contains('\u{1b}'));
    let gone = TempDir::new().unwrap();
    let script = format!("rmdir {:?} && exec {:?} config explain", gone.path(), env!("CARGO_BIN_EXE_batchpipe"));
    let nowhere = Command::new("sh").args(["-c", &script]).current_dir(gone.path()).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(0), "in a directory that was deleted: {}", stderr(&nowhere));
}

#[test]
fn no_secret_of_the_environment_or_of_an_address_is_ever_shown() {
    let directory = tempfile::tempdir().unwrap();
    for args in [
        &["config", "explain", "-vvvv"][..],
        &["run", "--queue", "q", "--output", "https://b.s3.amazonaws.com/k?X-Amz-Signature=CANARY"],
        &["run", "--queue", "q", "--endpoint-url", "http://me:CANARY@127.0.0.1:9"],
        &["submit", "https://me:CANARY@b.s3.amazonaws.com/k", "--queue", "q", "--input", "s3://acme-in/"],
        &["explain", "BP101", "-vvvv", "--log-format", "json"],
    ] {
        let mut command = batchpipe(directory.path(), args);
        let secrets = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"];
        let output = command.envs(secrets.map(|name| (name, "CANARY"))).output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.is_empty() && !said.contains("CANARY"), "{args:?}: {said}");
    }
}
