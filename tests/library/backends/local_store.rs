//! The store in a directory: the suite, and what is its own: roots, links, odd files, changes while reading.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::services::store::local::LocalStore;
use batchpipe::services::store::{Condition, ObjectStore, Reading, Version, Writing};
use bytes::Bytes;
use futures::TryStreamExt;

use super::store_conformance::conforms;

fn at(path: &Path) -> Location {
    Location::file(path.to_str().unwrap())
}

fn any() -> Version {
    Version::default()
}

async fn put(store: &LocalStore, to: &Path, body: &'static [u8]) -> Result<(), ServiceError> {
    store.put(&at(to), Bytes::from_static(body), &Writing::default()).await
}

async fn collect(reading: Reading) -> Result<Vec<u8>, ServiceError> {
    let chunks: Vec<Bytes> = reading.body.try_collect().await?;
    Ok(chunks.concat())
}

async fn read(store: &LocalStore, from: &Path) -> Result<Vec<u8>, ServiceError> {
    collect(store.get(&at(from), 0..u64::MAX, &any()).await?).await
}

async fn list(store: &LocalStore, prefix: &str) -> Result<Vec<String>, ServiceError> {
    let listed: Vec<_> = store.list(&Location::file(prefix)).try_collect().await?;
    Ok(listed.into_iter().map(|info| info.location.key().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_store_keeps_every_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::new(vec![directory.path().to_owned()]));
    conforms("file", store, Location::file(format!("{}/", directory.path().display()))).await;
    for sentence in fs::read_dir(directory.path()).unwrap() {
        for left in fs::read_dir(sentence.unwrap().path()).unwrap() {
            let name = left.unwrap().file_name();
            assert!(!name.to_str().unwrap().starts_with(".batchpipe"), "{name:?} was left behind");
        }
    }
}

#[tokio::test]
async fn no_path_leaves_the_roots() {
    let directory = tempfile::tempdir().unwrap();
    let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("inside"), "inside").unwrap();
    std::os::unix::fs::symlink(&outside, root.join("directory-link")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret"), root.join("file-link")).unwrap();
    std::os::unix::fs::symlink("inside", root.join("good-link")).unwrap();
    let store = LocalStore::new(vec![root.clone()]);
    let root = root.to_str().unwrap();
    let outside = outside.to_str().unwrap();
    for path in [
        format!("{root}/../outside/secret"),
        format!("{root}/./inside"),
        format!("{root}//inside"),
        format!("{root}/inside/"),
        format!("{root}/directory-link/secret"),
        format!("{outside}/secret"),
        format!("{root}x/secret"),
        "relative".to_owned(),
        "/etc/passwd".to_owned(),
        String::new(),
        "/".to_owned(),
        format!("{root}/.batchpipe/queue"),
        format!("{root}/a/.BatchPipe/queue"),
        format!("{root}/.BATCHPIPE-0123456789abcdef"),
        format!("{root}/.batchpipe-0123456789abcdef/data"),
        format!("{root}/nul\0"),
        format!("{root}/{}", "x".repeat(300)),
    ] {
        let location = Location::file(&path);
        let how = Writing::default();
        let refused = [
            store.get(&location, 0..1, &any()).await.err(),
            store.head(&location).await.err(),
            store.put(&location, Bytes::from_static(b"bad"), &how).await.err(),
            store.begin(&location, &how).await.err(),
        ];
        for (error, call) in refused.into_iter().zip(["get", "head", "put", "begin"]) {
            assert_eq!(error.map(|error| error.kind), Some(ServiceErrorKind::Invalid), "{call} of {path:?}");
        }
    }
    let error = read(&store, &Path::new(root).join("file-link")).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Invalid, "{error}");
    assert_eq!(read(&store, &Path::new(root).join("good-link")).await.unwrap(), b"inside");
    let error = put(&store, &Path::new(root).join("directory-link/new/file"), b"bad").await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Invalid, "{error}");
    // A put replaces a link and does not write through it.
    put(&store, &Path::new(root).join("file-link"), b"mine").await.unwrap();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1, "nothing was made outside");
    assert_eq!(fs::read(format!("{outside}/secret")).unwrap(), b"secret");
    for prefix in [format!("{outside}/"), "/etc/".into(), format!("{root}/../"), format!("{root}/directory-link/")] {
        let error = list(&store, &prefix).await.expect_err(&prefix);
        assert_eq!(error.kind, ServiceErrorKind::Invalid, "{error}");
    }
    let s3 = store.get(&Location::s3("bucket", "key"), 0..1, &any()).await.unwrap_err();
    assert_eq!(s3.kind, ServiceErrorKind::Invalid);
}

