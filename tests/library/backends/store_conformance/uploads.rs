//! Uploads in parts: what counts, what can be seen of one before its end, and what is left after it.

use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::ServiceErrorKind;
use batchpipe::services::store::{ObjectStore, Part, Unfinished, Writing};
use bytes::Bytes;

use super::{bytes, list, part_size, put, read, same};

/// The same through multipart uploads.
pub(super) async fn returns_what_was_uploaded_in_parts(store: Arc<dyn ObjectStore>, base: Location) {
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

/// Parts may arrive last first, and at the same time.
pub(super) async fn takes_parts_in_any_order(store: Arc<dyn ObjectStore>, base: Location) {
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
pub(super) async fn takes_parts_of_growing_sizes(store: Arc<dyn ObjectStore>, base: Location) {
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
pub(super) async fn counts_the_last_write_of_a_part(store: Arc<dyn ObjectStore>, base: Location) {
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

/// A completion that names a part as it is no more, or one that never came, is no fault of the job: made anew, the
/// upload succeeds. So it is `Unavailable`, which is tried again, and never `Invalid`, which rejects. What failed can
/// still be right.
pub(super) async fn asks_for_an_upload_to_begin_anew_whose_parts_are_others(
    store: Arc<dyn ObjectStore>,
    base: Location,
) {
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
pub(super) async fn shows_nothing_before_complete(store: Arc<dyn ObjectStore>, base: Location) {
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
pub(super) async fn leaves_nothing_after_an_abort(store: Arc<dyn ObjectStore>, base: Location) {
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

/// An upload that nobody ends is found under its prefix and can be discarded, twice; others are left alone.
pub(super) async fn lists_and_discards_unfinished_uploads(store: Arc<dyn ObjectStore>, base: Location) {
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
