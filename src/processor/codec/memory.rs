//! The memory that a codec needs beside the bytes that pass through it, so that `--memory` covers both.
//!
//! The figures are those of the formats' own libraries at the settings used here; a stream of unknown length gets
//! the full tables of its level. They are upper bounds: pages that a small object never touches cost nothing, but
//! that can't be known in advance. What a *decoder* needs is determined by untrusted data, so the bound is set first
//! ([`Limits::decoder_bytes`](super::Limits)), and data that needs more is refused.

use super::frame::WHOLE;
use super::step::Step;
use crate::job::suffix::Codec;
use crate::link;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The default memory of one decoder: a zstd window of 128 MiB, which `zstd` itself accepts without a flag
/// (`--long=27`), and its overhead. `xz -9` needs 65 MiB.
pub const FULL_DECODER: u64 = 129 * MIB;

/// The least memory of a decoder: `zstd -19` writes windows of 8 MiB, `xz -6` needs 9, an LZ4 frame of the largest
/// blocks 8.2.
pub const LEAST_DECODER: u64 = 10 * MIB;

/// zstd's decoder without its window: two blocks and the tables (`ZSTD_estimateDStreamSize` less the window).
const ZSTD_DECODER: u64 = 512 * KIB;

/// Brotli's decoder without its window: the Huffman tables of the most trees that a block may have, and the decoded
/// part of a block.
const BROTLI_DECODER: u64 = MIB;

/// zstd's window, chain and hash tables by level, in powers of two, for a source of unknown length
/// (`lib/compress/clevels.h` of zstd 1.5.7). The first entry is for the levels below 1.
const ZSTD_LEVELS: [(u32, u32, u32); 23] = [
    (19, 12, 13),
    (19, 13, 14),
    (20, 15, 16),
    (21, 16, 17),
    (21, 18, 18),
    (21, 18, 19),
    (21, 18, 19),
    (21, 19, 20),
    (21, 19, 20),
    (22, 20, 21),
    (22, 21, 22),
    (22, 21, 22),
    (22, 22, 23),
    (22, 22, 22),
    (22, 22, 23),
    (22, 23, 23),
    (22, 22, 22),
    (23, 23, 22),
    (23, 23, 22),
    (23, 24, 22),
    (25, 25, 23),
    (26, 26, 24),
    (27, 27, 25),
];

/// xz's encoder by level (`lzma_easy_encoder_memusage`, and the table in xz(1)), in MiB.
const XZ_LEVELS: [u64; 10] = [3, 9, 17, 32, 48, 94, 94, 186, 370, 674];

/// Brotli's encoder by level with its window of 4 MiB, in MiB: the growth of the process over a copy of the same 48 MiB
/// of words, rounded up (measured with brotli 9.1).
const BROTLI_LEVELS: [u64; 12] = [12, 12, 18, 18, 46, 60, 60, 66, 66, 92, 104, 104];

impl Step {
    /// The most bytes that one run of this step holds, with decoders of at most `decoder` bytes.
    pub(super) fn memory(self, decoder: u64) -> u64 {
        let codec = match self {
            Self::Copy => return 0,
            Self::Sha256 => 0,
            Self::Encode(codec, level) => encoder(codec, level),
            Self::Decode(Some(Codec::Gzip)) => 128 * KIB,
            Self::Decode(Some(Codec::Bzip2)) => 4 * MIB,
            Self::Decode(Some(Codec::Lz4)) => 9 * MIB,
            Self::DecodeAny | Self::Decode(None | Some(Codec::Zstd | Codec::Xz | Codec::Brotli)) => decoder,
        };
        // The buffer after the step.
        codec + link::WRITE_CHUNK as u64
    }

    /// Whether the input determines how much memory this step needs.
    pub(super) fn is_bounded_by_limit(self) -> bool {
        matches!(self, Self::DecodeAny | Self::Decode(None | Some(Codec::Zstd | Codec::Xz | Codec::Brotli)))
    }
}

fn encoder(codec: Codec, level: i32) -> u64 {
    let level = usize::try_from(level).unwrap_or(0);
    match codec {
        // 256 KiB by zlib's own formula, and what its Rust version adds.
        Codec::Gzip => 512 * KIB,
        Codec::Zstd => {
            let (window, chain, hash) = ZSTD_LEVELS[level.min(ZSTD_LEVELS.len() - 1)];
            // The tables hold 4 bytes per entry, and one more at the levels that search in rows. Added to these are two
            // blocks, their sequences, from level 18 on a table of 512 KiB for matches of three bytes, and the whole
            // output of an input that is short enough to be compressed in one call.
            let rows = if (5..=12).contains(&level) { 1 << hash } else { 0 };
            (1 << window) + (4 << chain) + (4 << hash) + rows + 2 * MIB + zstd::zstd_safe::compress_bound(WHOLE) as u64
        }
        // 400 KB and eight times the block, which is at most 900 KB (bzip2(1)).
        Codec::Bzip2 => 8 * MIB,
        Codec::Xz => XZ_LEVELS[level.min(9)] * MIB,
        Codec::Brotli => BROTLI_LEVELS[level.min(11)] * MIB,
        // Blocks of 64 KiB, and 256 KiB of tables for the levels above 2.
        Codec::Lz4 => MIB,
    }
}

/// The largest zstd window, as a power of two, for a decoder of `bytes`. The bounds are the library's own: it refuses
/// other values.
pub(super) fn zstd_window(bytes: u64) -> u32 {
    bytes.saturating_sub(ZSTD_DECODER).checked_ilog2().unwrap_or(0).clamp(10, 31)
}

/// The memory that a decoder needs for the brotli stream that begins with `first` (RFC 7932, section 9.1). `None` for a
/// "large window", which is not part of that format, because a few bytes of it may require a GiB.
pub(super) fn brotli_window(first: u8) -> Option<u64> {
    let bits = match first & 0x7f {
        0x11 => return None,
        0x01 => 17,
        bits if bits & 1 == 0 => 16,
        bits if bits & 0x0f == 1 => 8 + (bits >> 4),
        bits => 17 + ((bits >> 1) & 7),
    };
    Some((1 << bits) + BROTLI_DECODER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_as_the_format_writes_it() {
        // The table of RFC 7932, 9.1: the bits are those of the first byte, the lowest bit last.
        for (first, bits) in
            [(0b0, 16), (0b000_0001, 17), (0b0011, 18), (0b1111, 24), (0b010_0001, 10), (0b111_0001, 15)]
        {
            assert_eq!(brotli_window(first), Some((1u64 << bits) + BROTLI_DECODER), "{first:#b}");
            assert_eq!(brotli_window(first | 0x80), brotli_window(first));
        }
        assert_eq!((brotli_window(0x11), brotli_window(0x91)), (None, None));
    }

    #[test]
    fn the_limits_hold_the_windows_that_they_are_named_for() {
        assert_eq!((zstd_window(FULL_DECODER), zstd_window(LEAST_DECODER)), (27, 23));
        assert_eq!((zstd_window(0), zstd_window(u64::MAX)), (10, 31));
    }

    #[test]
    fn higher_levels_need_more() {
        for (codec, most) in [(Codec::Zstd, 800 * MIB), (Codec::Xz, 675 * MIB), (Codec::Brotli, 200 * MIB)] {
            let needs: Vec<u64> = [1, 6, *codec.levels().end()].map(|level| encoder(codec, level)).to_vec();
            assert!(needs.is_sorted() && needs[0] < 20 * MIB && needs[2] <= most, "{codec:?} {needs:?}");
        }
        assert_eq!(encoder(Codec::Zstd, -5), encoder(Codec::Zstd, 0));
    }
}
