//! The decompressing step: detects the format, limits the decoder, and reports what is wrong with the data.
//!
//! By default async-compression stops after the first member of a gzip and reports success. Here every member is
//! decoded, and anything after the last member is an error, and so is an early end. Only zeros may follow the last
//! member of a gzip, bzip2 or xz file (`members.rs`). The data is untrusted: the window limits bound the memory, the
//! expansion limits bound the output, and exceeding a limit is an error and never truncates the output.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use async_compression::futures::bufread as codecs;
use async_compression::zstd::DParameter;
use futures::io::AllowStdIo;

use super::members::{Members, Padded};
use super::memory::{FULL_DECODER, brotli_window, zstd_window};
use super::pull::{Buffered, Ready, Source, always_ready};
use crate::error::Code;
use crate::job::suffix;
use crate::job::suffix::Codec;

/// Limits for a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest output of one decompressing step, in bytes.
    pub max_expanded_bytes: Option<u64>,
    /// How many times longer than its input an output may be, not counting its first [`FREE_BYTES`].
    pub max_ratio: Option<u64>,
    /// The most memory of one decompressing step, in bytes. Without a limit, the author of the data would choose the
    /// memory.
    pub decoder_bytes: u64,
}

/// The default for the largest ratio of output to input. gzip can't exceed 1032:1, but a zstd of zeros reaches 32 749:1
/// (measured): files of mostly zeros, such as disk images, need `--max-ratio`.
pub const MAX_RATIO: u64 = 1000;

impl Default for Limits {
    fn default() -> Self {
        Self { max_expanded_bytes: None, max_ratio: Some(MAX_RATIO), decoder_bytes: FULL_DECODER }
    }
}

/// Output to which the ratio does not apply, because small files of one repeated byte are common and harmless.
pub const FREE_BYTES: u64 = 64 << 20;

/// The messages of zstd and xz for data that exceeds the memory limit, because neither crate has an error kind for it.
const TOO_LARGE: [&str; 2] = ["Frame requires too much memory", "memory limit reached"];

/// The longest magic.
const MAGIC_BYTES: u64 = 6;

/// What is wrong with the data; passed through `io::Error`.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Fault {}

fn fault(code: Code, reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Fault { code, reason })
}

/// What happened to the compressed input, seen from outside the decoder.
#[derive(Default)]
struct Progress {
    consumed: Cell<u64>,
    failed: Cell<bool>,
}

struct Watched<'a> {
    source: Source<'a>,
    progress: Rc<Progress>,
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = self.source.fill_buf();
        self.progress.failed.set(filled.is_err());
        filled
    }

    fn consume(&mut self, amount: usize) {
        self.progress.consumed.set(self.progress.consumed.get() + amount as u64);
        self.source.consume(amount);
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}

/// How to detect the format of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// It is this format.
    Only(Codec),
    /// The magic bytes tell, and for brotli the name.
    Told,
    /// Like `Told`, but an input that is not compressed passes unchanged.
    Any,
}

/// Decompresses `source`, an object with this `name`.
pub(super) fn decode<'a>(format: Format, name: &str, limits: Limits, mut source: Source<'a>) -> io::Result<Source<'a>> {
    let mut head = Vec::new();
    (&mut source).take(MAGIC_BYTES).read_to_end(&mut head)?;
    // A brotli stream may begin with any bytes, even the magic of another format, so the name of a brotli file comes
    // first.
    let by_name = name.ends_with(Codec::Brotli.suffix()).then_some(Codec::Brotli);
    let codec = match format {
        Format::Only(codec) => Some(codec),
        Format::Told | Format::Any => by_name.or_else(|| Codec::of_magic(&head)),
    };
    let codec = match codec {
        // The name of the output was derived from the name of the input alone. So a file that has the ending of a
        // compressed file has lost it, and nobody would expect such data under the new name.
        None if format == Format::Any && !suffix::is_of_compressed(name) => {
            return Ok(Box::new(io::Cursor::new(head).chain(source)));
        }
        _ if head.is_empty() => {
            return Err(fault(Code::DataDamaged, "the input is empty: no compressed data at all".into()));
        }
        Some(codec) => codec,
        None => {
            return Err(fault(
                Code::NotCompressed,
                format!("not compressed in a format that is known: it begins with {}", Hex(&head)),
            ));
        }
    };
    if codec == Codec::Brotli {
        check_window(head[0], limits)?;
    }
    let source: Source<'a> = Box::new(io::Cursor::new(head).chain(source));
    let progress = Rc::new(Progress::default());
    let watched: Source<'a> = Box::new(Watched { source, progress: Rc::clone(&progress) });
    let decoder = decoder(codec, limits, watched);
    Ok(Box::new(Buffered::new(Decode { codec, limits, progress, decoder, expanded: 0 })))
}

