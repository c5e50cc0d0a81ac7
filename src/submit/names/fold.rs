//! Which names a file system treats as equal: on FAT, exFAT, NTFS, many network shares and macOS, `A.csv` and
//! `a.csv` are the same file, which then holds the output that was written last.
//!
//! An existing entry of a directory, opened with its letters in the other case, shows whether the directory is of
//! this kind. Only if there is no suitable entry, a file is made for the test, and removed at once.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Entries of a directory that are searched for a name with a letter.
const ENTRIES: usize = 1000;

/// A name as such file systems compare it: in one case, with accents separated from their letters, without dots and
/// spaces at the end of a component. This combines the rules of all of them: names that only some treat as equal count
/// as equal.
pub(super) fn folded(name: &str) -> String {
    let normal = DecomposingNormalizerBorrowed::new_nfd();
    let lower = normal.normalize(&normal.normalize(name).to_lowercase()).into_owned();
    let components: Vec<&str> = lower.split('/').map(|part| part.trim_end_matches(['.', ' '])).collect();
    components.join("/")
}

/// Whether names below `directory`, which need not exist yet, are compared without regard to case. A file is made for
/// the test only if `may_write`; otherwise an empty directory counts as case-sensitive, as most are.
pub fn folds(directory: &Path, may_write: bool) -> bool {
    let existing = directory.ancestors().find(|ancestor| ancestor.is_dir());
    existing.is_some_and(|directory| seen(directory).unwrap_or_else(|| may_write && tried(directory)))
}

/// Tests with an existing entry; `None` if no entry is suitable.
fn seen(directory: &Path) -> Option<bool> {
    let entries = fs::read_dir(directory).ok()?.take(ENTRIES).flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.into_iter().find_map(|name| Some(is_same(directory, &name, &swapped(&name)?)))
}

/// Tests with a new file, whose name nobody else has and no listing shows.
fn tried(directory: &Path) -> bool {
    let name = format!(".batchpipe-{:016x}", fastrand::u64(..) | 0xa);
    let path = directory.join(&name);
    if OpenOptions::new().write(true).create_new(true).open(&path).is_err() {
        return false;
    }
    let same = swapped(&name).is_some_and(|other| is_same(directory, &name, &other));
    drop(fs::remove_file(&path));
    same
}

/// The name with its ASCII letters in the other case; `None` if it has no letters.
fn swapped(name: &str) -> Option<String> {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    let other: String = name.chars().map(swap).collect();
    (other != name).then_some(other)
}

fn is_same(directory: &Path, name: &str, other: &str) -> bool {
    let of = |name: &str| directory.join(name).symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((of(name), of(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_are_folded_to_one_name() {
        for (one, other) in [("A/B.CSV", "a/b.csv"), ("e\u{301}", "É"), ("a./b. ", "A/b")] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
        assert_ne!(folded("a/b"), folded("ab"));
        assert_ne!(folded("é"), folded("e"));
    }

    #[test]
    fn this_directory_keeps_names_apart_and_a_look_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("not/there/yet");
        for may_write in [false, true] {
            assert!(!folds(&below, may_write));
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        // Where case does not count, both spellings find the same inode; a second link is the closest imitation here.
        fs::write(directory.path().join("Name"), "").unwrap();
        assert!(!folds(&below, false));
        fs::hard_link(directory.path().join("Name"), directory.path().join("nAME")).unwrap();
        assert!(folds(&below, false));
    }
}
