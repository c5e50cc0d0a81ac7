//! What each format of messages means: the examples as they arrive, the rules that are easy to get wrong, and
//! properties that hold for any text whatever.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use batchpipe::error::Code;
use batchpipe::job::message::{
    self, Format, Record, Request, Rules, Wrapping, encode_own, encode_sample2013, only, parse, understand,
};
use batchpipe::job::suffix::Suffix;
use batchpipe::job::{Location, MAX_KEY_BYTES};
use batchpipe::processor::codec::Chain;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::any_message::{check_any, check_key};

/// A message of the 2013 sample as boto 2 put it on the wire.
const SAMPLE_2013: &str = "WyJwcm9jZXNzIiwgIm15LWJ1Y2tldCIsICJpbnB1dC8iLCAib3V0cHV0LyIsICJwaG90byAxLmpwZyJd";

/// An S3 event notification, as S3 sends it.
const S3_EVENT: &str = include_str!("events/s3.json");

/// What S3 sends when a notification is configured.
const TEST_EVENT: &str = include_str!("events/test.json");

/// An S3 event through EventBridge.
const EVENTBRIDGE: &str = include_str!("events/eventbridge.json");

/// A call to S3 that CloudTrail has recorded, through EventBridge.
const CALL: &str = include_str!("events/call.json");

/// An event of Ceph, whose buckets have no versions.
const CEPH: &str = include_str!("events/ceph.json");

/// An S3 event as Security Lake passes it on.
const SECURITY_LAKE: &str = include_str!("events/security_lake.json");

/// A notice of CloudTrail of two new log files.
const NOTICE: &str = r#"{"s3Bucket": "in-b", "s3ObjectKey": ["AWSLogs/1/x+%2B.json.gz", "AWSLogs/1/y.json.gz"]}"#;

/// A message as batchpipe itself writes it.
const OWN: &str = include_str!("events/own.json");

/// An SNS envelope as SNS prints it, newlines and all.
fn in_sns(message: &str) -> String {
    let message = json!(message);
    format!(
        "{{\n  \"Type\" : \"Notification\",\n  \"MessageId\" : \"4999b1ce-cf92-56b2-afe2-ec4076695a9f\",\n  \
         \"TopicArn\" : \"arn:aws:sns:us-east-1:123456789012:updates\",\n  \"Subject\" : \"Amazon S3 \
         Notification\",\n  \"Message\" : {message},\n  \"Timestamp\" : \"2023-09-27T23:16:11.551Z\",\n  \
         \"SignatureVersion\" : \"1\"\n}}\n"
    )
}

fn jobs(body: &str) -> Vec<Request> {
    let records = parse(body).unwrap_or_else(|error| panic!("{body:?}: {error}"));
    let (count, jobs) = (records.len(), message::jobs(records));
    assert_eq!(jobs.len(), count, "{body:?} holds nothing but jobs");
    jobs
}

/// The kind of event for which the only record of a message is skipped.
fn skipped(body: &str) -> &'static str {
    match parse(body).as_deref() {
        Ok([Record::Nothing(kind)]) => kind,
        other => panic!("{body:?} is {other:?}"),
    }
}

