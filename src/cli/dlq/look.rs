//! `dlq list` and `dlq show`.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::letters::{Letters, attempts, code, fact, reason, subject};
use super::{Queues, download};
use crate::cli::output::{escaped, event, print};
use crate::config::{Global, values};
use crate::error::{Code, Exit, UserError};
use crate::job::message::{Rules, understand};
use crate::services::queue::Message;
use crate::stages::acknowledge::dead_letter;

/// The arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// List at most this many letters
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
}

/// The arguments of `show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The letter's id, or the first characters of the id
    #[arg(value_name = "ID")]
    id: String,
    /// Also download the job's input into the current directory, to try the program on it by hand
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
        if global.json {
            event("dead_letter", summary(letter))?;
        } else {
            page.push_str(&row(letter));
        }
    }
    let name = escaped(queues.dead.name());
    match listed.len() {
        count if global.json => event("summary", json!({ "queue": queues.dead.name(), "listed": count }))?,
        0 => print(&format!("no dead letters in {name}\n"))?,
        _ => {
            let head = columns(["id", "attempts", "code", "age", "worker"]);
            let jobs = escaped(queues.jobs.name());
            print(&format!("{head}{page}Retry them:  batchpipe dlq redrive --queue {jobs} --dry-run\n"))?;
        }
    }
    Ok(Exit::Done)
}

/// The width of a page: what a terminal has that nobody has touched.
const WIDTH: usize = 80;

/// The head, or the first line of a letter.
fn columns([id, attempts, code, age, worker]: [&str; 5]) -> String {
    format!("{id:<36} {attempts:>8} {code:<6} {age:>10} {worker}").trim_end().to_owned() + "\n"
}

/// A letter in three lines: what it is, what it is about, why it is dead.
fn row(letter: &Message) -> String {
    let age = age(letter).map_or("-".to_owned(), |age| values::show(Duration::from_secs(rough(age))));
    let attempts = attempts(letter).map_or("-".to_owned(), |attempts| attempts.to_string());
    let worker = fact(letter, dead_letter::WORKER).unwrap_or_default();
    let [id, code, age, worker] = [(letter.id.as_str(), 36), (code(letter), 6), (&age, 10), (worker, WIDTH - 64)]
        .map(|(text, most)| ends(&escaped(text), most));
    let mut row = columns([&id, &attempts, &code, &age, &worker]);
    for line in [subject(letter).as_str(), reason(letter)].into_iter().filter(|line| !line.is_empty()) {
        row.push_str(&format!("  {}\n", ends(&escaped(line), WIDTH - 2)));
    }
    row
}

/// The beginning and the end of a text that is longer than `most`: keys and reasons differ at their ends.
fn ends(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let head = most / 3;
    let tail = &letters[letters.len() - (most - head - 1)..];
    letters[..head].iter().chain(&['…']).chain(tail).collect()
}

