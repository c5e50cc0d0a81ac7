//! Turns the panic of somebody's processor into words, and keeps it off the terminal.
//!
//! A panic's message may hold bytes of the object, and the default hook would print it raw across the panel. So the
//! hook is wrapped once: on a thread that is inside [`catch`] it notes message and place there and prints nothing;
//! on every other thread it does what it did before.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// `None` outside of [`catch`]; inside, what was said, once something was.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic is answered with its message and place.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static WRAPPED: Once = Once::new();
    WRAPPED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !note(info) {
                usual(info);
            }
        }));
    });
    SAID.set(Some(String::new()));
    // The work is gone after a panic, and what it shared are the ends of links, which break.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let said = SAID.take().unwrap_or_default();
    result.map_err(|payload| if said.is_empty() { message(payload.as_ref()).to_owned() } else { said })
}

/// Whether somebody will read it.
fn note(info: &PanicHookInfo<'_>) -> bool {
    SAID.try_with(|said| {
        let Ok(mut said) = said.try_borrow_mut() else { return false };
        let Some(said) = said.as_mut() else { return false };
        let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        *said = format!("{}{place}", message(info.payload()));
        true
    })
    .unwrap_or(false)
}

/// What a panic said.
pub(crate) fn message(payload: &dyn std::any::Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
