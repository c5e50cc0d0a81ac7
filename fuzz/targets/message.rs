//! Any text as a message.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/library/any_message/mod.rs"]
#[allow(dead_code, reason = "each target runs one of its checks")]
mod any_message;

fuzz_target!(|text: &str| any_message::check_any(text));
