//! The zstd encoder: one frame, whose header has the content's size if it is known.
//!
//! async-compression's encoder is not used because it can't tell zstd how much data is coming; zstd then prepares
//! for megabytes. An object of 4 KiB took 37 ms at level 19 and 125 µs at level 9 without its size, and takes 0.5 ms
//! and 32 µs with it (measured). Input that is available as a whole is compressed in place, without a copy into
//! zstd's window; the copy costs a fifteenth of level 1. Bounded by zstd's own window and tables, and [`WHOLE`] of
//! output.

use std::io::{self, BufRead, Read};

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_continue, ZSTD_e_end};
use zstd::zstd_safe::{InBuffer, OutBuffer, compress_bound};

use super::context::{Context, refused};
use super::pull::{FIRST, FULL, Source};

/// An input of at most this many bytes is compressed in one call, if all of it is available. This is the window of the
/// default level: zstd would otherwise hold as much, and the output takes no more than that.
pub(super) const WHOLE: usize = 2 << 20;

/// Reads as `source`, compressed.
pub(super) struct Frame<'a> {
    source: Source<'a>,
    /// The total number of bytes of `source`, if known. Any other number of bytes is an error.
    size: Option<u64>,
    taken: u64,
    /// The compressor, with output that was not read yet; given back after all of it was read.
    context: Option<Context>,
    start: usize,
    ended: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn new(source: Source<'a>, mut context: Context, size: Option<u64>) -> io::Result<Self> {
        context.context.set_pledged_src_size(size).map_err(refused)?;
        Ok(Self { source, size, taken: 0, context: Some(context), start: 0, ended: false })
    }

    /// Fills the output as far as input is available.
    fn fill(&mut self) -> io::Result<()> {
        self.start = 0;
        let Some(Context { context, output, .. }) = &mut self.context else { return Ok(()) };
        output.clear();
        while !self.ended && (output.is_empty() || output.len() < output.capacity()) {
            let input = self.source.fill_buf()?;
            // Without a size, the end of the frame waits for the end of the input.
            let last = input.is_empty() || self.size == Some(self.taken + input.len() as u64);
            if output.is_empty() {
                let whole = last && self.taken == 0 && input.len() <= WHOLE;
                let room = match (whole, self.taken) {
                    (true, _) => compress_bound(input.len()),
                    (false, 0) => FIRST,
                    (false, _) => FULL,
                };
                // A stream is passed on in pieces of this length; the buffer of an earlier, long output may be longer.
                if output.capacity() < room || !whole && output.capacity() > room {
                    *output = Vec::with_capacity(room);
                }
            }
            let mut from = InBuffer::around(input);
            let filled = output.len();
            let mut to = OutBuffer::around_pos(output, filled);
            let directive = if last { ZSTD_e_end } else { ZSTD_e_continue };
            let left = context.compress_stream2(&mut to, &mut from, directive).map_err(refused)?;
            let amount = from.pos();
            self.source.consume(amount);
            self.taken += amount as u64;
            self.ended = last && left == 0;
        }
        // The input must be at its end, and report so: if it breaks here, it was not read completely.
        if self.ended && !self.source.fill_buf()?.is_empty() {
            return Err(io::Error::other("the input is longer than it was said to be"));
        }
        Ok(())
    }

    fn output(&self) -> &[u8] {
        self.context.as_ref().map_or(&[], |context| &context.output)
    }
}

impl BufRead for Frame<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.output().len() {
            if !self.ended {
                self.fill()?;
            } else if let Some(context) = self.context.take() {
                self.start = 0;
                context.give_back();
            }
        }
        Ok(&self.output()[self.start..])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.output().len());
    }
}

