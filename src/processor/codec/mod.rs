//! `--process`: a chain of streaming steps, pulled through bounded buffers on one blocking thread.
//!
//! The codecs are async-compression's. This room makes sure that they do not lose a member, accept an early end,
//! expand without limit ([`Limits`]), or take more memory than was set aside for them. Nothing holds a whole object.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use crate::error::UserError;
use crate::job::Job;
use crate::processor::{ProcessError, Processor, Work};
use crate::record::Notices;

mod context;
mod decode;
mod encode;
mod frame;
mod members;
mod memory;
mod pull;
pub mod share;
mod step;

use crate::job::suffix::{Codec, Suffix};
pub use decode::{FREE_BYTES, Limits, MAX_RATIO};
pub use memory::{FULL_DECODER, LEAST_DECODER};
pub use step::Step;

use context::Contexts;
use decode::Format;
use pull::{Buffered, Source};

/// The steps of `--process`, in order.
///
/// ```
/// use batchpipe::processor::codec::Chain;
///
/// let chain = Chain::parse("decompress,zstd:9")?;
/// assert_eq!(chain.id(), "decompress,zstd:9");
/// assert_eq!(chain.suffix().apply("logs/a.csv.gz"), "logs/a.csv.zst");
/// # Ok::<(), batchpipe::error::UserError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    steps: Vec<Step>,
    limits: Limits,
    contexts: Contexts,
    notices: Arc<Notices>,
}

impl Chain {
    /// Reads the text of `--process`: steps separated by commas.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let steps = text.split(',').map(|step| Step::parse(step.trim())).collect::<Result<_, _>>()?;
        Ok(Self { steps, limits: Limits::default(), contexts: Contexts::default(), notices: Arc::default() })
    }

    /// The same chain, with other limits for decompressing.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same chain, which counts in `notices` what the user should know.
    #[must_use]
    pub fn with_notices(mut self, notices: Arc<Notices>) -> Self {
        self.notices = notices;
        self
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many steps need as much memory as their input requires, up to [`Limits::decoder_bytes`].
    pub fn decoders(&self) -> u64 {
        self.steps.iter().filter(|step| step.is_bounded_by_limit()).count() as u64
    }

    /// Whether the output equals the input.
    pub fn is_copy(&self) -> bool {
        self.steps.iter().all(|step| *step == Step::Copy)
    }

    /// The steps with every level written out: the same text for the same work.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// How the chain changes a name.
    pub fn suffix(&self) -> Suffix {
        suffix_of(&self.steps)
    }

    /// Whether the first step that changes the input compresses it.
    fn compresses_first(&self) -> bool {
        matches!(self.steps.iter().find(|step| **step != Step::Copy), Some(Step::Encode(..)))
    }
}

/// How some steps change a name.
fn suffix_of(steps: &[Step]) -> Suffix {
    let (mut strip, mut append) = (Vec::new(), Vec::new());
    for step in steps {
        let format = match step {
            Step::Copy => continue,
            Step::Encode(codec, _) => {
                append.push(codec.suffix());
                continue;
            }
            Step::Sha256 => {
                append.push(".sha256");
                continue;
            }
            Step::Decode(codec) => *codec,
            Step::DecodeAny => None,
        };
        // An ending that an earlier step added is removed before any ending of the input's own name.
        if append.pop().is_none() {
            strip.push(format);
        }
    }
    Suffix { strip, append: append.concat() }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().enumerate().try_for_each(|(i, step)| write!(f, "{}{step}", if i > 0 { "," } else { "" }))
    }
}

impl Processor for Chain {
    /// The steps; limits are left out because they only decide when to fail.
    fn id(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn memory(&self) -> u64 {
        self.steps.iter().map(|step| step.memory(self.limits.decoder_bytes)).sum()
    }

    fn process(&self, job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        let mut source: Source<'_> = Box::new(input);
        if self.compresses_first() && Codec::of_magic(source.fill_buf().map_err(read_error)?).is_some() {
            self.notices.already_compressed(&job.input, self);
        }
        // Only the first step that does any work knows the size of what it reads.
        let mut size = job.size;
        for (place, step) in self.steps.iter().enumerate().filter(|(_, step)| **step != Step::Copy) {
            let size = size.take();
            let format = match step {
                Step::Copy => continue,
                Step::Encode(codec, level) => {
                    source = encode::encode(*codec, *level, size, source, &self.contexts)?;
                    continue;
                }
                Step::Sha256 => {
                    source = Box::new(Buffered::new(encode::Digested::new(source)));
                    continue;
                }
                Step::Decode(Some(codec)) => Format::Only(*codec),
                Step::Decode(None) => Format::Told,
                Step::DecodeAny => Format::Any,
            };
            // The name that the data would have at this step.
            let name = suffix_of(&self.steps[..place]).apply(job.input.key());
            source = decode::decode(format, &name, self.limits, source).map_err(read_error)?;
        }
        loop {
            let data = source.fill_buf().map_err(read_error)?;
            if data.is_empty() {
                return Ok(());
            }
            output.write_all(data)?;
            let amount = data.len();
            source.consume(amount);
        }
    }
}

/// A fault in the data is permanent; any other failure of a read may pass.
fn read_error(error: std::io::Error) -> ProcessError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<decode::Fault>()) {
        Some(fault) => ProcessError::Reject { code: fault.code, reason: fault.reason.clone() },
        None => error.into(),
    }
}

