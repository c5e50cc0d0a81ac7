//! Two inputs, one output: the real program on real files refuses them before it does anything, and names both.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(folder: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(args).env_clear().env("HOME", folder).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever refuses at once does not read it.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with these files in it, each with its name as its content, gzipped where the name says so.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

fn below(folder: &Path) -> usize {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_type().is_file()))
        .count()
}

#[test]
fn map_refuses_two_inputs_with_one_output_before_the_first_job_and_names_both() {
    for (files, steps, output) in [
        (["a.csv", "a.csv.gz", "b"], "decompress", "a.csv"),
        (["a.csv.gz", "a.csv.zst", "b"], "decompress", "a.csv"),
        (["deep/x.tar.gz", "deep/x.tgz", "b"], "decompress", "deep/x.tar"),
        (["a.log.bz2", "a.log.gz", "b"], "decompress,zstd", "a.log.zst"),
    ] {
        let folder = folder(&files.map(|file| format!("in/{file}")).each_ref().map(String::as_str));
        for more in [&[][..], &["--dry-run"], &["--if-exists", "skip"]] {
            let refused = run(folder.path(), &[&["map", "in", "out", "--process", steps][..], more].concat(), "");
            let said = stderr(&refused);
            assert_eq!(refused.status.code(), Some(2), "{said}");
            let first = said.lines().next().unwrap();
            assert!(first.starts_with("error[BP125]: "), "{said}");
            assert!(files[..2].iter().all(|file| first.contains(&format!("/in/{file}\""))), "{said}");
            assert!(first.ends_with(&format!("would have one output: {output:?}")), "{said}");
            assert_eq!(below(&folder.path().join("out")), 0, "nothing is done");
        }
        let left_out = format!("*{}", files[1]);
        let apart =
            run(folder.path(), &["map", "in", "out", "--process", steps, "--exclude", &left_out, "--dry-run"], "");
        assert_eq!(apart.status.code(), Some(0), "{}", stderr(&apart));
    }
}

#[test]
fn inputs_whose_names_are_kept_or_only_made_longer_are_all_worked_on() {
    let folder = folder(&["in/a.csv", "in/a.csv.gz", "in/A.csv", "in/x.tgz", "in/x.tar.gz"]);
    for (steps, suffix) in [("copy", None), ("gzip", None), ("copy", Some(".out"))] {
        let out = format!("out-{steps}-{}", suffix.unwrap_or("none"));
        let mut args = vec!["map", "in", &out, "--process", steps];
        args.extend(suffix.iter().flat_map(|suffix| ["--output-suffix", suffix]));
        let done = run(folder.path(), &args, "");
        assert!(stderr(&done).contains("done=5 failed=0") && done.status.success(), "{}", stderr(&done));
    }
}

#[test]
fn map_refuses_an_output_that_is_a_folder_of_another() {
    let folder = folder(&["in/a", "in/a.zst/b", "other/a.gz", "other/a/b"]);
    for (source, steps, one, two) in
        [("in", "zstd", "in/a", "in/a.zst/b"), ("other", "decompress", "other/a.gz", "other/a/b")]
    {
        let refused = run(folder.path(), &["map", source, "out", "--process", steps], "");
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("error[BP125]") && said.contains("can't both be written"), "{said}");
        assert!([one, two].iter().all(|name| said.contains(&format!("/{name}\""))), "{said}");
        assert_eq!(below(&folder.path().join("out")), 0);
    }
    let other_steps = run(folder.path(), &["map", "in", "out", "--process", "gzip"], "");
    assert!(other_steps.status.success(), "{}", stderr(&other_steps));
    let left_out = run(folder.path(), &["map", "in", "out2", "--process", "zstd", "--exclude", "a"], "");
    assert!(left_out.status.success(), "{}", stderr(&left_out));
}

/// Two links of one file stand for the one entry that such a file system has under both names.
#[test]
fn names_that_differ_in_case_only_are_refused_where_the_destination_takes_them_for_one() {
    let folder = folder(&["in/A.csv", "in/a.csv", "in/b", "out/Entry"]);
    fs::hard_link(folder.path().join("out/Entry"), folder.path().join("out/eNTRY")).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let refused = run(folder.path(), &[&["map", "in", "out", "--process", "gzip"][..], more].concat(), "");
        let said = stderr(&refused);
        assert!(
            refused.status.code() == Some(2) && said.contains("/in/A.csv\" and") && said.contains("/in/a.csv\""),
            "{said}"
        );
        assert!(said.contains("the file system takes both names for one"), "{said}");
        assert_eq!(below(&folder.path().join("out")), 2, "nothing is done");
    }
    let apart = run(folder.path(), &["map", "in", "elsewhere", "--process", "gzip"], "");
    assert!(apart.status.success(), "{}", stderr(&apart));
}

