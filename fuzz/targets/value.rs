//! Any text as a value, a place and a configuration file.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_input/value.rs"]
mod value;

fuzz_target!(|input: &str| value::check(input));
