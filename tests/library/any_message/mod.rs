//! What holds of any message whatever. Property tests, the replay of the corpus and the fuzz targets share it.

use batchpipe::error::{Disposition, Stage};
use batchpipe::job::message::{Format, Record, Request, Rules, encode_own, only, parse, understand};
use batchpipe::job::suffix::Suffix;
use batchpipe::job::{Location, MAX_KEY_BYTES};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A text is jobs that S3 can do, or nothing, or refused for good in one clean line.
pub(crate) fn check_any(text: &str) {
    let rules = Rules { output: Some(Location::s3("acme-out", "o/")), suffix: Suffix::strip_one(), ..Rules::default() };
    let (mut errors, mut requests) = (Vec::new(), Vec::new());
    match parse(text) {
        Err(error) => errors.push(error),
        Ok(records) => {
            assert!(!records.is_empty(), "no records are no message");
            check_parts(text, &records);
            for record in records {
                match record {
                    Record::Job(request) => {
                        errors.extend(rules.job(&request, "m", 1).err());
                        requests.push(request);
                    }
                    Record::Nothing(kind) => assert!(!kind.is_empty()),
                    Record::Refused(error) => errors.push(error),
                }
            }
        }
    }
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
        assert_eq!(parse(&encode_own(&ours)).unwrap(), [Record::Job(ours)]);
    }
    for error in errors {
        assert_eq!((error.stage, error.disposition()), (Stage::Receive, Disposition::Reject));
        assert!(!error.cause.chars().any(char::is_control) && error.cause.len() < 4096, "{:?}", error.cause);
    }
    let shown = understand(text, &rules).to_string();
    assert!(!shown.chars().any(|char| char.is_control() && char != '\n'), "{shown:?}");
}

/// A message of some of the records asks for what these asked for, in their order, and for nothing else.
fn check_parts(text: &str, records: &[Record]) {
    if records.len() < 2 {
        return;
    }
    let alike = |record: &Record| match record {
        Record::Job(request) => Record::Job(Request { nth: None, ..request.clone() }),
        other => other.clone(),
    };
    let odd: Vec<usize> = (0..records.len()).filter(|place| place % 2 == 1).collect();
    for places in [odd, vec![0], vec![records.len() - 1]] {
        let part = only(text, &places).expect("a list of records can be parted");
        assert!(part.len() <= text.len(), "a letter must fit where the message did");
        let expected: Vec<Record> = places.iter().map(|place| alike(&records[*place])).collect();
        let found = parse(&part).unwrap_or_else(|error| vec![Record::Refused(error)]);
        assert_eq!(found.iter().map(alike).collect::<Vec<_>>(), expected, "{part:?}");
    }
}

/// A key comes out of an S3 event as it went in, and one that S3 can't have is refused.
pub(crate) fn check_key(key: &str) {
    let encoded = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string().replace("%20", "+");
    let event = serde_json::json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": encoded}}
    }]});
    match parse(&event.to_string()) {
        Ok(records) => match &records[..] {
            [Record::Job(job)] => assert_eq!(job.input, Location::s3("photos", key)),
            other => panic!("{other:?}"),
        },
        other => assert!(other.is_err() && !(1..=MAX_KEY_BYTES).contains(&key.len()), "{other:?}"),
    }
}
