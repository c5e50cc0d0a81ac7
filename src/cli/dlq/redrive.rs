//! `dlq redrive` and `dlq purge`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Queues;
use super::letters::{Letters, code, reason};
use crate::cli::output::{confirm, escaped, event, print};
use crate::cli::service::failed;
use crate::config::{Global, argument, values};
use crate::error::codes;
use crate::error::{Code, Exit, Role, ServiceError, ServiceErrorKind, UserError};
use crate::runtime::digest::digest;
use crate::runtime::words::things;
use crate::services::open::{open_queue, refuse_same};
use crate::services::queue::{JobQueue, Message};
use crate::stages::acknowledge::dead_letter::redriven;

/// The arguments of `redrive`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Move the letters to this queue instead of the job queue
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// Move at most this many letters
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Move at most this many letters per second, such as 50/s
    #[arg(long, value_name = "N/s")]
    rate: Option<String>,
    /// Move only letters with this error code, such as code=BP303
    #[arg(long, value_name = "code=BPnnn")]
    filter: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// The arguments of `purge`.
#[derive(Debug, clap::Args)]
pub(super) struct PurgeArgs {
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Moves the letters back.
pub(super) async fn redrive(args: &Args, queues: &Queues, global: &Global) -> Result<Exit, UserError> {
    let pause = args.rate.as_deref().map(pause).transpose()?;
    let wanted = args.filter.as_deref().map(filter).transpose()?;
    let to = destination(args, queues, global).await?;
    let mut letters = Letters::of(queues.dead.as_ref());
    let mut moved = Kinds::default();
    let (mut bodies, mut came_back) = (Moved::default(), 0);
    let (mut total, mut next) = (0, Instant::now());
    while args.max.is_none_or(|max| total < max) {
        let Some(letter) = letters.next().await? else { break };
        if wanted.as_ref().is_some_and(|wanted| code(&letter) != wanted) {
            letters.keep(&letter);
            continue;
        }
        if bodies.came_back(&letter) {
            letters.keep(&letter);
            came_back += 1;
            continue;
        }
        if args.dry_run {
            letters.keep(&letter);
        } else {
            sleep_until(next).await;
            next = Instant::now() + pause.unwrap_or_default();
            if let Err(error) = move_one(&letter, queues.dead.as_ref(), to.as_ref()).await {
                letters.keep(&letter);
                letters.give_back().await;
                return Err(error);
            }
            bodies.note(&letter);
        }
        total += 1;
        moved.add(code(&letter), reason(&letter));
    }
    letters.give_back().await;
    let (from, to) = (queues.dead.name(), to.name());
    if global.json {
        let by_code: BTreeMap<&str, u64> = moved.0.iter().map(|(code, kind)| (code.as_str(), kind.count)).collect();
        let fields = json!({ "dry_run": args.dry_run, "moved": total, "from": from, "to": to, "codes": by_code,
            "came_back": came_back });
        event("summary", fields)?;
        return Ok(Exit::Done);
    }
    let verb = if args.dry_run { "(dry run) would move" } else { "moved" };
    print(&format!("{verb} {} from {} to {}{moved}.\n", things(total, "message"), escaped(from), escaped(to)))?;
    if came_back > 0 {
        let (letters, were) = (things(came_back, "letter"), if came_back == 1 { "was" } else { "were" });
        print(&format!(
            "{letters} came back during the move or {were} in the queue twice, and {were} not moved: see  \
             batchpipe dlq list\n"
        ))?;
    }
    Ok(Exit::Done)
}

/// Where the letters go.
async fn destination(args: &Args, queues: &Queues, global: &Global) -> Result<Arc<dyn JobQueue>, UserError> {
    let Some(name) = &args.to else { return Ok(Arc::clone(&queues.jobs)) };
    let name = values::queue(name).map_err(|wrong| argument("--to", name, wrong))?;
    let to = open_queue(&name, &global.aws).await?;
    refuse_same(&*queues.dead, &*to, "--to names the dead-letter queue itself")?;
    Ok(to)
}

/// How far the clock of a queue may be from ours: AWS refuses requests of machines whose clocks differ by more
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>).
const CLOCKS: Duration = Duration::from_secs(5 * 60);

