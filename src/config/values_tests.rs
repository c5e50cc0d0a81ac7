//! The tables of values: what is read as what, and what is refused.

use super::*;
use crate::error::Code;

#[test]
fn sizes_are_read_in_powers_of_1024_unless_they_say_otherwise() {
    let table = [
        ("8388608", 8 << 20),
        ("8M", 8 << 20),
        ("8MiB", 8 << 20),
        ("8mib", 8 << 20),
        ("8 MiB", 8 << 20),
        (" 8MiB ", 8 << 20),
        ("8MB", 8_000_000),
        ("64k", 64 << 10),
        ("64kB", 64_000),
        ("1.5GiB", 3 << 29),
        ("0.5k", 512),
        ("1TiB", 1 << 40),
        ("1B", 1),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in table {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn a_size_that_is_none_is_refused() {
    let refused = [
        "",
        " ",
        "0",
        "0MiB",
        "-1",
        "-8MiB",
        "+8",
        "8X",
        "8MiBB",
        "MiB",
        "abc",
        "1.5",
        "0.5",
        "1..5M",
        "1.M",
        ".5M",
        "８MiB",
        "∞",
        "1e9",
        "0x10",
        "18446744073709551616",
        "17179869184GiB",
        "16777216TiB",
        "8 M iB",
        "8M 8M",
        "8\n",
    ];
    for text in refused {
        assert!(size(text).is_err(), "{text:?} was read as {:?}", size(text));
    }
}

#[test]
fn a_size_is_shown_as_it_is_read() {
    for text in ["8MiB", "64KiB", "1.5GiB", "1TiB", "512B"] {
        assert_eq!(show_size(size(text).unwrap()), text);
    }
    assert_eq!(show_size(u64::MAX), "16777215.9TiB");
}

#[test]
fn numbers_are_ascii_digits_within_their_bounds() {
    assert_eq!(number("16", 1, 20), Ok(16));
    assert_eq!(number("0016", 1, 20), Ok(16));
    for text in ["", "0", "21", "-1", "+1", "1.0", "1e1", "abc", "４", "99999999999999999999999", " 1", "1 "] {
        assert!(number(text, 1, 20).is_err(), "{text:?}");
    }
}

#[test]
fn durations_take_units_or_bare_seconds() {
    let read = |text| duration(text, Duration::from_secs(2), Duration::from_secs(43_200), Code::VisibilityTimeout);
    for (text, seconds) in [("60", 60), ("60s", 60), ("10m", 600), ("1h 30m", 5400), ("12h", 43_200), ("2000ms", 2)] {
        assert_eq!(read(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for (text, code) in [
        ("0", Code::VisibilityTimeout),
        ("1s", Code::VisibilityTimeout),
        ("43201", Code::VisibilityTimeout),
        ("13h", Code::VisibilityTimeout),
        ("99999999999999999999", Code::CommandLine),
        ("", Code::CommandLine),
        ("∞", Code::CommandLine),
        ("-5s", Code::CommandLine),
        ("６0", Code::CommandLine),
        ("5 parsecs", Code::CommandLine),
        ("99999999999999999999h", Code::CommandLine),
        ("s", Code::CommandLine),
    ] {
        assert_eq!(read(text).unwrap_err().code, code, "{text:?}");
    }
}

#[test]
fn places_are_s3_or_local_and_everything_else_gets_the_right_form_as_help() {
    let read = |text| location(text, Path::new("/home/me"));
    let table = [
        ("s3://acme-in/2026/", "s3://acme-in/2026/"),
        ("s3://acme-in", "s3://acme-in/"),
        ("s3://acme-in//p", "s3://acme-in//p"),
        ("s3://acme-in/../x", "s3://acme-in/../x"),
        ("file:///data/", "file:///data/"),
        ("file:///data/../etc", "file:///etc"),
        ("./in", "file:///home/me/in"),
        ("../in/", "file:///home/in/"),
        ("/", "file:///"),
        ("in:put", "file:///home/me/in:put"),
    ];
    for (text, uri) in table {
        assert_eq!(read(text).unwrap().to_string(), uri, "{text}");
    }
    let refused = [
        ("", "give s3://bucket/prefix/ or a directory"),
        ("s3:/acme-in/x", "write  s3://acme-in/x"),
        ("s3:acme-in/x", "write  s3://acme-in/x"),
        ("S3://acme-in/X", "write  s3://acme-in/X"),
        ("s3://", "write  s3://bucket/prefix/"),
        ("s3:///x", "write  s3://bucket/prefix/"),
        ("s3://Acme-In/x", "write  s3://acme-in/x"),
        ("s3://a/x", "write  s3://bucket/prefix/"),
        ("s3://é/x", "write  s3://bucket/prefix/"),
        ("https://acme-in.s3.eu-west-1.amazonaws.com/a/b", "write  s3://acme-in/a/b"),
        ("https://s3.eu-west-1.amazonaws.com/acme-in/a", "write  s3://acme-in/a"),
        ("https://acme-in.s3.amazonaws.com/a?X-Amz-Signature=abc", "write  s3://acme-in/a"),
        ("https://example.com/a", "write  s3://bucket/prefix/"),
        ("arn:aws:s3:::acme-in/a", "write  s3://acme-in/a"),
        ("file:data", "write  file:///dir/"),
        ("file://host/data", "write  file:///dir/"),
        ("gs://bucket/a", "give s3://bucket/prefix/, file:///dir/ or a path"),
    ];
    for (text, help) in refused {
        assert_eq!(read(text).map(|place| place.to_string()).unwrap_err().help, help, "{text}");
    }
}

#[test]
fn queues_are_names_arns_urls_or_sqlite_files() {
    let right = [
        "jobs",
        "jobs.fifo",
        "sqlite:jobs.db",
        "sqlite:/var/lib/jobs.db",
        "arn:aws:sqs:eu-west-1:123456789012:jobs",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
        "http://127.0.0.1:9324/000000000000/jobs.fifo",
    ];
    for text in right {
        assert_eq!(queue(text).as_deref(), Ok(text));
    }
    for text in [
        "",
        "sqlite:",
        "my jobs",
        "jobs.txt",
        "s3://bucket/jobs",
        "arn:aws:s3:::bucket",
        "https://example.com/",
        "-é",
        ".fifo",
        "arn:aws:sqs:::jobs",
    ] {
        assert_eq!(queue(text).unwrap_err().code, Code::BadPlaceOrStep, "{text}");
    }
}

#[test]
fn a_word_like_another_is_suggested_and_a_strange_one_is_not() {
    assert_eq!(nearest("concurency", ["concurrency", "color"].into_iter()), Some("concurrency"));
    assert_eq!(nearest("zzz", ["concurrency", "color"].into_iter()), None);
}

#[test]
fn what_may_be_secret_in_an_address_is_not_shown() {
    let table = [
        ("http://me:secret@host:9000/x", "http://…@host:9000/x"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=abc", "https://b.s3.amazonaws.com/k?…"),
        ("https://a@b@host?q", "https://…@host?…"),
        ("http://host/a@b", "http://host/a@b"),
        ("s3://bucket/a?b@c", "s3://bucket/a?b@c"),
        ("plain", "plain"),
    ];
    for (text, expected) in table {
        assert_eq!(shown(text), expected);
    }
}
