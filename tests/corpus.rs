//! Replays what the fuzzers keep: every input that once reached new code, or broke it, is a test from then on.

use std::fs;
use std::path::Path;

mod any_message;

/// Runs `check` on every text in a target's corpus.
fn replay(target: &str, check: fn(&str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            check(text);
            replayed += 1;
        }
    }
    assert!(replayed >= 10, "only {replayed} texts in {}", folder.display());
}

#[test]
fn every_message_of_the_corpus_is_answered() {
    replay("message", any_message::check_any);
}

#[test]
fn every_key_of_the_corpus_survives_an_event() {
    replay("form_key", any_message::check_key);
}