#[test]
fn submit_refuses_two_files_with_one_key_and_takes_a_file_that_is_named_twice_once() {
    let folder = folder(&["etc/hostname", "etc/b"]);
    let input = format!("{}/store", folder.path().display());
    let submit = |source: &str, list: &str, queue: &str| {
        fs::write(folder.path().join("list"), list).unwrap();
        run(folder.path(), &["submit", source, "--input", &input, "--queue", queue], list)
    };
    let clash = "etc/b\netc/hostname\n/etc/hostname\n";
    let refused = submit("@list", clash, "sqlite:q.db");
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error[BP125]: ") && said.contains("would have one key: \"etc/hostname\""), "{said}");
    assert!(said.contains("\"/etc/hostname\" and") || said.contains("and \"/etc/hostname\""), "{said}");
    assert_eq!(below(Path::new(&input)), 0, "nothing was uploaded");

    // What is piped in is sent as it comes: the second of the two fails alone.
    let piped = submit("-", clash, "sqlite:q.db");
    let said = stderr(&piped);
    assert_eq!(piped.status.code(), Some(8), "{said}");
    assert!(said.contains("\"/etc/hostname\": name 2 of the list has the same output"), "{said}");
    assert!(said.contains("Sent 2 jobs"), "{said}");
    assert_eq!(fs::read_to_string(Path::new(&input).join("etc/hostname")).unwrap(), "etc/hostname");

    for (source, queue) in [("@list", "sqlite:q2.db"), ("-", "sqlite:q3.db")] {
        let twice = submit(source, "etc/b\n./etc/b\netc//hostname\netc/b\n", queue);
        let said = stderr(&twice);
        assert_eq!(twice.status.code(), Some(0), "{said}");
        assert!(
            said.contains("Sent 2 jobs") && said.contains("named more than once, and taken once: 2 files"),
            "{said}"
        );
    }
}

#[test]
fn submit_that_knows_the_steps_of_the_workers_refuses_two_inputs_with_one_output() {
    let folder = folder(&["in/a.csv.gz", "in/a.csv.zst", "in/b"]);
    let input = format!("{}/store/", folder.path().display());
    let submit = ["submit", "in", "--input", &input, "--queue", "sqlite:q.db"];
    for more in [&["--process", "decompress"][..], &["--process", "decompress", "--dry-run"]] {
        let refused = run(folder.path(), &[&submit[..], more].concat(), "");
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(
            said.contains("/in/a.csv.gz\" and") && said.contains("/in/a.csv.zst\" would have one output"),
            "{said}"
        );
        assert_eq!(below(Path::new(&input)), 0, "nothing was uploaded");
    }
    let piped = ["submit", "-", "--input", &input, "--queue", "sqlite:q2.db", "--process", "decompress"];
    let piped = run(folder.path(), &piped, "in/a.csv.gz\nin/a.csv.zst\nin/b\n");
    let said = stderr(&piped);
    assert!(piped.status.code() == Some(8) && said.contains("Sent 2 jobs"), "{said}");
    assert!(said.contains("a.csv.zst\": name 1 of the list has the same output, \"in/a.csv\""), "{said}");
    for more in [&[][..], &["--process", "gzip"], &["--process", "decompress", "--output-suffix", ".out"]] {
        let sent = run(folder.path(), &[&submit[..], more].concat(), "");
        assert!(sent.status.success(), "{more:?}: {}", stderr(&sent));
    }
}

/// A worker sees one message at a time: the second of two that have one output is rejected, and its letter names both.
#[test]
fn a_worker_that_is_careful_names_both_inputs_of_one_output_in_the_letter() {
    for mode in ["skip", "fail"] {
        let folder = folder(&["in/b é.csv.zst", "in/b é.csv.ZST"]);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let names = ["b é.csv.zst", "b é.csv.ZST"];
        names.iter().for_each(|name| {
            fs::write(at(&format!("in/{name}")), zstd::encode_all(name.as_bytes(), 1).unwrap()).unwrap()
        });
        let (input, output, allow) = (at("s/in"), at("s/out"), at("s"));
        let submit = ["submit", "in", "--input", &input, "--output", &output, "--queue", "sqlite:q.db"];
        assert!(run(folder.path(), &submit, "").status.success());
        let work = ["run", "--queue", "sqlite:q.db", "--allow", &allow, "--until-empty", "--metrics-addr", "none"];
        let how = ["--if-exists", mode, "--concurrency", "1", "--process", "decompress"];
        let worked = run(folder.path(), &[&work[..], &how].concat(), "");
        assert_eq!(worked.status.code(), Some(8), "{}", stderr(&worked));
        let letters = run(folder.path(), &["dlq", "list", "--queue", "sqlite:q.db", "--json"], "");
        let letter: serde_json::Value =
            serde_json::from_slice(letters.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        assert_eq!(letter["code"], "BP315", "{mode}: {letter}");
        let reason = letter["reason"].as_str().unwrap();
        assert!(
            names.iter().all(|name| reason.contains(&format!("{:?}", format!("file://{input}/{name}")))),
            "{reason}"
        );
        let there = fs::read_to_string(format!("{output}/b é.csv")).unwrap();
        assert!(
            names.contains(&there.as_str()) && reason.contains(&format!("/{there}\" have one output")),
            "{mode}: the first stays"
        );
    }
}
