//! Answers of a store that say success and prove nothing.

use std::error::Error;

use batchpipe::error::{Code, ErrorKind, Stage};

use super::*;

/// The body of every object here, and its sums: CRC-64/NVME in base64, MD5.
const BODY: &[u8] = b"123456789";
const CRC: &str = "rosUhgp5mIg=";
const MD5: &str = "25f9e794323b453885f5181f1b624d0b";

fn marked() -> Writing {
    let marks = [("batchpipe-source", "0123"), ("batchpipe-processor", "zstd")];
    Writing { metadata: marks.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), ..Writing::default() }
}

/// An answer to HEAD: a length and no body.
fn head(length: usize, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")
}

const MARKS: [&str; 2] = ["x-amz-meta-batchpipe-source: 0123", "x-amz-meta-batchpipe-processor: zstd"];

/// What a HEAD may show after a write of [`BODY`], and whether it shows that the write happened. `etag` is that of the
/// bytes.
fn looks(etag: &str) -> Vec<(&'static str, String, bool)> {
    let other = [MARKS[0], "x-amz-meta-batchpipe-processor: gzip"];
    vec![
        ("the marks", head(9, &MARKS), true),
        ("the checksum", head(9, &[&format!("x-amz-checksum-crc64nvme: {CRC}")]), true),
        ("the ETag of the bytes", head(9, &[&format!("ETag: \"{etag}\"")]), true),
        ("a weak ETag of the bytes", head(9, &[&format!("ETag: W/\"{etag}\"")]), true),
        ("nothing but the size", head(9, &["ETag: \"another\""]), false),
        ("the marks of another job", head(9, &other), false),
        ("half of the marks", head(9, &MARKS[..1]), false),
        ("the marks and another size", head(10, &MARKS), false),
        ("no size", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(), false),
        ("no object", answer("404 Not Found", &[], ""), false),
        ("no right to look", answer("403 Forbidden", &[], ""), false),
        ("no answer", answer("503 Slow Down", &[], ""), false),
    ]
}

/// Requires that a write which ended so is done or not, and that a failure is tried again and names the server.
fn check(what: &str, ended: Result<(), ServiceError>, done: bool, url: &str) {
    match ended {
        Ok(()) => assert!(done, "{what} is no proof"),
        Err(error) => {
            assert!(!done, "{what} is a proof: {error}");
            assert_eq!((error.code.as_str(), error.is_transient()), ("NoProof", true), "{what}");
            assert!(error.message.contains(url), "{what}: {error}");
            let told = error.at(Stage::Upload);
            assert_eq!((told.code, told.kind), (Code::StoreProvesNothing, ErrorKind::Unavailable));
        }
    }
}

#[tokio::test]
async fn a_put_without_an_etag_is_done_only_if_the_object_can_be_seen() {
    for put in [
        answer("200 OK", &[], ""),
        answer("200 OK", &["ETag: \"\""], ""),
        answer("200 OK", &[], "<html><body>sign in</body></html>"),
        answer("204 No Content", &[], ""),
        answer("200 OK", &[], "<cut"),
    ] {
        for (what, look, done) in looks(MD5) {
            let server = Scripted::start(&[&put, &look]);
            let ended = S3Store::new(&aws(&server)).put(&at(), Bytes::from_static(BODY), &marked()).await;
            check(what, ended, done, &server.url());
        }
    }
}

#[tokio::test]
async fn a_put_without_marks_is_not_proved_by_an_object_without_marks() {
    let server = Scripted::start(&[&answer("200 OK", &[], ""), &head(9, &[])]);
    let ended = S3Store::new(&aws(&server)).put(&at(), Bytes::from_static(BODY), &Writing::default()).await;
    check("an object of the same size", ended, false, &server.url());
}

/// Completes an upload of [`BODY`] as one part: the server answers `completed`, and `look` to the HEAD after it.
async fn complete(server: &Scripted) -> Result<(), Box<dyn Error>> {
    let store = S3Store::new(&aws(server));
    let upload = store.begin(&at(), &marked()).await?;
    let part = upload.part(1, Bytes::from_static(BODY)).await?;
    Ok(upload.complete(&[part]).await?)
}

fn etag_of_parts() -> String {
    use md5::{Digest, Md5};
    let sum = Md5::digest(Md5::digest(BODY));
    sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "-1"
}

#[tokio::test]
async fn a_completion_without_an_etag_is_done_only_if_the_object_can_be_seen() {
    let created = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let created = answer("200 OK", &["x-amz-checksum-type: FULL_OBJECT"], created);
    let part = answer("200 OK", &[&format!("ETag: \"{MD5}\"")], "");
    let whole =
        "<CompleteMultipartUploadResult><Location>l</Location><ETag>\"x-1\"</ETag></CompleteMultipartUploadResult>";
    for body in [
        "",
        "  \n  ",
        "<?xml version=\"1.0\"?>\n",
        "<html><body>sign in</body></html>",
        "<CompleteMultipartUploadResult><Location>l</Location></CompleteMultipartUploadResult>",
        "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>",
        "<CompleteMultipartUploadResult><ETag>\"\"</ETag></CompleteMultipartUploadResult>",
        &whole[..40],
        // The ETag is there, and the end is not: what followed is not known.
        &whole[..whole.len() - 10],
    ] {
        for (what, look, done) in looks(&etag_of_parts()) {
            let server = Scripted::start(&[&created, &part, &answer("200 OK", &[], body), &look]);
            let ended = complete(&server).await.map_err(|error| *error.downcast::<ServiceError>().unwrap());
            check(&format!("{what} after {body:?}"), ended, done, &server.url());
        }
    }
    let server = Scripted::start(&[&created, &part, &answer("200 OK", &[], whole)]);
    complete(&server).await.unwrap();
}

