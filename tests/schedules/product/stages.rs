//! The stages, but for the small ones that nothing here needs.

#[path = "../../../src/stages/acknowledge.rs"]
mod acknowledge;
#[path = "../../../src/stages/ahead.rs"]
mod ahead;
#[path = "../../../src/stages/body.rs"]
mod body;
#[path = "../../../src/stages/deliver.rs"]
mod deliver;
#[path = "../../../src/stages/download.rs"]
mod download;
#[path = "../../../src/stages/process.rs"]
mod process;
#[path = "../../../src/stages/receive.rs"]
mod receive;
#[path = "../../../src/stages/receivers.rs"]
mod receivers;
#[path = "../../../src/stages/seat.rs"]
mod seat;
#[path = "../../../src/stages/upload.rs"]
mod upload;

pub use acknowledge::{Finished, Settled, Settling};
pub use deliver::Delivery;
pub use download::{Source, download};
pub use process::process;
pub use receive::{Intake, Receive, Why, receive};
pub use upload::{Target, upload};
