//! The steps that only ever fail when what they read fails: the encoders and the digest.

use std::io::{self, BufRead, Read};

use async_compression::Level;
use async_compression::futures::bufread as codecs;
use async_compression::{lz4, zstd};
use sha2::{Digest, Sha256};

use super::pull::{Ready, Source, always_ready};
use super::step::Codec;

/// Compresses `source`. Formats whose checksum is optional get one: a damaged object must not decompress.
pub(super) fn encode<'a>(codec: Codec, level: i32, source: Source<'a>) -> Box<dyn Read + 'a> {
    let (source, level) = (always_ready(source), Level::Precise(level));
    match codec {
        Codec::Gzip => Box::new(Ready(codecs::GzipEncoder::with_quality(source, level))),
        Codec::Zstd => {
            let checked = [zstd::CParameter::checksum_flag(true)];
            Box::new(Ready(codecs::ZstdEncoder::with_quality_and_params(source, level, &checked)))
        }
        Codec::Bzip2 => Box::new(Ready(codecs::BzEncoder::with_quality(source, level))),
        Codec::Xz => Box::new(Ready(codecs::XzEncoder::with_quality(source, level))),
        Codec::Brotli => Box::new(Ready(codecs::BrotliEncoder::with_quality(source, level))),
        Codec::Lz4 => {
            let checked = lz4::EncoderParams::default().content_checksum(true);
            Box::new(Ready(codecs::Lz4Encoder::with_quality_and_params(source, level, checked)))
        }
    }
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
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(hex + "\n")
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