fn only_job(body: &str) -> Request {
    let mut jobs = jobs(body);
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

/// An S3 event for objects with these keys, encoded already.
fn s3_event(keys: &[&str]) -> String {
    let record = |key: &&str| {
        json!({"eventVersion": "2.5", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
               "s3": {"bucket": {"name": "photos"}, "object": {"key": key}}})
    };
    json!({"Records": keys.iter().map(record).collect::<Vec<_>>()}).to_string()
}

#[test]
fn our_own_job_is_read_whole() {
    let expected = Request {
        id: Some("01JD".into()),
        output: Some(Location::s3("bucket", "output/a.csv")),
        batch: Some("2026-11-24-photos".into()),
        size: Some(7),
        etag: Some("e".into()),
        version_id: Some("x".into()),
        args: vec!["-q".into()],
        ..Request::new(Format::Own, Location::s3("bucket", "input/a.csv"))
    };
    assert_eq!(only_job(OWN), expected);
    assert_eq!(encode_own(&expected), OWN);
}

#[test]
fn a_key_of_our_own_job_is_never_decoded() {
    for key in ["a%20b+c", "a//b", "/a", "a?b#c", " a ", "a\u{0}b", "s3://x/y"] {
        let by_uri = json!({"input": format!("s3://photos/{key}")}).to_string();
        let by_parts = json!({"bucket": "photos", "key": key}).to_string();
        assert_eq!(only_job(&by_uri).input, Location::s3("photos", key));
        assert_eq!(only_job(&by_parts).input, Location::s3("photos", key));
    }
}

#[test]
fn a_message_of_2013_is_read_and_written_as_boto_wrote_it() {
    let job = only_job(SAMPLE_2013);
    assert_eq!(job.format, Format::Sample2013);
    assert_eq!(job.input, Location::s3("my-bucket", "input/photo 1.jpg"));
    assert_eq!(job.output, Some(Location::s3("my-bucket", "output/photo 1.jpg")));
    assert_eq!(encode_sample2013("my-bucket", "input/", "output/", "photo 1.jpg"), SAMPLE_2013);
    // No slash is added, and plain text and base64 with line breaks are read as well.
    let plain = r#" ["process", "my-bucket", "in", "out", "+%20\u00e9\ud83d\udcf7"] "#;
    assert_eq!(only_job(plain).input, Location::s3("my-bucket", "in+%20é📷"));
    let (start, end) = SAMPLE_2013.split_at(40);
    assert_eq!(only_job(&format!("{start}\r\n{end}\n")), job);
}

#[test]
fn text_beyond_ascii_is_escaped_as_python_does() {
    // json.dumps(['process', 'b', '', '', 'é📷\x7f\t"\\/\x01'])
    let python = r#"["process", "b", "", "", "\u00e9\ud83d\udcf7\u007f\t\"\\/\u0001"]"#;
    let encoded = encode_sample2013("b", "", "", "é📷\u{7f}\t\"\\/\u{1}");
    assert_eq!(STANDARD.decode(encoded).unwrap(), python.as_bytes());
}

#[test]
fn an_s3_event_tells_version_etag_and_size() {
    let expected = Request {
        size: Some(104_681),
        etag: Some("2e3ad1e983318bbd8e73b080e2997980".into()),
        version_id: Some("yd3d4HaWOT2zguDLvIQLU6ptDTwKBnQV".into()),
        ..Request::new(Format::S3Event, Location::s3("xxx", "test.pdf"))
    };
    assert_eq!(only_job(S3_EVENT), expected);
    for version in ["2.0", "2.2", "2.3", "2.4", "2.5", "2.17", "2"] {
        assert_eq!(only_job(&S3_EVENT.replace("\"2.1\"", &format!("{version:?}"))), expected, "{version}");
    }
}

#[test]
fn an_etag_loses_its_quotes_and_an_empty_one_is_none() {
    let body = |etag: &str| json!({"input": "s3://photos/a", "etag": etag, "version_id": ""}).to_string();
    assert_eq!(only_job(&body("\"e-5\"")).etag.as_deref(), Some("e-5"));
    assert_eq!(only_job(&body("\"\"")).etag, None);
    assert_eq!(only_job(&body("")).version_id, None);
}

/// The console makes an empty object of a new folder, and so do tools that think in folders. A submit leaves them out
/// as well.
#[test]
fn a_folder_of_the_console_is_no_job_and_an_object_that_only_ends_like_one_is() {
    let of_size = |size: u64, keys: &[&str]| s3_event(keys).replace("\"key\":", &format!("\"size\":{size},\"key\":"));
    assert_eq!(skipped(&of_size(0, &["photos/"])), "a folder of the console");
    assert_eq!(only_job(&of_size(7, &["photos/"])).input.key(), "photos/");
    assert_eq!(only_job(&of_size(0, &["photos"])).size, Some(0));
    assert_eq!(only_job(&s3_event(&["photos/"])).size, None, "nobody says that it is empty");
    let among = message::jobs(parse(&of_size(0, &["a", "b/", "c"])).unwrap());
    assert_eq!(among.iter().map(|job| job.input.key().to_owned()).collect::<Vec<_>>(), ["a", "c"]);
    let bridged = EVENTBRIDGE.replace("example-key", "photos/").replace("\"size\":5", "\"size\":0");
    assert_eq!(skipped(&bridged), "a folder of the console");
}

#[test]
fn a_key_of_an_s3_event_is_decoded_exactly_once() {
    let real = "logstash-2015-12-01T14%3A46%3A23+%2B0000";
    assert_eq!(only_job(&s3_event(&[real])).input, Location::s3("photos", "logstash-2015-12-01T14:46:23 +0000"));
    assert_eq!(only_job(&s3_event(&["a%252Bb"])).input, Location::s3("photos", "a%2Bb"));
    assert_eq!(only_job(&s3_event(&["%C3%A9%F0%9F%93%B7"])).input, Location::s3("photos", "é📷"));
}

#[test]
fn a_key_of_eventbridge_is_never_decoded() {
    let job = only_job(&EVENTBRIDGE.replace("example-key", "raw/2023-08-08T14:03:40+%2B.zip"));
    assert_eq!(job.input, Location::s3("amzn-s3-demo-bucket1", "raw/2023-08-08T14:03:40+%2B.zip"));
    assert_eq!(job.format, Format::EventBridge);
    assert_eq!(job.size, Some(5));
    assert_eq!(job.etag.as_deref(), Some("b1946ac92492d2347c6235b4d2611184"));
    assert_eq!(job.version_id.as_deref(), Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"));
}

#[test]
fn several_records_are_several_jobs_with_names_of_their_own() {
    let found = jobs(&s3_event(&["a", "b", "a"]));
    let rules = Rules { output: Some(Location::s3("out", "")), ..Rules::default() };
    let names: Vec<String> = found.iter().map(|request| rules.job(request, "m", 1).unwrap().id).collect();
    assert_eq!(names, ["m#1", "m#2", "m#3"]);
    assert_eq!(rules.job(&only_job(&s3_event(&["a"])), "m", 1).unwrap().id, "m");
}

#[test]
fn a_call_that_created_an_object_is_a_job_and_its_key_is_never_decoded() {
    for name in ["PutObject", "CopyObject", "CompleteMultipartUpload", "PostObject"] {
        let call = CALL.replace("PutObject", name).replace("a.txt\"}", "a+b%20c\",\"x-amz-copy-source\":\"other/x\"}");
        let expected = Request::new(Format::CloudTrailCall, Location::s3("in-b", "a+b%20c"));
        assert_eq!(only_job(&call), expected, "{name}");
        assert_eq!(only_job(&in_sns(&call)), expected, "{name}");
    }
}

#[test]
fn a_call_that_created_no_object_is_skipped_and_an_unknown_one_is_kept() {
    let call = |name: &str| CALL.replace("PutObject", name);
    assert_eq!(skipped(&call("GetObject")), "Get*");
    assert_eq!(skipped(&call("DeleteObjects")), "DeleteObjects");
    assert_eq!(
        skipped(&CALL.replace("\"readOnly\"", "\"errorCode\":\"AccessDenied\",\"readOnly\"")),
        "a call that failed"
    );
    let error = parse(&call("RenameObject")).unwrap_err();
    assert_eq!(error.code, Code::UnknownEvent);
    assert!(error.cause.contains("\"RenameObject\""), "{}", error.cause);
    assert_eq!(parse(&CALL.replace("\"key\"", "\"prefix\"")).unwrap_err().code, Code::BadField);
}

#[test]
fn stores_that_do_as_s3_does_are_read_as_s3_and_ceph_writes_keys_as_they_are() {
    let job = only_job(CEPH);
    assert_eq!((job.input, job.version_id), (Location::s3("in-b", "a.txt"), None), "an empty version is none");
    let with_key = |source: &str| CEPH.replace("a.txt", "a+b%2Bc").replace("ceph:s3", source);
    for (source, key) in [("ceph:s3", "a+b%2Bc"), ("minio:s3", "a b+c"), ("rustfs:s3", "a b+c"), ("acme:s3", "a b+c")] {
        assert_eq!(only_job(&with_key(source)).input.key(), key, "{source}");
    }
    for source in ["ceph:sns", ":s3", "s3", "aws:s3express", "s3.amazonaws.com"] {
        assert_eq!(parse(&with_key(source)).unwrap_err().code, Code::UnsupportedEvent, "{source}");
    }
}

#[test]
fn a_kind_of_event_that_is_known_is_skipped_by_its_name_and_an_unknown_one_is_kept() {
    let event = |name: &str| s3_event(&["a"]).replace("ObjectCreated:Put", name);
    for (name, kind) in [
        ("ObjectRemoved:DeleteMarkerCreated", "ObjectRemoved:*"),
        ("s3:ObjectAcl:Put", "ObjectAcl:*"),
        ("LifecycleTransition", "LifecycleTransition"),
        ("Replication:OperationNotTracked", "Replication:*"),
        ("ReducedRedundancyLostObject", "ReducedRedundancyLostObject"),
        ("s3:ObjectCreated:PutTagging", "ObjectCreated:PutTagging"),
    ] {
        assert_eq!(skipped(&event(name)), kind);
    }
    let bridged = |detail_type: &str| EVENTBRIDGE.replace("Object Created", detail_type);
    for kind in ["Object Deleted", "Object Restore Expired", "Object ACL Updated", "Object Tags Added"] {
        assert_eq!(skipped(&bridged(kind)), kind);
    }
    for unknown in [event("ObjectRenamed:Put"), bridged("Object Renamed"), bridged("AWS Service Event via CloudTrail")]
    {
        let error = parse(&unknown).unwrap_err();
        assert!(error.code == Code::UnknownEvent && error.cause.contains("of the unknown kind \""), "{error}");
        assert_eq!(parse(&in_sns(&unknown)).unwrap_err().code, Code::UnknownEvent);
    }
}

#[test]
fn security_lake_passes_on_events_of_created_objects_whose_keys_are_not_encoded() {
    let expected = Request {
        size: Some(1),
        etag: Some("x".into()),
        ..Request::new(Format::EventBridge, Location::s3("in-b", "region=us-east-1/a+b%2B.gz.parquet"))
    };
    assert_eq!(only_job(SECURITY_LAKE), expected);
    assert_eq!(parse(&SECURITY_LAKE.replace("aws.s3", "aws.ec2")).unwrap_err().code, Code::UnsupportedEvent);
}

#[test]
fn a_notice_of_cloudtrail_is_a_job_for_each_log_file() {
    for notice in [NOTICE.to_owned(), in_sns(NOTICE)] {
        let found = jobs(&notice);
        let keys: Vec<_> = found.iter().map(|job| (job.input.key(), job.nth)).collect();
        assert_eq!(keys, [("AWSLogs/1/x+%2B.json.gz", Some(1)), ("AWSLogs/1/y.json.gz", Some(2))]);
    }
    assert_eq!(only_job(r#"{"s3Bucket":"in-b","s3ObjectKey":"AWSLogs/c","messageType":"x"}"#).input.key(), "AWSLogs/c");
    assert_eq!(parse(r#"{"s3Bucket":"in-b","s3ObjectKey":[]}"#).unwrap_err().code, Code::UnsupportedEvent);
    assert_eq!(skipped(&in_sns("CloudTrail validation message.")), "CloudTrail's trial of a topic");
    assert_eq!(
        parse("CloudTrail validation message.").unwrap_err().code,
        Code::NotAJob,
        "nobody sends it without a topic"
    );
}

#[test]
fn a_pointer_of_the_extended_client_is_named_and_not_followed() {
    let pointer = r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#;
    let error = parse(pointer).unwrap_err();
    assert!(error.code == Code::PointerMessage && error.cause.contains("s3://b/k"), "{error}");
}

#[test]
fn a_record_that_cannot_be_read_does_not_take_those_beside_it_with_it() {
    let event = s3_event(&["a", "b", "c", "d"]).replace("\"b\"", "7").replace("\"d\"", "\"%FF\"");
    let records = parse(&event).unwrap();
    let codes = |record: &Record| match record {
        Record::Job(job) => job.input.key().to_owned(),
        Record::Nothing(kind) => (*kind).to_owned(),
        Record::Refused(error) => error.code.to_string(),
    };
    assert_eq!(records.iter().map(codes).collect::<Vec<_>>(), ["a", "BP204", "c", "BP206"]);
    let part = only(&in_sns(&STANDARD.encode(&event)), &[1, 3]).unwrap();
    assert_eq!(parse(&part).unwrap().iter().map(codes).collect::<Vec<_>>(), ["BP204", "BP206"]);
    assert!(event.contains(part.trim_start_matches("{\"Records\":[").split("},{").next().unwrap()), "as it was");
    let keys = only(NOTICE, &[1]).unwrap();
    assert_eq!(keys, r#"{"s3Bucket": "in-b", "s3ObjectKey": ["AWSLogs/1/y.json.gz"]}"#);
    assert_eq!(only(OWN, &[0]), None);

    let seen = understand(&event, &Rules::default());
    let told = seen.to_string();
    assert!(told.contains("  record 2 of 4\n  refused  BP204: "), "{told}");
    assert!(told.find("record 1 of 4") < told.find("record 2 of 4") && told.contains("record 4 of 4"), "{told}");
    assert!(seen.is_refused() && seen.refused.is_none() && seen.jobs.len() == 2);
}

#[test]
fn an_envelope_changes_nothing_but_the_wrapping() {
    for plain in [OWN, SAMPLE_2013, S3_EVENT, TEST_EVENT, EVENTBRIDGE, CALL, CEPH, SECURITY_LAKE, NOTICE] {
        for wrapped in [in_sns(plain), in_sns(&in_sns(plain)), format!("\n {plain}\r\n")] {
            assert_eq!(parse(&wrapped).unwrap(), parse(plain).unwrap(), "{wrapped}");
        }
    }
    assert_eq!(parse(&STANDARD.encode(in_sns(OWN))).unwrap(), parse(OWN).unwrap());
    assert_eq!(skipped(&in_sns(TEST_EVENT)), "S3 test event");
}

#[test]
fn a_suffix_is_put_on_taken_off_or_changed() {
    let recompressed = || Chain::parse("decompress,zstd").unwrap().suffix();
    let cases = [
        (Suffix::default(), "a.csv", "a.csv"),
        (Suffix::of(""), "a.csv", "a.csv"),
        (Suffix::of(".zst"), "a.csv", "a.csv.zst"),
        (Suffix::of(".zst"), "a.zst", "a.zst.zst"),
        (Suffix::strip_one(), "d/a.csv.gz", "d/a.csv"),
        (Suffix::strip_one(), "A.CSV.GZ", "A.CSV"),
        (Suffix::strip_one(), "a.tgz", "a.tar"),
        (Suffix::strip_one(), "a.tar.gz.xz", "a.tar.gz"),
        (Suffix::strip_one(), "a.csv", "a.csv"),
        (Suffix::strip_one(), "agz", "agz"),
        (Suffix::strip_one(), "d/.gz", "d/.gz"),
        (Suffix::strip_one(), ".gz", ".gz"),
        (Suffix::strip_one(), "é.br", "é"),
        (Suffix::strip_one(), "a.gz/b", "a.gz/b"),
        (Suffix::strip_one(), "日", "日"),
        (recompressed(), "a.csv.lz4", "a.csv.zst"),
        (recompressed(), "a.csv.bz2", "a.csv.zst"),
        (recompressed(), "a.csv", "a.csv.zst"),
    ];
    for (suffix, key, expected) in cases {
        assert_eq!(suffix.apply(key), expected, "{suffix:?} on {key:?}");
    }
}

#[test]
fn the_output_is_the_messages_own_or_the_workers_folder() {
    let rules = |output: &str, input_prefix: Option<&str>| Rules {
        output: Location::parse(output),
        input_prefix: input_prefix.map(str::to_owned),
        suffix: Suffix::of(".gz"),
        allow: vec![Location::s3("photos", ""), Location::file("/in")],
    };
    let output = |rules: &Rules, body: &str| rules.job(&only_job(body), "m", 1).unwrap().output.to_string();
    let plain = r#"{"input":"s3://photos/raw/a.csv"}"#;
    assert_eq!(output(&rules("s3://out/gz/", None), plain), "s3://out/gz/raw/a.csv.gz");
    assert_eq!(output(&rules("s3://out/gz", None), plain), "s3://out/gz/raw/a.csv.gz");
    assert_eq!(output(&rules("s3://out/", Some("raw/")), plain), "s3://out/a.csv.gz");
    assert_eq!(output(&rules("s3://out/", Some("raw")), plain), "s3://out/a.csv.gz");
    assert_eq!(output(&rules("file:///out", Some("raw/")), plain), "file:///out/a.csv.gz");
    assert_eq!(output(&rules("file:///out", None), r#"{"input":"file:///in/a"}"#), "file:///out/in/a.gz");
    let named = r#"{"input":"s3://photos/raw/a.csv","output":"s3://photos/done/a.csv"}"#;
    assert_eq!(output(&rules("s3://out/gz/", Some("raw/")), named), "s3://photos/done/a.csv.gz");
}

#[test]
fn explain_shows_the_format_the_wrapping_and_where_the_job_goes() {
    let rules = Rules { suffix: Suffix::of(".gz"), ..Rules::default() };
    let seen = understand(&in_sns(SAMPLE_2013), &rules);
    assert_eq!(seen.wrapping, [Wrapping::Sns, Wrapping::Base64]);
    assert_eq!(
        seen.to_string(),
        "2013 sample job, in base64 in SNS envelope\n  input    s3://my-bucket/input/photo 1.jpg\n  \
         output   s3://my-bucket/output/photo 1.jpg.gz\n"
    );
    let seen = understand(S3_EVENT, &rules).to_string();
    assert!(seen.contains("output   (the worker's --output decides)\n  size     104681 bytes\n"), "{seen}");
    let seen = understand(TEST_EVENT, &rules).to_string();
    assert_eq!(seen, "S3 test event\n  asks for nothing (S3 test event): a worker deletes it\n");
    let seen = understand(r#"{"input":"file:///etc/passwd"}"#, &rules).to_string();
    assert!(
        seen.contains(
            "refused  BP207: \"file:///etc/passwd\" is not in the allow-list: files are allowed by \
        --allow DIRECTORY/ only\n"
        ),
        "{seen}"
    );
    let seen = understand("{\"bucket\":\"photos\",\"key\":\"a\\u001b[2J\\nb\"}", &rules).to_string();
    assert!(seen.contains("s3://photos/a\\u{1b}[2J\\nb\n"), "{seen}");
}

#[test]
fn explain_is_json_for_scripts() {
    let found = serde_json::to_value(understand(&in_sns(&s3_event(&["a"])), &Rules::default())).unwrap();
    assert_eq!(found["format"], "s3-event");
    assert_eq!(found["wrapping"], json!(["sns"]));
    assert_eq!(found["jobs"][0]["input"], "s3://photos/a");
    let found = serde_json::to_value(understand("hello", &Rules::default())).unwrap();
    assert_eq!(found["format"], Value::Null);
    assert_eq!(found["refused"]["code"], "BP201");
}

/// A key that S3 takes: 1 to 1024 bytes, any characters.
fn key() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("1 to 1024 bytes", |key| (1..=MAX_KEY_BYTES).contains(&key.len()))
}

fn name() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[^\\p{Cc}]{1,40}")
}

/// Any JSON at all, with the names and words of the formats among its strings.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("process"),
        Just("Notification"),
        Just("aws:s3"),
        Just("aws.s3"),
        Just("Object Created"),
        Just("ObjectCreated:Put"),
        Just("AWS API Call via CloudTrail"),
        Just("s3://photos/a"),
        Just("photos"),
        Just("2.1"),
        Just("")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let field = prop_oneof![
        Just("v"),
        Just("input"),
        Just("output"),
        Just("bucket"),
        Just("key"),
        Just("args"),
        Just("Records"),
        Just("Type"),
        Just("Message"),
        Just("detail"),
        Just("detail-type"),
        Just("source"),
        Just("s3Bucket"),
        Just("s3ObjectKey"),
        Just("s3")
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(field.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// An example with one of its values, found by counting, replaced by another.
fn with_replaced(mut value: Value, nth: usize, other: Value) -> Value {
    fn replace(value: &mut Value, left: &mut usize, other: &Value) {
        if *left == 0 {
            *value = other.clone();
            *left = usize::MAX;
            return;
        }
        *left -= 1;
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| replace(item, left, other)),
            Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, left, other)),
            _ => {}
        }
    }
    let mut left = nth;
    replace(&mut value, &mut left, &other);
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_own_job_survives_the_wire(
        (input, output) in (key(), proptest::option::of(key())),
        (id, batch, version_id) in (name(), name(), name()),
        (size, etag) in (any::<Option<u64>>(), proptest::option::of("[!#-~]{1,40}")),
        args in proptest::collection::vec("[^\0]*", 0..4),
    ) {
        let job = Request {
            id, batch, size, etag, version_id, args,
            output: output.map(|key| Location::s3("acme-out", key)),
            ..Request::new(Format::Own, Location::s3("photos", input))
        };
        prop_assert_eq!(&only_job(&encode_own(&job)), &job);
        prop_assert_eq!(&only_job(&in_sns(&STANDARD.encode(encode_own(&job)))), &job);
    }

    #[test]
    fn a_job_of_2013_survives_the_wire(file in key(), in_prefix in "[a-zé/+% ]{0,9}", out_prefix in "[a-zé/+% ]{0,9}") {
        let (input, output) = (format!("{in_prefix}{file}"), format!("{out_prefix}{file}"));
        prop_assume!(input.len() <= MAX_KEY_BYTES && output.len() <= MAX_KEY_BYTES);
        let job = only_job(&encode_sample2013("photos", &in_prefix, &out_prefix, &file));
        prop_assert_eq!(job.input, Location::s3("photos", input));
        prop_assert_eq!(job.output, Some(Location::s3("photos", output)));
    }

    #[test]
    fn any_key_that_s3_encodes_is_the_same_key_again(key in key()) {
        check_key(&key);
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        check_any(&text);
        check_any(&STANDARD.encode(&text));
        check_any(&in_sns(&text));
    }

    #[test]
    fn any_json_is_answered(value in any_json()) {
        check_any(&value.to_string());
    }

    #[test]
    fn an_example_with_another_value_in_it_is_answered(which in 0..9_usize, nth in 0..45_usize, other in any_json()) {
        let plain = r#"["process", "photos", "in/", "out/", "a"]"#;
        let example = [OWN, plain, S3_EVENT, TEST_EVENT, EVENTBRIDGE, CALL, CEPH, SECURITY_LAKE, NOTICE][which];
        let changed = with_replaced(serde_json::from_str(example).unwrap(), nth, other);
        check_any(&changed.to_string());
        check_any(&in_sns(&changed.to_string()));
    }

    #[test]
    fn an_example_with_damage_is_answered(
        which in 0..9_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), 0..3_u8, any::<char>()), 1..6),
    ) {
        let examples = [OWN, SAMPLE_2013, S3_EVENT, TEST_EVENT, EVENTBRIDGE, CALL, CEPH, SECURITY_LAKE, NOTICE];
        let mut text: Vec<char> = examples[which].chars().collect();
        for (at, how, char) in damage {
            let at = at.index(text.len());
            match how {
                0 => text[at] = char,
                1 => text.insert(at, char),
                _ => text.truncate(at.max(1)),
            }
        }
        check_any(&text.into_iter().collect::<String>());
    }
}
