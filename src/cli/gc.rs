//! `gc`: discards multipart uploads that nobody finished; their parts are paid for and never seen.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Context;
use super::output::{escaped, event, print, say};
use super::service::{Service, failed};
use crate::backends::open_store;
use crate::config::values::{self, show, show_size};
use crate::error::{Exit, UserError};
use crate::job::Location;
use crate::status::words::things;
use crate::store::{ObjectStore, Unfinished};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe gc s3://acme-out/ --dry-run
  batchpipe gc s3://acme-out/ --older-than 12h";

/// The arguments of `gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The prefix under which unfinished uploads are looked for; without a slash, the object and the folder of that name
    #[arg(value_name = "URI")]
    uri: String,
    /// Leave younger ones alone: somebody may be at work on them
    #[arg(long, value_name = "TIME", default_value = "24h")]
    older_than: String,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Discards the uploads.
pub async fn run(args: Args, context: &Context) -> Result<Exit, UserError> {
    let place = values::location(&args.uri, &context.machine.directory)
        .map_err(|wrong| crate::config::argument("URI", &args.uri, wrong))?;
    // A year: no upload is older, for a lifecycle rule or the bill has ended it.
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    let age = values::duration(&args.older_than, Duration::ZERO, year, 110)
        .map_err(|wrong| crate::config::argument("--older-than", &args.older_than, wrong))?;
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
    let found = store.unfinished(from).await.map_err(|error| failed(Service::Store, &list, &error))?;
    let (found, beside): (Vec<_>, Vec<_>) = found.into_iter().partition(|upload| upload.location.is_in(place));
    let (old, young): (Vec<_>, Vec<_>) = found.into_iter().partition(|upload| is_older(upload, age, SystemTime::now()));
    let mut failures = 0u64;
    for upload in &old {
        let discarded = if dry_run { Ok(()) } else { store.discard(upload).await };
        failures += u64::from(discarded.is_err());
        let problem = discarded.err().map(|error| error.to_string());
        tell(upload, problem.as_deref(), json)?;
    }
    let bytes: u64 = old.iter().filter_map(|upload| upload.bytes).sum();
    let (done, left) = (old.len() as u64 - failures, young.len());
    if json {
        let beside = beside.len();
        let summary = json!({ "dry_run": dry_run, "discarded": done, "failed": failures, "younger": left, "bytes": bytes,
            "beside": beside });
        event("summary", summary)?;
    } else {
        if !beside.is_empty() {
            say(&format!(
                "note: {place:?} was read as that object and all under {:?} ; {} beside it, left alone: keys that only begin so",
                place.as_folder(),
                things(beside.len() as u64, "unfinished upload")
            ));
        }
        let verb = if dry_run { "(dry run) would discard" } else { "discarded" };
        let kept = if left == 0 { String::new() } else { format!("; left {left} younger than {}", show(age)) };
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
    use crate::store::Writing;
    use crate::store::local::LocalStore;

    #[test]
    fn an_upload_is_discarded_only_when_it_is_known_to_be_old() {
        let now = SystemTime::now();
        let upload =
            |begun| Unfinished { location: Location::s3("bucket", "k"), id: "1".to_owned(), begun, bytes: None };
        let hour = Duration::from_secs(3600);
        assert!(is_older(&upload(Some(now - hour)), hour, now));
        assert!(!is_older(&upload(Some(now - hour / 2)), hour, now));
        assert!(!is_older(&upload(Some(now + hour)), hour, now));
        assert!(!is_older(&upload(None), hour, now));
    }

    #[tokio::test]
    async fn a_dry_run_discards_nothing_and_a_run_discards_what_is_old_enough() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::new(vec![directory.path().into()]);
        let place = Location::file(format!("{}/", directory.path().display()));
        let upload = store.begin(&place.join("a"), &Writing::default()).await.unwrap();
        upload.part(1, bytes::Bytes::from_static(b"x")).await.unwrap();
        drop(upload);
        let left = async || store.unfinished(&place).await.unwrap().len();
        assert_eq!(left().await, 1);
        let day = Duration::from_secs(24 * 60 * 60);
        for (age, dry_run, remaining) in [(Duration::ZERO, true, 1), (day, false, 1), (Duration::ZERO, false, 0)] {
            assert_eq!(sweep(&store, &place, age, dry_run, true).await.unwrap(), Exit::Done);
            assert_eq!(left().await, remaining, "{age:?} {dry_run}");
        }
    }
}