/// What `list --json` tells of a letter.
fn summary(letter: &Message) -> serde_json::Value {
    json!({
        "id": letter.id, "subject": subject(letter), "attempts": attempts(letter), "code": code(letter),
        "reason": reason(letter), "age_seconds": age(letter).map(|age| age.as_secs()),
        "input": fact(letter, dead_letter::INPUT), "output": fact(letter, dead_letter::OUTPUT),
        "stage": fact(letter, dead_letter::STAGE), "worker": fact(letter, dead_letter::WORKER),
    })
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
    let mut found: Option<Message> = None;
    let mut other = None;
    // To the end, unless the id is whole: of two that begin alike the queue hands out any first.
    while let Some(letter) = letters.next().await? {
        letters.keep(&letter);
        if letter.id == args.id {
            (found, other) = (Some(letter), None);
            break;
        }
        if letter.id.starts_with(&args.id) {
            match &found {
                None => found = Some(letter),
                Some(_) => other = Some(letter),
            }
        }
    }
    letters.give_back().await;
    if let (Some(one), Some(other)) = (&found, &other) {
        let what = format!("more than one dead letter's id begins with {:?}", args.id);
        let cause = format!("{:?} does, and {:?}", one.id, other.id);
        return Err(UserError::usage(Code::CommandLine, what, cause, "give more of the id, or all of it"));
    }
    let letter = found.ok_or_else(|| {
        let what = format!("no dead letter {:?} in \"{}\"", args.id, escaped(queues.dead.name()));
        let help = format!("see what there is:  batchpipe dlq list --queue {}", escaped(queues.jobs.name()));
        UserError::new(Code::QueueMissing, what, "no id of a dead letter begins with this text", help)
    })?;
    let saved = if args.download { Some(download::input(&letter, global).await?) } else { None };
    let mut understood = understand(&letter.body, &Rules::default());
    // The letter says why its job failed. What this command would be allowed to touch has nothing to do with that.
    understood.jobs.iter_mut().for_each(|job| job.refused = None);
    if global.json {
        let mut fields = summary(&letter);
        let more = json!({ "stderr": fact(&letter, dead_letter::STDERR), "body": letter.body,
            "attributes": letter.attributes, "understood": understood, "file": saved });
        if let (Some(fields), serde_json::Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        event("dead_letter", fields)?;
        return Ok(Exit::Done);
    }
    let mut page = whole(&letter);
    page.push_str(&format!("body      {}\n\n{understood}", escaped(&letter.body)));
    if let Some(file) = saved {
        page.push_str(&format!("\nits input is in {file}\n"));
    }
    print(&page)?;
    Ok(Exit::Done)
}

/// All that a letter tells of itself, a line each.
fn whole(letter: &Message) -> String {
    let attempts = attempts(letter).map(|attempts| attempts.to_string());
    let own = |name| fact(letter, name);
    let facts = [
        ("id", Some(letter.id.as_str())),
        ("code", Some(code(letter))),
        ("reason", Some(reason(letter)).filter(|reason| !reason.is_empty())),
        ("attempts", attempts.as_deref()),
        ("input", own(dead_letter::INPUT)),
        ("output", own(dead_letter::OUTPUT)),
        ("stage", own(dead_letter::STAGE)),
        ("worker", own(dead_letter::WORKER)),
        ("message", own(dead_letter::MESSAGE_ID)),
    ];
    let mut page = String::new();
    for (name, value) in facts {
        page.extend(value.map(|value| format!("{name:<9} {}\n", escaped(value))));
    }
    for (nth, line) in own(dead_letter::STDERR).unwrap_or_default().lines().enumerate() {
        page.push_str(&format!("{:<9} {}\n", if nth == 0 { "stderr" } else { "" }, escaped(line)));
    }
    for (name, value) in letter.attributes.iter().filter(|(name, _)| !name.starts_with(dead_letter::PREFIX)) {
        page.push_str(&format!("attribute {} = {}\n", escaped(name), escaped(value)));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::queue::Receipt;

    fn letter(facts: &[(&str, &str)], body: &str) -> Message {
        Message {
            id: "5f3c2a6e-1b2c-4d5e-8f90-a1b2c3d4e5f6".to_owned(),
            body: body.to_owned(),
            receipt: Receipt(String::new()),
            attempt: 9,
            sent: SystemTime::now().checked_sub(Duration::from_secs(86_400 * 13 + 3600 * 23)),
            group: None,
            intact: true,
            attributes: facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn a_row_fits_a_terminal_and_keeps_the_ends_of_what_is_long() {
        let key = format!("s3://acme-in/{}/photo \u{1b}[2J.jpg", "deep/".repeat(40));
        let reason = format!("\"convert\" ended with status 65: {} no decode delegate", "x".repeat(300));
        let body = json!({"v": 1, "input": key, "output": "s3://acme-out/a"}).to_string();
        let worker = "ip-10-0-0-7.eu-west-1.compute.internal:81234";
        let facts = [(dead_letter::CODE, "BP401"), (dead_letter::REASON, reason.as_str()), (dead_letter::ATTEMPT, "5")];
        let row = row(&letter(&[&facts[..], &[(dead_letter::WORKER, worker)]].concat(), &body));
        let lines: Vec<&str> = row.lines().collect();
        assert_eq!(lines.len(), 3, "{row}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{row}");
        assert!(lines[0].contains(" 5 BP401") && lines[0].ends_with(":81234"), "{row}");
        assert!(lines[1].starts_with("  s3://acme-in/") && lines[1].ends_with("photo \\u{1b}[2J.jpg"), "{row}");
        assert!(lines[2].ends_with("no decode delegate"), "{row}");
    }

    #[test]
    fn what_the_queue_moved_says_so_and_claims_no_attempts() {
        let row = row(&letter(&[], "hello"));
        assert!(row.contains(" - -         13d 23h\n"), "{row}");
        assert!(row.ends_with("  hello\n  moved by the queue: received too often\n"), "{row}");
    }

    #[test]
    fn a_letter_too_large_for_a_reason_is_not_said_to_be_moved_by_the_queue() {
        use crate::error::{Code, ErrorKind, JobError, Stage};
        use crate::services::queue::MAX_MESSAGE;
        let error = JobError::new(Stage::Process, ErrorKind::Rejected, Code::ProgramFailed, "no good");
        for (room, told) in
            [(200, "no good"), (100, ""), (10, "no reason given: too large for one, or moved by the queue")]
        {
            let mut message = letter(&[], &"x".repeat(MAX_MESSAGE - room));
            message.attributes =
                dead_letter::letter(&message, &error, &crate::testing::MemoryQueue::new("d")).attributes;
            assert_eq!(reason(&message), told, "{room}");
        }
    }

    #[test]
    fn a_letter_of_several_jobs_is_about_the_one_that_failed() {
        let record = |key: &str| {
            json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventVersion": "2.1",
                "s3": {"bucket": {"name": "input"}, "object": {"key": key}}})
        };
        let body = json!({"Records": [record("a"), record("b")]}).to_string();
        assert_eq!(subject(&letter(&[(dead_letter::INPUT, "s3://input/b")], &body)), "s3://input/b");
        assert_eq!(subject(&letter(&[], &body)), "s3://input/a");

        // As a worker names what a queue would refuse.
        let body = json!({"Records": [record("%01"), record("%02"), record("%1F")]}).to_string();
        for (key, name) in [("\u{1}", r"\u{1}"), ("\u{2}", r"\u{2}"), ("\u{1f}", r"\u{1f}")] {
            let place = crate::job::Location::s3("input", key);
            assert_eq!(dead_letter::named(&place), format!("s3://input/{name}"));
            let about = subject(&letter(&[(dead_letter::INPUT, &dead_letter::named(&place))], &body));
            assert_eq!(escaped(&about), dead_letter::named(&place));
        }
    }

    #[test]
    fn a_shown_letter_tells_every_fact_and_its_own_attributes() {
        let facts = [(dead_letter::CODE, "BP401"), (dead_letter::REASON, "no good"), (dead_letter::ATTEMPT, "5")];
        let more = [(dead_letter::STDERR, "one\ntwo \u{1b}[2J"), (dead_letter::OUTPUT, "s3://out/a"), ("tenant", "7")];
        let page = whole(&letter(&[facts, more].concat(), ""));
        let lines: Vec<&str> = page.lines().skip(1).collect();
        let expected = [
            "code      BP401",
            "reason    no good",
            "attempts  5",
            "output    s3://out/a",
            "stderr    one",
            "          two \\u{1b}[2J",
            "attribute tenant = 7",
        ];
        assert_eq!(lines, expected);
    }
}
