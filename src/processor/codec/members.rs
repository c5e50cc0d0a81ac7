//! Decodes the members of one compressed file one after the other, and accepts zeros after the last one.
//!
//! Tapes and block devices are written in whole blocks, so a compressed file that was copied from such a device ends
//! in zeros. gzip, bzip2 and xz ignore these zeros, and so does this step. The rule is strict: zeros are padding
//! only if a member is complete and only zeros follow until the end of the input. Zeros before another member, or
//! before anything else, are damage, because data is missing there.
//!
//! async-compression can read several members by itself, but does not tell where a member ends. So a decoder here
//! reads one member and then returns its source, positioned at the first byte after that member. Bounded: zeros are
//! skipped in place, in the source's own buffer.

use std::io::{self, BufRead, Read};

use async_compression::futures::bufread as codecs;
use futures::io::AllowStdIo;

use super::pull::{Ready, Source, always_ready};

/// A decoder of one member.
trait Member<'a>: Read {
    /// The source, at the first byte that the decoder has not consumed.
    fn source(self: Box<Self>) -> Source<'a>;
}

impl<'a> Member<'a> for Ready<codecs::GzipDecoder<AllowStdIo<Source<'a>>>> {
    fn source(self: Box<Self>) -> Source<'a> {
        self.0.into_inner().into_inner()
    }
}

impl<'a> Member<'a> for Ready<codecs::BzDecoder<AllowStdIo<Source<'a>>>> {
    fn source(self: Box<Self>) -> Source<'a> {
        self.0.into_inner().into_inner()
    }
}

impl<'a> Member<'a> for Ready<codecs::XzDecoder<AllowStdIo<Source<'a>>>> {
    fn source(self: Box<Self>) -> Source<'a> {
        self.0.into_inner().into_inner()
    }
}

/// A format whose tool ignores zeros at the end of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Padded {
    Gzip,
    Bzip2,
    Xz,
}

impl Padded {
    /// A decoder of the member that begins at the current position of `source`. An xz member may take `most` bytes of
    /// memory.
    fn begin<'a>(self, most: u64, source: Source<'a>) -> Box<dyn Member<'a> + 'a> {
        let source = always_ready(source);
        match self {
            Self::Gzip => Box::new(Ready(codecs::GzipDecoder::new(source))),
            Self::Bzip2 => Box::new(Ready(codecs::BzDecoder::new(source))),
            Self::Xz => Box::new(Ready(codecs::XzDecoder::with_mem_limit(source, most))),
        }
    }
}

/// Reads as all members of a file, one after the other.
pub(super) struct Members<'a> {
    format: Padded,
    most: u64,
    /// The decoder of the current member; none after the last member.
    current: Option<Box<dyn Member<'a> + 'a>>,
}

impl<'a> Members<'a> {
    /// Decodes a `source` that is at the first member. One decoder may take `most` bytes of memory, if its format can
    /// need that much.
    pub(super) fn new(format: Padded, most: u64, source: Source<'a>) -> Self {
        Self { format, most, current: Some(format.begin(most, source)) }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.current {
            let amount = member.read(buffer)?;
            if amount > 0 {
                return Ok(amount);
            }
            let mut source = match self.current.take() {
                Some(member) => member.source(),
                None => return Ok(0),
            };
            match source.fill_buf()?.first() {
                None => {}
                // No member of these formats begins with a zero.
                Some(0) => skip_zeros(&mut source)?,
                Some(_) => self.current = Some(self.format.begin(self.most, source)),
            }
        }
        Ok(0)
    }
}

/// Reads zeros until the end; anything else is damage.
fn skip_zeros(source: &mut Source<'_>) -> io::Result<()> {
    loop {
        let data = source.fill_buf()?;
        if data.is_empty() {
            return Ok(());
        }
        let zeros = data.iter().take_while(|byte| **byte == 0).count();
        let all = zeros == data.len();
        source.consume(zeros);
        if !all {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "other data follows the zeros behind its end"));
        }
    }
}
