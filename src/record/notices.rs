//! What goes well and is still not what somebody wanted, most likely: counted, and told once.
//!
//! A job that compresses what is compressed already, or whose program writes nothing, succeeds. Nobody looks at such a
//! job, so the first of a kind is told when it happens (a worker may run for months), and their number at the end.
//! Bounded: three numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::Code;
use crate::job::Location;

/// Counts of what is no failure.
#[derive(Debug, Default)]
pub struct Notices {
    compressed: AtomicU64,
    silent: AtomicU64,
    outputs: AtomicU64,
    named: AtomicU64,
}

impl Notices {
    /// An input that `steps` compress is in a compressed format.
    pub fn already_compressed(&self, input: &Location, steps: &dyn fmt::Display) {
        if self.compressed.fetch_add(1, Relaxed) == 0 {
            let (code, help) =
                (Code::AlreadyCompressed, format!("to decompress such data first:  --process decompress:any,{steps}"));
            tracing::warn!(
                target: "batchpipe::meter::notices",
                %code, ?input, help, "an input is compressed already, and is compressed once more"
            );
        }
    }

    /// A program ended well and wrote nothing, though its input is not empty.
    pub fn wrote_nothing(&self, input: &Location) {
        if self.silent.fetch_add(1, Relaxed) == 0 {
            let (code, help) =
                (Code::ProgramOutputMissing, "the result is read from stdout, or from the file that {output} names");
            tracing::warn!(
                target: "batchpipe::meter::notices",
                %code, ?input, help, "the program wrote nothing: the output is empty, the input is not"
            );
        }
    }

    /// A job's output lies where the worker's own `--output` says.
    pub fn used_output(&self) {
        self.outputs.fetch_add(1, Relaxed);
    }

    /// A job's output lies where its message says.
    pub fn named_output(&self) {
        self.named.fetch_add(1, Relaxed);
    }

    /// Whether there were jobs, and each of their messages named an output.
    pub fn left_output_unused(&self) -> bool {
        self.named.load(Relaxed) > 0 && !self.has_used_output()
    }

    /// Whether any job's output lies where the worker's own `--output` says.
    fn has_used_output(&self) -> bool {
        self.outputs.load(Relaxed) > 0
    }

    /// How many inputs were compressed already.
    pub fn compressed(&self) -> u64 {
        self.compressed.load(Relaxed)
    }

    /// How many jobs' programs wrote nothing.
    pub fn silent(&self) -> u64 {
        self.silent.load(Relaxed)
    }

    /// Tells the numbers, at the end, of what was told only once.
    pub fn tell(&self) {
        let (compressed, silent) = (self.compressed(), self.silent());
        if compressed > 1 {
            tracing::warn!(
                target: "batchpipe::meter::notices",
                code = %Code::AlreadyCompressed, inputs = compressed, "inputs were compressed already"
            );
        }
        if silent > 1 {
            tracing::warn!(
                target: "batchpipe::meter::notices",
                code = %Code::ProgramOutputMissing, jobs = silent, "jobs whose program wrote nothing: their outputs \
                    are empty"
            );
        }
    }
}

/// What was counted makes no two things different.
impl PartialEq for Notices {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Notices {}
