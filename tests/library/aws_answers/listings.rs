//! Listings that lack what S3 always tells: never taken for shorter ones.

use super::*;

const OBJECT: &str = "<Contents><Key>k</Key><Size>1</Size></Contents>";

async fn list(body: &str) -> Result<usize, ServiceError> {
    let server = Scripted::start(&[&answer("200 OK", &["Content-Type: application/xml"], body)]);
    let store = S3Store::new(&aws(&server));
    let listed: Vec<_> = store.list(&Location::s3("bucket", "")).try_collect().await?;
    Ok(listed.len())
}

fn objects(inside: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<ListBucketResult>{inside}</ListBucketResult>")
}

#[tokio::test]
async fn a_listing_that_is_cut_or_unclear_is_an_error() {
    let whole = objects(&format!("<IsTruncated>false</IsTruncated>{OBJECT}{OBJECT}"));
    assert_eq!(list(&whole).await.unwrap(), 2);
    assert_eq!(list(&objects("<IsTruncated>false</IsTruncated>")).await.unwrap(), 0, "nothing there");
    let cuts = (0..whole.len()).step_by(7).map(|end| whole[..end].to_owned());
    let unclear = [
        "<html><body>sign in</body></html>".to_owned(),
        objects(""),
        objects(OBJECT),
        objects(&format!("<IsTruncated>true</IsTruncated>{OBJECT}")),
        objects("<IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents>"),
        objects("<IsTruncated>false</IsTruncated><Contents><Key>k</Key></Contents>"),
        objects("<IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>-1</Size></Contents>"),
    ];
    for body in cuts.chain(unclear) {
        let error = list(&body).await.expect_err(&body);
        assert!(error.is_transient(), "{body}: {error}");
    }
    let lost = list(&objects(&format!("<IsTruncated>true</IsTruncated>{OBJECT}"))).await.unwrap_err();
    assert_eq!(lost.code, "NoProof");
}

#[tokio::test]
async fn a_listing_of_uploads_that_is_cut_or_unclear_is_an_error() {
    let list = |body: String| async move {
        let server = Scripted::start(&[&answer("200 OK", &[], &body)]);
        S3Store::new(&aws(&server)).unfinished(&Location::s3("bucket", "")).await.map(|found| found.len())
    };
    let uploads = |inside: &str| format!("<ListMultipartUploadsResult>{inside}</ListMultipartUploadsResult>");
    let upload = "<Upload><Key>k</Key><UploadId>u</UploadId></Upload>";
    assert_eq!(list(uploads(&format!("<IsTruncated>false</IsTruncated>{upload}"))).await.unwrap(), 1);
    for inside in [
        "",
        upload,
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>false</IsTruncated><Upload><Key>k</Key></Upload>",
        "<IsTruncated>false</IsTruncated><Upload><UploadId>u</UploadId></Upload>",
    ] {
        let error = list(uploads(inside)).await.expect_err(inside);
        assert!(error.is_transient(), "{inside}: {error}");
    }
    assert!(list(String::new()).await.is_err());
}
