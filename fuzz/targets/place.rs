//! Any key, below a root and in a message.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_input/place.rs"]
mod place;

fuzz_target!(|input: &str| place::check(input));
