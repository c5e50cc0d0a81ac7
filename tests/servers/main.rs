//! The contracts of the backends, and the programs on them, on a server that speaks S3 and SQS.
//!
//! `cargo test --test servers -- --ignored` installs and starts the server.

mod backends;
mod flow;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../library/backends/queue_conformance.rs"]
mod queue_conformance;
#[path = "../library/backends/store_conformance/mod.rs"]
mod store_conformance;
