//! What holds of any key whatever: it never leaves the place that the operator gave, and comes back as it went in.

use std::fs;
use std::path::Path;

use batchpipe::error::ServiceErrorKind;
use batchpipe::job::message::{self, Rules, parse};
use batchpipe::job::{Location, MAX_KEY_BYTES};
use batchpipe::services::store::local::LocalStore;
use batchpipe::services::store::{ObjectStore, Version, Writing};
use bytes::Bytes;
use futures::TryStreamExt;

/// A key below a directory, and a key in a message for an allowed prefix.
pub(crate) fn check(key: &str) {
    check_message(key);
    // A disk is slow, and what is refused is refused by its text.
    if key.len() <= MAX_KEY_BYTES {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check_file(key));
    }
}

/// Whatever keys a message names, both objects are under a place that the operator allowed.
fn check_message(key: &str) {
    let allow = vec![Location::s3("acme-in", "in/"), Location::s3("acme-out", "out/"), Location::file("/data/")];
    let rules = Rules { allow: allow.clone(), ..Rules::default() };
    for (input, output) in [
        (format!("s3://acme-in/in/{key}"), format!("s3://acme-out/out/{key}")),
        (format!("s3://acme-in/{key}"), format!("s3://{key}")),
        (format!("file:///data/{key}"), format!("file://{key}")),
        (key.to_owned(), "s3://acme-out/out/x".to_owned()),
    ] {
        let body = serde_json::json!({"v": 1, "input": input, "output": output}).to_string();
        let Ok(requests) = parse(&body).map(message::jobs) else { continue };
        for job in requests.iter().filter_map(|request| rules.job(request, "m", 1).ok()) {
            for place in [&job.input, &job.output] {
                assert!(allow.iter().any(|prefix| place.is_under(prefix)), "{place:?}");
            }
        }
    }
}

/// Written under a root a key is a file under that root, found by listing and by reading, or nothing at all.
async fn check_file(key: &str) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let store = LocalStore::new(vec![root.clone()]);
    let at = Location::file(format!("{}/{key}", root.display()));
    let body = Bytes::from_static(b"body");
    let wrote = store.put(&at, body.clone(), &Writing::default()).await;
    let mut left: Vec<_> =
        fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["root", "secret"], "{key:?} left its root");
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret", "{key:?} reached a neighbour");
    match wrote {
        Ok(()) => {
            assert!(fs::canonicalize(Path::new(at.key())).unwrap().starts_with(fs::canonicalize(&root).unwrap()));
            let reading = store.get(&at, 0..u64::MAX, &Version::default()).await.unwrap();
            let read: Vec<Bytes> = reading.body.try_collect().await.unwrap();
            assert_eq!(read.concat(), body);
            let prefix = Location::file(format!("{}/", root.display()));
            let listed: Vec<_> = store.list(&prefix).map_ok(|found| found.location).try_collect().await.unwrap();
            assert_eq!(listed, [at], "what is listed is what was written");
        }
        // An error that rejects the job, and never one that stops the worker.
        Err(error) => assert_eq!(error.kind, ServiceErrorKind::Invalid, "{key:?}: {error:?}"),
    }
}
