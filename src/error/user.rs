//! A failure as a person reads it, and how the process ends because of it.

use std::error::Error;
use std::fmt;

use super::{Code, Source};

/// How the process ends. The numbers are a contract that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All done, all well.
    Done = 0,
    /// A failure inside batchpipe or its machine.
    Failed = 1,
    /// The command line or the configuration can't be right.
    Usage = 2,
    /// `doctor` found a failure.
    Preflight = 3,
    /// A queue, bucket or file is missing, or access to it is denied.
    Access = 4,
    /// Stopped with work given back: the drain ran out of time.
    GaveBack = 5,
    /// No credentials, or expired ones.
    Credentials = 6,
    /// The watchdog saw no progress.
    Watchdog = 7,
    /// Finished, but some jobs failed.
    SomeFailed = 8,
    /// There was nothing to do (`--fail-if-empty`).
    Nothing = 9,
    /// Left by itself after `--idle-exit`.
    Idle = 10,
    /// The second Ctrl-C.
    Interrupted = 130,
}

/// A failure as a person reads it.
#[derive(Clone, Debug)]
pub struct UserError {
    /// Its number.
    pub code: Code,
    /// One line: what went wrong.
    pub what: String,
    /// Why, as far as is known.
    pub cause: String,
    /// What to do about it.
    pub help: String,
    /// How the process ends.
    pub exit: Exit,
    /// The error that it tells of.
    pub source: Source,
}

impl UserError {
    /// A failure that ends the process as its code says.
    pub fn new(code: Code, what: impl Into<String>, cause: impl Into<String>, help: impl Into<String>) -> Self {
        let (what, cause, help) = (what.into(), cause.into(), help.into());
        Self { code, what, cause, help, exit: code.exit(), source: Source::NONE }
    }

    /// A mistake in the command line or the configuration (exit 2), whatever the code is elsewhere: a queue's name that
    /// can't be one is such a mistake, and a queue that is missing is not.
    pub fn usage(code: Code, what: impl Into<String>, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(code, what, cause, help) }
    }

    /// The same failure, with the error that it tells of.
    #[must_use]
    pub fn with_source(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Source::of(error), ..self }
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, what, cause, help, .. } = self;
        write!(f, "error[{code}]: {what}\n  cause: {cause}\n  help:  {help}")
    }
}

impl Error for UserError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.error()
    }
}

/// The text with everything escaped that could move a cursor, forge a line or hide.
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, letter| {
        match letter {
            '"' | '\'' | '\\' => out.push(letter),
            letter => out.extend(letter.escape_debug()),
        }
        out
    })
}
