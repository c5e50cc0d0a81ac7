//! What an output was made from, and by what: two marks in the output's metadata.
//!
//! With them a later job tells whether the output in its place is the one that it would make (`--if-exists`). The marks
//! are written by every job, in the request that writes the object.
//!
//! The *source* is a digest of the input's location, ETag and size. Its location, because a processor sees the name (so
//! does `decompress`): a renamed object is another source, though its bytes are the same. Not its version id: two
//! versions under one key with one ETag and one size hold the same bytes. A digest, because whoever reads an output
//! need not learn the names of the inputs, and S3 takes 2 KiB of ASCII where a key is 1 KiB of anything.
//!
//! The *processor* is what [`Work::id`] calls the work, and the job's own arguments. Where one of the two is not known
//! (a [`Processor`](crate::Processor) without an id, a store without ETags or metadata), nothing is recognised.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::job::{Job, Location};
use crate::processor::Work;
use crate::store::{DATED, Version};

/// The metadata that holds what the output was made from.
pub const SOURCE: &str = "batchpipe-source";

/// The metadata that holds what made it.
pub const PROCESSOR: &str = "batchpipe-processor";

/// A processor's name is kept as it is up to this length, so that people can read it; a digest stands for a longer one.
const LONGEST: usize = 128;

/// Bytes of a digest that are kept. With 16, two of 10^15 sources are taken for each other with a chance of 10^-9.
const DIGEST_BYTES: usize = 16;

/// What one output is made from.
#[derive(Debug)]
pub struct Origin {
    from: Location,
    processor: Option<String>,
    /// Known once the input has been seen.
    source: OnceLock<String>,
}

impl Origin {
    /// Of what `work` makes of the input of `job`.
    pub fn new(job: &Job, work: &Work) -> Self {
        let processor = work.id().map(|id| processor(&id, &job.args));
        Self { from: job.input.clone(), processor, source: OnceLock::new() }
    }

    /// Notes which version of the input it is. An input without an ETag stays unknown.
    pub fn found(&self, version: &Version, size: u64) {
        if let Some(etag) = version.etag.as_ref().filter(|etag| !etag.starts_with(DATED)) {
            // What can hold a line break comes last, so that no two sources read the same.
            self.source.get_or_init(|| digest(format!("{size}\n{etag}\n{}", self.from)));
        }
    }

    /// What the output is marked with; nothing while the half of it is not known.
    pub fn marks(&self) -> BTreeMap<String, String> {
        match (self.source.get(), &self.processor) {
            (Some(source), Some(processor)) => {
                BTreeMap::from([(SOURCE.to_owned(), source.clone()), (PROCESSOR.to_owned(), processor.clone())])
            }
            _ => BTreeMap::new(),
        }
    }

    /// Whether an output with this metadata was made by the same processor, of whatever source.
    pub fn is_by_same(&self, metadata: &BTreeMap<String, String>) -> bool {
        self.processor.is_some() && metadata.get(PROCESSOR) == self.processor.as_ref()
    }

    /// Whether an output with this metadata is the one that would be made.
    pub fn is_same(&self, metadata: &BTreeMap<String, String>) -> bool {
        self.is_by_same(metadata) && self.source.get().is_some() && metadata.get(SOURCE) == self.source.get()
    }
}

fn processor(id: &str, args: &[String]) -> String {
    let plain = id.bytes().all(|byte| byte.is_ascii_graphic()) && (1..=LONGEST).contains(&id.len());
    let id = if plain { id.to_owned() } else { format!("sha256:{}", digest(id)) };
    match args {
        [] => id,
        // No argument of a program holds a NUL.
        args => format!("{id};args:{}", digest(args.join("\0"))),
    }
}

/// A digest, in hexadecimal.
pub(crate) fn digest(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(&Sha256::digest(bytes)[..DIGEST_BYTES])
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
        let origin = Origin::new(&job(key, args), &Work::Copy);
        assert!(origin.marks().is_empty(), "nothing is known before the input was seen");
        origin.found(&Version { etag: Some(etag.to_owned()), version_id: None }, size);
        origin.marks()
    }

    #[test]
    fn another_name_version_size_or_argument_is_another_origin() {
        let first = marks("a", &[], "1", 2);
        assert_eq!((first[PROCESSOR].as_str(), first[SOURCE].len()), ("copy", 2 * DIGEST_BYTES));
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
            let origin = Origin::new(&job("a", &[]), &Work::Copy);
            origin.found(&Version { etag: etag.map(str::to_owned), version_id: Some("v".to_owned()) }, 2);
            origin
        };
        let marks = seen(Some("1")).marks();
        assert!(seen(Some("1")).is_same(&marks));
        assert!(!seen(Some("2")).is_same(&marks) && seen(Some("2")).is_by_same(&marks));
        assert!(!seen(None).is_same(&marks) && seen(None).marks().is_empty());
        assert!(seen(Some("W/modified-1")).marks().is_empty(), "a second is too coarse to tell versions apart");
        assert!(!seen(Some("1")).is_same(&BTreeMap::new()));
        let unnamed =
            Work::Filter(std::sync::Arc::new(|_: &Job, _: &mut dyn std::io::BufRead, _: &mut dyn std::io::Write| {
                Ok(())
            }));
        let origin = Origin::new(&job("a", &[]), &unnamed);
        origin.found(&Version { etag: Some("1".to_owned()), version_id: None }, 2);
        assert!(origin.marks().is_empty() && !origin.is_same(&BTreeMap::new()));
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
