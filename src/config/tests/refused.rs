//! What a command needs, and what is refused.

use super::*;
use crate::error::Code;

#[test]
fn values_outside_their_bounds_are_refused() {
    for (name, text) in [
        ("concurrency", "0"),
        ("concurrency", "-1"),
        ("concurrency", "1000000000"),
        ("concurrency", "４"),
        ("processors", "0"),
        ("receivers", "0"),
        ("visibility-timeout", "1s"),
        ("visibility-timeout", "43201"),
        ("wait-time", "21"),
        ("job-timeout", "0"),
        ("max-receives", "0"),
        ("max-jobs", "0"),
        ("idle-exit", "0"),
        ("if-exists", "ask"),
        ("reject-codes", "0"),
        ("reject-codes", "256"),
        ("reject-codes", "9-3"),
        ("queue", "my jobs"),
        ("dead-letter", "s3://x"),
        ("allow", "gs://x"),
        ("input-prefix", "/in"),
        ("input-prefix", "s3://bucket/in"),
        ("metrics-addr", "9464"),
        ("metrics-addr", "0.0.0.0:9464"),
        ("region", "EU West"),
        ("endpoint-url", "localhost:9000"),
        ("output-suffix", "\0"),
        ("process", ""),
    ] {
        let what = refusal(&[(name, text)]);
        assert!(what.starts_with(&format!("--{name} can't be ")), "{name} {text}: {what}");
    }
    let open = [("metrics-addr", "0.0.0.0:9464"), ("metrics-allow", "true")];
    assert!(run(&open, &[], &[], &machine()).unwrap().working.metrics_addr.is_some());
    assert_eq!(run(&[("metrics-addr", "none")], &[], &[], &machine()).unwrap().working.metrics_addr, None);
    let paths = [("input-prefix", "/data/in"), ("allow", "/data/")];
    assert_eq!(run(&paths, &[], &[], &machine()).unwrap().input_prefix, "/data/in", "paths begin with a slash");
    assert_eq!(refusal(&[("dead-letter", "jobs")]), "--dead-letter and --queue name the same queue");
    let codes = run(&[("reject-codes", "3,64-66"), ("reject-codes", "9")], &[], &[], &machine()).unwrap();
    assert_eq!(codes.working.reject_codes, [3, 64, 65, 66, 9]);
}

#[test]
fn a_program_and_typed_steps_exclude_each_other_and_a_program_beats_a_file() {
    let program = || vec!["gzip".to_owned()];
    let typed = layers(&[("queue", "q"), ("process", "zstd")], &[], &[]).unwrap();
    assert!(RunConfig::resolve(&typed, program(), &machine()).is_err());
    let filed = layers(&[("queue", "q")], &[], &[("a.toml", "process = \"zstd\"")]).unwrap();
    let config = RunConfig::resolve(&filed, program(), &machine()).unwrap();
    assert_eq!(config.working.process, Process::Program(program()));
    assert_eq!(config.processors_of(), 2, "a program for each core, and not one more");
    let config = RunConfig::resolve(&filed, Vec::new(), &machine()).unwrap();
    assert_eq!(config.working.process, Process::Steps("zstd".to_owned()));
}

#[test]
fn a_worker_copies_only_if_somebody_says_copy() {
    let resolve = |flags: &[(&str, &str)], variables: &[(&str, &str)], files: &[(&str, &str)], program: Vec<String>| {
        RunConfig::resolve(&layers(flags, variables, files).unwrap(), program, &machine())
    };
    let queue = ("queue", "q");
    let error = resolve(&[queue], &[("BATCHPIPE_PROCESS", "")], &[], Vec::new()).unwrap_err();
    assert_eq!((error.code, error.exit), (Code::CommandLine, crate::error::Exit::Usage));
    assert!(error.what == "--process is missing" && error.help.contains("--process copy"), "{error}");
    let copy = Process::Steps("copy".to_owned());
    for said in [
        resolve(&[queue, ("process", "copy")], &[], &[], Vec::new()),
        resolve(&[queue], &[("BATCHPIPE_PROCESS", "copy")], &[], Vec::new()),
        resolve(&[queue], &[], &[("a.toml", "process = \"copy\"")], Vec::new()),
    ] {
        assert_eq!(said.unwrap().working.process, copy);
    }
    assert!(resolve(&[queue], &[], &[], vec!["gzip".to_owned()]).is_ok());
    let map = MapConfig::resolve(&layers(&[], &[], &[]).unwrap(), "/dev", "s3://out/", Vec::new(), &machine());
    assert_eq!(map.unwrap().working.process, copy, "map deletes nothing");
}

#[test]
fn an_output_inside_the_input_is_refused_unless_it_is_allowed() {
    let submit = |flags: &[_]| {
        let mut all = vec![("queue", "jobs")];
        all.extend(flags);
        SubmitConfig::resolve(&layers(&all, &[], &[])?, "-", &machine())
    };
    let nested = [("input", "s3://acme-in/"), ("output", "s3://acme-in/out/")];
    let error = submit(&nested).unwrap_err();
    assert_eq!(error.code, Code::OutputAmongInputs);
    assert_eq!(error.what, "the output s3://acme-in/out/ lies inside the input s3://acme-in/");
    let allowed = [nested[0], nested[1], ("allow-nested-output", "true")];
    submit(&allowed).unwrap();
    submit(&[("input", "s3://acme-in/"), ("output", "s3://acme-in2/")]).unwrap();
    submit(&[("input", "s3://acme/in/"), ("output", "s3://acme/")]).unwrap();
    assert_eq!(submit(&[("input", "./a"), ("output", "./a/b")]).unwrap_err().code, Code::OutputAmongInputs);
    submit(&[("input", "./a"), ("output", "./ab")]).unwrap();
}

