//! The steps that fail only if reading their source fails: the encoders and the digest.

use crate::job::suffix::Codec;
use std::io::{self, BufRead, Read};

use async_compression::Level;
use async_compression::futures::bufread as codecs;
use async_compression::lz4;
use sha2::{Digest, Sha256};

use super::context::Contexts;
use super::frame::Frame;
use super::pull::{Buffered, Ready, Source, always_ready};

/// Compresses `source`, which has `size` bytes if the size is known. Formats with an optional checksum get one, because
/// a damaged object must not decompress.
pub(super) fn encode<'a>(
    codec: Codec,
    level: i32,
    size: Option<u64>,
    source: Source<'a>,
    contexts: &Contexts,
) -> io::Result<Source<'a>> {
    let quality = Level::Precise(level);
    let encoder: Box<dyn Read + 'a> = match codec {
        Codec::Zstd => return Ok(Box::new(Frame::new(source, contexts.take(level)?, size)?)),
        Codec::Gzip => Box::new(Ready(codecs::GzipEncoder::with_quality(always_ready(source), quality))),
        Codec::Bzip2 => Box::new(Ready(codecs::BzEncoder::with_quality(always_ready(source), quality))),
        Codec::Xz => Box::new(Ready(codecs::XzEncoder::with_quality(always_ready(source), quality))),
        Codec::Brotli => Box::new(Ready(codecs::BrotliEncoder::with_quality(always_ready(source), quality))),
        Codec::Lz4 => {
            let checked = lz4::EncoderParams::default().content_checksum(true);
            Box::new(Ready(codecs::Lz4Encoder::with_quality_and_params(always_ready(source), quality, checked)))
        }
    };
    Ok(Box::new(Buffered::new(encoder)))
}

/// Reads as the digest of its source: 64 lowercase hex digits and a newline.
pub(super) struct Digested<'a> {
    source: Source<'a>,
    line: Option<io::Cursor<String>>,
}

impl<'a> Digested<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, line: None }
    }

    fn digest(&mut self) -> io::Result<String> {
        let mut hasher = Sha256::new();
        loop {
            let data = self.source.fill_buf()?;
            if data.is_empty() {
                break;
            }
            hasher.update(data);
            let amount = data.len();
            self.source.consume(amount);
        }
        Ok(hex::encode(hasher.finalize()) + "\n")
    }
}

impl Read for Digested<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.line.is_none() {
            self.line = Some(io::Cursor::new(self.digest()?));
        }
        self.line.as_mut().map_or(Ok(0), |line| line.read(buffer))
    }
}