#[tokio::test]
async fn a_listing_follows_links_to_files_and_shows_nothing_else_odd() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("sub/.batchpipe")).unwrap();
    fs::write(root.join("sub/.batchpipe/queue"), "ours").unwrap();
    fs::write(root.join("sub/.batchpipe-0123456789abcdef"), "ours").unwrap();
    fs::write(root.join("sub/.hidden"), "12345").unwrap();
    fs::write(directory.path().join("outside"), "").unwrap();
    for (to, from) in
        [(".hidden", "link"), ("../../outside", "out"), ("nothing", "broken"), ("loop", "loop"), (".", "up")]
    {
        std::os::unix::fs::symlink(to, root.join("sub").join(from)).unwrap();
    }
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let store = LocalStore::new(vec![root.clone()]);
    let expected = [".hidden", "link"].map(|name| format!("{}/sub/{name}", root.display()));
    // The root is found by its own name, with and without a slash, and by the beginning of its name.
    for prefix in ["root", "root/", "roo"] {
        let prefix = format!("{}/{prefix}", directory.path().display());
        assert_eq!(list(&store, &prefix).await.unwrap(), expected, "{prefix}");
    }
    let error = read(&store, &root.join("pipe")).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Invalid, "a pipe is refused, not waited for: {error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_can_be_no_key_is_an_error_and_not_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    put(&store, &directory.path().join("a"), b"x").await.unwrap();
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"latin-\xfc")), "x").unwrap();
    let error = list(&store, &format!("{}/", directory.path().display())).await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Invalid);
    assert!(error.message.contains("UTF-8"), "{error}");
}

#[tokio::test]
async fn roots_may_be_missing_nested_or_single_files() {
    let directory = tempfile::tempdir().unwrap();
    let text = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(text("single"), "single").unwrap();
    let roots = ["new/root", "new/root/nested", "single"].map(|name| directory.path().join(name));
    let store = LocalStore::new(roots.to_vec());
    assert!(list(&store, &text("new/root/")).await.unwrap().is_empty());
    assert_eq!(store.head(&Location::file(text("new/root/a"))).await.unwrap(), None);
    put(&store, Path::new(&text("new/root/nested/a")), b"a").await.unwrap();
    put(&store, Path::new(&text("new/root/nestedly")), b"b").await.unwrap();
    let both = [text("new/root/nested/a"), text("new/root/nestedly")];
    assert_eq!(list(&store, &text("new/root/nested")).await.unwrap(), both);
    assert_eq!(list(&store, &text("new/root")).await.unwrap(), both, "each once");
    assert_eq!(list(&store, &text("single")).await.unwrap(), [text("single")]);
    assert_eq!(read(&store, Path::new(&text("single"))).await.unwrap(), b"single");
    let error = put(&store, Path::new(&text("single")), b"no").await.unwrap_err();
    assert_eq!(error.kind, ServiceErrorKind::Invalid, "a file as a root is only read: {error}");
}

#[tokio::test]
async fn a_directory_is_no_object_and_an_object_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let path = |name: &str| directory.path().join(name);
    put(&store, &path("file"), b"x").await.unwrap();
    fs::create_dir(path("dir")).unwrap();
    let upload = store.begin(&at(&path("file/under")), &Writing::default()).await.err();
    for (error, what) in [
        (put(&store, &path("file/under"), b"x").await.err(), "a put below a file"),
        (put(&store, &path("file/far/under"), b"x").await.err(), "a put far below a file"),
        (upload, "an upload below a file"),
        (put(&store, &path("dir"), b"x").await.err(), "a put over a directory"),
        (store.begin(&at(&path("dir")), &Writing::default()).await.err(), "an upload over a directory"),
        (read(&store, &path("dir")).await.err(), "a read of a directory"),
    ] {
        assert_eq!(error.map(|error| error.kind), Some(ServiceErrorKind::Invalid), "{what}");
    }
    assert_eq!(read(&store, &path("file/under")).await.unwrap_err().kind, ServiceErrorKind::Missing);
    assert_eq!(list(&store, &format!("{}/", directory.path().display())).await.unwrap().len(), 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing staged is left");
}

