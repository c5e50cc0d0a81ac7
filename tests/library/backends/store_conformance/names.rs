//! Names: what is not there, what is listed and in which order, and names that only look like a notation.

use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::ServiceErrorKind;
use batchpipe::services::store::{ObjectStore, Version};

use super::{bytes, list, put, read, same};

/// What is not there is `None` to head, `Missing` to get and nothing to list; a "folder" is not an object.
pub(super) async fn knows_nothing_of_what_is_not_there(store: Arc<dyn ObjectStore>, base: Location) {
    put(&store, &base.join("folder/object"), &bytes(1, 1)).await;
    for name in ["nothing", "nothing/at/all", "folder"] {
        assert_eq!(store.head(&base.join(name)).await.expect("head"), None, "{name}");
    }
    let error = store.get(&base.join("nothing"), 0..1, &Version::default()).await.expect_err("nothing there");
    assert_eq!(error.kind, ServiceErrorKind::Missing, "{error}");
    assert!(list(&store, &base.join("nothing")).await.is_empty());
    assert!(list(&store, &base.join("nothing/")).await.is_empty());
}

/// The order is that of the keys' bytes, where `-` and `.` come before `/`; a prefix need not end at a slash.
pub(super) async fn lists_in_order_all_and_only_the_prefix(store: Arc<dyn ObjectStore>, base: Location) {
    let names = [
        "list/a",
        "list/a-b",
        "list/a.txt",
        "list/a/1",
        "list/a/b/2",
        "list/a0",
        "list/b",
        "list/é",
        "list/日",
        "listed",
    ];
    // Written in another order than they are listed in.
    for name in names.iter().rev() {
        if *name != "list/a" {
            put(&store, &base.join(name), &bytes(name.len() as u64, 1)).await;
        }
    }
    put(&store, &base.join("other"), &bytes(3, 1)).await;
    let expect = |prefix: &str| -> Vec<Location> {
        // `list/a` would be both an object and a folder, which S3 can and a directory can't.
        let under = names.iter().filter(|name| name.starts_with(prefix) && **name != "list/a");
        under.map(|name| base.join(name)).collect()
    };
    for prefix in ["list", "list/", "list/a", "list/a/", "list/a/b", "list/é", "listx"] {
        let listed = list(&store, &base.join(prefix)).await;
        let locations: Vec<Location> = listed.iter().map(|info| info.location.clone()).collect();
        assert_eq!(locations, expect(prefix), "under {prefix:?}");
        for info in listed {
            let head = store.head(&info.location).await.expect("head").expect("what was listed");
            assert_eq!((info.size, &info.version.etag), (head.size, &head.version.etag), "{info:?}");
        }
    }
    let mut many: Vec<Location> = (0..30).map(|number| base.join(&format!("many/{number}"))).collect();
    futures::future::join_all(many.iter().map(|at| async { put(&store, at, &bytes(1, 1)).await })).await;
    many.sort();
    let listed: Vec<Location> = list(&store, &base.join("many/")).await.into_iter().map(|info| info.location).collect();
    assert_eq!(listed, many);
}

/// A name is bytes, not a notation: nothing in it is decoded, trimmed or run.
pub(super) async fn takes_odd_names_as_they_are(store: Arc<dyn ObjectStore>, base: Location) {
    let names = [
        " leading and trailing ",
        "plus+plus",
        "percent%41",
        "%2e%2e%2f",
        "ü",
        "u\u{308} apart",
        "🦀",
        "\"quoted\"",
        "it's",
        "line\nbreak",
        "tab\tstop",
        "back\\slash",
        "$(id)",
        "`id`",
        "; rm -rf *",
        "-rf",
        "...",
        "a?b#c&d=e",
        "{input}",
        "%s%n",
        "CON",
        "~",
    ];
    for (seed, name) in names.iter().enumerate() {
        put(&store, &base.join(name), &bytes(seed as u64 + 1, seed as u64)).await;
    }
    for (seed, name) in names.iter().enumerate() {
        let at = base.join(name);
        same(&read(&store, &at).await, &bytes(seed as u64 + 1, seed as u64), &format!("{name:?}"));
        assert_eq!(store.head(&at).await.expect("head").map(|info| info.location), Some(at));
    }
    let mut expected: Vec<Location> = names.iter().map(|name| base.join(name)).collect();
    expected.sort();
    let listed: Vec<Location> = list(&store, &base).await.into_iter().map(|info| info.location).collect();
    assert_eq!(listed, expected);
}
