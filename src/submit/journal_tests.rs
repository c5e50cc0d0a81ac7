//! What a journal remembers after an end at any byte, and which journals are refused.

use super::*;

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    let ours = "{\"done\":\"begin\",\"name\":\"b\"}\n";
    let zeros = "\0".repeat(1_000_000);
    let of = "{\"done\":\"of\",\"name\":\"submit\"}\n";
    let up = "{\"done\":\"up\",\"name\":\"a\"}\n";
    for text in ["dear reader", "dear reader\n", "{}\n", up, &up[..20], &zeros, "\0"]
        .map(str::to_owned)
        .into_iter()
        .chain(["x\n", "x", ours, of].map(|more| format!("{ours}{more}")))
    {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(Journal::open(&path, "b").unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_journal_torn_at_any_byte_still_tells_what_was_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let journal = Journal::open(&path, "b1").unwrap();
    journal.note_uploaded("a\n\"ü").unwrap();
    journal.note_sent("a\n\"ü").unwrap();
    let all = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..all.len()).filter(|&at| all[at] == b'\n').map(|at| at + 1).collect();
    for cut in 0..=all.len() {
        std::fs::write(&path, &all[..cut]).unwrap();
        let again = Journal::open(&path, "b2").unwrap();
        assert_eq!(again.batch(), if cut >= ends[0] { "b1" } else { "b2" }, "cut at {cut}");
        assert_eq!(again.is_uploaded("a\n\"ü"), cut >= ends[1], "cut at {cut}");
        assert_eq!(again.is_sent("a\n\"ü"), cut >= ends[2], "cut at {cut}");
        again.note_sent("more").unwrap();
        assert!(Journal::open(&path, "b3").unwrap().is_sent("more"), "cut at {cut}");
    }
}

fn owner(source: &str) -> Owner {
    let [destination, queue] = ["s3://in/a/", "https://sqs/1/jobs"].map(str::to_owned);
    Owner { command: "submit".to_owned(), source: source.to_owned(), destination, output: None, queue }
}

#[test]
fn the_journal_of_another_command_is_refused_with_both_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let ours = owner("/a");
    Journal::open_of(&path, "b", Some(&ours)).unwrap().note_sent("x").unwrap();
    assert!(Journal::open_of(&path, "b", Some(&ours)).unwrap().is_sent("x"));
    let before = std::fs::read(&path).unwrap();
    let others = [
        owner("/b"),
        Owner { destination: "s3://in/b/".to_owned(), ..owner("/a") },
        Owner { output: Some("s3://out/".to_owned()), ..owner("/a") },
        Owner { queue: "https://sqs/2/jobs".to_owned(), ..owner("/a") },
        Owner { command: "map".to_owned(), ..owner("/a") },
    ];
    for other in others {
        let error = Journal::open_of(&path, "b", Some(&other)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let told = error.to_string();
        assert!(told.contains(&ours.to_string()) && told.contains(&other.to_string()), "{told}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    let moved = |destination: &str| Owner { command: "map".into(), destination: destination.into(), ..owner("/a") };
    let path = folder.path().join("map");
    Journal::open_of(&path, "b", Some(&moved("/out/"))).unwrap();
    Journal::open_of(&path, "b", Some(&moved("/out2/"))).expect("the folder of a map may be moved");
}

#[test]
fn a_journal_of_the_version_before_goes_on_and_belongs_to_whoever_uses_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    std::fs::write(&path, "{\"done\":\"begin\",\"name\":\"b\"}\n{\"done\":\"sent\",\"name\":\"x\"}\n").unwrap();
    let journal = Journal::open_of(&path, "c", Some(&owner("/a"))).unwrap();
    assert!(journal.batch() == "b" && journal.is_sent("x"));
    Journal::open_of(&path, "c", Some(&owner("/b"))).unwrap_err();
    assert!(Journal::open_of(&path, "c", Some(&owner("/a"))).unwrap().is_sent("x"));
}

#[test]
fn a_journal_is_private_and_one_that_is_there_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    Journal::open(&path, "b").unwrap();
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    Journal::open(&path, "b").unwrap();
    assert_eq!(mode(), 0o640);
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [pipe.as_path(), folder.path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
        assert_eq!(Journal::open(path, "b").unwrap_err().kind(), io::ErrorKind::InvalidData, "{path:?}");
    }
}
