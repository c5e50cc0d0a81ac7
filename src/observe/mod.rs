//! Shows what the pipeline does: a live panel, a line each ten seconds, events for scripts, and a status page.
//!
//! All of them read one [`Snapshot`], computed from the meters when it is shown. No stage calls anything here, so a
//! slow terminal or client delays only itself.
//!
//! Bounded: the panel is drawn at most 4 times a second, lines and events come every 10 seconds, the listener
//! keeps at most [`listener::CONNECTIONS`] connections.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::runtime::task::{self, Task};

mod bottleneck;
pub mod events;
pub mod export;
mod host;
pub mod lines;
pub mod listener;
mod load;
pub mod panel;
mod port;
mod sample;
mod sampler;
mod screen;
mod snapshot;
mod sources;
pub mod words;

pub use crate::capacity::tuner::Concurrency;
pub use bottleneck::bottleneck;
pub use load::{CpuLoad, Load, StageLoad};
pub use sampler::Sampler;
pub use screen::Screen;
pub use snapshot::{Bottleneck, Errors, Ledger, Progress, QueueNow, Snapshot, StageNow};
pub use sources::{About, Leases, Limits, Memory, QueueCounts, Sources, Totals, ask_queue};

/// How progress is shown (`--progress`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A live panel on stderr.
    Panel {
        /// Whether it has colours.
        colour: bool,
    },
    /// A line on stderr every 10 seconds.
    Lines {
        /// Whether the lines are JSON, as the log is with `--log-format json`.
        json: bool,
    },
    /// Events on stdout, one a line.
    Json,
    /// Nothing.
    None,
}

impl Mode {
    /// The meaning of `--progress auto`: the panel if stderr is a terminal, or else lines, as JSON if the log is JSON
    /// (`json_log`).
    pub fn auto(colour: bool, json_log: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stderr().is_terminal() && !dumb && !json_log {
            Self::Panel { colour }
        } else {
            Self::Lines { json: json_log }
        }
    }
}

/// Whether to colour stderr: `--color auto` colours it if stderr is a terminal that supports colours and `NO_COLOR`
/// (<https://no-color.org>) is not set.
pub fn colour(choice: &str) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match choice {
        "always" => true,
        "never" => false,
        _ => io::stderr().is_terminal() && !set("NO_COLOR") && !dumb,
    }
}

/// A task that runs until it is dropped.
#[derive(Debug)]
pub struct Running(pub(crate) Task<()>);

impl Running {
    /// Waits until the task has ended by itself.
    pub async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::debug!(target: "batchpipe::status", error = ?error, "a display ended early");
        }
    }
}

/// The panel's rates cover the last 3 seconds: steady enough to read, quick enough to show a change.
const PANEL_WINDOW: Duration = Duration::from_secs(3);

/// 4 redraws a second look live and cost little on a slow connection.
const PANEL_EVERY: Duration = Duration::from_millis(250);

/// A line every 10 seconds keeps a day of log under a megabyte or two.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// Shows progress until `stop` turns true or its sender is dropped. The first output comes at once. Await
/// [`Running::finished`] after stopping, so that the panel is gone before the [`summary`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::sync::Arc;
/// use batchpipe::record::Meters;
/// use batchpipe::observe::{self, About, Mode, Screen, Sources};
///
/// let about = About { command: "map", process: "zstd".into(), ..About::default() };
/// let sources = Sources::new(Arc::new(Meters::default()), about);
/// let (stop, stopped) = tokio::sync::watch::channel(false);
/// let showing = observe::show(Mode::Lines { json: false }, Screen::default(), sources.clone(), stopped);
/// // The pipeline runs here.
/// stop.send_replace(true);
/// showing.finished().await;
/// observe::summary(Mode::Lines { json: false }, &sources, 0, Some("Look at them:  ls ./out"))
/// # }
/// ```
pub fn show(mode: Mode, screen: Screen, sources: Sources, mut stop: watch::Receiver<bool>) -> Running {
    Running(task::spawn(async move {
        let (window, every) = match mode {
            Mode::Panel { .. } => (PANEL_WINDOW, PANEL_EVERY),
            Mode::Lines { .. } | Mode::Json => (LINES_EVERY, LINES_EVERY),
            Mode::None => return,
        };
        let mut sampler = Sampler::new(sources, window);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let snapshot = sampler.snapshot();
            match mode {
                Mode::Panel { colour } => screen.draw(&snapshot, &sampler.sources().about, colour),
                Mode::Lines { json: false } => screen.print(&lines::progress(&snapshot, SystemTime::now())),
                Mode::Lines { json: true } => match events::line("progress", &snapshot, SystemTime::now()) {
                    Ok(line) => screen.print(&line),
                    Err(_) => break,
                },
                Mode::Json => {
                    if events::write("progress", &snapshot).is_err() {
                        break;
                    }
                }
                Mode::None => {}
            }
        }
        screen.clear();
    }))
}

/// Prints how the command ended and what to do next. `next` is the next step; without it, a next step is suggested if
/// jobs failed.
pub fn summary(mode: Mode, sources: &Sources, exit: u8, next: Option<&str>) -> io::Result<()> {
    let snapshot = Sampler::new(sources.clone(), LINES_EVERY).snapshot();
    let event = events::Summary { exit, next, snapshot: &snapshot };
    if mode == Mode::Json {
        return events::write("summary", &event);
    }
    if mode == (Mode::Lines { json: true }) {
        let line = events::line("summary", &event, SystemTime::now())?;
        return writeln!(io::stderr().lock(), "{line}");
    }
    let mut text = match mode {
        Mode::Panel { .. } => panel::summary(&snapshot),
        _ => lines::summary(&snapshot, SystemTime::now(), exit),
    };
    text.push('\n');
    if let Some(next) = next.map(String::from).or_else(|| lines::next_step(&snapshot)) {
        text.push_str(&next);
        text.push('\n');
    }
    io::stderr().lock().write_all(text.as_bytes())
}
