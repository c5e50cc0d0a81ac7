//! Sorts any number of digests: those that do not fit in memory are kept on disk, in sorted runs.
//!
//! Sorting finds two equal digests among millions, because equal digests come out next to each other. A table in
//! memory would need some 40 bytes for each.
//!
//! Bounded: [`ROOM`] digests in memory, then a buffer of [`BUFFER`] bytes for each run of as many. Ten million
//! digests take 16 MiB of memory and 153 MiB of disk, in an unnamed file that disappears with the process (measured:
//! 19 MB in all and 9 s on a busy core).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first half of a SHA-256: the chance that two of 10^15 names share a digest is 10^-9.
pub type Digest = [u8; 16];

/// Digests in memory: 16 MiB of them, which is little compared with any `--memory`.
const ROOM: usize = 1 << 20;

/// Bytes that are read from a run at once: 4,096 digests, so that a billion digests, in a thousand runs, take 64 MiB.
const BUFFER: usize = 64 << 10;

/// Digests that are being collected.
#[derive(Debug)]
pub struct Sorted {
    here: Vec<Digest>,
    room: usize,
    folder: PathBuf,
    file: Option<File>,
    /// The end of each run in the file; the next run begins there.
    ends: Vec<u64>,
}

impl Sorted {
    /// An empty collection. Digests that do not fit in memory go to a file in `folder`, which is made only when needed.
    pub fn new(folder: &Path) -> Self {
        Self::with_room(folder, ROOM)
    }

    fn with_room(folder: &Path, room: usize) -> Self {
        Self { here: Vec::new(), room, folder: folder.to_owned(), file: None, ends: Vec::new() }
    }

    /// Adds a digest.
    pub fn push(&mut self, digest: Digest) -> io::Result<()> {
        if self.here.len() >= self.room {
            self.spill()?;
        }
        self.here.push(digest);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                std::fs::create_dir_all(&self.folder)?;
                tempfile::tempfile_in(&self.folder)?
            }
        };
        self.here.sort_unstable();
        file.write_all(self.here.as_flattened())?;
        let bytes = self.here.as_flattened().len() as u64;
        self.ends.push(self.ends.last().copied().unwrap_or(0) + bytes);
        self.here.clear();
        self.file = Some(file);
        Ok(())
    }

    /// All digests, the smallest first.
    pub fn merged(mut self) -> io::Result<Merged> {
        self.here.sort_unstable();
        let mut runs = vec![Run::Here(self.here.into_iter())];
        if let Some(file) = self.file.map(Arc::new) {
            let starts = std::iter::once(0).chain(self.ends.iter().copied());
            for (at, &end) in starts.zip(&self.ends) {
                runs.push(Run::There(BufReader::with_capacity(BUFFER, Section { file: Arc::clone(&file), at, end })));
            }
        }
        let mut merged = Merged { next: BinaryHeap::with_capacity(runs.len()), runs };
        (0..merged.runs.len()).try_for_each(|run| merged.refill(run))?;
        Ok(merged)
    }
}

/// Digests in order.
#[derive(Debug)]
pub struct Merged {
    runs: Vec<Run>,
    /// The next digest of each run that is not at its end.
    next: BinaryHeap<Reverse<(Digest, usize)>>,
}

impl Merged {
    fn refill(&mut self, run: usize) -> io::Result<()> {
        if let Some(digest) = self.runs[run].next()? {
            self.next.push(Reverse((digest, run)));
        }
        Ok(())
    }

    /// The next digest, if there are more.
    pub fn next(&mut self) -> io::Result<Option<Digest>> {
        let Some(Reverse((digest, run))) = self.next.pop() else { return Ok(None) };
        self.refill(run)?;
        Ok(Some(digest))
    }
}

#[derive(Debug)]
enum Run {
    Here(std::vec::IntoIter<Digest>),
    There(BufReader<Section>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<Digest>> {
        let mut digest = Digest::default();
        match self {
            Self::Here(digests) => Ok(digests.next()),
            Self::There(section) => match section.read_exact(&mut digest) {
                Ok(()) => Ok(Some(digest)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && section.get_ref().is_over() => Ok(None),
                Err(error) => Err(error),
            },
        }
    }
}

/// A range of bytes of a file.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    fn is_over(&self) -> bool {
        self.at >= self.end
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_out_in_order_and_each_as_often_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        fastrand::seed(7);
        for (room, count) in [(1, 0), (1, 1), (1, 9), (4, 3), (4, 4), (4, 5), (100, 20_000)] {
            let mut sorted = Sorted::with_room(folder.path(), room);
            let mut all: Vec<Digest> = (0..count).map(|_| u128::from(fastrand::u8(..)).to_be_bytes()).collect();
            all.iter().for_each(|digest| sorted.push(*digest).unwrap());
            let mut merged = sorted.merged().unwrap();
            let out: Vec<Digest> = std::iter::from_fn(|| merged.next().unwrap()).collect();
            all.sort_unstable();
            assert!(out == all, "{count} digests, {room} of them in memory");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn a_run_that_was_cut_is_an_error_and_not_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorted = Sorted::with_room(folder.path(), 2);
        (0..5u128).for_each(|number| sorted.push(number.to_be_bytes()).unwrap());
        sorted.file.as_ref().unwrap().set_len(56).unwrap();
        let mut merged = sorted.merged().unwrap();
        let ended = std::iter::from_fn(|| merged.next().transpose()).find_map(Result::err);
        assert_eq!(ended.unwrap().kind(), ErrorKind::UnexpectedEof);
    }
}
