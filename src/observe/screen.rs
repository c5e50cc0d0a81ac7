//! Stderr, which the panel and the log share: log lines are printed above the panel, and a redraw never erases a log
//! line.
//!
//! Bounded: indicatif draws at most 4 times a second; a log line stays in memory until it is complete.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::{About, Snapshot, panel};

/// At most 4 redraws a second, including those that log lines cause.
const DRAWS_A_SECOND: u8 = 4;

/// Stderr, shared by the panel and the log. Give a clone to the log as its writer.
#[derive(Clone, Debug, Default)]
pub struct Screen(Arc<Mutex<Option<ProgressBar>>>);

impl Screen {
    /// Draws the panel.
    pub(super) fn draw(&self, now: &Snapshot, about: &About, colour: bool) {
        let bar = self.panel().get_or_insert_with(new_bar).clone();
        // If the width can't be read, indicatif itself assumes 80, too.
        let width = terminal_width().unwrap_or(80);
        let foot = match about.page {
            Some(_) => "Ctrl-C drains · details are on the page",
            None => "Ctrl-C drains",
        };
        bar.set_message(panel::render(now, &panel::head(about, now.slots), foot, width, colour));
        bar.tick();
    }

    /// Removes the panel for good.
    pub(super) fn clear(&self) {
        if let Some(bar) = self.panel().take() {
            bar.finish_and_clear();
        }
    }

    /// Prints a line, above the panel if there is one.
    pub fn print(&self, line: &str) {
        self.write_above(format!("{line}\n").as_bytes());
    }

    fn write_above(&self, text: &[u8]) {
        let bar = self.panel().clone();
        let write = || {
            // If stderr is closed, there is nowhere to report the error.
            drop(io::stderr().lock().write_all(text));
        };
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn panel(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND));
    bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stderr())?;
    (width.0 > 0).then_some(usize::from(width.0))
}

/// A log line that is being written to the screen.
#[derive(Debug)]
pub struct LogLine {
    screen: Screen,
    text: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        self.screen.write_above(&self.text);
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { screen: self.clone(), text: Vec::new() }
    }
}
