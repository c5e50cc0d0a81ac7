//! The live panel as text.
//!
//! [`render`] is a pure function of a snapshot and a width. If the columns do not fit, the least important are left out
//! first. No line is ever wider than the terminal, so a redraw erases exactly what was drawn.

use std::time::Duration;

use super::words::{about, bytes, count, of, percent, rate, span, whole_span};
use super::{About, Snapshot, StageNow};

/// The number of cells in a bar.
const BAR: usize = 8;

/// Up to this load a stage has time to spare; the number is Flink's.
const LOW: f64 = 0.1;

/// A stage above this load is red.
const HIGH: f64 = 0.5;

struct Column {
    title: &'static str,
    width: usize,
    /// A narrow terminal shows the columns with the lowest ranks.
    rank: u8,
    text: fn(&StageNow) -> String,
}

/// The columns, in the order they are shown.
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
    // The width of the stage's name and its margin.
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

/// The panel: `head` at the top, the table of stages, the figures of queue, memory and jobs, and `foot` at the bottom.
pub fn render(now: &Snapshot, head: &str, foot: &str, width: usize, colour: bool) -> String {
    let mut lines = vec![head.to_string(), String::new()];
    if now.command == "submit" {
        lines.push(uploading(now));
    } else {
        let (rows, marked) = table(now, width);
        lines.extend(rows);
        lines.push(String::new());
        if let Some(bottleneck) = &now.bottleneck {
            let what = if marked { String::new() } else { format!("{}: {}, ", bottleneck.stage, bottleneck.reason) };
            lines.push(format!("  tune     {what}{}", bottleneck.hint));
        }
        lines.extend(facts(now));
        if !foot.is_empty() {
            lines.push(format!("  {foot}"));
        }
    }
    let load_of = |line: &str| now.stages.iter().find(|stage| line.starts_with(&format!("  {} ", stage.stage)));
    let finished = lines.iter().map(|line| {
        let line: String = line.trim_end().chars().take(width).collect();
        match load_of(&line) {
            Some(stage) if colour => paint(&line, stage.load()),
            _ => line,
        }
    });
    finished.collect::<Vec<_>>().join("\n")
}

/// The rows of the table, and whether there was room for the mark of the bottleneck.
fn table(now: &Snapshot, width: usize) -> (Vec<String>, bool) {
    let columns = fitting(width);
    let row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells = columns.iter().map(|column| format!("  {:>1$}", cell(column), column.width));
        format!("  {name:<9}{}", cells.collect::<String>())
    };
    let mut rows = vec![row("stage", &|column| column.title.into())];
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
        rows.push(line);
    }
    (rows, marked)
}

/// Colours the bar of a row with the colours of the status page.
fn paint(line: &str, load: f64) -> String {
    let code = match load {
        load if load > HIGH => 31,
        load if load > LOW => 33,
        _ => 32,
    };
    let is_bar = |char| matches!(char, '█' | '░');
    match (line.find(is_bar), line.rfind(is_bar)) {
        (Some(from), Some(last)) => {
            let to = last + '█'.len_utf8();
            format!("{}\x1b[{code}m{}\x1b[0m{}", &line[..from], &line[from..to], &line[to..])
        }
        _ => line.to_string(),
    }
}

fn facts(now: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(queue) = &now.queue {
        let mut line = format!("  queue    {} waiting", count(queue.waiting));
        if queue.falling {
            line += " ▼";
        }
        line += &format!("   {} in flight", count(queue.in_flight));
        if let Some(oldest) = queue.oldest {
            line += &format!("   oldest {}", span(Duration::from_secs(oldest)));
        }
        if let Some(eta) = queue.eta.and_then(|eta| Duration::try_from_secs_f64(eta).ok()) {
            line += &format!("   empty in about {}", about(eta));
        }
        lines.push(line);
    }
    let mut line =
        format!("  memory   {} of {}", bytes(now.memory_reserved as f64, " "), bytes(now.memory_budget as f64, " "));
    if let Some(left) = now.lease_remaining.and_then(|left| Duration::try_from_secs_f64(left).ok()) {
        line += &format!("     leases: shortest {} left", about(left));
    }
    line += "     temp ";
    line += &match now.temp_budget {
        Some(budget) => of(now.temp_bytes, " of ", budget),
        None => bytes(now.temp_bytes as f64, " "),
    };
    lines.push(line);
    lines.push(format!("  jobs     {}", jobs(now)));
    lines
}

fn jobs(now: &Snapshot) -> String {
    let jobs = &now.jobs;
    let retried = if jobs.retried > 0 { format!(" · {} retried", count(jobs.retried)) } else { String::new() };
    let skipped = if jobs.skipped > 0 { format!(" · {} skipped", count(jobs.skipped)) } else { String::new() };
    format!(
        "{} done{skipped} · {} failed{retried} · {} delivered twice · {} lost",
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
    let eta = progress.eta.and_then(|eta| Duration::try_from_secs_f64(eta).ok()).map_or_else(|| "–".into(), about);
    format!(
        "Uploading  {}{}  {}/{}   {}   {}/s   eta {eta}",
        "█".repeat(full),
        "░".repeat(16 - full),
        count(progress.files),
        count(progress.files_total),
        of(progress.bytes, "/", progress.bytes_total),
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
    // Names come from the command line and from services, so control characters that could move the cursor are
    // replaced.
    head.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// The summary line that replaces the panel at the end.
pub fn summary(end: &Snapshot) -> String {
    let elapsed = whole_span(Duration::try_from_secs_f64(end.elapsed).unwrap_or_default());
    let work = match (&end.progress, end.command) {
        // Files that were uploaded or existed already.
        (Some(progress), "submit") => format!("{} files", count(progress.files)),
        _ => jobs(end),
    };
    format!("{work} · {} in, {} out · {elapsed}", bytes(end.bytes_in as f64, " "), bytes(end.bytes_out as f64, " "))
}
