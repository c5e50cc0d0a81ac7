//! The live panel, and the one screen that it shares with the log.
//!
//! [`render`] is a pure function of a snapshot and a width: columns that do not fit are left out, the least
//! important first, and no line is ever wider than the terminal, so that a redraw erases exactly what was drawn.
//! Log lines go through the [`Screen`], which takes the panel away while they are printed above it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::words::{bytes, count, percent, rate, span, whole_span};
use super::{About, Snapshot, StageNow};

/// Cells of a bar.
const BAR: usize = 8;

/// A stage above this load is drawn as busy; Flink calls more than half high.
const HIGH: f64 = 0.5;

/// At most 4 pictures a second, also when the log makes it redraw.
const DRAWS_A_SECOND: u8 = 4;

struct Column {
    title: &'static str,
    width: usize,
    /// The columns with the lowest number are kept on a narrow terminal.
    rank: u8,
    text: fn(&StageNow) -> String,
}

/// The columns in their order on the screen.
const COLUMNS: [Column; 10] = [
    Column { title: "", width: BAR, rank: 7, text: bar },
    Column { title: "busy", width: 5, rank: 0, text: |stage| percent(stage.load()) },
    Column { title: "in", width: 4, rank: 2, text: in_progress },
    Column { title: "wait up", width: 7, rank: 3, text: |stage| percent(stage.wait_upstream) },
    Column { title: "wait down", width: 9, rank: 4, text: |stage| percent(stage.wait_downstream) },
    Column { title: "rate", width: 7, rank: 1, text: |stage| format!("{}/s", rate(stage.items_per_second)) },
    Column { title: "bytes/s", width: 10, rank: 5, text: bytes_per_second },
    Column { title: "p50", width: 6, rank: 8, text: |stage| seconds(stage.p50) },
    Column { title: "p99", width: 6, rank: 9, text: |stage| seconds(stage.p99) },
    Column { title: "err", width: 3, rank: 6, text: |stage| stage.failed.to_string() },
];

fn bar(stage: &StageNow) -> String {
    let full = ((stage.load() * BAR as f64).round() as usize).min(BAR);
    "█".repeat(full) + &"░".repeat(BAR - full)
}

fn in_progress(stage: &StageNow) -> String {
    if stage.stage == "receive" { "–".into() } else { stage.in_progress.to_string() }
}

fn bytes_per_second(stage: &StageNow) -> String {
    stage.bytes_per_second.map_or_else(|| "–".into(), |rate| bytes(rate, " ") + "/s")
}

fn seconds(time: Option<f64>) -> String {
    time.and_then(|time| Duration::try_from_secs_f64(time).ok()).map_or_else(|| "–".into(), span)
}

/// The columns that fit, in order.
fn fitting(width: usize) -> Vec<&'static Column> {
    let mut ranked: Vec<&Column> = COLUMNS.iter().collect();
    ranked.sort_by_key(|column| column.rank);
    // The stage's name and its margin.
    let mut used = 11;
    let chosen: Vec<u8> = ranked
        .iter()
        .take_while(|column| {
            used += column.width + 2;
            used <= width
        })
        .map(|column| column.rank)
        .collect();
    COLUMNS.iter().filter(|column| chosen.contains(&column.rank)).collect()
}

/// The panel: `head` above, the table of stages, what is known of queue, memory and jobs, and `foot` below.
pub fn render(now: &Snapshot, head: &str, foot: &str, width: usize, colour: bool) -> String {
    let mut lines = vec![head.to_string(), String::new()];
    if let (Some(_), "submit") = (&now.progress, now.command) {
        lines.push(uploading(now));
        return finish(lines, width);
    }
    let columns = fitting(width);
    let row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells = columns.iter().map(|column| format!("  {:>1$}", cell(column), column.width));
        format!("  {name:<9}{}", cells.collect::<String>())
    };
    lines.push(row("stage", &|column| column.title.into()));
    let mut marked = false;
    for stage in &now.stages {
        let mut line = row(stage.stage, &|column| (column.text)(stage));
        if let Some(bottleneck) = now.bottleneck.as_ref().filter(|bottleneck| bottleneck.stage == stage.stage) {
            let mark = format!("  ◀ bottleneck: {}", bottleneck.reason);
            if line.chars().count() + mark.chars().count() <= width {
                line += &mark;
                marked = true;
            }
        }
        lines.push(paint(cut(&line, width), stage.load(), colour));
    }
    lines.push(String::new());
    if let Some(bottleneck) = &now.bottleneck {
        let what = if marked { String::new() } else { format!("{}: {}, ", bottleneck.stage, bottleneck.reason) };
        lines.push(format!("  slowest  {what}{}", bottleneck.hint));
    }
    lines.extend(facts(now));
    if !foot.is_empty() {
        lines.push(format!("  {foot}"));
    }
    finish(lines, width)
}

