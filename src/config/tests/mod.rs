//! What wins over what, what is refused, and what the limits come to.

use super::*;

fn machine() -> Machine {
    Machine {
        cores: 2,
        memory: 1 << 30,
        open_files: 65_536,
        directory: PathBuf::from("/home/me"),
        temporary: PathBuf::from("/tmp"),
    }
}

fn typed(flags: &[(&str, &str)]) -> Typed {
    let mut typed = Typed::new();
    for (name, text) in flags {
        typed.entry((*name).to_owned()).or_default().push((*text).to_owned());
    }
    typed
}

fn layers(flags: &[(&str, &str)], variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Layers, UserError> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    Layers::new(typed(flags), &variables, &files)
}

fn run(
    flags: &[(&str, &str)],
    variables: &[(&str, &str)],
    files: &[(&str, &str)],
    machine: &Machine,
) -> Result<RunConfig, UserError> {
    let mut all = vec![("queue", "jobs")];
    all.extend(flags);
    RunConfig::resolve(&layers(&all, variables, files)?, Vec::new(), machine)
}

fn refusal(flags: &[(&str, &str)]) -> String {
    run(flags, &[], &[], &machine()).unwrap_err().what
}

#[test]
fn a_flag_wins_over_a_variable_over_the_nearest_file_over_the_default() {
    let near = ("batchpipe.toml", "processors = 3\nmemory = \"100MiB\"\n");
    let far = ("/etc/batchpipe/config.toml", "processors = 4\nmemory = \"200MiB\"\nwait-time = \"5s\"\n");
    let variable = ("BATCHPIPE_PROCESSORS", "2");
    let processors =
        |flags: &[_], variables: &[_], files: &[_]| run(flags, variables, files, &machine()).unwrap().processors_of();
    assert_eq!(processors(&[("processors", "1")], &[variable], &[near, far]), 1);
    assert_eq!(processors(&[], &[variable], &[near, far]), 2);
    assert_eq!(processors(&[], &[("BATCHPIPE_PROCESSORS", "")], &[near, far]), 3);
    assert_eq!(processors(&[], &[], &[far]), 4);
    assert_eq!(processors(&[], &[], &[]), 3, "the machine's cores, and one more");
    let mixed = run(&[], &[], &[near, far], &machine()).unwrap();
    assert_eq!((mixed.working.memory, mixed.wait_time), (100 << 20, secs(5)));
}

impl RunConfig {
    fn processors_of(&self) -> usize {
        self.working.processors.get()
    }
}

#[test]
fn a_mistake_is_named_by_the_place_it_stands_in() {
    let wrong = |flags: &[_], variables: &[_], files: &[_]| run(flags, variables, files, &machine()).unwrap_err();
    let flag = wrong(&[("concurrency", "abc")], &[], &[]);
    assert_eq!((flag.code.0, flag.what.as_str()), (110, "--concurrency can't be \"abc\""));
    let variable = wrong(&[], &[("BATCHPIPE_CONCURRENCY", "abc")], &[]);
    assert_eq!((variable.code.0, variable.what.as_str()), (117, "BATCHPIPE_CONCURRENCY can't be \"abc\""));
    let file = wrong(&[], &[], &[("batchpipe.toml", "\n\nconcurrency = \"abc\"\n")]);
    assert_eq!((file.code.0, file.what.as_str()), (117, "concurrency in batchpipe.toml:3 can't be \"abc\""));
}

