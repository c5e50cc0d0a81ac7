//! `gc`: discards multipart uploads that nobody finished; their parts are paid for and never seen. In a directory, what
//! killed processes left half-written.
//!
//! In a directory the lock of the writer decides where it can be told: what the dead left goes at once, what the living
//! write is never touched, whatever its age. Everywhere else only the age speaks.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Context;
use super::output::{escaped, event, print, say};
use super::service::failed;
use crate::config::values::{self, show, show_size};
use crate::error::{Code, Exit, Role, UserError};
use crate::job::Location;
use crate::runtime::words::things;
use crate::services::open::open_store;
use crate::services::store::{ObjectStore, Unfinished, Writer};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe gc s3://acme-out/ --dry-run
  batchpipe gc s3://acme-out/ --older-than 12h
  batchpipe gc ./out";

/// The arguments of `gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The prefix or directory in which to look for unfinished uploads; without a slash at the end, the object and the
    /// folder of that name
    #[arg(value_name = "URI")]
    uri: String,
    /// Keep uploads younger than this, because a worker may still be writing them
    ///
    /// In a directory, the age counts only if batchpipe can't tell whether the writer is still running. Files of a
    /// killed process are removed at once; files of a running process stay.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    older_than: String,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Discards the uploads.
pub async fn run(args: Args, context: &Context) -> Result<Exit, UserError> {
    let place = values::location(&args.uri, &context.machine.directory)
        .map_err(|wrong| crate::config::argument("URI", &args.uri, wrong))?;
    // A year: no upload is older, for a lifecycle rule or the bill has ended it.
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    let age = values::duration(&args.older_than, Duration::ZERO, year, Code::CommandLine)
        .map_err(|wrong| crate::config::argument("--older-than", &args.older_than, wrong))?;
    super::service::endpoints([&place])?;
    let roots = match &place {
        Location::File { path } => vec![path.into()],
        Location::S3 { .. } => Vec::new(),
    };
    let store = open_store(&context.global.aws, &roots)?;
    sweep(store.as_ref(), &place, age, args.dry_run, context.global.json).await
}

async fn sweep(
    store: &dyn ObjectStore,
    place: &Location,
    age: Duration,
    dry_run: bool,
    json: bool,
) -> Result<Exit, UserError> {
    let list = format!("list unfinished uploads under {place:?}");
    // A directory is one with its slash; in S3 a key that only begins like the place is to be told, and left alone.
    let from = if matches!(place, Location::File { .. }) { &place.as_folder() } else { place };
    let found = store.unfinished(from).await.map_err(|error| failed(Role::Read, &list, &error))?;
    let (found, beside): (Vec<_>, Vec<_>) = found.into_iter().partition(|upload| upload.location.is_in(place));
    let (alive, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|upload| upload.writer == Writer::Alive);
    let (old, young): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|upload| upload.writer == Writer::Gone || is_older(upload, age, SystemTime::now()));
    let mut failures = 0u64;
    for upload in &old {
        let discarded = if dry_run { Ok(()) } else { store.discard(upload).await };
        failures += u64::from(discarded.is_err());
        let problem = discarded.err().map(|error| error.to_string());
        tell(upload, problem.as_deref(), json)?;
    }
    let bytes: u64 = old.iter().filter_map(|upload| upload.bytes).sum();
    let (done, left, alive) = (old.len() as u64 - failures, young.len(), alive.len());
    if json {
        let beside = beside.len();
        let summary = json!({ "dry_run": dry_run, "discarded": done, "failed": failures, "younger": left,
            "in_use": alive, "bytes": bytes, "beside": beside });
        event("summary", summary)?;
    } else {
        if !beside.is_empty() {
            say(&format!(
                "note: {place:?} means this object and everything under {:?} ; left {}, because their keys only begin \
                with this name",
                place.as_folder(),
                things(beside.len() as u64, "unfinished upload")
            ));
        }
        let verb = if dry_run { "(dry run) would discard" } else { "discarded" };
        let mut kept = if left == 0 { String::new() } else { format!("; left {left} younger than {}", show(age)) };
        if alive > 0 {
            kept.push_str(&format!("; left {alive} that a live process writes"));
        }
        print(&format!("{verb} {done} unfinished uploads ({}){kept}\n", show_size(bytes)))?;
    }
    Ok(if failures > 0 { Exit::Failed } else { Exit::Done })
}

/// Whether an upload was begun at least `age` before `now`; one whose age is unknown is left alone.
fn is_older(upload: &Unfinished, age: Duration, now: SystemTime) -> bool {
    upload.begun.and_then(|begun| now.duration_since(begun).ok()).is_some_and(|passed| passed >= age)
}

fn tell(upload: &Unfinished, problem: Option<&str>, json: bool) -> Result<(), UserError> {
    if json {
        let fields =
            json!({ "object": upload.location.to_string(), "id": upload.id, "bytes": upload.bytes, "error": problem });
        return event("upload", fields);
    }
    let problem = problem.map_or(String::new(), |problem| format!("   not discarded: {}", escaped(problem)));
    let bytes = upload.bytes.map_or("-".to_owned(), show_size);
    print(&format!("{bytes:>10}  {:?}{problem}\n", upload.location))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::store::Writing;
    use crate::services::store::local::LocalStore;

    #[test]
    fn an_upload_is_discarded_only_when_it_is_known_to_be_old() {
        let now = SystemTime::now();
        let upload = |begun| Unfinished {
            location: Location::s3("bucket", "k"),
            id: "1".to_owned(),
            begun,
            bytes: None,
            writer: Writer::Unknown,
        };
        let hour = Duration::from_secs(3600);
        assert!(is_older(&upload(Some(now - hour)), hour, now));
        assert!(!is_older(&upload(Some(now - hour / 2)), hour, now));
        assert!(!is_older(&upload(Some(now + hour)), hour, now));
        assert!(!is_older(&upload(None), hour, now));
    }

    #[tokio::test]
    async fn a_dry_run_discards_nothing_and_a_run_what_is_old_enough_or_whose_writer_is_dead() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::new(vec![directory.path().into()]);
        let place = Location::file(format!("{}/", directory.path().display()));
        let begin = async |name| {
            let upload = store.begin(&place.join(name), &Writing::default()).await.unwrap();
            upload.part(1, bytes::Bytes::from_static(b"x")).await.unwrap();
            upload
        };
        let (dead, alive) = (begin("dead").await, begin("alive").await);
        // As version 0.1 made them: nothing tells of their writer.
        std::fs::write(directory.path().join(".batchpipe-0123456789abcdef"), "x").unwrap();
        let foreign = directory.path().join(".batchpipe-notes");
        std::fs::write(&foreign, "mine").unwrap();
        drop(dead);
        let left = async || store.unfinished(&place).await.unwrap().len();
        let day = Duration::from_secs(24 * 60 * 60);
        for (age, dry_run, remaining) in [(Duration::ZERO, true, 3), (day, false, 2), (Duration::ZERO, false, 1)] {
            assert_eq!(sweep(&store, &place, age, dry_run, true).await.unwrap(), Exit::Done);
            assert_eq!(left().await, remaining, "{age:?} {dry_run}");
        }
        drop(alive);
        assert_eq!(sweep(&store, &place, day, false, true).await.unwrap(), Exit::Done);
        assert_eq!((left().await, std::fs::read(&foreign).unwrap()), (0, b"mine".to_vec()));
    }
}
