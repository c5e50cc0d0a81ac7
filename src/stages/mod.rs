//! The stages: one file each, free async functions between a reading and a writing end.
//!
//! A stage says what it uses, where it reads and where it writes, and returns what it learned. There is no stage trait,
//! no metric call and no shutdown flag (but in `receive`). Stages know traits, never SQS or S3.

mod acknowledge;
mod ahead;
mod body;
mod deliver;
mod download;
mod process;
mod read;
pub(crate) mod receive;
mod receivers;
mod seat;
mod send;
mod upload;

pub use acknowledge::{Finished, Settled, Settling};
pub use deliver::Delivery;
pub use download::{Source, download};
pub use process::process;
pub use read::read;
pub use receive::{Intake, Receive, Why, receive};
pub use send::send;
pub use upload::{Target, part_size, upload};