/// The messages that this run has moved. One that a worker rejects at once comes back under a new id, and would be
/// moved again for ever. Bounded by the letters that were moved: a digest and a time each.
#[derive(Debug)]
pub(super) struct Moved {
    begun: SystemTime,
    bodies: HashMap<String, Option<SystemTime>>,
}

impl Default for Moved {
    fn default() -> Self {
        Self { begun: SystemTime::now(), bodies: HashMap::new() }
    }
}

impl Moved {
    pub(super) fn note(&mut self, letter: &Message) {
        self.bodies.insert(digest(&letter.body), letter.sent);
    }

    /// Whether the letter is a message that was moved before, and was sent since this run began. A message that
    /// somebody had sent twice long ago may be dead twice.
    pub(super) fn came_back(&self, letter: &Message) -> bool {
        match (self.bodies.get(&digest(&letter.body)), letter.sent) {
            (None, _) => false,
            (Some(Some(moved)), Some(sent)) => {
                sent > *moved && sent.checked_add(CLOCKS).is_none_or(|latest| latest >= self.begun)
            }
            // A queue that tells no times.
            (Some(_), _) => true,
        }
    }
}

/// The letters of one code.
#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// Why they failed, if they all did for one reason.
    reason: Option<String>,
}

/// How many letters of which codes, for one line: a reason often names its object, and ten thousand of those tell
/// nothing.
#[derive(Debug, Default)]
struct Kinds(BTreeMap<String, Kind>);

impl Kinds {
    fn add(&mut self, code: &str, reason: &str) {
        // What a letter says comes from whoever can send one.
        let reason: String = reason.chars().take(60).collect();
        let kind = self.0.entry(code.chars().take(10).collect()).or_default();
        kind.count += 1;
        kind.reason = if kind.count == 1 { Some(reason) } else { kind.reason.take().filter(|same| *same == reason) };
    }
}

impl fmt::Display for Kinds {
    /// The commonest five, in parentheses; nothing for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.count));
        for (nth, (code, kind)) in kinds.iter().take(5).enumerate() {
            let title = codes::number(code).and_then(Code::from_number).map_or("", |code| codes::page(code).title);
            let words = format!("{} {}", escaped(code), escaped(kind.reason.as_deref().unwrap_or(title)));
            write!(f, "{}{} × {}", if nth == 0 { " (" } else { ", " }, kind.count, words.trim_end())?;
        }
        match kinds.len() {
            0 => Ok(()),
            few if few <= 5 => f.write_str(")"),
            many => write!(f, ", and {} codes more)", many - 5),
        }
    }
}

/// Sends the letter, and deletes it only when it is sent. The reason it was dead does not go along: it has a new life.
async fn move_one(letter: &Message, from: &dyn JobQueue, to: &dyn JobQueue) -> Result<(), UserError> {
    if !letter.intact {
        let error = ServiceError::new(ServiceErrorKind::Corrupt, "Corrupt", "its body arrived damaged");
        return Err(failed(Role::Receive, &format!("move message {:?}", letter.id), &error));
    }
    let outgoing = redriven(letter, to);
    let what = format!("send message {:?} to {:?}", letter.id, to.name());
    only(to.send(std::slice::from_ref(&outgoing)).await).map_err(|error| failed(Role::Send, &what, &error))?;
    let what = format!("delete message {:?} from {:?} (it is in {:?} already)", letter.id, from.name(), to.name());
    only(from.delete(std::slice::from_ref(&letter.receipt)).await).map_err(|error| failed(Role::Receive, &what, &error))
}

