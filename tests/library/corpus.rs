//! Replays what the fuzzers keep: every input that once reached new code, or broke it, is a test from then on.

use std::fs;
use std::path::Path;

use crate::{any_input, any_message};

/// Runs `check` on every input in a target's corpus.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 10, "only {replayed} inputs in {}", folder.display());
}

/// For targets that take text: other bytes never reach them.
fn text(bytes: &[u8], check: fn(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(text);
    }
}

#[test]
fn every_message_of_the_corpus_is_answered() {
    replay("message", |bytes| text(bytes, any_message::check_any));
}

#[test]
fn every_key_of_the_corpus_survives_an_event() {
    replay("form_key", |bytes| text(bytes, any_message::check_key));
}

#[test]
fn every_journal_of_the_corpus_is_refused_or_goes_on() {
    replay("journal", |bytes| text(bytes, any_input::journal::check));
}

#[test]
fn every_value_of_the_corpus_is_read_the_same_again() {
    replay("value", |bytes| text(bytes, any_input::value::check));
}

#[test]
fn no_key_of_the_corpus_leaves_its_root() {
    replay("place", |bytes| text(bytes, any_input::place::check));
}

#[test]
fn every_transfer_of_the_corpus_moves_each_byte_once() {
    replay("transfer", any_input::transfer::check);
}

#[test]
fn every_answer_of_the_corpus_gives_what_was_asked_or_an_error() {
    replay("range", |bytes| text(bytes, any_input::range::check));
}

#[test]
fn every_letter_of_the_corpus_is_one_that_a_queue_takes() {
    replay("letter", |bytes| text(bytes, any_input::letter::check));
}
