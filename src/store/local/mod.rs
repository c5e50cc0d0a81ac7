//! Objects in directories of this machine.
