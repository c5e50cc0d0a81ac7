//! Any file as a journal, and any names in one that is torn.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_input/journal.rs"]
mod journal;

fuzz_target!(|input: &str| journal::check(input));
