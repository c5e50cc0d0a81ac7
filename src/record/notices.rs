//! Successes that are probably not what the user wanted: counted, and reported once.
//!
//! A job succeeds even if it compresses data that is already compressed, or if its program writes nothing. Nobody
//! looks at such a job, so the first of each kind is reported when it happens (a worker may run for months), and the
//! total at the end. Bounded: a few numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::Code;
use crate::job::Location;

/// Counts of these successes.
#[derive(Debug, Default)]
pub struct Notices {
    compressed: AtomicU64,
    silent: AtomicU64,
    outputs: AtomicU64,
    named: AtomicU64,
}

impl Notices {
    /// Records that an input that `steps` compress is already in a compressed format.
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

    /// Records that a program succeeded and wrote nothing although its input is not empty.
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

    /// Records that a job's output goes where the worker's own `--output` says.
    pub fn used_output(&self) {
        self.outputs.fetch_add(1, Relaxed);
    }

    /// Records that a job's output goes where its message says.
    pub fn named_output(&self) {
        self.named.fetch_add(1, Relaxed);
    }

    /// Whether there were jobs, and each of their messages named an output.
    pub fn left_output_unused(&self) -> bool {
        self.named.load(Relaxed) > 0 && !self.has_used_output()
    }

    /// Whether any job's output went where the worker's own `--output` says.
    fn has_used_output(&self) -> bool {
        self.outputs.load(Relaxed) > 0
    }

    /// How many inputs were already compressed.
    pub fn compressed(&self) -> u64 {
        self.compressed.load(Relaxed)
    }

    /// How many jobs had a program that wrote nothing.
    pub fn silent(&self) -> u64 {
        self.silent.load(Relaxed)
    }

    /// Reports the totals at the end, because only the first of each kind was reported during the run.
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

/// All values are equal: the counts do not distinguish what contains them.
impl PartialEq for Notices {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Notices {}
