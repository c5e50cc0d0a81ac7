//! Any answer to a ranged read.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_input/range.rs"]
mod range;

fuzz_target!(|input: &str| range::check(input));
