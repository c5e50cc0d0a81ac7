//! What `--if-exists` stands on: metadata that comes with an object, and writes under a condition.

use std::collections::BTreeMap;
use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::services::store::{Condition, ObjectStore, Writing};

use super::{bytes, list, put, read, same};

/// Metadata comes with a put and with an upload in parts, and is kept as it is or, on a file system that can't, not at
/// all; `--if-exists` recognises outputs by it.
pub(super) async fn keeps_metadata_with_an_object_or_none_of_it(store: Arc<dyn ObjectStore>, base: Location) {
    let metadata = BTreeMap::from([
        ("batchpipe-processor".to_owned(), "decompress,zstd:9;args:0123456789abcdef".to_owned()),
        ("batchpipe-source".to_owned(), "00112233445566778899aabbccddeeff".to_owned()),
    ]);
    let how = Writing { metadata: metadata.clone(), ..Writing::default() };
    let (whole, parts) = (base.join("whole"), base.join("parts"));
    store.put(&whole, bytes(10, 1), &how).await.expect("put");
    let upload = store.begin(&parts, &how).await.expect("begin");
    let part = upload.part(1, bytes(10, 2)).await.expect("part");
    upload.complete(&[part]).await.expect("complete");
    let whole = store.head(&whole).await.expect("head").expect("the object").metadata;
    let parts = store.head(&parts).await.expect("head").expect("the object").metadata;
    assert_eq!(whole, parts, "both or none");
    let may_have_none = matches!(base, Location::File { .. });
    assert!(whole == metadata || (may_have_none && whole.is_empty()), "{whole:?}");
}

/// With `Condition::Unchanged` an object is replaced if it is the one that was seen, and neither another nor none.
pub(super) async fn replaces_only_the_object_that_was_seen(store: Arc<dyn ObjectStore>, base: Location) {
    async fn seen(store: &Arc<dyn ObjectStore>, at: &Location) -> Writing {
        let etag = store.head(at).await.expect("head").expect("the object").version.etag.expect("an ETag");
        Writing { condition: Condition::Unchanged(etag), ..Writing::default() }
    }
    async fn upload(store: &Arc<dyn ObjectStore>, at: &Location, seed: u64, how: &Writing) -> Result<(), ServiceError> {
        let upload = store.begin(at, how).await.expect("begin");
        let part = upload.part(1, bytes(20, seed)).await.expect("part");
        let completed = upload.complete(&[part]).await;
        upload.abort().await.expect("abort");
        completed
    }
    let at = base.join("seen");
    put(&store, &at, &bytes(10, 1)).await;
    let first = seen(&store, &at).await;
    store.put(&at, bytes(10, 2), &first).await.expect("it is the one that was seen");
    same(&read(&store, &at).await, &bytes(10, 2), "the second");
    let second = seen(&store, &at).await;
    upload(&store, &at, 3, &second).await.expect("it is the one that was seen");
    same(&read(&store, &at).await, &bytes(20, 3), "the third");
    for stale in [&first, &second] {
        let error = store.put(&at, bytes(10, 4), stale).await.expect_err("it has changed");
        assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}");
        let error = upload(&store, &at, 4, stale).await.expect_err("it has changed");
        assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}");
    }
    same(&read(&store, &at).await, &bytes(20, 3), "the third, still");
    let nothing = base.join("nothing");
    let error = store.put(&nothing, bytes(10, 4), &first).await.expect_err("there is none");
    assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}");
    let error = upload(&store, &nothing, 4, &first).await.expect_err("there is none");
    assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}");
    assert_eq!(list(&store, &base).await.len(), 1);
}

/// With `Condition::Absent` whatever is there stays, for a put and for an upload in parts.
pub(super) async fn refuses_to_overwrite_where_nothing_may_be(store: Arc<dyn ObjectStore>, base: Location) {
    let careful = Writing { condition: Condition::Absent, ..Writing::default() };
    let at = base.join("first");
    store.put(&at, bytes(10, 1), &careful).await.expect("nothing is there yet");
    let error = store.put(&at, bytes(10, 2), &careful).await.expect_err("there is an object");
    assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}");
    let upload = store.begin(&at, &careful).await.expect("begin");
    let part = upload.part(1, bytes(10, 3)).await.expect("part");
    let error = upload.complete(&[part]).await.expect_err("there is an object");
    assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}");
    upload.abort().await.expect("abort");
    same(&read(&store, &at).await, &bytes(10, 1), "the object that was first");
    let fresh = base.join("second");
    let upload = store.begin(&fresh, &careful).await.expect("begin");
    let part = upload.part(1, bytes(10, 4)).await.expect("part");
    upload.complete(&[part]).await.expect("nothing is there yet");
    same(&read(&store, &fresh).await, &bytes(10, 4), "the upload that was first");
}
