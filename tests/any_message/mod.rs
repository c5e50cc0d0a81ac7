//! What holds of any message whatever. Property tests, the replay of the corpus and the fuzz targets share it.

use batchpipe::error::{Disposition, Stage};
use batchpipe::job::{Location, MAX_KEY_BYTES};
use batchpipe::message::{Format, Parsed, Request, Rules, encode_own, parse, understand};
use batchpipe::processor::codec::Suffix;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A text is jobs that S3 can do, or nothing, or refused for good in one clean line.
pub(crate) fn check_any(text: &str) {
    let rules = Rules { output: Some(Location::s3("acme-out", "o/")), suffix: Suffix::strip_one(), ..Rules::default() };
    let (errors, requests) = match parse(text) {
        Ok(Parsed::Nothing(_)) => (vec![], vec![]),
        Ok(Parsed::Jobs(requests)) => {
            assert!(!requests.is_empty(), "no jobs are no job");
            (requests.iter().filter_map(|request| rules.job(request, "m", 1).err()).collect(), requests)
        }
        Err(error) => (vec![error], vec![]),
    };
    for request in requests {
        let is_object = matches!(request.input, Location::S3 { .. });
        assert!(!is_object || (1..=MAX_KEY_BYTES).contains(&request.input.key().len()));
        if let Ok(job) = rules.job(&request, "m", 1) {
            assert!((1..=MAX_KEY_BYTES).contains(&job.output.key().len()));
            assert!(job.output != job.input);
            assert!(matches!((&job.input, &job.output), (Location::S3 { .. }, Location::S3 { .. })));
        }
        // Whatever was read can be sent on as a job of our own.
        let ours = Request { format: Format::Own, nth: None, ..request };
        assert_eq!(parse(&encode_own(&ours)).unwrap(), Parsed::Jobs(vec![ours]));
    }
    for error in errors {
        assert_eq!((error.stage, error.disposition()), (Stage::Receive, Disposition::Reject));
        assert!(!error.cause.chars().any(char::is_control) && error.cause.len() < 4096, "{:?}", error.cause);
    }
    let shown = understand(text, &rules).to_string();
    assert!(!shown.chars().any(|char| char.is_control() && char != '\n'), "{shown:?}");
}

/// A key comes out of an S3 event as it went in, and one that S3 can't have is refused.
pub(crate) fn check_key(key: &str) {
    let encoded = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string().replace("%20", "+");
    let event = serde_json::json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": encoded}}
    }]});
    match parse(&event.to_string()) {
        Ok(Parsed::Jobs(jobs)) => assert_eq!(jobs[0].input, Location::s3("photos", key)),
        other => assert!(other.is_err() && !(1..=MAX_KEY_BYTES).contains(&key.len()), "{other:?}"),
    }
}
