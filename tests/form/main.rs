//! The form of the project: what its documents say is there, its rooms use only those below them, and the limits of
//! CONTRIBUTING.md hold. Nothing is linked for it.

mod code;
mod docs;
mod limits;
mod rooms;
