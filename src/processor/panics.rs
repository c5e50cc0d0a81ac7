//! Turns a panic of a library user's processor into an error message, and keeps it off the terminal.
//!
//! A panic's message may contain bytes of the object, and the default hook would print it raw across the panel. So
//! the hook is wrapped once: on a thread that is inside [`catch`], it stores the message and location and prints
//! nothing; on every other thread it does what it did before.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// `None` outside of [`catch`]; inside, the panic's message, empty until there is one.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; returns the message and location of a panic as the error.
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
    // The work is gone after a panic, and it shared only the ends of links, which break.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let said = SAID.take().unwrap_or_default();
    result.map_err(|payload| if said.is_empty() { message(payload.as_ref()).to_owned() } else { said })
}

/// Stores the panic's message for [`catch`]; returns whether it did.
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

/// The message of a panic.
pub(crate) fn message(payload: &dyn std::any::Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