#[tokio::test]
async fn a_file_that_is_written_while_it_is_read_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let path = directory.path().join("growing");
    let write = |length: usize| fs::write(&path, vec![7; length]).unwrap();
    for (later, how) in [(3_000_001, "longer"), (3_000_000, "as long, written again"), (1_500_000, "shorter")] {
        write(3_000_000);
        // The time of a file has the resolution of the kernel's tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let reading = store.get(&at(&path), 0..u64::MAX, &any()).await.unwrap();
        write(later);
        let error = collect(reading).await.expect_err(how);
        assert_eq!(error.kind, ServiceErrorKind::Changed, "{how}: {error}");
    }
    write(3_000_000);
    let reading = store.get(&at(&path), 0..u64::MAX, &any()).await.unwrap();
    put(&store, &path, b"another object").await.unwrap();
    assert_eq!(collect(reading).await.unwrap().len(), 3_000_000, "a replaced object is read to its end");
}

#[tokio::test]
async fn metadata_is_kept_where_the_file_system_can() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let metadata = std::collections::BTreeMap::from([("job".to_owned(), "jü \n 1".to_owned())]);
    let how = Writing { metadata: metadata.clone(), ..Writing::default() };
    let (one, parts) = (at(&directory.path().join("one")), at(&directory.path().join("parts")));
    store.put(&one, Bytes::from_static(b"x"), &how).await.unwrap();
    let upload = store.begin(&parts, &how).await.unwrap();
    let part = upload.part(1, Bytes::from_static(b"x")).await.unwrap();
    upload.complete(&[part]).await.unwrap();
    let kept = rustix::fs::getxattr(directory.path().join("one"), "user.batchpipe", &mut vec![0; 1000]).is_ok();
    for location in [one, parts] {
        let found = store.head(&location).await.unwrap().unwrap().metadata;
        assert_eq!(found, if kept { metadata.clone() } else { Default::default() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_where_nothing_was_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let location = at(&directory.path().join("deep/one"));
    let careful = Writing { condition: Condition::Absent, ..Writing::default() };
    for _ in 0..25 {
        let writing = (0..20).map(|number: u8| {
            let (store, location, careful) = (store.clone(), location.clone(), careful.clone());
            tokio::spawn(async move { (number, store.put(&location, vec![number; 1000].into(), &careful).await) })
        });
        let mut winners = Vec::new();
        for written in futures::future::join_all(writing).await {
            match written.unwrap() {
                (number, Ok(())) => winners.push(number),
                (_, Err(error)) => assert_eq!(error.kind, ServiceErrorKind::Exists, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(fs::read(directory.path().join("deep/one")).unwrap(), vec![winners[0]; 1000]);
        assert_eq!(fs::read_dir(directory.path().join("deep")).unwrap().count(), 1, "nothing staged is left");
        fs::remove_file(directory.path().join("deep/one")).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_output_is_no_wider_than_the_file_that_it_is_made_from() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let path = |name: &str| directory.path().join(name);
    let metadata = || [("a".to_owned(), "b".to_owned())].into();
    fs::write(path("open"), "x").unwrap();
    let umask = 0o666 & !mode(&path("open"));
    for wanted in [0o600, 0o640, 0o644, 0o400, 0o755] {
        fs::write(path("input"), "x").unwrap();
        fs::set_permissions(path("input"), fs::Permissions::from_mode(wanted)).unwrap();
        let how = Writing { input: Some(at(&path("input"))), metadata: metadata(), ..Writing::default() };
        store.put(&at(&path("whole")), Bytes::from_static(b"x"), &how).await.unwrap();
        let upload = store.begin(&at(&path("parts")), &how).await.unwrap();
        let part = upload.part(1, Bytes::from_static(b"x")).await.unwrap();
        upload.complete(&[part]).await.unwrap();
        let expected = wanted & 0o666 & !umask;
        assert_eq!((mode(&path("whole")), mode(&path("parts"))), (expected, expected), "{wanted:o}");
        fs::remove_file(path("input")).unwrap();
    }
    let gone = Writing { input: Some(at(&path("input"))), ..Writing::default() };
    store.put(&at(&path("whole")), Bytes::from_static(b"x"), &gone).await.unwrap();
    assert_eq!(mode(&path("whole")), 0o600);
    let far = Writing { input: Some(Location::s3("bucket", "key")), ..Writing::default() };
    for how in [Writing::default(), far] {
        store.put(&at(&path("whole")), Bytes::from_static(b"x"), &how).await.unwrap();
        assert_eq!(mode(&path("whole")), 0o666 & !umask, "what is no local file has no mode");
    }
}

#[tokio::test]
async fn an_output_replaces_neither_its_input_by_another_name_nor_a_device_or_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("in")).unwrap();
    fs::write(path("in/x"), "input").unwrap();
    std::os::unix::fs::symlink("in", path("link")).unwrap();
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let how = Writing { input: Some(at(&path("in/x"))), ..Writing::default() };
    for (to, code) in [("link/x", "InputItself"), ("in/x", "InputItself"), ("pipe", "special"), ("in", "EISDIR")] {
        let put = store.put(&at(&path(to)), Bytes::from_static(b"bad"), &how).await.unwrap_err();
        let begun = store.begin(&at(&path(to)), &how).await.unwrap_err();
        assert_eq!((put.code.as_str(), begun.code.as_str()), (code, code));
    }
    assert_eq!(fs::read(path("in/x")).unwrap(), b"input");
    // Other names of the same bytes are replaced, and the input keeps its own.
    fs::hard_link(path("in/x"), path("hard")).unwrap();
    std::os::unix::fs::symlink("in/x", path("soft")).unwrap();
    for to in ["hard", "soft"] {
        store.put(&at(&path(to)), Bytes::from_static(b"output"), &how).await.unwrap();
        assert_eq!(
            (fs::read(path(to)).unwrap(), fs::read(path("in/x")).unwrap()),
            (b"output".to_vec(), b"input".to_vec())
        );
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5, "nothing staged is left");
}

#[tokio::test]
async fn what_a_kill_left_is_found_and_only_that_can_be_discarded() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = LocalStore::new(vec![root.to_owned()]);
    let prefix = Location::file(format!("{}/", root.display()));
    let upload = store.begin(&at(&root.join("a/object")), &Writing::default()).await.unwrap();
    upload.part(2, Bytes::from_static(b"12345")).await.unwrap();
    drop(upload);
    fs::write(root.join(".batchpipe-00112233445566ff"), "half a put").unwrap();
    put(&store, &root.join("object"), b"done").await.unwrap();
    let found = store.unfinished(&prefix).await.unwrap();
    let keys: Vec<&str> = found.iter().map(|upload| upload.location.key()).collect();
    let leftover = root.join(".batchpipe-00112233445566ff");
    assert_eq!(keys, [leftover.to_str().unwrap(), root.join("a/object").to_str().unwrap()]);
    assert!(found.iter().all(|upload| upload.begun.is_some() && upload.bytes > Some(4)), "{found:?}");
    for id in ["/etc/passwd", root.join("object").to_str().unwrap(), "/etc/.batchpipe-0011223344556677", ""] {
        let forged = batchpipe::services::store::Unfinished { id: id.to_owned(), ..found[0].clone() };
        assert_eq!(store.discard(&forged).await.unwrap_err().kind, ServiceErrorKind::Invalid, "{id}");
    }
    for upload in &found {
        store.discard(upload).await.unwrap();
    }
    assert_eq!(store.unfinished(&prefix).await.unwrap(), []);
    assert_eq!(read(&store, &root.join("object")).await.unwrap(), b"done");
}

#[tokio::test]
async fn an_upload_that_ended_takes_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let path = directory.path().join("object");
    let piece = Bytes::from_static(b"piece");
    let upload = store.begin(&at(&path), &Writing::default()).await.unwrap();
    let old = upload.part(1, piece.clone()).await.unwrap();
    let part = upload.part(1, Bytes::from_static(b"newer")).await.unwrap();
    for wrong in [vec![], vec![old], vec![part.clone(), part.clone()]] {
        let error = upload.complete(&wrong).await.unwrap_err();
        assert_eq!(error.kind, ServiceErrorKind::Unavailable, "beginning anew is the cure: {error}");
    }
    assert_eq!(upload.part(0, piece.clone()).await.unwrap_err().kind, ServiceErrorKind::Invalid);
    assert_eq!(upload.part(10_001, piece.clone()).await.unwrap_err().kind, ServiceErrorKind::Invalid);
    upload.complete(std::slice::from_ref(&part)).await.unwrap();
    upload.complete(&[part]).await.expect("completing may be repeated");
    upload.abort().await.expect("too late, and harmless");
    assert_eq!(upload.part(2, piece).await.unwrap_err().kind, ServiceErrorKind::Missing);
    assert_eq!(read(&store, &path).await.unwrap(), b"newer");
    let discarded = store.begin(&at(&path), &Writing::default()).await.unwrap();
    let part = discarded.part(1, Bytes::from_static(b"lost")).await.unwrap();
    for upload in store.unfinished(&at(&path)).await.unwrap() {
        store.discard(&upload).await.unwrap();
    }
    assert_eq!(discarded.complete(&[part]).await.unwrap_err().kind, ServiceErrorKind::Missing);
    assert_eq!(read(&store, &path).await.unwrap(), b"newer");
}

/// A file that may not be read is a missing right; a test run by root has every right.
#[tokio::test]
async fn a_file_that_may_not_be_read_is_denied() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    let path = directory.path().join("closed");
    put(&store, &path, b"x").await.unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let read = read(&store, &path).await;
    if fs::File::open(&path).is_err() {
        assert_eq!(read.unwrap_err().kind, ServiceErrorKind::Denied);
    }
}

/// Prints how fast it is; run by hand with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed() {
    use futures::StreamExt;
    let directory = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or("/tmp".into())).unwrap();
    let store = LocalStore::new(vec![directory.path().to_owned()]);
    for (count, size, at_once) in [(2_000, 10_000, 1), (5_000, 10_000, 16), (5_000, 10_000, 64)] {
        let body = Bytes::from(vec![7; size]);
        let begun = std::time::Instant::now();
        futures::stream::iter(0..count)
            .for_each_concurrent(at_once, |number| {
                let (store, body) = (store.clone(), body.clone());
                let to = at(&directory.path().join(format!("{at_once}/{number}")));
                async move { store.put(&to, body, &Writing::default()).await.unwrap() }
            })
            .await;
        println!("put {size} bytes, {at_once} at once: {:.0}/s", f64::from(count) / begun.elapsed().as_secs_f64());
        let begun = std::time::Instant::now();
        futures::stream::iter(0..count)
            .for_each_concurrent(at_once, |number| {
                let (store, path) = (store.clone(), directory.path().join(format!("{at_once}/{number}")));
                async move { assert_eq!(read(&store, &path).await.unwrap().len(), size) }
            })
            .await;
        println!("get {size} bytes, {at_once} at once: {:.0}/s", f64::from(count) / begun.elapsed().as_secs_f64());
    }
    let begun = std::time::Instant::now();
    let listed = list(&store, &format!("{}/", directory.path().display())).await.unwrap().len();
    println!("list: {:.0}/s", listed as f64 / begun.elapsed().as_secs_f64());
    let part = Bytes::from(vec![7_u8; 8 << 20]);
    let big = at(&directory.path().join("big"));
    let begun = std::time::Instant::now();
    let upload = store.begin(&big, &Writing::default()).await.unwrap();
    let parts: Vec<_> = futures::stream::iter(1..=128)
        .map(|number| upload.part(number, part.clone()))
        .buffered(4)
        .try_collect()
        .await
        .unwrap();
    println!("1 GiB in parts: {:?} until complete", begun.elapsed());
    upload.complete(&parts).await.unwrap();
    println!("1 GiB in parts: {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    let ranges = futures::stream::iter(0..128_u64).map(|number| {
        let (store, big) = (store.clone(), big.clone());
        async move {
            let reading = store.get(&big, number << 23..(number + 1) << 23, &any()).await.unwrap();
            reading.body.try_fold(0, |sum, chunk| async move { Ok(sum + chunk.len()) }).await.unwrap()
        }
    });
    let total: usize = ranges.buffer_unordered(4).fold(0, |sum, size| async move { sum + size }).await;
    println!("{} MiB in ranges: {:?}", total >> 20, begun.elapsed());
}
