//! What the program promises, seen from outside: its arguments, its exit codes, what it prints, and the files that it
//! leaves.

mod bad_flags;
mod cli;
mod map;
mod names;
mod places;
mod profile;
mod redrive;
mod refusals;
mod secrecy;
mod submit_lists;
