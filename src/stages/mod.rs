//! The stages, one a file. A stage is a free async function: what it uses, where it reads, where it writes.

mod process;

pub use process::process;