/// The outcome of a batch of one.
fn only(outcomes: Result<Vec<Result<(), ServiceError>>, ServiceError>) -> Result<(), ServiceError> {
    let none = || ServiceError::new(ServiceErrorKind::Unavailable, "NoOutcome", "the queue did not report an outcome");
    outcomes?.into_iter().next().unwrap_or_else(|| Err(none()))
}

/// The time between two letters that `50/s` asks for.
fn pause(rate: &str) -> Result<Duration, UserError> {
    let number = rate.strip_suffix("/s").unwrap_or(rate);
    // More than a thousand a second no single sender reaches.
    let number = values::number(number, 1, 1000).map_err(|wrong| argument("--rate", rate, wrong))?;
    Ok(Duration::from_secs(1) / number as u32)
}

/// The code that `code=BP303` asks for.
fn filter(text: &str) -> Result<String, UserError> {
    // A number that this version does not know may be of a newer worker.
    let number = text.strip_prefix("code=").and_then(codes::number);
    number.map(|number| format!("BP{number:03}")).ok_or_else(|| {
        let help = "for example  --filter code=BP303";
        argument("--filter", text, values::Wrong::new(Code::CommandLine, "letters are filtered by their code", help))
    })
}

/// Deletes the letters.
pub(super) async fn purge(args: &PurgeArgs, queues: &Queues, global: &Global) -> Result<Exit, UserError> {
    let dead = queues.dead.as_ref();
    let counts = dead.counts().await.map_err(|error| failed(Role::Receive, "count the dead letters", &error))?;
    let name = escaped(dead.name());
    if args.dry_run {
        if global.json {
            event("summary", json!({ "dry_run": true, "deleted": counts.visible, "queue": dead.name() }))?;
        } else {
            print(&format!("(dry run) would delete {} from {name}.\n", things(counts.visible, "message")))?;
        }
        return Ok(Exit::Done);
    }
    confirm(&format!("delete everything in {name}, now {}", things(counts.visible, "message")), dead.name(), global)?;
    let mut letters = Letters::of(dead);
    let mut deleted = 0u64;
    while let Some(letter) = letters.next().await? {
        let what = format!("delete message {:?}", letter.id);
        if let Err(error) = only(dead.delete(std::slice::from_ref(&letter.receipt)).await) {
            letters.give_back().await;
            return Err(failed(Role::Receive, &what, &error));
        }
        deleted += 1;
    }
    letters.give_back().await;
    if global.json {
        event("summary", json!({ "dry_run": false, "deleted": deleted, "queue": dead.name() }))?;
    } else {
        print(&format!("deleted {} from {name}.\n", things(deleted, "message")))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_by_their_codes_and_by_their_reason_where_it_is_one() {
        let told = |letters: &[(&str, String)]| {
            let mut kinds = Kinds::default();
            letters.iter().for_each(|(code, reason)| kinds.add(code, reason));
            kinds.to_string()
        };
        assert_eq!(told(&[]), "");
        let mut letters = vec![("BP303", "gzip ends early at byte 5".to_owned())];
        assert_eq!(told(&letters), " (1 × BP303 gzip ends early at byte 5)");
        letters.push(letters[0].clone());
        letters.extend((0..10_000).map(|nth| ("BP401", format!("no luck with {nth}"))));
        let title = codes::page(Code::ProgramFailed).title;
        assert_eq!(told(&letters), format!(" (10000 × BP401 {title}, 2 × BP303 gzip ends early at byte 5)"));
        letters.push(("BP401", String::new()));
        assert!(told(&letters).starts_with(&format!(" (10001 × BP401 {title}")), "once different, for good");
        letters.extend(["-", "BP1", "BP2", "\u{1b}[2J\n", "BP309"].map(|code| (code, "x".repeat(100))));
        let line = told(&letters);
        assert!(line.ends_with(", and 2 codes more)") && line.len() < 500, "{line}");
        assert!(!line.contains(['\u{1b}', '\n']), "{line:?}");
    }
}
