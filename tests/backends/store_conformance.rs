//! What every store must do, in sentences. A backend's test hands [`conforms`] a store and an empty place in it;
//! each sentence works under a prefix of its own, all run at once, and a failure names the backend and the sentence.
//!
//! Parts are as small as the store allows, so the suite moves some 100 MiB on S3 and little on a local disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::store::{Condition, ObjectInfo, ObjectStore, Part, Reading, Unfinished, Version, Writing};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;

type Sentence = (&'static str, fn(Arc<dyn ObjectStore>, Location) -> BoxFuture<'static, ()>);

/// Every sentence.
const SENTENCES: &[Sentence] = &[
    ("returns what was put", |store, at| Box::pin(returns_what_was_put(store, at))),
    ("returns what was uploaded in parts", |store, at| Box::pin(returns_what_was_uploaded_in_parts(store, at))),
    ("clamps ranges to the object", |store, at| Box::pin(clamps_ranges_to_the_object(store, at))),
    ("refuses a pinned read of a changed object", |store, at| {
        Box::pin(refuses_a_pinned_read_of_a_changed_object(store, at))
    }),
    ("takes parts in any order", |store, at| Box::pin(takes_parts_in_any_order(store, at))),
    ("takes parts of growing sizes", |store, at| Box::pin(takes_parts_of_growing_sizes(store, at))),
    ("counts the last write of a part", |store, at| Box::pin(counts_the_last_write_of_a_part(store, at))),
    ("asks for an upload to begin anew whose parts are others", |store, at| {
        Box::pin(asks_for_an_upload_to_begin_anew_whose_parts_are_others(store, at))
    }),
    ("shows nothing before complete", |store, at| Box::pin(shows_nothing_before_complete(store, at))),
    ("leaves nothing after an abort", |store, at| Box::pin(leaves_nothing_after_an_abort(store, at))),
    ("replaces an object whole", |store, at| Box::pin(replaces_an_object_whole(store, at))),
    ("keeps metadata with an object, or none of it", |store, at| {
        Box::pin(keeps_metadata_with_an_object_or_none_of_it(store, at))
    }),
    ("refuses to overwrite where nothing may be", |store, at| {
        Box::pin(refuses_to_overwrite_where_nothing_may_be(store, at))
    }),
    ("replaces only the object that was seen", |store, at| Box::pin(replaces_only_the_object_that_was_seen(store, at))),
    ("tells size and version without a byte", |store, at| Box::pin(tells_size_and_version_without_a_byte(store, at))),
    ("knows nothing of what is not there", |store, at| Box::pin(knows_nothing_of_what_is_not_there(store, at))),
    ("lists in order, all, and only the prefix", |store, at| {
        Box::pin(lists_in_order_all_and_only_the_prefix(store, at))
    }),
    ("takes odd names as they are", |store, at| Box::pin(takes_odd_names_as_they_are(store, at))),
    ("lists and discards unfinished uploads", |store, at| Box::pin(lists_and_discards_unfinished_uploads(store, at))),
];