#[test]
fn files_are_read_strictly_and_errors_tell_the_line() {
    let table = [
        ("concurency = 4", "unknown key `concurency` in a.toml:1"),
        ("\nyes = true", "unknown key `yes` in a.toml:2"),
        ("[run]\nconcurrency = 4", "unknown key `run` in a.toml:1"),
        ("\r\nconcurrency = [4]\r\n", "concurrency in a.toml:2 can't be a list"),
        ("until-empty = \"sometimes\"", "until-empty in a.toml:1 can't be a text"),
        ("allow = [[1]]", "allow in a.toml:1 can't be a list"),
        ("memory = 2026-11-24", "memory in a.toml:1 can't be a date"),
        ("concurrency = ", "a.toml:1 is not TOML"),
        ("a = 1\nconcurrency == 4", "a.toml:2 is not TOML"),
        ("concurrency = 4\nconcurrency = 5", "a.toml:2 is not TOML"),
    ];
    for (text, what) in table {
        let error = layers(&[], &[], &[("a.toml", text)]).unwrap_err();
        assert_eq!((error.code.0, error.what.as_str()), (117, what), "{text:?}");
    }
    assert_eq!(layers(&[], &[], &[("a", "concurency = 4")]).unwrap_err().help, "did you mean `concurrency`?");
    for text in ["", "\u{feff}concurrency = 4", "# nothing\r\n", "concurrency = 0x10\nprocessors = 1_0"] {
        layers(&[], &[], &[("a.toml", text)]).unwrap();
    }
}

#[test]
fn lists_are_repeated_flags_comma_separated_variables_or_toml_lists() {
    let allowed = |config: RunConfig| config.allow.iter().map(ToString::to_string).collect::<Vec<_>>();
    let both = vec!["s3://one/".to_owned(), "s3://two/x".to_owned()];
    let (one, two) = (("allow", "s3://one/"), ("allow", "s3://two/x"));
    assert_eq!(allowed(run(&[one, two], &[], &[], &machine()).unwrap()), both);
    let variable = ("BATCHPIPE_ALLOW", "s3://one/, s3://two/x");
    assert_eq!(allowed(run(&[], &[variable], &[], &machine()).unwrap()), both);
    let file = ("a.toml", "allow = [\"s3://one/\", \"s3://two/x\"]");
    assert_eq!(allowed(run(&[], &[], &[file], &machine()).unwrap()), both);
}

#[test]
fn a_batchpipe_inside_a_job_does_not_take_the_scratch_files_for_its_places() {
    let inside = [("BATCHPIPE_OUTPUT", "/tmp/j-1/out"), ("BATCHPIPE_JOB_ID", "5f3c")];
    assert_eq!(run(&[], &inside, &[], &machine()).unwrap().output, None);
    assert!(run(&[], &inside[..1], &[], &machine()).unwrap().output.is_some());
}

#[test]
fn a_mistyped_variable_is_noted_and_one_of_others_is_not() {
    let notes = |name| run(&[], &[(name, "4")], &[], &machine()).unwrap().global.notes;
    let note = "BATCHPIPE_CONCURENCY is not a setting; did you mean BATCHPIPE_CONCURRENCY?";
    assert_eq!(notes("BATCHPIPE_CONCURENCY"), [note]);
    assert!(notes("BATCHPIPE_BINARY_KEY").is_empty());
    assert!(notes("CONCURENCY").is_empty());
}

#[test]
fn defaults_follow_the_machine() {
    let on = |cores, memory| run(&[], &[], &[], &Machine { cores, memory, ..machine() }).unwrap();
    let small = on(1, 512 << 20);
    assert_eq!((small.working.concurrency.get(), small.working.processors.get()), (16, 2));
    assert_eq!((small.working.memory, small.working.most.get()), (128 << 20, 1000));
    let large = on(64, 256 << 30);
    assert_eq!((large.working.concurrency.get(), large.working.processors.get()), (256, 80));
    assert_eq!((large.working.memory, large.receivers), (64 << 30, None));
    assert_eq!((large.working.part_size, large.working.visibility), (8 << 20, secs(60)));
    // A quarter of a tiny machine holds no job; one job's two parts are the least that works.
    assert_eq!(on(1, 32 << 20).working.memory, 18 << 20);
    let auto = run(&[("concurrency", "auto")], &[], &[], &machine()).unwrap();
    assert_eq!(auto.working.concurrency.get(), 16);
    assert!(auto.working.most.get() > 16);
    let fixed = run(&[("concurrency", "16")], &[], &[], &machine()).unwrap();
    assert_eq!(fixed.working.most.get(), 16, "a number is obeyed exactly");
}

