//! The form of the project: what its documents say is there, and its rooms use only those below them. Nothing is linked for it.

mod docs;
mod rooms;
