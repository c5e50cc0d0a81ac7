//! How an output gets to its place on a disk, and what is left if it does not.

use super::*;

#[test]
fn nobody_publishes_for_a_caller_that_left() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("object");
    staging::put(&to, b"late", &Writing::default(), || true).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let upload = LocalUpload::begin(to.clone(), "/object", Writing::default()).unwrap();
    let place = upload.0.layout().place(1, 4);
    let part = upload.0.write(1, place, b"late").unwrap();
    let (waiting, gone) = (Arc::new(()), Caller(std::sync::Weak::new()));
    upload.0.complete(std::slice::from_ref(&part), &gone).unwrap();
    assert!(!to.exists());
    upload.0.complete(&[part], &Caller(Arc::downgrade(&waiting))).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"late", "asked again, it does");
}

#[test]
fn what_the_disk_did_not_take_does_not_become_an_object_when_it_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("object");
    let waiting = Arc::new(());
    let upload = LocalUpload::begin(to.clone(), "/object", Writing::default()).unwrap();
    let place = upload.0.layout().place(1, 4);
    let part = upload.0.write(1, place, b"lost").unwrap();
    let failed = upload.0.synced(&mut upload.0.ended.write().unwrap(), Err(nix::errno::Errno::EIO.into()));
    assert_eq!(failed.unwrap_err().kind, ServiceErrorKind::Unavailable);
    let again = upload.0.complete(&[part], &Caller(Arc::downgrade(&waiting)));
    assert_eq!(again.unwrap_err().code, "NoSuchUpload", "begun anew, it is written anew");
    assert!(!to.exists());
    upload.0.abort().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn parts_in_wrong_places_are_moved_without_losing_a_byte() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("object");
    let waiting = Arc::new(());
    fastrand::seed(7);
    for _ in 0..200 {
        let upload = LocalUpload::begin(to.clone(), "/object", Writing::default()).unwrap();
        let mut last = std::collections::BTreeMap::new();
        for _ in 0..fastrand::usize(1..20) {
            let number = fastrand::u32(1..10);
            let body: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(0..30)).collect();
            let place = upload.0.layout().place(number, body.len() as u64);
            let part = upload.0.write(number, place, &body).unwrap();
            last.insert(number, (part, body));
        }
        let parts: Vec<Part> = last.values().map(|(part, _)| part.clone()).collect();
        let whole: Vec<u8> = last.into_values().flat_map(|(_, body)| body).collect();
        upload.0.complete(&parts, &Caller(Arc::downgrade(&waiting))).unwrap();
        assert_eq!(fs::read(&to).unwrap(), whole);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing staged is left");
}