impl Read for Frame<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::Contexts;
    use super::*;

    /// A source that delivers `data` in pieces of `piece` bytes.
    fn source(data: &[u8], piece: usize) -> Source<'_> {
        Box::new(io::BufReader::with_capacity(piece, data))
    }

    fn data(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 % 251) as u8 ^ (at / 1000) as u8).collect()
    }

    fn compressed(data: &[u8], piece: usize, level: i32, size: Option<u64>) -> io::Result<Vec<u8>> {
        again(&Contexts::default(), data, piece, level, size)
    }

    /// Compresses with contexts that may have been used before.
    fn again(contexts: &Contexts, data: &[u8], piece: usize, level: i32, size: Option<u64>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frame::new(source(data, piece), contexts.take(level)?, size)?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// Data that repeats itself as a log does: at short and long distances, and never exactly.
    fn lines(from: usize, length: usize) -> Vec<u8> {
        let line = |at: usize| {
            format!("{at} GET /{:x}/{:x} {}\n", at * at % 97, at.wrapping_mul(0x9e37_79b9) >> 7 & 0xfff, at % 13)
        };
        (from..).flat_map(|at| line(at).into_bytes()).take(length).collect()
    }

    #[test]
    fn a_frame_holds_its_content_however_it_comes_and_whether_or_not_its_size_is_told() {
        for length in [0, 1, 5_000, WHOLE - 1, WHOLE, WHOLE + 1, 3 * WHOLE] {
            let data = data(length);
            for piece in [1_000, 300_000, 4 * WHOLE] {
                for size in [None, Some(length as u64)] {
                    for level in [-3, 1, 9] {
                        let frame = compressed(&data, piece, level, size).unwrap();
                        assert!(zstd::decode_all(&frame[..]).unwrap() == data, "{length} in {piece} told {size:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_told_size_stands_in_the_header_and_makes_small_contexts() {
        let told = compressed(&data(4096), 1 << 16, 19, Some(4096)).unwrap();
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&told).unwrap(), Some(4096));
        let context = |size| {
            let data = data(4096);
            let contexts = Contexts::default();
            let mut frame = Frame::new(source(&data, 1 << 16), contexts.take(19).unwrap(), size).unwrap();
            frame.read_to_end(&mut Vec::new()).unwrap();
            contexts.take(19).unwrap().context.sizeof()
        };
        let (small, large) = (context(Some(4096)), context(None));
        assert!(small < 4 << 20 && large > 64 << 20, "{small} and {large} bytes");
    }

    #[test]
    fn an_input_of_another_length_than_was_told_is_an_error() {
        for told in [0, 999, 1_001, 5_000] {
            for piece in [100, 10_000] {
                assert!(compressed(&data(1_000), piece, 3, Some(told)).is_err(), "{told} in {piece}");
            }
        }
    }

    /// Delivers all data and breaks where the end should be.
    struct Breaks<'a>(&'a [u8]);

    impl Read for Breaks<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                amount => Ok(amount),
            }
        }
    }

    #[test]
    fn an_input_that_breaks_after_its_last_byte_is_not_taken_for_whole() {
        let data = data(1_000);
        for size in [None, Some(1_000)] {
            let source = Box::new(io::BufReader::new(Breaks(&data)));
            let contexts = Contexts::default();
            let read = Frame::new(source, contexts.take(3).unwrap(), size).unwrap().read_to_end(&mut Vec::new());
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "{size:?}");
            assert_eq!(format!("{contexts:?}"), "[]", "what broke midway is not used again");
        }
    }

    #[test]
    fn an_output_does_not_depend_on_what_was_compressed_in_the_same_memory_before() {
        for level in [-3, 1, 3, 5, 7, 9, 12, 13, 16, 19] {
            let contexts = Contexts::default();
            for (turn, length) in [300_000, 4_096, 700_000, 300_000, 0, WHOLE + 5, 1_000].into_iter().enumerate() {
                let data = lines(turn * 1_234, length);
                for (size, piece) in [(Some(length as u64), 4 * WHOLE), (None, 50_000)] {
                    let fresh = compressed(&data, piece, level, size).unwrap();
                    let used = again(&contexts, &data, piece, level, size).unwrap();
                    assert!(fresh == used, "{length} bytes at {level} told {size:?}");
                }
            }
            assert_eq!(format!("{contexts:?}"), format!("[{level}]"), "one after the other needs one");
        }
    }

    #[test]
    fn contexts_that_work_at_once_and_those_of_other_levels_are_others() {
        let contexts = Contexts::default();
        let at_once = [3, 3, 9].map(|level| contexts.take(level).unwrap());
        at_once.into_iter().for_each(Context::give_back);
        let data = lines(0, 100_000);
        for level in [3, 9, 3] {
            assert!(
                again(&contexts, &data, 7_000, level, None).unwrap() == compressed(&data, 7_000, level, None).unwrap()
            );
        }
        assert_eq!(format!("{contexts:?}"), "[3, 9, 3]");
    }
}
