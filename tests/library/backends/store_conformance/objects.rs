//! Objects in one piece: what was put comes back, whole, in ranges and by its version.

use std::collections::BTreeMap;
use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::services::store::{ObjectStore, Version, Writing};
use bytes::Bytes;

use super::{bytes, collect, list, part_size, put, read, read_range, same};

/// Objects of every size around a part come back whole, with their size, and by the version `head` tells.
pub(super) async fn returns_what_was_put(store: Arc<dyn ObjectStore>, base: Location) {
    let part = part_size(&store);
    for size in [0, 1, part - 1, part, part + 1] {
        let (at, body) = (base.join(&format!("put-{size}")), bytes(size, size));
        put(&store, &at, &body).await;
        same(&read(&store, &at).await, &body, &format!("an object of {size} bytes"));
        let info = store.head(&at).await.expect("head").expect("the object");
        assert_eq!((info.size, &info.location), (size, &at));
        assert!(info.version.etag.as_ref().is_some_and(|etag| !etag.is_empty() && !etag.contains('"')), "{info:?}");
        let pinned = store.get(&at, 0..part, &info.version).await.expect("a read pinned to what head tells");
        assert_eq!((pinned.size, &pinned.version.etag), (size, &info.version.etag));
    }
}

/// A range is cut at the end of the object; past the end there is nothing, and that is not an error.
pub(super) async fn clamps_ranges_to_the_object(store: Arc<dyn ObjectStore>, base: Location) {
    let (at, body) = (base.join("ranges"), bytes(1000, 1));
    put(&store, &at, &body).await;
    for (range, expected) in [
        (0..10, 0..10),
        (990..1000, 990..1000),
        (990..5000, 990..1000),
        (999..u64::MAX, 999..1000),
        (1000..1001, 0..0),
        (5000..6000, 0..0),
    ] {
        let reading = store.get(&at, range.clone(), &Version::default()).await.expect("get");
        assert_eq!(reading.size, 1000, "the size of the whole, for {range:?}");
        // S3 tells no version of what it answers 416 to.
        assert!(expected.is_empty() || reading.version.etag.is_some(), "the version, for {range:?}");
        same(&collect(reading).await.expect("the body"), &body[expected], &format!("range {range:?}"));
    }
    let empty = base.join("empty");
    put(&store, &empty, &Bytes::new()).await;
    assert!(read_range(&store, &empty, 0..100).await.is_empty());
    let missing = store.get(&base.join("missing"), 0..10, &Version::default()).await;
    assert_eq!(missing.err().map(|error| error.kind), Some(ServiceErrorKind::Missing));
}

/// A read pinned to a version never brings the bytes of another.
pub(super) async fn refuses_a_pinned_read_of_a_changed_object(store: Arc<dyn ObjectStore>, base: Location) {
    let at = base.join("pinned");
    put(&store, &at, &bytes(1000, 1)).await;
    let version = store.get(&at, 0..1, &Version::default()).await.expect("get").version;
    // A version id would go on naming the old bytes in a versioned bucket; the ETag alone is the promise here.
    let pin = Version { etag: version.etag, version_id: None };
    assert_eq!(read_pinned(&store, &at, &pin).await.expect("unchanged").len(), 990);
    put(&store, &at, &bytes(1000, 2)).await;
    let error = read_pinned(&store, &at, &pin).await.expect_err("a changed object must be refused");
    assert_eq!(error.kind, ServiceErrorKind::Changed, "{error}");
    let wrong = Version { etag: Some("0123456789abcdef".to_owned()), version_id: None };
    let error = store.get(&at, 0..10, &wrong).await.expect_err("a version that never was");
    assert_eq!(error.kind, ServiceErrorKind::Changed, "{error}");
}

async fn read_pinned(store: &Arc<dyn ObjectStore>, at: &Location, pin: &Version) -> Result<Vec<u8>, ServiceError> {
    collect(store.get(at, 10..1000, pin).await?).await
}

/// An empty range is a question for the version: it costs no body, and its pin holds.
pub(super) async fn tells_size_and_version_without_a_byte(store: Arc<dyn ObjectStore>, base: Location) {
    let at = base.join("asked");
    put(&store, &at, &bytes(1000, 1)).await;
    let info = store.head(&at).await.expect("head").expect("the object");
    let reading = store.get(&at, 0..0, &info.version).await.expect("get");
    assert_eq!((reading.size, &reading.version.etag), (1000, &info.version.etag));
    assert!(collect(reading).await.expect("the body").is_empty());
    put(&store, &at, &bytes(1001, 2)).await;
    let error = store.get(&at, 0..0, &info.version).await.expect_err("it has changed");
    assert_eq!(error.kind, ServiceErrorKind::Changed, "{error}");
    let error = store.get(&base.join("nothing"), 0..0, &Version::default()).await.expect_err("there is none");
    assert_eq!(error.kind, ServiceErrorKind::Missing, "{error}");
}

/// A put over an object leaves none of it: neither its tail nor its metadata.
pub(super) async fn replaces_an_object_whole(store: Arc<dyn ObjectStore>, base: Location) {
    let at = base.join("replaced");
    let metadata = BTreeMap::from([("batchpipe-job".to_owned(), "j1".to_owned())]);
    let how = Writing { metadata: metadata.clone(), ..Writing::default() };
    store.put(&at, bytes(1000, 1), &how).await.expect("put");
    let info = store.head(&at).await.expect("head").expect("the object");
    assert!(info.metadata == metadata || info.metadata.is_empty(), "metadata is kept or not, never changed: {info:?}");
    put(&store, &at, &bytes(10, 2)).await;
    same(&read(&store, &at).await, &bytes(10, 2), "the shorter object");
    assert!(store.head(&at).await.expect("head").expect("the object").metadata.is_empty());
    assert_eq!(list(&store, &base).await.len(), 1);
}
