//! The stages, but for the small ones that nothing here needs.

pub use batchpipe::stages::transfer;

#[path = "../../../src/stages/acknowledge/mod.rs"]
pub mod acknowledge;
#[path = "../../../src/stages/download.rs"]
mod download;
#[path = "../../../src/stages/if_exists.rs"]
mod if_exists;
#[path = "../../../src/stages/process.rs"]
mod process;
#[path = "../../../src/stages/receive/mod.rs"]
pub(crate) mod receive;
#[path = "../../../src/stages/records.rs"]
pub(crate) mod records;
#[path = "../../../src/stages/upload/mod.rs"]
pub mod upload;

pub use acknowledge::{Finished, Settled, Settling};
pub use download::{Source, download};
pub use if_exists::IfExists;
pub(crate) use if_exists::Outputs;
pub use process::process;
pub use receive::dispatch::Delivery;
pub use receive::{Intake, Receive, receive};
pub use transfer::Transfer;
pub use upload::{Target, upload};