#[test]
fn a_folder_inside_another_is_seen_through_links_and_before_it_exists() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(at("in")).unwrap();
    std::os::unix::fs::symlink("in", at("link")).unwrap();
    let map = |source: &str, dest: &str, flags: &[_]| {
        let layers = layers(flags, &[], &[]).unwrap();
        MapConfig::resolve(&layers, &at(source), &at(dest), Vec::new(), &machine()).map_err(|error| error.code)
    };
    for (source, dest) in [("in", "link"), ("link", "in"), ("in", "link/out"), ("link", "in/new/out")] {
        assert_eq!(map(source, dest, &[]).unwrap_err(), Code::OutputAmongInputs, "{source} {dest}");
        map(source, dest, &[("allow-nested-output", "true")]).unwrap();
    }
    map("in", "out", &[]).unwrap();
    map("in", "inner", &[]).unwrap();
    let submit = |source: &str, input: &str, output: &str| {
        let (input, output) = (at(input), at(output));
        let flags = [("queue", "jobs"), ("input", input.as_str()), ("output", output.as_str())];
        SubmitConfig::resolve(&layers(&flags, &[], &[]).unwrap(), &at(source), &machine()).map_err(|error| error.code)
    };
    for (source, input, output) in [("in", "link/store", "out"), ("link", "in", "out"), ("in", "store", "link/out")] {
        assert_eq!(submit(source, input, output).unwrap_err(), Code::OutputAmongInputs, "{source} {input} {output}");
    }
    submit("in", "store", "out").unwrap();
}

#[test]
fn submit_knows_what_it_needs() {
    let submit = |source: &str, flags: &[_]| {
        SubmitConfig::resolve(&layers(flags, &[("HOME", "/home/me")], &[])?, source, &machine())
    };
    let what = |source: &str, flags: &[_]| submit(source, flags).unwrap_err().what;
    let (queue, input) = (("queue", "jobs"), ("input", "s3://acme-in/"));
    assert_eq!(what("/", &[input]), "--queue is missing");
    assert_eq!(what("/", &[queue]), "--input is missing");
    assert_eq!(what("/", &[queue, input, ("wait", "true")]), "--output is missing");
    assert_eq!(what("/nowhere", &[queue, input]), "SOURCE can't be \"/nowhere\"");
    assert_eq!(what("/dev/null", &[queue, input]), "SOURCE can't be \"/dev/null\"");
    assert_eq!(what("@", &[queue, input]), "SOURCE can't be \"@\"");
    assert_eq!(what("@/", &[queue, input]), "SOURCE can't be \"@/\"");
    assert_eq!(what("s3://acme-in/", &[queue, input]), "--input has no meaning for a SOURCE in S3");
    let old = ("format", "sample2013");
    let apart = what("/", &[queue, input, old, ("output", "s3://acme-out/")]);
    assert_eq!(apart, "--format sample2013 needs --input and --output in one S3 bucket");
    assert_eq!(what("/", &[queue, input, ("include", "[a")]), "--include can't be \"[a\"");
    assert_eq!(what("/", &[queue, input, ("batch", "a b")]), "--batch can't be \"a b\"");
    let there = submit("s3://acme-in/x/", &[queue]).unwrap();
    assert_eq!(there.input, Location::s3("acme-in", "x/"));
    assert_eq!(submit("-", &[queue, input]).unwrap().source, Source::Names);
    let journal = |flags: &[_]| submit("/", flags).unwrap().journal.path("https://sqs/1/jobs");
    assert_eq!(journal(&[queue, input]), journal(&[queue, input]));
    let elsewhere = submit("/", &[queue, input]).unwrap().journal.path("https://sqs/2/jobs");
    assert_ne!(journal(&[queue, input]), elsewhere, "a queue of the same name in another account");
    let server = ("endpoint-url", "http://127.0.0.1:9000");
    assert_ne!(
        journal(&[queue, input]),
        journal(&[queue, input, server]),
        "a bucket of the same name on another server"
    );
    assert!(journal(&[queue, input]).unwrap().starts_with("/home/me/.local/state/batchpipe"));
    assert_ne!(journal(&[queue, input]), journal(&[queue, ("input", "s3://acme-in/2/")]));
    assert_eq!(journal(&[queue, input, ("journal", "none")]), None);
}

#[test]
fn map_refuses_lists_and_results_among_its_sources() {
    let map = |source: &str, dest: &str| MapConfig::resolve(&Layers::default(), source, dest, Vec::new(), &machine());
    assert_eq!(map("/tmp", "/tmp/out").unwrap_err().code, Code::OutputAmongInputs);
    assert_eq!(map("/tmp", "/tmp/").unwrap_err().code, Code::OutputAmongInputs);
    assert_eq!(map("-", "/tmp/out").unwrap_err().what, "SOURCE can't be \"-\"");
    let config = map("/tmp", "out").unwrap();
    assert_eq!(config.dest, Location::file("/home/me/out/"));
    assert!(config.working.max_receives.is_some(), "its queue has no policy that could give a job up");
    assert_eq!(config.working.metrics_addr, None);
    assert_eq!(config.server, None, "no server has a part in it");
    let of = |url: &str| {
        let layers = layers(&[("endpoint-url", url)], &[], &[]).unwrap();
        MapConfig::resolve(&layers, "s3://acme-in/", "s3://acme-out/", Vec::new(), &machine()).unwrap()
    };
    let (one, other) = (of("http://127.0.0.1:9000"), of("http://127.0.0.1:9001"));
    assert_ne!(one.state, other.state, "what one server has, another has not");
    assert_ne!(one.server, other.server);
}
