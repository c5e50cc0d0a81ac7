//! Which names a file system takes for one: on FAT, exFAT, NTFS, many network shares and macOS `A.csv` and `a.csv` are
//! one file, and so is the output of whoever writes last.
//!
//! Whether a directory is of that kind is seen from an entry that it has, asked for in other letters. Only where it has
//! none is a file made for the question, and removed at once.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Entries of a directory that are looked at for one with a letter in its name.
const ENTRIES: usize = 1000;

/// A name as such a file system compares it: in one case, accents apart from their letters, without dots and spaces at
/// the end of a component. That is what all of them do together: a name that only some take for another counts as the
/// other.
pub(super) fn folded(name: &str) -> String {
    let normal = DecomposingNormalizerBorrowed::new_nfd();
    let lower = normal.normalize(&normal.normalize(name).to_lowercase()).into_owned();
    let components: Vec<&str> = lower.split('/').map(|part| part.trim_end_matches(['.', ' '])).collect();
    components.join("/")
}

/// Whether names below `directory`, which need not exist yet, are compared without regard to case. A file is made for
/// the question only if `may_write`; without it an empty directory counts as one that keeps names apart, as most do.
pub fn folds(directory: &Path, may_write: bool) -> bool {
    let existing = directory.ancestors().find(|ancestor| ancestor.is_dir());
    existing.is_some_and(|directory| seen(directory).unwrap_or_else(|| may_write && tried(directory)))
}

/// By an entry that is there; nothing if there is none to tell.
fn seen(directory: &Path) -> Option<bool> {
    let entries = fs::read_dir(directory).ok()?.take(ENTRIES).flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.into_iter().find_map(|name| Some(is_same(directory, &name, &swapped(&name)?)))
}

/// By a file that is made, under a name that nobody else has and that no listing shows.
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

/// The name with its ASCII letters in the other case; nothing if it has none.
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
        // One name of two cases is one entry of one inode where case does not count; a second link is the nearest thing
        // here.
        fs::write(directory.path().join("Name"), "").unwrap();
        assert!(!folds(&below, false));
        fs::hard_link(directory.path().join("Name"), directory.path().join("nAME")).unwrap();
        assert!(folds(&below, false));
    }
}