#[tokio::test]
async fn an_upload_without_an_id_and_a_part_without_an_etag_are_no_success() {
    let created = |id: &str| {
        answer("200 OK", &[], &format!("<InitiateMultipartUploadResult>{id}</InitiateMultipartUploadResult>"))
    };
    for id in ["", "<UploadId/>", "<UploadId></UploadId>"] {
        let server = Scripted::start(&[&created(id)]);
        let error = S3Store::new(&aws(&server)).begin(&at(), &Writing::default()).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_transient()), ("NoProof", true), "{id}");
    }
    for headers in [&[][..], &["ETag: \"\""]] {
        let server = Scripted::start(&[&created("<UploadId>u</UploadId>"), &answer("200 OK", headers, "")]);
        let upload = S3Store::new(&aws(&server)).begin(&at(), &Writing::default()).await.unwrap();
        let error = upload.part(1, Bytes::from_static(BODY)).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_transient()), ("NoProof", true), "{headers:?}");
    }
}

/// Reads five bytes at 5 of the version in `pin`; the server gives one answer.
async fn read(pin: &Version, given: &str) -> Result<Vec<u8>, ServiceError> {
    let server = Scripted::start(&[given]);
    let reading = S3Store::new(&aws(&server)).get(&at(), 5..10, pin).await?;
    let all: Vec<Bytes> = reading.body.try_collect().await?;
    Ok(all.concat())
}

#[tokio::test]
async fn a_range_of_another_version_is_refused_by_its_own_etag() {
    let pin = |etag: &str, id: Option<&str>| Version { etag: Some(etag.to_owned()), version_id: id.map(str::to_owned) };
    let part = |headers: &[&str]| {
        answer("206 Partial Content", &[&["Content-Range: bytes 5-9/10"], headers].concat(), "56789")
    };
    let whole = |headers: &[&str]| answer("200 OK", headers, "0123456789");
    for given in [part(&["ETag: \"v1\""]), part(&["ETag: W/\"v1\""]), whole(&["ETag: \"v1\""])] {
        assert_eq!(read(&pin("v1", None), &given).await.unwrap(), b"56789", "{given}");
    }
    for given in [
        part(&["ETag: \"v2\""]),
        part(&["ETag: W/\"v2\""]),
        whole(&["ETag: \"v2\""]),
        part(&["ETag: \"v1\"", "x-amz-version-id: b"]),
    ] {
        let error = read(&pin("v1", Some("a")), &given).await.unwrap_err();
        assert_eq!(error.kind, ServiceErrorKind::Changed, "{given}");
        assert_eq!(error.at(Stage::Download).code, Code::ObjectChanged);
    }
    // A store without ETags tells the time of the last change, and can honour the condition all the same.
    let modified = |second| format!("Last-Modified: Wed, 01 Jan 2020 00:00:0{second} GMT");
    assert_eq!(read(&pin("v1", None), &part(&[&modified(0)])).await.unwrap(), b"56789");
    let server = Scripted::start(&[&part(&[&modified(0)]), &part(&[&modified(0)]), &part(&[&modified(1)])]);
    let store = S3Store::new(&aws(&server));
    let first = store.get(&at(), 5..10, &Version::default()).await.unwrap().version;
    assert_eq!(store.get(&at(), 5..10, &first).await.unwrap().version, first);
    assert_eq!(store.get(&at(), 5..10, &first).await.map(drop).unwrap_err().kind, ServiceErrorKind::Changed);
    for given in [part(&[]), part(&["ETag: \"\""]), part(&["x-amz-version-id: a"])] {
        let error = read(&pin("v1", Some("a")), &given).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_transient()), ("NoProof", true), "{given}");
    }
}

#[tokio::test]
async fn a_part_of_an_object_is_never_taken_for_the_whole() {
    // Without its range this would be an object of five bytes.
    let part = answer("206 Partial Content", &["ETag: \"e\""], "01234");
    let error = get(&Scripted::start(&[&part]), 0..10).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ServiceErrorKind::Corrupt, "WrongRange"));
}

#[tokio::test]
async fn a_page_that_is_no_object_is_not_read_as_one() {
    for page in
        [answer("200 OK", &[], "<html>sign in</html>"), answer("200 OK", &[], ""), answer("204 No Content", &[], "")]
    {
        let error = get(&Scripted::start(&[&page]), 0..10).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_transient()), ("NoProof", true), "{page}");
    }
    // A store without ETags still tells which bytes it sends.
    let part = answer("206 Partial Content", &["Content-Range: bytes 0-4/5"], "01234");
    assert_eq!(get(&Scripted::start(&[&part]), 0..10).await.unwrap(), b"01234");
}

#[tokio::test]
async fn an_object_whose_length_is_not_told_is_not_an_empty_one() {
    let unknown = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nConnection: close\r\n\r\n";
    let server = Scripted::start(&[unknown]);
    assert_eq!(S3Store::new(&aws(&server)).head(&at()).await.unwrap_err().code, "NoProof");
    // What an empty object is read by.
    let server = Scripted::start(&[&error("416 Range Not Satisfiable", "InvalidRange"), unknown]);
    assert_eq!(get(&server, 0..10).await.unwrap_err().code, "NoProof");
}