#[test]
fn memory_holds_at_least_one_job_and_at_most_the_machine() {
    let memory = |text| run(&[("memory", text)], &[], &[], &machine()).map(|config| config.working.memory);
    assert_eq!(memory("18MiB").unwrap(), 18 << 20);
    assert_eq!(memory("50%").unwrap(), 512 << 20);
    for text in ["17.9MiB", "1K", "1%", "2GiB"] {
        assert_eq!(memory(text).unwrap_err().code.0, 121, "{text}");
    }
    for text in ["100%", "0%", "0.5", "%", "-1%", "1.5%"] {
        assert_eq!(memory(text).unwrap_err().code.0, 110, "{text}");
    }
    let error = memory("1MiB").unwrap_err();
    assert_eq!(error.cause, "1MiB is less than one job needs: two parts of 8MiB and 2MiB");
    assert!(error.help.contains("--memory 18874368"), "{error}");
}

#[test]
fn parts_obey_the_store_they_are_known_to_go_to() {
    let part = |size, output| run(&[("part-size", size), ("output", output)], &[], &[], &machine());
    assert_eq!(part("64KiB", "./out").unwrap().working.part_size, 64 << 10);
    assert_eq!(part("5MiB", "s3://out/").unwrap().working.part_size, 5 << 20);
    for (size, output) in [("1MiB", "s3://out/"), ("5MB", "s3://out/"), ("63KiB", "./out"), ("6GiB", "./out")] {
        assert!(part(size, output).unwrap_err().what.starts_with("--part-size can't be"), "{size} {output}");
    }
}