fn finish(lines: Vec<String>, width: usize) -> String {
    // A painted line is cut before it is painted.
    let cut = |line: String| if line.contains('\x1b') { line } else { cut(&line, width) };
    lines.into_iter().map(cut).collect::<Vec<_>>().join("\n")
}

fn cut(line: &str, width: usize) -> String {
    line.trim_end().chars().take(width).collect()
}

/// Green up to 10 %, yellow above, red above half: the colours of the page.
fn paint(line: String, load: f64, colour: bool) -> String {
    let code = if load > HIGH {
        31
    } else if load > 0.1 {
        33
    } else {
        32
    };
    if colour { format!("\x1b[{code}m{line}\x1b[0m") } else { line }
}

fn facts(now: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(queue) = &now.queue {
        let mut line = format!("  queue    {} waiting", count(queue.waiting));
        if queue.falling {
            line += " ▼";
        }
        line +=
            &format!("   {} in flight   oldest {}", count(queue.in_flight), span(Duration::from_secs(queue.oldest)));
        if let Some(eta) = queue.eta.and_then(|eta| Duration::try_from_secs_f64(eta).ok()) {
            line += &format!("   empty in about {}", whole_span(eta));
        }
        lines.push(line);
    }
    let mut line =
        format!("  memory   {} of {}", bytes(now.memory_reserved as f64, " "), bytes(now.memory_budget as f64, " "));
    if let Some(left) = now.lease_remaining.and_then(|left| Duration::try_from_secs_f64(left).ok()) {
        line += &format!("     leases: shortest {} left", whole_span(left));
    }
    line += &format!("     temp {}", bytes(now.temp_bytes as f64, " "));
    if let Some(budget) = now.temp_budget {
        line += &format!(" of {}", bytes(budget as f64, " "));
    }
    lines.push(line);
    lines.push(format!("  jobs     {}", jobs(now)));
    lines
}

fn jobs(now: &Snapshot) -> String {
    let jobs = &now.jobs;
    format!(
        "{} done · {} failed · {} delivered twice · {} lost",
        count(jobs.done),
        count(jobs.failed),
        count(jobs.duplicates),
        count(jobs.lost),
    )
}

fn uploading(now: &Snapshot) -> String {
    let Some(progress) = &now.progress else { return String::new() };
    let share = if progress.bytes_total == 0 { 1.0 } else { progress.bytes as f64 / progress.bytes_total as f64 };
    let full = ((share * 16.0) as usize).min(16);
    let eta = progress.eta.and_then(|eta| Duration::try_from_secs_f64(eta).ok()).map_or_else(|| "–".into(), whole_span);
    format!(
        "Uploading  {}{}  {}/{}   {} of {}   {}/s   eta {eta}",
        "█".repeat(full),
        "░".repeat(16 - full),
        count(progress.files),
        count(progress.files_total),
        bytes(progress.bytes as f64, " "),
        bytes(progress.bytes_total as f64, " "),
        bytes(now.bytes_out_per_second, " "),
    )
}

/// The first line on a terminal.
pub fn head(about: &About, slots: usize) -> String {
    let mut head = format!("batchpipe {}", about.command);
    if !about.queue.is_empty() {
        head += &format!(" · queue {}", about.queue);
    }
    match (about.process.is_empty(), about.output.is_empty()) {
        (false, false) => head += &format!(" · {} → {}", about.process, about.output),
        (true, false) => head += &format!(" · → {}", about.output),
        (false, true) => head += &format!(" · {}", about.process),
        (true, true) => {}
    }
    head += &format!(" · {slots} slots");
    if let Some(page) = &about.page {
        head += &format!(" · {page}");
    }
    // Names come from the command line and from services: nothing in them may move the cursor.
    head.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// The last words where the panel was.
pub fn summary(end: &Snapshot) -> String {
    let elapsed = whole_span(Duration::try_from_secs_f64(end.elapsed).unwrap_or_default());
    let work = match (&end.progress, end.command) {
        (Some(progress), "submit") => format!("{} files uploaded", count(progress.files)),
        _ => jobs(end),
    };
    format!("{work} · {} in, {} out · {elapsed}", bytes(end.bytes_in as f64, " "), bytes(end.bytes_out as f64, " "))
}

/// Stderr, shared by the panel and the log. Give a clone to the log as its writer.
#[derive(Clone, Debug, Default)]
pub struct Screen(Arc<Mutex<Option<ProgressBar>>>);

impl Screen {
    /// Draws the panel.
    pub(super) fn draw(&self, now: &Snapshot, about: &About, colour: bool) {
        let bar = self.panel().get_or_insert_with(new_bar).clone();
        // indicatif's own fallback where the width can't be read is 80, too.
        let width = terminal_width().unwrap_or(80);
        let foot = match about.page {
            Some(_) => "Ctrl-C drains · the page has the detail",
            None => "Ctrl-C drains",
        };
        bar.set_message(render(now, &head(about, now.slots), foot, width, colour));
        bar.tick();
    }

    /// Takes the panel away for good.
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
            // Nobody can be told that stderr is gone.
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

/// One log line on its way to the screen.
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
