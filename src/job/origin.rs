//! What an output was made from, and what made it: two marks in the output's metadata.
//!
//! By these marks a later job recognises whether an existing output is the one that it would make (`--if-exists`).
//! Every job writes the marks, in the request that writes the object.
//!
//! The *source* is a digest of the input's location, ETag and size. The location is included because a processor
//! sees the name (and so does `decompress`): a renamed object is another source, although its bytes are the same.
//! The version id is left out, because two versions under one key with the same ETag and size hold the same bytes.
//! It is a digest because readers of an output need not learn the names of the inputs, and because S3 accepts 2 KiB
//! of ASCII, while a key is 1 KiB of any characters.
//!
//! Under `--if-exists skip` and `fail` a third mark, the *input*, records where the source is, so that a job whose
//! output belongs to another input can name that input. No output is recognised by it. Under other settings it is
//! not written, because readers of an output need not learn the names of the inputs.
//!
//! The *processor* is the work's id ([`Work::id`](crate::processor::Work::id)) and the job's own arguments. If the
//! source or the processor is unknown (a [`Processor`](crate::Processor) without an id, a store without ETags or
//! metadata), nothing is recognised.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::job::{Job, Location};
use crate::runtime::digest::digest;

/// The metadata field for what the output was made from.
pub const SOURCE: &str = "batchpipe-source";

/// The metadata field for what made the output.
pub const PROCESSOR: &str = "batchpipe-processor";

/// The metadata field for where the input is, in ASCII: other characters are percent-encoded, and so is `%`.
pub const INPUT: &str = "batchpipe-input";

/// The longest input mark. S3 accepts 2 KiB of metadata including the names; the two other marks and the names take
/// less than 300 bytes. A longer location is cut.
const LONGEST_INPUT: usize = 1536;

/// The end of a location that was cut.
const CUT: char = '…';

/// Characters that are encoded in a location in addition to those outside ASCII: a header would lose a space at either
/// end.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');

/// A processor's name up to this length is kept as it is, so that people can read it; a longer name is replaced by a
/// digest.
const LONGEST: usize = 128;

/// The beginning of an ETag that is made from the time of the last change, if a store sends no ETag. Its resolution is
/// one second: it connects the ranges of one read, and must not be used to distinguish versions for longer.
pub(crate) const DATED: &str = "W/modified-";

/// What one output is made from.
#[derive(Debug)]
pub struct Origin {
    from: Location,
    processor: Option<String>,
    /// Known once the input has been seen.
    source: OnceLock<String>,
    tells_input: bool,
}

impl Origin {
    /// The origin of an output that the work with this id makes from the input of `job`.
    pub fn new(job: &Job, work: Option<String>) -> Self {
        let processor = work.map(|id| processor(&id, &job.args));
        Self { from: job.input.clone(), processor, source: OnceLock::new(), tells_input: false }
    }

    /// The same origin, with the input's location among the marks if `tells` is set.
    #[must_use]
    pub fn telling_input(self, tells: bool) -> Self {
        Self { tells_input: tells, ..self }
    }

    /// Records which version of the input it is. An input without an ETag stays unknown.
    pub fn found(&self, etag: Option<&str>, size: u64) {
        if let Some(etag) = etag.filter(|etag| !etag.starts_with(DATED)) {
            // The part that can contain a line break comes last, so that no two sources give the same text.
            self.source.get_or_init(|| digest(format!("{size}\n{etag}\n{}", self.from)));
        }
    }

