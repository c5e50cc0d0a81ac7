//! Reuses zstd's encoder contexts.
//!
//! A context is memory: its tables take 0.1 MiB at level 1 and 8 MiB at level 9 for an input of 1 MiB. A new context
//! for each object would cost a page fault for each 4 KiB of the tables, and clearing all of them. In a reused
//! context, zstd continues in the tables after the entries that it knows to be old. The output bytes are the same
//! (see the tests), because an output must not depend on what was compressed before it.
//!
//! Bounded by the number of concurrent runs: a context is made only if none is idle. This memory is set aside from
//! the worker's memory for every processor that may run (`config/share.rs`), idle or not.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use zstd::zstd_safe::{CCtx, CParameter, ResetDirective, get_error_name};

/// The idle contexts of one chain.
#[derive(Clone, Default)]
pub(super) struct Contexts(Arc<Mutex<Vec<Idle>>>);

struct Idle {
    level: i32,
    context: CCtx<'static>,
    output: Vec<u8>,
}

/// A context in use, and the buffer that it writes to.
pub(super) struct Context {
    pub(super) context: CCtx<'static>,
    pub(super) output: Vec<u8>,
    level: i32,
    home: Contexts,
}

impl Contexts {
    /// A context for one frame. The frame ends with a checksum of the content, because a damaged object must not
    /// decompress.
    pub(super) fn take(&self, level: i32) -> io::Result<Context> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The most recently used one, because its tables may still be in the CPU caches.
        let found = idle.iter().rposition(|idle| idle.level == level).map(|at| idle.remove(at));
        drop(idle);
        if let Some(Idle { mut context, output, .. }) = found {
            context.reset(ResetDirective::SessionOnly).map_err(refused)?;
            return Ok(Context { context, output, level, home: self.clone() });
        }
        let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(refused)?;
        context.set_parameter(CParameter::ChecksumFlag(true)).map_err(refused)?;
        Ok(Context { context, output: Vec::new(), level, home: self.clone() })
    }
}

impl Context {
    /// Returns a context whose frame is complete and read. A context that is dropped without this is not reused.
    pub(super) fn give_back(self) {
        let Self { context, mut output, level, home } = self;
        output.clear();
        home.0.lock().unwrap_or_else(PoisonError::into_inner).push(Idle { level, context, output });
    }
}

pub(super) fn refused(code: usize) -> io::Error {
    io::Error::other(format!("zstd: {}", get_error_name(code)))
}

/// All values are equal, because idle contexts make no difference to a chain.
impl PartialEq for Contexts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Contexts {}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(idle.iter().map(|idle| idle.level)).finish()
    }
}
