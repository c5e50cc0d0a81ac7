//! argv → configuration → logging → command → exit code. Everything else is in the library.

use std::collections::BTreeMap;
use std::process::ExitCode;

use batchpipe::cli::log;
use batchpipe::cli::{self, Context, Parsed, Typing, output};
use batchpipe::config::{self, Global, Layers};
use batchpipe::error::{Code, Exit, UserError};
use batchpipe::observe::Screen;
use batchpipe::runtime::machine;
use batchpipe::runtime::machine::Machine;

/// Most blocks here are freed by another thread than asked for them, since a job passes from the runtime's threads to
/// those that block and back. For each of these glibc locks an arena, which cost a quarter of a small job: 4 KiB copies
/// take 28 % less CPU with jemalloc. mimalloc is as quick, but what its threads keep for themselves broke `--memory`
/// (ARCHITECTURE.md).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads for work that blocks: at most 1024 processors, and the disk and name look-ups beside them, which must
/// never wait for a processor to end. A thread exists only once it is needed.
const BLOCKING_THREADS: usize = 2048;

fn main() -> ExitCode {
    let exit = run().unwrap_or_else(|error| {
        output::say_error(&error);
        error.exit
    });
    ExitCode::from(exit as u8)
}

fn run() -> Result<Exit, UserError> {
    // Before anything else: whoever looks in time keeps what was seen.
    let concealed = machine::conceal();
    let typing = match cli::parse(std::env::args_os())? {
        Parsed::Typing(typing) => *typing,
        Parsed::Text(text) => return output::print(&text).map(|()| Exit::Done),
        Parsed::Hint(text) => {
            output::say(&text);
            return Ok(Exit::Usage);
        }
    };
    let Typing { command, typed, config } = typing;
    let variables = variables();
    let files = config::files(config.as_deref(), &variables)?;
    let layers = Layers::new(typed, &variables, &files)?;
    let global = Global::resolve(&layers)?;
    let screen = Screen::default();
    log::start(&global.log, global.color, &screen)?;
    global.notes.iter().for_each(|note| tracing::warn!("{}", output::escaped(note)));
    if let Err(error) = concealed {
        tracing::warn!(%error, "other processes of this user, programs among them, can read our keys");
    }
    machine::prepare();
    let files = files.into_iter().map(|(path, _)| path).collect();
    let context = Context { global, layers, files, machine: Machine::look(), screen };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| no_runtime(&error))?;
    // On the runtime's own threads: on this one each job that ends would wake it.
    let exit = runtime.block_on(async move {
        let performed = tokio::spawn(cli::perform(command, context)).await;
        performed.unwrap_or_else(|gone| Err(panicked(&gone)))
    });
    // What still blocks is a processor whose job is settled or given back: nobody waits for it.
    runtime.shutdown_background();
    exit
}

/// The environment, as far as it is text; what is not can't be a setting of ours.
fn variables() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect()
}

/// Its words are on stderr already; what it held comes back by its visibility timeout.
fn panicked(gone: &tokio::task::JoinError) -> UserError {
    let code = Code::InternalPanic;
    UserError::new(code, "a part of batchpipe panicked", gone.to_string(), code.help())
}

fn no_runtime(error: &std::io::Error) -> UserError {
    let code = Code::SystemLimit;
    UserError::new(code, "cannot start the runtime", error.to_string(), code.help())
}
