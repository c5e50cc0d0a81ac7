//! How much may be in flight: bytes (`budget`), jobs, reads and writes (`limit`), and what moves those limits
//! (`tuner`).
//!
//! Uses `runtime`, `error`, `record` and `link`.

pub mod budget;
pub mod limit;
pub mod tuner;
