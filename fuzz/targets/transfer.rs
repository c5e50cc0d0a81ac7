//! Any object in any parts through any faults.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_input/transfer.rs"]
mod transfer;

fuzz_target!(|input: &[u8]| transfer::check(input));