/// Runs every sentence under `base` (whose key is empty or ends in a slash) and panics with the list of those that
/// failed.
pub(crate) async fn conforms(backend: &str, store: Arc<dyn ObjectStore>, base: Location) {
    let running: Vec<_> = SENTENCES
        .iter()
        .enumerate()
        .map(|(number, (sentence, check))| {
            let at = base.join(&format!("sentence-{number:02}/"));
            (sentence, tokio::spawn(check(Arc::clone(&store), at)))
        })
        .collect();
    let mut failed = Vec::new();
    for (sentence, check) in running {
        if let Err(error) = check.await {
            failed.push(format!("{backend}: a store {sentence}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Bytes that tell where they come from: no two stretches of one object are alike, nor two objects of other seeds.
fn bytes(length: u64, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut data = Vec::with_capacity(length as usize + 8);
    while (data.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(length as usize);
    data.into()
}

/// The smallest part that is worth a test: what the store allows, and more than one read of a local file.
fn part_size(store: &Arc<dyn ObjectStore>) -> u64 {
    store.part_bounds().0.max(1_100_000)
}

async fn collect(reading: Reading) -> Result<Vec<u8>, ServiceError> {
    reading
        .body
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

/// The whole object.
async fn read(store: &Arc<dyn ObjectStore>, at: &Location) -> Vec<u8> {
    let reading = store.get(at, 0..u64::MAX, &Version::default()).await.expect("get");
    let size = reading.size;
    let all = collect(reading).await.expect("the body");
    assert_eq!(all.len() as u64, size, "the size told and the bytes read");
    all
}

async fn read_range(store: &Arc<dyn ObjectStore>, at: &Location, range: std::ops::Range<u64>) -> Vec<u8> {
    collect(store.get(at, range, &Version::default()).await.expect("get")).await.expect("the body")
}

/// Puts an object, as plainly as can be.
async fn put(store: &Arc<dyn ObjectStore>, at: &Location, body: &Bytes) {
    store.put(at, body.clone(), &Writing::default()).await.expect("put");
}

/// The listing under `prefix`.
async fn list(store: &Arc<dyn ObjectStore>, prefix: &Location) -> Vec<ObjectInfo> {
    store.list(prefix).try_collect().await.expect("list")
}

/// `assert_eq!` on megabytes prints megabytes; this says only what was being compared.
fn same(got: &[u8], expected: &[u8], what: &str) {
    assert_eq!(got.len(), expected.len(), "length of {what}");
    assert!(got == expected, "the bytes of {what} are not those written");
}

/// Objects of every size around a part come back whole, with their size, and by the version `head` tells.
async fn returns_what_was_put(store: Arc<dyn ObjectStore>, base: Location) {
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

/// The same through multipart uploads.
async fn returns_what_was_uploaded_in_parts(store: Arc<dyn ObjectStore>, base: Location) {
    let part = part_size(&store);
    for size in [1, part, part + 1, 3 * part + 7] {
        let (at, body) = (base.join(&format!("parts-{size}")), bytes(size, size));
        let upload = store.begin(&at, &Writing::default()).await.expect("begin");
        let mut parts = Vec::new();
        for (start, number) in (0..size).step_by(part as usize).zip(1..) {
            let piece = body.slice(start as usize..(start + part).min(size) as usize);
            let accepted = upload.part(number, piece.clone()).await.expect("part");
            assert_eq!((accepted.number, accepted.size), (number, piece.len() as u64));
            parts.push(accepted);
        }
        upload.complete(&parts).await.expect("complete");
        same(&read(&store, &at).await, &body, &format!("an upload of {size} bytes"));
        assert_eq!(store.head(&at).await.expect("head").expect("the object").size, size);
    }
}

/// A range is cut at the end of the object; past the end there is nothing, and that is not an error.
async fn clamps_ranges_to_the_object(store: Arc<dyn ObjectStore>, base: Location) {
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
async fn refuses_a_pinned_read_of_a_changed_object(store: Arc<dyn ObjectStore>, base: Location) {
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

/// Parts may arrive last first, and at the same time.
async fn takes_parts_in_any_order(store: Arc<dyn ObjectStore>, base: Location) {
    let part = part_size(&store) as usize;
    let (at, body) = (base.join("any-order"), bytes(4 * part as u64 + 9, 3));
    let pieces: Vec<Bytes> =
        (0..5).map(|index| body.slice(index * part..((index + 1) * part).min(body.len()))).collect();
    for order in [[5, 4, 3, 2, 1], [2, 5, 1, 3, 4]] {
        let upload = store.begin(&at, &Writing::default()).await.expect("begin");
        let mut parts: Vec<Part> = Vec::new();
        for number in order {
            parts.push(upload.part(number, pieces[number as usize - 1].clone()).await.expect("part"));
        }
        parts.sort_by_key(|part| part.number);
        upload.complete(&parts).await.expect("complete");
        same(&read(&store, &at).await, &body, &format!("parts in the order {order:?}"));
    }
    let upload = store.begin(&at, &Writing::default()).await.expect("begin");
    let parts = futures::future::try_join_all(
        [3, 1, 5, 2, 4].map(|number| upload.part(number, pieces[number as usize - 1].clone())),
    );
    let mut parts = parts.await.expect("parts");
    parts.sort_by_key(|part| part.number);
    upload.complete(&parts).await.expect("complete");
    same(&read(&store, &at).await, &body, "parts at the same time");
}

/// The size of parts may change within an upload, as it does when the length is not known beforehand; numbers may
/// be left out.
async fn takes_parts_of_growing_sizes(store: Arc<dyn ObjectStore>, base: Location) {
    let part = part_size(&store) as usize;
    let sizes = [part, part, part + 5, 2 * part, 10];
    let body = bytes(sizes.iter().sum::<usize>() as u64, 4);
    let mut rest = body.clone();
    let pieces = sizes.map(|size| rest.split_to(size));
    let at = base.join("growing");
    for order in [[0, 1, 2, 3, 4], [3, 1, 4, 0, 2]] {
        let upload = store.begin(&at, &Writing::default()).await.expect("begin");
        let mut parts: Vec<Part> = Vec::new();
        for index in order {
            let number = [1, 2, 5, 6, 10_000][index];
            parts.push(upload.part(number, pieces[index].clone()).await.expect("part"));
        }
        parts.sort_by_key(|part| part.number);
        upload.complete(&parts).await.expect("complete");
        same(&read(&store, &at).await, &body, &format!("parts of growing sizes in the order {order:?}"));
    }
}

/// A part that is written again replaces the first, whatever the sizes.
async fn counts_the_last_write_of_a_part(store: Arc<dyn ObjectStore>, base: Location) {
    let part = part_size(&store);
    let at = base.join("repeated");
    for (first, again) in [(part, part), (part, part + 3), (part + 3, part)] {
        let (right, tail) = (bytes(again, 6), bytes(11, 7));
        let upload = store.begin(&at, &Writing::default()).await.expect("begin");
        upload.part(1, bytes(first, 5)).await.expect("part");
        let last = upload.part(2, tail.clone()).await.expect("part");
        let one = upload.part(1, right.clone()).await.expect("the part again");
        upload.complete(&[one, last]).await.expect("complete");
        same(&read(&store, &at).await, &[&right[..], &tail[..]].concat(), &format!("{again} bytes over {first}"));
    }
}

/// A completion that names a part as it is no more, or one that never came, is no fault of the job: made anew, the upload
/// succeeds. So it is `Unavailable`, which is tried again, and never `Invalid`, which rejects. What failed can still be right.
async fn asks_for_an_upload_to_begin_anew_whose_parts_are_others(store: Arc<dyn ObjectStore>, base: Location) {
    let at = base.join("others");
    let upload = store.begin(&at, &Writing::default()).await.expect("begin");
    let old = upload.part(1, bytes(11, 1)).await.expect("part");
    let new = upload.part(1, bytes(11, 2)).await.expect("the part again");
    let never = Part { number: 2, ..new.clone() };
    for parts in [&[old][..], &[new.clone(), never]] {
        let error = upload.complete(parts).await.expect_err("completed with parts that it does not have");
        assert_eq!(error.kind, ServiceErrorKind::Unavailable, "{error}: {parts:?}");
        assert!(store.head(&at).await.expect("head").is_none(), "an object of {parts:?}");
    }
    upload.complete(&[new]).await.expect("complete");
    same(&read(&store, &at).await, &bytes(11, 2), "the part that was written last");
}

/// An upload under way is nowhere to be seen, and what was there before stays until it completes.
async fn shows_nothing_before_complete(store: Arc<dyn ObjectStore>, base: Location) {
    let (fresh, old) = (base.join("fresh"), base.join("old"));
    put(&store, &old, &bytes(10, 1)).await;
    let body = bytes(part_size(&store), 2);
    for at in [&fresh, &old] {
        let upload = store.begin(at, &Writing::default()).await.expect("begin");
        let part = upload.part(1, body.clone()).await.expect("part");
        if at == &fresh {
            assert_eq!(store.head(at).await.expect("head"), None, "head sees an upload under way");
        } else {
            same(&read(&store, at).await, &bytes(10, 1), "the object before it is replaced");
        }
        let listed = list(&store, &base).await;
        assert!(listed.iter().all(|info| info.size != body.len() as u64 || &info.location != at), "{listed:?}");
        assert!(listed.len() <= 2, "a listing shows what is no object: {listed:?}");
        upload.complete(&[part]).await.expect("complete");
        same(&read(&store, at).await, &body, "the completed upload");
    }
}

/// After an abort there is no object, no unfinished upload, and aborting again is fine.
async fn leaves_nothing_after_an_abort(store: Arc<dyn ObjectStore>, base: Location) {
    let at = base.join("deep/er/aborted");
    let upload = store.begin(&at, &Writing::default()).await.expect("begin");
    let part = upload.part(1, bytes(part_size(&store), 1)).await.expect("part");
    upload.abort().await.expect("abort");
    upload.abort().await.expect("an abort may be repeated");
    assert_eq!(store.head(&at).await.expect("head"), None);
    assert!(list(&store, &base).await.is_empty());
    assert_eq!(store.unfinished(&base).await.expect("unfinished"), []);
    let error = upload.complete(&[part]).await.expect_err("nothing is left to complete");
    assert_eq!(error.kind, ServiceErrorKind::Missing, "{error}");
}

/// A put over an object leaves none of it: neither its tail nor its metadata.
async fn replaces_an_object_whole(store: Arc<dyn ObjectStore>, base: Location) {
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

/// Metadata comes with a put and with an upload in parts, and is kept as it is or, on a file system that can't, not at
/// all; `--if-exists` recognises outputs by it.
async fn keeps_metadata_with_an_object_or_none_of_it(store: Arc<dyn ObjectStore>, base: Location) {
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
async fn replaces_only_the_object_that_was_seen(store: Arc<dyn ObjectStore>, base: Location) {
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

/// An empty range is a question for the version: it costs no body, and its pin holds.
async fn tells_size_and_version_without_a_byte(store: Arc<dyn ObjectStore>, base: Location) {
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

/// With `Condition::Absent` whatever is there stays, for a put and for an upload in parts.
async fn refuses_to_overwrite_where_nothing_may_be(store: Arc<dyn ObjectStore>, base: Location) {
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

/// What is not there is `None` to head, `Missing` to get and nothing to list; a "folder" is not an object.
async fn knows_nothing_of_what_is_not_there(store: Arc<dyn ObjectStore>, base: Location) {
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
async fn lists_in_order_all_and_only_the_prefix(store: Arc<dyn ObjectStore>, base: Location) {
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
async fn takes_odd_names_as_they_are(store: Arc<dyn ObjectStore>, base: Location) {
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

/// An upload that nobody ends is found under its prefix and can be discarded, twice; others are left alone.
async fn lists_and_discards_unfinished_uploads(store: Arc<dyn ObjectStore>, base: Location) {
    let (here, there) = (base.join("here/forgotten"), base.join("there/forgotten"));
    for at in [&here, &there] {
        let upload = store.begin(at, &Writing::default()).await.expect("begin");
        upload.part(1, bytes(1000, 1)).await.expect("part");
        let named = upload.unfinished();
        drop(upload);
        let listed = store.unfinished(at).await.expect("unfinished");
        let [only] = &listed[..] else { panic!("one upload is at {at}: {listed:?}") };
        assert_eq!((&named.location, &named.id), (&only.location, &only.id), "it names itself as a listing does");
    }
    let found = store.unfinished(&base.join("here/")).await.expect("unfinished");
    let [only] = &found[..] else { panic!("one upload is under here/: {found:?}") };
    assert_eq!(only.location, here);
    assert!(!only.id.is_empty() && only.bytes.is_none_or(|bytes| bytes == 1000), "{only:?}");
    store.discard(only).await.expect("discard");
    store.discard(only).await.expect("one that is gone counts as discarded");
    let left: Vec<Unfinished> = store.unfinished(&base).await.expect("unfinished");
    assert_eq!(left.iter().map(|upload| &upload.location).collect::<Vec<_>>(), [&there]);
    store.discard(&left[0]).await.expect("discard");
    let upload = store.begin(&here, &Writing::default()).await.expect("begin");
    store.discard(&upload.unfinished()).await.expect("by the name it gives itself");
    assert_eq!(store.unfinished(&base).await.expect("unfinished"), []);
    assert!(list(&store, &base).await.is_empty());
}
