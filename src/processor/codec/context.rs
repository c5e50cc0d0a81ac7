//! zstd's encoder contexts, used again.
//!
//! A context is memory: its tables take 0.1 MiB at level 1 and 8 MiB at level 9 for an input of 1 MiB. Made anew for
//! each object, that is a page fault for each 4 KiB of it and a clearing of all; used again, zstd goes on in it behind
//! what it knows to be old. The bytes that come out are the same (see the tests): an output must not depend on what was
//! compressed before it.
//!
//! Bounded by how many run at once: a context is made only when none is idle. So much is set aside of the worker's
//! memory for every processor that may run (`config/share.rs`), idle or not.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use zstd::zstd_safe::{CCtx, CParameter, ResetDirective, get_error_name};

/// The contexts of one chain that are idle.
#[derive(Clone, Default)]
pub(super) struct Contexts(Arc<Mutex<Vec<Idle>>>);

struct Idle {
    level: i32,
    context: CCtx<'static>,
    output: Vec<u8>,
}

/// A context at work, and the memory that it writes to.
pub(super) struct Context {
    pub(super) context: CCtx<'static>,
    pub(super) output: Vec<u8>,
    level: i32,
    home: Contexts,
}

impl Contexts {
    /// A context for one frame. A checksum follows the content: a damaged object must not decompress.
    pub(super) fn take(&self, level: i32) -> io::Result<Context> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The one used last: its tables may still be in the caches.
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
    /// Its frame is complete and read. What is dropped without this is not used again.
    pub(super) fn give_back(self) {
        let Self { context, mut output, level, home } = self;
        output.clear();
        home.0.lock().unwrap_or_else(PoisonError::into_inner).push(Idle { level, context, output });
    }
}

pub(super) fn refused(code: usize) -> io::Error {
    io::Error::other(format!("zstd: {}", get_error_name(code)))
}

/// What is idle makes no chain another.
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
