//! What bounds work in flight, but for what moves the bounds.

#[path = "../../../src/capacity/budget/mod.rs"]
pub mod budget;
#[path = "../../../src/capacity/limit.rs"]
pub mod limit;