    /// The marks for the output; empty unless both source and processor are known.
    pub fn marks(&self) -> BTreeMap<String, String> {
        match (self.source.get(), &self.processor) {
            (Some(source), Some(processor)) => {
                let marks = [(SOURCE, source.clone()), (PROCESSOR, processor.clone())];
                let input = self.tells_input.then(|| (INPUT, encoded(&self.from)));
                marks.into_iter().chain(input).map(|(name, value)| (name.to_owned(), value)).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// The input from which an output with this metadata was made, if the output tells and it is a different input.
    pub fn other_input(&self, metadata: &BTreeMap<String, String>) -> Option<OtherInput> {
        let mark = metadata.get(INPUT).filter(|mark| **mark != encoded(&self.from))?;
        let text = percent_decode_str(mark).decode_utf8().ok()?.into_owned();
        Some(OtherInput { location: Location::parse(&text).filter(|_| !text.ends_with(CUT)), text })
    }

    /// Whether an output with this metadata was made by the same processor, from any source.
    pub fn is_by_same(&self, metadata: &BTreeMap<String, String>) -> bool {
        self.processor.is_some() && metadata.get(PROCESSOR) == self.processor.as_ref()
    }

    /// Whether an output with this metadata is the one that this job would make.
    pub fn is_same(&self, metadata: &BTreeMap<String, String>) -> bool {
        self.is_by_same(metadata) && self.source.get().is_some() && metadata.get(SOURCE) == self.source.get()
    }
}

/// The input of another job with the same output. Its text comes from an object, so show it escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherInput {
    /// Its location, as recorded in the output.
    pub text: String,
    /// The parsed location, unless the text was cut.
    pub location: Option<Location>,
}

/// A location in ASCII, cut if it is too long for the metadata of an object.
fn encoded(location: &Location) -> String {
    let whole = utf8_percent_encode(&location.to_string(), ENCODED).to_string();
    if whole.len() <= LONGEST_INPUT {
        return whole;
    }
    let cut = utf8_percent_encode(CUT.encode_utf8(&mut [0; 4]), ENCODED).to_string();
    let mut short = String::new();
    for letter in location.to_string().chars() {
        let next = utf8_percent_encode(letter.encode_utf8(&mut [0; 4]), ENCODED).to_string();
        if short.len() + next.len() + cut.len() > LONGEST_INPUT {
            break;
        }
        short.push_str(&next);
    }
    short + &cut
}

fn processor(id: &str, args: &[String]) -> String {
    let plain = id.bytes().all(|byte| byte.is_ascii_graphic()) && (1..=LONGEST).contains(&id.len());
    let id = if plain { id.to_owned() } else { format!("sha256:{}", digest(id)) };
    match args {
        [] => id,
        // No argument of a program contains a NUL.
        args => format!("{id};args:{}", digest(args.join("\0"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(key: &str, args: &[&str]) -> Job {
        Job {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..Job::new("1", Location::s3("in", key), Location::s3("out", key))
        }
    }

    fn marks(key: &str, args: &[&str], etag: &str, size: u64) -> BTreeMap<String, String> {
        let origin = Origin::new(&job(key, args), Some("copy".to_owned()));
        assert!(origin.marks().is_empty(), "nothing is known before the input was seen");
        origin.found(Some(etag), size);
        origin.marks()
    }

    #[test]
    fn another_name_version_size_or_argument_is_another_origin() {
        let first = marks("a", &[], "1", 2);
        assert_eq!((first[PROCESSOR].as_str(), first[SOURCE].len()), ("copy", 2 * crate::runtime::digest::BYTES));
        assert_eq!(first, marks("a", &[], "1", 2));
        for other in [marks("b", &[], "1", 2), marks("a", &[], "2", 2), marks("a", &[], "1", 3)] {
            assert_ne!(first[SOURCE], other[SOURCE]);
        }
        let (one, two) = (marks("a", &["x y"], "1", 2), marks("a", &["x", "y"], "1", 2));
        assert_ne!(one[PROCESSOR], two[PROCESSOR]);
        assert_ne!(first[PROCESSOR], two[PROCESSOR]);
    }

    #[test]
    fn an_output_is_recognised_by_both_marks_and_by_nothing_less() {
        let seen = |etag: Option<&str>| {
            let origin = Origin::new(&job("a", &[]), Some("copy".to_owned()));
            origin.found(etag, 2);
            origin
        };
        let marks = seen(Some("1")).marks();
        assert!(seen(Some("1")).is_same(&marks));
        assert!(!seen(Some("2")).is_same(&marks) && seen(Some("2")).is_by_same(&marks));
        assert!(!seen(None).is_same(&marks) && seen(None).marks().is_empty());
        assert!(seen(Some("W/modified-1")).marks().is_empty(), "a second is too coarse to tell versions apart");
        assert!(!seen(Some("1")).is_same(&BTreeMap::new()));
        let origin = Origin::new(&job("a", &[]), None);
        origin.found(Some("1"), 2);
        assert!(origin.marks().is_empty() && !origin.is_same(&BTreeMap::new()));
    }

    /// A job whose input is in a bucket with a valid name.
    fn in_bucket(key: &str) -> Job {
        Job::new("1", Location::s3("bucket", key), Location::s3("out", key))
    }

    #[test]
    fn the_input_is_told_only_where_asked_for_and_no_output_is_recognised_by_it() {
        let seen = |key: &str, tells| {
            let origin = Origin::new(&in_bucket(key), Some("copy".to_owned())).telling_input(tells);
            origin.found(Some("1"), 2);
            origin
        };
        let (old, new) = (seen("a b/ü%20", false), seen("a b/ü%20", true));
        assert!(!old.marks().contains_key(INPUT));
        assert_eq!(new.marks()[INPUT], "s3://bucket/a%20b/%C3%BC%2520");
        assert!(old.is_same(&new.marks()) && new.is_same(&old.marks()), "marks of both kinds are valid");
        assert_eq!(new.other_input(&new.marks()), None);
        assert_eq!(new.other_input(&old.marks()), None);
        let other = seen("b", false).other_input(&new.marks()).unwrap();
        assert_eq!(
            (other.text.as_str(), other.location),
            ("s3://bucket/a b/ü%20", Some(Location::s3("bucket", "a b/ü%20")))
        );
    }

    #[test]
    fn all_marks_fit_in_the_metadata_of_an_object_and_a_location_that_was_cut_is_not_taken_for_a_whole_one() {
        for key in ["ü".repeat(512), "日".repeat(341), "\u{10ffff}".repeat(256), "a".repeat(1024)] {
            let long = Job { args: vec!["x".to_owned()], ..in_bucket(&key) };
            let unnamed = "x".repeat(LONGEST);
            let mark = encoded(&long.input);
            let sizes = [
                (SOURCE, 2 * crate::runtime::digest::BYTES),
                (PROCESSOR, processor(&unnamed, &long.args).len()),
                (INPUT, mark.len()),
            ];
            let size: usize = sizes.iter().map(|(name, value)| name.len() + value).sum();
            assert!(size <= 2048 && mark.is_ascii(), "{size}");
            let other = Origin::new(&in_bucket("b"), Some("copy".to_owned()));
            let other = other.other_input(&BTreeMap::from([(INPUT.to_owned(), mark)])).unwrap();
            match other.location {
                Some(whole) => assert_eq!(whole, long.input),
                None => assert!(other.text.ends_with(CUT) && other.text.starts_with("s3://bucket/"), "{}", other.text),
            }
        }
    }

    #[test]
    fn a_mark_is_short_ascii_whatever_the_processor_is_called() {
        for id in ["", "with space", "ümlaut", "a\nb", &"x".repeat(LONGEST + 1)] {
            let mark = processor(id, &["ü".repeat(5000)]);
            assert!(mark.is_ascii() && mark.len() < 2 * LONGEST && mark.starts_with("sha256:"), "{mark}");
        }
        assert_eq!(processor("decompress,zstd:9", &[]), "decompress,zstd:9");
    }
}
