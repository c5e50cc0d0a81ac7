//! What every store must do, in sentences. A backend's test hands [`conforms`] a store and an empty place in it;
//! each sentence works under a prefix of its own, all run at once, and a failure names the backend and the sentence.
//!
//! Parts are as small as the store allows, so the suite moves some 100 MiB on S3 and little on a local disk.

mod marks;
mod names;
mod objects;
mod uploads;

use std::ops::Range;
use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::ServiceError;
use batchpipe::services::store::{ObjectInfo, ObjectStore, Reading, Version, Writing};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;

type Sentence = (&'static str, fn(Arc<dyn ObjectStore>, Location) -> BoxFuture<'static, ()>);

/// Every sentence.
const SENTENCES: &[Sentence] = &[
    ("returns what was put", |store, at| Box::pin(objects::returns_what_was_put(store, at))),
    ("returns what was uploaded in parts", |store, at| {
        Box::pin(uploads::returns_what_was_uploaded_in_parts(store, at))
    }),
    ("clamps ranges to the object", |store, at| Box::pin(objects::clamps_ranges_to_the_object(store, at))),
    ("refuses a pinned read of a changed object", |store, at| {
        Box::pin(objects::refuses_a_pinned_read_of_a_changed_object(store, at))
    }),
    ("takes parts in any order", |store, at| Box::pin(uploads::takes_parts_in_any_order(store, at))),
    ("takes parts of growing sizes", |store, at| Box::pin(uploads::takes_parts_of_growing_sizes(store, at))),
    ("counts the last write of a part", |store, at| Box::pin(uploads::counts_the_last_write_of_a_part(store, at))),
    ("asks for an upload to begin anew whose parts are others", |store, at| {
        Box::pin(uploads::asks_for_an_upload_to_begin_anew_whose_parts_are_others(store, at))
    }),
    ("shows nothing before complete", |store, at| Box::pin(uploads::shows_nothing_before_complete(store, at))),
    ("leaves nothing after an abort", |store, at| Box::pin(uploads::leaves_nothing_after_an_abort(store, at))),
    ("replaces an object whole", |store, at| Box::pin(objects::replaces_an_object_whole(store, at))),
    ("keeps metadata with an object, or none of it", |store, at| {
        Box::pin(marks::keeps_metadata_with_an_object_or_none_of_it(store, at))
    }),
    ("refuses to overwrite where nothing may be", |store, at| {
        Box::pin(marks::refuses_to_overwrite_where_nothing_may_be(store, at))
    }),
    ("replaces only the object that was seen", |store, at| {
        Box::pin(marks::replaces_only_the_object_that_was_seen(store, at))
    }),
    ("tells size and version without a byte", |store, at| {
        Box::pin(objects::tells_size_and_version_without_a_byte(store, at))
    }),
    ("knows nothing of what is not there", |store, at| Box::pin(names::knows_nothing_of_what_is_not_there(store, at))),
    ("lists in order, all, and only the prefix", |store, at| {
        Box::pin(names::lists_in_order_all_and_only_the_prefix(store, at))
    }),
    ("takes odd names as they are", |store, at| Box::pin(names::takes_odd_names_as_they_are(store, at))),
    ("lists and discards unfinished uploads", |store, at| {
        Box::pin(uploads::lists_and_discards_unfinished_uploads(store, at))
    }),
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

async fn read_range(store: &Arc<dyn ObjectStore>, at: &Location, range: Range<u64>) -> Vec<u8> {
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
