//! Any failure of any message, as a dead letter.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_input/letter.rs"]
mod letter;

fuzz_target!(|input: &str| letter::check(input));
