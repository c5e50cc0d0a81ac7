//! What holds of any file that is taken for a journal, and of a journal torn at any byte.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

use batchpipe::submit::journal::Journal;

thread_local! {
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fn path() -> PathBuf {
    FOLDER.with(|folder| folder.get_or_init(|| tempfile::tempdir().unwrap()).path().join("journal"))
}

/// Text that is somebody's file is refused and not touched, or is a journal that goes on.
pub(crate) fn check_file(text: &str) {
    let path = path();
    fs::write(&path, text).unwrap();
    let Ok(journal) = Journal::open(&path, "batch") else {
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes(), "what is no journal stays as it is");
        return;
    };
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    let rest = &text.as_bytes()[whole..];
    let alike = rest.iter().zip(b"{\"done\":\"").all(|(one, ours)| one == ours);
    assert!(alike || rest.iter().all(|byte| *byte == 0), "this is somebody's text, and was thrown away");
    let (batch, sent) = (journal.batch().to_owned(), journal.sent());
    let is_new = !journal.is_sent("new\nname");
    journal.note_sent("new\nname").unwrap();
    let again = Journal::open(&path, "another batch").unwrap();
    assert_eq!(again.batch(), batch, "a journal remembers its batch");
    assert!(again.is_sent("new\nname"));
    assert_eq!(again.sent(), sent + usize::from(is_new), "nothing is forgotten");
    assert!(fs::read(&path).unwrap().starts_with(&text.as_bytes()[..whole]), "whole lines stay");
}

/// The lines of `text` as names of files, noted one after the other, with the file cut at every eleventh byte or so.
pub(crate) fn check_torn(text: &str) {
    let path = path();
    let names: Vec<&str> = text.lines().take(8).collect();
    fs::remove_file(&path).unwrap_or(());
    let journal = Journal::open(&path, "batch").unwrap();
    let mut lengths = vec![fs::metadata(&path).unwrap().len()];
    for (place, name) in names.iter().enumerate() {
        if place % 2 == 0 { journal.note_uploaded(name) } else { journal.note_sent(name) }.unwrap();
        lengths.push(fs::metadata(&path).unwrap().len());
    }
    let whole = fs::read(&path).unwrap();
    for cut in (0..=whole.len()).rev().step_by(whole.len() / 11 + 1) {
        fs::write(&path, &whole[..cut]).unwrap();
        let journal = Journal::open(&path, "later").unwrap();
        assert_eq!(journal.batch(), if cut as u64 >= lengths[0] { "batch" } else { "later" });
        for (place, name) in names.iter().enumerate() {
            let known = |name: &str| if place % 2 == 0 { journal.is_uploaded(name) } else { journal.is_sent(name) };
            // The same name may stand in an earlier line.
            let noted = (place % 2..=place).step_by(2).any(|at| names[at] == *name && lengths[at + 1] <= cut as u64);
            assert_eq!(known(name), noted || later(&names, &lengths, place, cut as u64), "cut at {cut}: {name:?}");
        }
    }
}

/// Whether the name of this place stands in a later whole line of its kind.
fn later(names: &[&str], lengths: &[u64], place: usize, cut: u64) -> bool {
    (place..names.len()).step_by(2).any(|at| names[at] == names[place] && lengths[at + 1] <= cut)
}

/// Both.
pub(crate) fn check(text: &str) {
    check_file(text);
    check_torn(text);
}
