//! Runs an external program on each object.

/// A program and its arguments.
#[derive(Debug)]
pub struct Program {}
