//! Memory for the bytes of a part.
//!
//! A long buffer is a memory mapping of its own. In the heap, buffers of all sizes that come and go leave gaps that
//! nothing fits into: files of 3 to 15 MiB under `--memory 256MiB` took up to 358 MiB in `map`, but at most 277 MiB
//! with mappings (16 and 256 at once, copied and in zstd:1). A mapping returns to the kernel at once when it is
//! dropped, and its untouched pages take no memory.
//!
//! Bounded by its length, which never changes.

use std::io::{self, Read};

use memmap2::MmapMut;

/// Shorter buffers are in the heap, which can provide them without a system call. From this size on, glibc itself maps
/// memory, but only until the first such block is freed (<https://man7.org/linux/man-pages/man3/mallopt.3.html>,
/// `M_MMAP_THRESHOLD`).
pub(super) const LEAST: u64 = 128 * 1024;

/// Memory of a fixed length, whose first bytes are filled.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    filled: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        // If the kernel refuses a mapping, the heap may still have memory.
        let mapped = (length as u64 >= LEAST).then(|| MmapMut::map_anon(length).ok()).flatten();
        let memory = mapped.map_or_else(|| Memory::Heap(vec![0; length]), Memory::Mapped);
        Self { memory, filled: 0 }
    }

    /// How many bytes the buffer can hold.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap(memory) => memory.len(),
            Memory::Mapped(memory) => memory.len(),
        }
    }

    /// How many bytes are in the buffer.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Appends bytes. Panics if they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.unfilled()[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Reads until `most` more bytes are in the buffer, or it is full, or the source ends.
    pub fn read_from(&mut self, mut source: impl Read, most: usize) -> io::Result<()> {
        let end = self.filled.saturating_add(most).min(self.capacity());
        while self.filled < end {
            let wanted = end - self.filled;
            match source.read(&mut self.unfilled()[..wanted]) {
                Ok(0) => break,
                Ok(amount) => self.filled += amount,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    pub(super) fn unfilled(&mut self) -> &mut [u8] {
        let filled = self.filled;
        match &mut self.memory {
            Memory::Heap(memory) => &mut memory[filled..],
            Memory::Mapped(memory) => &mut memory[filled..],
        }
    }
}

/// A buffer without any memory.
impl Default for Buffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(memory) => &memory[..self.filled],
            Memory::Mapped(memory) => &memory[..self.filled],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_in_short_and_long_buffers() {
        for length in [0, 1, 1000, LEAST as usize - 1, LEAST as usize, 3 * LEAST as usize + 5] {
            let data: Vec<u8> = (0..length).map(|nth| (nth % 251) as u8).collect();
            let mut buffer = Buffer::new(length);
            assert_eq!((buffer.capacity(), buffer.is_empty()), (length, true));
            let (first, rest) = data.split_at(length / 3);
            buffer.extend_from_slice(first);
            buffer.read_from(rest, usize::MAX).unwrap();
            assert_eq!((buffer.as_ref(), buffer.len(), buffer.is_empty()), (&data[..], length, length == 0));
            buffer.clear();
            buffer.read_from(&b"more"[..], 2).unwrap();
            assert_eq!(buffer.as_ref(), &b"more"[..length.min(2)]);
        }
    }

    /// A source that is interrupted once, gives a byte, and then fails.
    struct Shaky(u8);

    impl Read for Shaky {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::Interrupted.into()),
                2 => {
                    into[0] = b'x';
                    Ok(1)
                }
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }
    }

    #[test]
    fn a_read_that_is_interrupted_goes_on_and_one_that_fails_says_so() {
        let mut buffer = Buffer::new(10);
        buffer.read_from(Shaky(0), 1).unwrap();
        assert_eq!(buffer.as_ref(), b"x");
        assert_eq!(buffer.read_from(Shaky(2), 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