#[test]
fn jobs_in_flight_fit_the_open_files() {
    let on = |flags: &[_], open_files| run(flags, &[], &[], &Machine { open_files, ..machine() });
    let many = [("concurrency", "1000")];
    let roomy = on(&many, 65_536).unwrap();
    assert_eq!((roomy.working.concurrency.get(), roomy.working.parallel.get()), (1000, 8));
    let tight = on(&many, 4096).unwrap();
    assert_eq!((tight.working.concurrency.get(), tight.working.parallel.get()), (1000, 2));
    assert_eq!(tight.global.notes.len(), 1);
    let error = on(&many, 1024).unwrap_err();
    assert_eq!(error.code.0, 119);
    assert!(error.help.contains("ulimit -n 2505") && error.help.contains("--concurrency 408"), "{error}");
    assert_eq!(on(&[], 10).unwrap().working.concurrency.get(), 4);
    assert_eq!(on(&[], 1).unwrap_err().code.0, 119);
    for (concurrency, open_files) in [("1", 3u64), ("7", 100), ("16", 64), ("500", 1500), ("10000", 65_536)] {
        if let Ok(config) = on(&[("concurrency", concurrency)], open_files) {
            let needs = config.working.concurrency.get() * (1 + config.working.parallel.get());
            assert!(needs as u64 <= open_files * 4 / 5, "{concurrency} jobs in {open_files} files");
        }
    }
}

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
fn an_output_inside_the_input_is_refused_unless_it_is_allowed() {
    let submit = |flags: &[_]| {
        let mut all = vec![("queue", "jobs")];
        all.extend(flags);
        SubmitConfig::resolve(&layers(&all, &[], &[])?, "/", &machine())
    };
    let nested = [("input", "s3://acme-in/"), ("output", "s3://acme-in/out/")];
    let error = submit(&nested).unwrap_err();
    assert_eq!(error.code.0, 113);
    assert_eq!(error.what, "the output s3://acme-in/out/ lies inside the input s3://acme-in/");
    let allowed = [nested[0], nested[1], ("allow-nested-output", "true")];
    submit(&allowed).unwrap();
    submit(&[("input", "s3://acme-in/"), ("output", "s3://acme-in2/")]).unwrap();
    submit(&[("input", "s3://acme/in/"), ("output", "s3://acme/")]).unwrap();
    assert_eq!(submit(&[("input", "./a"), ("output", "./a/b")]).unwrap_err().code.0, 113);
    submit(&[("input", "./a"), ("output", "./ab")]).unwrap();
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
    assert_eq!(map("/tmp", "/tmp/out").unwrap_err().code.0, 113);
    assert_eq!(map("/tmp", "/tmp/").unwrap_err().code.0, 113);
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

#[test]
fn colours_are_off_where_nobody_wants_them_unless_they_are_asked_for() {
    let color = |flags: &[_], variables: &[_]| Global::resolve(&layers(flags, variables, &[]).unwrap()).unwrap().color;
    assert_eq!(color(&[], &[]), Color::Auto);
    assert_eq!(color(&[], &[("NO_COLOR", "1")]), Color::Never);
    assert_eq!(color(&[], &[("TERM", "dumb")]), Color::Never);
    assert_eq!(color(&[("color", "always")], &[("NO_COLOR", "1")]), Color::Always);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_in_any_setting_is_a_configuration_or_an_error_in_three_lines(
        nth in 0..settings::SETTINGS.len(),
        text in "(\\PC|[0-9.:/%,-]|[a-z]){0,24}",
        in_file in proptest::bool::ANY,
    ) {
        let setting = &settings::SETTINGS[nth];
        let file = format!("{} = {}", setting.name, toml::Value::String(text.clone()));
        let built = if in_file {
            layers(&[], &[], &[("a.toml", &file)])
        } else {
            layers(&[(setting.name, &text)], &[], &[])
        };
        let resolved = built.map(|layers| layers.or("queue", "jobs")).and_then(|layers| {
            RunConfig::resolve(&layers, Vec::new(), &machine())?;
            SubmitConfig::resolve(&layers.clone().or("input", "s3://acme-in/"), "/dev", &machine())?;
            MapConfig::resolve(&layers, "/dev", "s3://acme-out/", Vec::new(), &machine())
        });
        match resolved {
            Ok(config) => {
                let working = config.working;
                proptest::prop_assert!(working.memory >= 2 * working.part_size + SLACK);
                proptest::prop_assert!(working.memory <= machine().memory);
                proptest::prop_assert!(working.visibility >= secs(2) && working.visibility <= secs(43_200));
            }
            Err(error) => {
                let lines = error.to_string().lines().count();
                proptest::prop_assert!(lines == 3 && error.exit == crate::error::Exit::Usage, "{}", error);
                proptest::prop_assert!(!error.help.is_empty() && !error.cause.is_empty(), "{}", error);
            }
        }
    }

    #[test]
    fn any_file_is_read_or_refused_by_line(text in "([a-z-]{0,12}|=| |\"|\n|\\[|\\]|[0-9]|#|\\PC){0,40}") {
        if let Err(error) = layers(&[], &[], &[("a.toml", &text)]) {
            proptest::prop_assert!(error.what.contains("a.toml:"), "{}", error);
        }
    }
}

#[test]
fn steps_have_their_memory_beside_the_objects() {
    let with = |settings: &[(&str, &str)], memory| run(settings, &[], &[], &Machine { memory, ..machine() });
    let dear = with(&[("process", "zstd:22"), ("memory", "256MiB")], 8 << 30).unwrap_err();
    assert_eq!((dear.code.0, dear.what.as_str()), (121, "--memory 256MiB is too little for zstd:22"));
    let least = dear.help.split_whitespace().nth(4).unwrap().to_owned();
    let enough = with(&[("process", "zstd:22"), ("memory", &least)], 8 << 30).unwrap();
    assert_eq!(enough.working.processors.get(), 1);
    // The default is raised to what one needs, where the machine has that.
    let small = with(&[("process", "zstd:22")], 1 << 30).unwrap();
    assert!(small.working.memory > 256 << 20 && small.working.processors.get() == 1);
    assert!(small.global.notes.iter().any(|note| note.contains("1 at once, not 3")), "{:?}", small.global.notes);
    assert_eq!(with(&[("process", "zstd:22")], 512 << 20).unwrap_err().code.0, 121);
    let narrow = with(&[("process", "decompress"), ("memory", "64MiB")], 8 << 30).unwrap();
    assert!(narrow.working.decoder_bytes < 16 << 20 && narrow.working.processors.get() == 3);
    assert!(
        narrow.global.notes.iter().any(|note| note.contains("a decompressing step may take 10")),
        "{:?}",
        narrow.global.notes
    );
    let plenty = with(&[("process", "decompress"), ("memory", "1GiB")], 8 << 30).unwrap();
    assert_eq!((plenty.working.decoder_bytes, plenty.global.notes.len()), (129 << 20, 0));
}