/// The brotli library accepts no limit, but the first byte tells how much memory it will need.
fn check_window(first: u8, limits: Limits) -> io::Result<()> {
    match brotli_window(first) {
        None => Err(fault(Code::DataDamaged, "brotli with a large window, which is not the brotli of RFC 7932".into())),
        Some(needed) if needed > limits.decoder_bytes => Err(too_large("brotli", 0, limits)),
        Some(_) => Ok(()),
    }
}

fn too_large(name: &str, at: u64, limits: Limits) -> io::Error {
    let allowed = limits.decoder_bytes >> 10;
    fault(
        Code::DecompressionMemory,
        format!("{name} needs more than the {allowed} KiB that a decoder may have, near byte {at}"),
    )
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, byte)| write!(f, "{}{byte:02x}", if i > 0 { " " } else { "" }))
    }
}

/// Every member is decoded; a codec that looks for another member detects garbage after the last one.
fn decoder<'a>(codec: Codec, limits: Limits, source: Source<'a>) -> Box<dyn Read + 'a> {
    let padded = match codec {
        Codec::Gzip => Padded::Gzip,
        Codec::Bzip2 => Padded::Bzip2,
        Codec::Xz => Padded::Xz,
        Codec::Zstd => {
            let window = [DParameter::window_log_max(zstd_window(limits.decoder_bytes))];
            let mut decoder = codecs::ZstdDecoder::with_params(always_ready(source), &window);
            decoder.multiple_members(true);
            return Box::new(Ready(decoder));
        }
        Codec::Lz4 => {
            let mut decoder = codecs::Lz4Decoder::new(always_ready(source));
            decoder.multiple_members(true);
            return Box::new(Ready(decoder));
        }
        Codec::Brotli => return Box::new(Single(Ready(codecs::BrotliDecoder::new(always_ready(source))))),
    };
    Box::new(Members::new(padded, limits.decoder_bytes, source))
}

/// Brotli streams are not concatenated, because most garbage would look like the beginning of another stream.
struct Single<'a>(Ready<codecs::BrotliDecoder<AllowStdIo<Source<'a>>>>);

impl Read for Single<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.0.read(buffer)?;
        if amount == 0 && !buffer.is_empty() && !self.0.0.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "other data follows its end"));
        }
        Ok(amount)
    }
}

/// A decoder under its limits, whose errors tell the position.
struct Decode<'a> {
    codec: Codec,
    limits: Limits,
    progress: Rc<Progress>,
    decoder: Box<dyn Read + 'a>,
    expanded: u64,
}

impl Read for Decode<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buffer) {
            Ok(amount) => {
                self.expanded += amount as u64;
                self.check_limits()?;
                Ok(amount)
            }
            Err(error) if self.progress.failed.get() => Err(error),
            Err(error) => Err(self.undecodable(&error)),
        }
    }
}

impl Decode<'_> {
    fn check_limits(&self) -> io::Result<()> {
        let (name, read) = (self.codec.as_str(), self.progress.consumed.get());
        if let Some(limit) = self.limits.max_expanded_bytes.filter(|limit| self.expanded > *limit) {
            return Err(fault(
                Code::ExpandsTooFar,
                format!(
                    "{name} expands to more than {limit} bytes, after {read} bytes of input; the limit is \
                    --max-expanded-bytes"
                ),
            ));
        }
        let beyond = self.expanded.saturating_sub(FREE_BYTES);
        if let Some(ratio) = self.limits.max_ratio.filter(|ratio| beyond > read.saturating_mul(*ratio)) {
            return Err(fault(
                Code::ExpandsTooFar,
                format!("{name} expands more than {ratio}:1, after {read} bytes of input; the limit is --max-ratio"),
            ));
        }
        Ok(())
    }

    fn undecodable(&self, error: &io::Error) -> io::Error {
        let (name, read) = (self.codec.as_str(), self.progress.consumed.get());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => fault(Code::DataDamaged, format!("{name} ends early at byte {read}")),
            io::ErrorKind::OutOfMemory => io::Error::new(io::ErrorKind::OutOfMemory, format!("{name}: {error}")),
            _ if TOO_LARGE.iter().any(|said| error.to_string().contains(said)) => too_large(name, read, self.limits),
            _ => fault(Code::DataDamaged, format!("{name} can't be decoded, near byte {read}: {error}")),
        }
    }
}
