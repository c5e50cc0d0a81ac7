//! What wins over what, and how mistakes are told. In rooms of their own: what is refused, and what the limits come to.

use super::*;
use crate::error::Code;
use crate::runtime::machine::Machine;
use crate::submit::discover::Source;

mod limits;
mod refused;

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
    RunConfig::resolve(&layers(&all, variables, files)?.or("process", "copy"), Vec::new(), machine)
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
    assert_eq!((flag.code, flag.what.as_str()), (Code::CommandLine, "--concurrency can't be \"abc\""));
    let variable = wrong(&[], &[("BATCHPIPE_CONCURRENCY", "abc")], &[]);
    assert_eq!(
        (variable.code, variable.what.as_str()),
        (Code::Configuration, "BATCHPIPE_CONCURRENCY can't be \"abc\"")
    );
    let file = wrong(&[], &[], &[("batchpipe.toml", "\n\nconcurrency = \"abc\"\n")]);
    assert_eq!(
        (file.code, file.what.as_str()),
        (Code::Configuration, "concurrency in batchpipe.toml:3 can't be \"abc\"")
    );
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
        assert_eq!((error.code, error.what.as_str()), (Code::Configuration, what), "{text:?}");
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
        let resolved = built.map(|layers| layers.or("queue", "jobs").or("process", "copy")).and_then(|layers| {
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