/// The work for `--process TEXT`; a chain that changes nothing needs no thread.
pub fn work_from_steps(text: &str) -> Result<Work, UserError> {
    let chain = Chain::parse(text)?;
    Ok(if chain.is_copy() { Work::Copy } else { Work::Filter(Arc::new(chain)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Chain::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_chain_names_every_level_and_reads_its_own_id_back() {
        for (text, id) in [
            ("gzip", "gzip:6"),
            ("decompress, zstd:9", "decompress,zstd:9"),
            ("zstd:-3,sha256", "zstd:-3,sha256"),
            ("copy", "copy"),
            ("decompress:br,brotli".replace(":br,", ":brotli,").as_str(), "decompress:brotli,brotli:5"),
            ("bzip2,xz,lz4", "bzip2:9,xz:6,lz4:1"),
            ("decompress:any, zstd", "decompress:any,zstd:3"),
        ] {
            let chain = Chain::parse(text).unwrap();
            assert_eq!(chain.id(), id);
            assert_eq!(Chain::parse(id).unwrap(), chain);
        }
    }

    #[test]
    fn a_mistake_in_a_chain_is_answered_with_what_was_meant() {
        assert!(message("gzpi").contains("did you mean \"gzip\"?"));
        assert!(message("gzip:10").contains("0 to 9"));
        assert!(message("zstd:0").contains("1 to 22"));
        assert!(message("zstd:fast").contains("bad level \"fast\""));
        assert!(message("decompress:zst").contains("did you mean \"zstd\"?"));
        assert!(message("decompress:anny").contains("did you mean \"any\"?"));
        assert!(message("").contains("empty step"));
        assert!(message("gzip,,zstd").contains("empty step"));
        assert!(message("copy:1").contains("takes no value"));
        assert!(message("convert -resize").contains("after  --"));
        assert!(message("gzip:4;\u{1b}[31m").contains("\\u{1b}"));
        assert!(message("gzip:10").starts_with("error[BP120]"));
    }

    #[test]
    fn the_name_follows_the_steps() {
        for (steps, key, expected) in [
            ("gzip", "a/b.csv", "a/b.csv.gz"),
            ("copy", "a/b.csv", "a/b.csv"),
            ("decompress", "a/b.csv.gz", "a/b.csv"),
            ("decompress", "a/b.csv", "a/b.csv"),
            ("decompress", "a/.gz", "a/.gz"),
            ("decompress", "x.tgz", "x.tar"),
            ("decompress:zstd", "x.gz", "x.gz"),
            ("decompress,zstd:9", "x.tar.gz", "x.tar.zst"),
            ("gzip,sha256", "x", "x.gz.sha256"),
            ("gzip,decompress", "x.gz", "x.gz"),
            ("decompress,decompress", "x.gz.xz", "x"),
            ("brotli", "x", "x.br"),
            ("decompress:any", "a/b.csv.gz", "a/b.csv"),
            ("decompress:any", "a/b.csv", "a/b.csv"),
            ("decompress:any,zstd", "a/b.csv", "a/b.csv.zst"),
            ("decompress:any,zstd", "x.tgz", "x.tar.zst"),
        ] {
            assert_eq!(Chain::parse(steps).unwrap().suffix().apply(key), expected, "{steps} {key}");
        }
    }

    #[test]
    fn a_chain_of_copies_needs_no_thread() {
        assert!(matches!(work_from_steps("copy,copy").unwrap(), Work::Copy));
        assert!(matches!(work_from_steps("copy,gzip").unwrap(), Work::Filter(_)));
    }
}
