//! The stages: one file each, free async functions between a reading and a writing end.
//!
//! A stage says what it uses, where it reads and where it writes, and returns what it learned. There is no stage trait,
//! no metric call and no shutdown flag (but in `receive`). Stages know traits, never SQS or S3.

pub mod acknowledge;
mod download;
mod if_exists;
mod process;
mod read;
pub(crate) mod receive;
pub(crate) mod records;
mod send;
pub mod transfer;
pub mod upload;

pub use acknowledge::{Finished, Settled, Settling};
pub use download::{Source, download};
pub use if_exists::IfExists;
pub(crate) use if_exists::Outputs;
pub use process::process;
pub use read::read;
pub use receive::dispatch::Delivery;
pub use receive::{Intake, Receive, receive};
pub use send::send;
pub use transfer::Transfer;
pub use upload::{Target, part_size, upload};
