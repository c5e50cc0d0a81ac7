//! Reads a range of a file as S3 reads a range of an object: clamped, pinned to a version, as a stream.
//!
//! A file's version is its size, its modification time and its inode. Replacing a file changes the inode; writing
//! into it changes the time, within the resolution of the kernel's clock (some ms). The version is compared when the
//! file is opened and again on the same open file after the last byte, so reading a file that is written meanwhile
//! ends in `Changed`.
//!
//! Bounded: one chunk of [`CHUNK`] bytes for each reading, and a blocking thread only while a chunk is read.
//! [`KEPT`] more chunks wait for reuse, because memory that the allocator returned in the meantime costs a page
//! fault for each 4 KiB, which was more than the reading itself.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use rustix::fs::OFlags;

use super::fault::{fault, invalid};
use super::paths::Roots;
use super::{blocking, staging};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::store::{ObjectInfo, Reading, Version};

/// Bytes read at once, each time on a blocking thread. 1 GiB from the page cache took 0.1-0.2 s in chunks of 1 MiB,
/// 0.1-0.2 s of 256 KiB, 0.4-1 s of 64 KiB and 0.2-0.4 s of 4 MiB (best times on a busy machine with 2 cores).
const CHUNK: u64 = 1024 * 1024;

/// Chunks that are kept while nobody reads: enough for a few readings at once, because a reading from the page cache
/// ends before many more have begun.
const KEPT: usize = 4;

/// A file shorter than this gets memory of its own size.
const LONG: u64 = CHUNK / 2;

/// Empty chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks(Arc<Mutex<Vec<Vec<u8>>>>);

impl Chunks {
    fn take(&self) -> Chunk {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Chunk { bytes: kept.unwrap_or_else(|| vec![0; CHUNK as usize]), length: 0, home: self.clone() }
    }
}

/// A chunk in use; its first `length` bytes are valid.
struct Chunk {
    bytes: Vec<u8>,
    length: usize,
    home: Chunks,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// The version of a file.
pub(super) fn version(metadata: &Metadata) -> Version {
    let nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Version { etag: Some(format!("{:x}-{nanos:x}-{:x}", metadata.len(), metadata.ino())), version_id: None }
}

/// The information that a listing gives about a file.
pub(super) fn info(location: Location, metadata: &Metadata) -> ObjectInfo {
    ObjectInfo {
        location,
        size: metadata.len(),
        version: version(metadata),
        modified: metadata.modified().ok(),
        metadata: Default::default(),
    }
}

/// Opens a path for reading. `None` if nothing is there.
fn open(roots: &Roots, path: &str) -> Result<Option<(File, Metadata, PathBuf)>, ServiceError> {
    let Some(real) = roots.existing(path)? else { return Ok(None) };
    // Opening a named pipe would wait for its writer. The last component can no longer be a link.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&real);
    match opened.and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
        Ok((file, metadata)) => Ok(Some((file, metadata, real))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(&real, &error)),
    }
}

/// The information about an object. A directory or a device is not an object.
pub(super) fn head(roots: &Roots, at: &Location, path: &str) -> Result<Option<ObjectInfo>, ServiceError> {
    let Some((file, metadata, _)) = open(roots, path)?.filter(|(_, metadata, _)| metadata.is_file()) else {
        return Ok(None);
    };
    Ok(Some(ObjectInfo { metadata: staging::metadata(&file), ..info(at.clone(), &metadata) }))
}

/// Opens an object and reads the first chunk of the range in one call on a blocking thread, which is all a small object
/// needs.
pub(super) fn get(
    roots: &Roots,
    chunks: &Chunks,
    path: &str,
    range: Range<u64>,
    pin: &Version,
) -> Result<Reading, ServiceError> {
    let Some((mut file, metadata, real)) = open(roots, path)? else {
        return Err(ServiceError::new(ServiceErrorKind::Missing, "ENOENT", format!("{path:?} does not exist")));
    };
    if !metadata.is_file() {
        return Err(invalid("EISDIR", path, "this is a directory or a device, not a file"));
    }
    let (size, version) = (metadata.len(), version(&metadata));
    if pin.etag.is_some() && pin.etag != version.etag {
        return Err(changed(&real, "the file is not the version that was asked for"));
    }
    let start = range.start.min(size);
    let left = range.end.min(size).saturating_sub(start);
    file.seek(SeekFrom::Start(start)).map_err(|error| fault(&real, &error))?;
    let mut rest = Rest { file, path: real, version: version.clone(), left, chunks: chunks.clone() };
    let first = if left > 0 { Some(rest.chunk()?) } else { None };
    // Files of /proc, and of some file systems in user space, report a size of zero whatever they hold.
    if size == 0 && fill(&rest.file, &mut [0]).map_err(|error| fault(&rest.path, &error))? > 0 {
        if rest.file.metadata().is_ok_and(|now| now.len() > 0) {
            return Err(changed(&rest.path, "the file was written while it was read"));
        }
        return Err(invalid(
            "unsized",
            path,
            "this file holds more bytes than the system says, so its end is not known",
        ));
    }
    let later = stream::try_unfold(rest, |mut rest| async move {
        if rest.left == 0 {
            return Ok(None);
        }
        blocking(move |_| rest.chunk().map(|chunk| Some((chunk, rest)))).await
    });
    Ok(Reading::new(size, version, stream::iter(first.map(Ok)).chain(later).boxed()))
}

fn changed(path: &Path, how: &str) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Changed, "changed", format!("{path:?}: {how}"))
}

/// The rest of a reading.
struct Rest {
    file: File,
    path: PathBuf,
    version: Version,
    left: u64,
    chunks: Chunks,
}

impl Rest {
    /// The next chunk. The last chunk is returned only if the file has not changed since it was opened.
    fn chunk(&mut self) -> Result<Bytes, ServiceError> {
        let wanted = self.left.min(CHUNK) as usize;
        let failed = |error: std::io::Error| fault(&self.path, &error);
        let (chunk, got) = if wanted as u64 >= LONG {
            let mut chunk = self.chunks.take();
            chunk.length = fill(&self.file, &mut chunk.bytes[..wanted]).map_err(failed)?;
            let got = chunk.length;
            (Bytes::from_owner(chunk), got)
        } else {
            let mut bytes = vec![0; wanted];
            let got = fill(&self.file, &mut bytes).map_err(failed)?;
            (bytes.into(), got)
        };
        self.left -= got as u64;
        let over = self.left == 0 || got < wanted;
        if over && version(&self.file.metadata().map_err(failed)?) != self.version || got < wanted {
            return Err(changed(&self.path, "the file was written while it was read"));
        }
        Ok(chunk)
    }
}

/// Reads until `bytes` is full or the file ends; returns how many were read.
fn fill(mut file: &File, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(amount) => filled += amount,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
