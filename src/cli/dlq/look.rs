//! `dlq list` and `dlq show`.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::letters::{Letters, code, reason, subject};
use super::{Queues, download};
use crate::cli::output::{escaped, event, print, shortened};
use crate::config::Global;
use crate::error::{Exit, UserError};
use crate::message::{Rules, understand};
use crate::queue::Message;

/// The arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// List at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
}

/// The arguments of `show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The letter's id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    /// Also put the job's input into a file of the working directory, for trying the program on it by hand
    #[arg(long)]
    download: bool,
}

/// Lists the letters.
pub(super) async fn list(args: &ListArgs, queues: &Queues, global: &Global) -> Result<Exit, UserError> {
    let mut letters = Letters::of(queues.dead.as_ref());
    let mut listed = Vec::new();
    while (listed.len() as u64) < args.max {
        let Some(letter) = letters.next().await? else { break };
        letters.keep(&letter);
        listed.push(letter);
    }
    letters.give_back().await;
    listed.sort_by_key(|letter| letter.sent);
    let mut page = String::new();
    for letter in &listed {
        let (subject, age) = (subject(letter), age(letter));
        if global.json {
            let fields = json!({
                "id": letter.id, "subject": subject, "attempts": letter.attempt, "code": code(letter),
                "reason": reason(letter), "age_seconds": age.map(|age| age.as_secs()),
            });
            event("dead_letter", fields)?;
        } else {
            page.push_str(&row(letter, &subject, age));
        }
    }
    let name = escaped(queues.dead.name());
    match listed.len() {
        count if global.json => event("summary", json!({ "queue": queues.dead.name(), "listed": count }))?,
        0 => print(&format!("no dead letters in {name}\n"))?,
        _ => {
            let head = format!("{:<36}  {:>8}  {:<6} {:>9}  {}\n", "id", "attempts", "code", "age", "key, reason");
            let jobs = escaped(queues.jobs.name());
            print(&format!("{head}{page}Try them again:  batchpipe dlq redrive --queue {jobs} --dry-run\n"))?;
        }
    }
    Ok(Exit::Done)
}

fn row(letter: &Message, subject: &str, age: Option<Duration>) -> String {
    let age = age.map_or("-".to_owned(), |age| humantime::format_duration(Duration::from_secs(rough(age))).to_string());
    let (id, code) = (shortened(&letter.id, 36), shortened(code(letter), 6));
    let (subject, reason) = (shortened(subject, 80), shortened(reason(letter), 100));
    let row = format!("{id:<36}  {:>8}  {code:<6} {age:>9}  {subject}\n", letter.attempt);
    if reason.is_empty() { row } else { format!("{row}{:66}{reason}\n", "") }
}

/// A dead letter's age matters in minutes at first, in hours later, then in days.
fn rough(age: Duration) -> u64 {
    let unit = match age.as_secs() {
        0..60 => 1,
        60..86_400 => 60,
        _ => 3600,
    };
    age.as_secs() / unit * unit
}

fn age(letter: &Message) -> Option<Duration> {
    SystemTime::now().duration_since(letter.sent?).ok()
}

/// Shows one letter.
pub(super) async fn show(args: &ShowArgs, queues: &Queues, global: &Global) -> Result<Exit, UserError> {
    let mut letters = Letters::of(queues.dead.as_ref());
    let mut found = None;
    while let Some(letter) = letters.next().await? {
        letters.keep(&letter);
        if letter.id.starts_with(&args.id) {
            found = Some(letter);
            break;
        }
    }
    letters.give_back().await;
    let letter = found.ok_or_else(|| {
        let what = format!("no dead letter {:?} in \"{}\"", args.id, escaped(queues.dead.name()));
        let help = format!("see what there is:  batchpipe dlq list --queue {}", escaped(queues.jobs.name()));
        UserError::usage(103, what, "no letter's id begins so", help).exit(Exit::Access)
    })?;
    let saved = if args.download { Some(download::input(&letter, global).await?) } else { None };
    let understood = understand(&letter.body, &Rules::default());
    if global.json {
        let fields = json!({
            "id": letter.id, "attempts": letter.attempt, "code": code(&letter), "reason": reason(&letter),
            "body": letter.body, "attributes": letter.attributes, "understood": understood, "file": saved,
        });
        event("dead_letter", fields)?;
        return Ok(Exit::Done);
    }
    let mut page = format!("id        {}\nattempts  {}\n", escaped(&letter.id), letter.attempt);
    page.push_str(&format!("code      {}\nreason    {}\n", escaped(code(&letter)), escaped(reason(&letter))));
    for (name, value) in &letter.attributes {
        page.push_str(&format!("attribute {} = {}\n", escaped(name), escaped(value)));
    }
    page.push_str(&format!("body      {}\n\n{understood}", escaped(&letter.body)));
    if let Some(file) = saved {
        page.push_str(&format!("\nits input is in {file}\n"));
    }
    print(&page)?;
    Ok(Exit::Done)
}
