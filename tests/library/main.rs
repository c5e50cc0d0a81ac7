//! What the library promises, room by room, on the embedded backends, on twins in memory and on servers that a test
//! scripts.
//!
//! All of it is one program: each further program would link both SDKs again. `cargo test --test library pipeline::`
//! runs a room.

mod any_input;
mod any_message;
mod aws_answers;
mod aws_start;
mod backends;
mod bad_inputs;
mod corpus;
mod examples;
mod faults;
mod formats;
mod lease;
mod lease_bench;
mod lease_times;
mod listener;
mod metrics;
mod pipeline;
mod processors;
#[path = "../lab/scripted.rs"]
mod scripted;
mod status;
mod worker;
