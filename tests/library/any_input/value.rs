//! What holds of any text that is typed as a value, and of any text that is taken for a configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use batchpipe::config::{Layers, RunConfig, SLACK, Typed, values};
use batchpipe::error::Code;
use batchpipe::job::Location;
use batchpipe::runtime::machine::Machine;

const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(12 * 60 * 60);

/// What is read can be written and read again, and is what its kind of value can be.
pub(crate) fn check(text: &str) {
    check_size(text);
    if let Ok(time) = values::duration(text, LEAST, MOST, Code::VisibilityTimeout) {
        assert!((LEAST..=MOST).contains(&time));
        assert_eq!(values::duration(&values::show(time), LEAST, MOST, Code::VisibilityTimeout), Ok(time));
    }
    if let Ok(number) = values::number(text, 3, 77) {
        assert!((3..=77).contains(&number) && text.trim_start_matches('0') == number.to_string());
    }
    if let Ok(queue) = values::queue(text) {
        assert_eq!(queue, text, "a queue's name is taken as it stands");
        assert!(text.starts_with("sqlite:") || !text.contains(char::is_whitespace) || text.contains(':'));
    }
    check_place(text);
    assert!(values::shown(text).chars().count() <= 80);
    check_file(text);
}

fn check_size(text: &str) {
    let Ok(bytes) = values::size(text) else { return };
    assert!(bytes > 0);
    assert_eq!(values::size(&bytes.to_string()), Ok(bytes));
    assert_eq!(values::size(&text.to_ascii_uppercase()), Ok(bytes), "units have no case");
    // Shown with one digit after the point, cut off.
    let shown = values::size(&values::show_size(bytes)).expect("what is shown can be read");
    assert!(shown <= bytes && bytes - shown <= bytes / 10, "{bytes} is shown as {shown}");
}

/// A place is a bucket's, or a full path that goes up nowhere; read again it is the same.
fn check_place(text: &str) {
    let directory = Path::new("/home/me");
    for read in [values::location, values::prefix] {
        let Ok(place) = read(text, directory) else { continue };
        assert_eq!(Location::parse(&place.to_string()).as_ref(), Some(&place), "{place:?}");
        assert_eq!(read(&place.to_string(), directory).as_ref(), Ok(&place), "{place:?}");
        if let Location::File { path } = &place {
            let inside = path.strip_prefix('/').expect("a full path");
            let inside = inside.strip_suffix('/').unwrap_or(inside);
            assert!(inside.is_empty() || inside.split('/').all(|name| !matches!(name, "" | "." | "..")), "{path:?}");
        }
    }
}

/// A file is refused in one clean error, or means settings that keep their bounds.
fn check_file(text: &str) {
    let machine = Machine {
        cores: 2,
        memory: 1 << 30,
        open_files: 65_536,
        directory: PathBuf::from("/home/me"),
        temporary: PathBuf::from("/tmp"),
    };
    let typed = Typed::from([("queue".to_owned(), vec!["jobs".to_owned()])]);
    let files = [(PathBuf::from("batchpipe.toml"), text.to_owned())];
    let resolved = Layers::new(typed, &BTreeMap::new(), &files)
        .and_then(|layers| RunConfig::resolve(&layers.or("process", "copy"), vec![], &machine));
    match resolved {
        Ok(config) => {
            let working = &config.working;
            assert_eq!(config.queue, "jobs", "what is typed goes before what a file says");
            assert!(working.memory >= 2 * working.part_size + SLACK && working.memory <= machine.memory);
            assert!(working.visibility >= Duration::from_secs(2) && working.visibility <= MOST);
            let connections = working.concurrency.get() * (1 + working.parallel.get());
            assert!(connections as u64 <= machine.open_files / 5 * 4);
            assert!(working.metrics_addr.is_none_or(|at| at.ip().is_loopback()) || text.contains("metrics-allow"));
        }
        Err(error) => {
            assert!(!error.what.is_empty() && !error.cause.is_empty() && !error.help.is_empty(), "{error:?}");
        }
    }
}
