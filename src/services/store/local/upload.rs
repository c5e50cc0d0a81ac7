//! An object written in parts: a staging directory beside its destination, open only to this user, with the name
//! that the object will have (`target`), the bytes at their final positions (`data`), and parts that could not be
//! written there yet.
//!
//! Parts are written concurrently. Completing waits for the writes under way, moves the few misplaced parts, syncs,
//! and renames. Nothing is durable before that: a part alone is not a promise.
//!
//! Bounded: one open file for each upload; at most twice the object's size on the disk, and only if every position
//! was guessed wrong.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::fault::{fault, invalid, no_such_upload};
use super::layout::{Layout, Place, Written};
use super::list::{Found, Walk};
use super::paths::{self, Roots};
use super::staged::{self, DATA, TARGET};
use super::{Caller, MAX_PART, MAX_PARTS, access, blocking, staging};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::services::ServiceFuture;
use crate::services::store::{Part, Unfinished, Upload, Writer, Writing};

/// An upload to a local file.
#[derive(Clone, Debug)]
pub(super) struct LocalUpload(Arc<Staging>);

#[derive(Debug)]
struct Staging {
    directory: PathBuf,
    data: File,
    /// The permissions of the object, before the umask.
    mode: u32,
    to: PathBuf,
    /// The destination as messages name it.
    text: String,
    how: Writing,
    layout: Mutex<Layout>,
    /// How the upload ended, if it has. Parts write under a shared lock on this, and the end takes the lock
    /// exclusively, so that no late part is written into a published object.
    ended: RwLock<Option<Ended>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Completed,
    Aborted,
    /// The disk did not accept the bytes.
    Unwritten,
}

impl LocalUpload {
    /// Begins an upload to the real path `to`, which is `text` in messages.
    pub(super) fn begin(to: PathBuf, text: &str, how: Writing) -> Result<Self, ServiceError> {
        access::check_place(&to, text, how.input.as_ref())?;
        let parent = to.parent().unwrap_or(Path::new("/"));
        let mode = access::of_output(how.input.as_ref(), parent);
        let (data, directory) =
            staged::directory(parent, access::while_written(mode)).map_err(|error| fault(parent, &error))?;
        fs::write(directory.join(TARGET), text).map_err(|error| {
            drop(staged::remove(&directory));
            fault(&directory, &error)
        })?;
        let (layout, ended) = (Mutex::default(), RwLock::default());
        let text = text.to_owned();
        Ok(Self(Arc::new(Staging { directory, data, mode, to, text, how, layout, ended })))
    }
}

impl Staging {
    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apart(&self, number: u32, writing: u64) -> PathBuf {
        self.directory.join(staged::part(number, writing))
    }

    fn write(&self, number: u32, part: Written, body: &[u8]) -> Result<Part, ServiceError> {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        if ended.is_some() {
            return Err(no_such_upload());
        }
        match part.place {
            Place::At(start) => self.data.write_all_at(body, start),
            Place::Apart => fs::write(self.apart(number, part.writing), body),
        }
        .map_err(|error| self.failed(&error))?;
        let mut layout = self.layout();
        let newer = layout.written.get(&number).is_some_and(|other| other.writing > part.writing);
        if !newer {
            layout.written.insert(number, part);
        }
        drop(layout);
        Ok(Part { number, etag: format!("{number}-{}", part.writing), size: part.size, checksum: None })
    }

    /// If the directory is gone, another process has discarded the upload.
    fn failed(&self, error: &std::io::Error) -> ServiceError {
        if error.kind() == ErrorKind::NotFound { no_such_upload() } else { fault(&self.to, error) }
    }

    fn complete(&self, parts: &[Part], caller: &Caller) -> Result<(), ServiceError> {
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        match *ended {
            Some(Ended::Completed) => return Ok(()),
            Some(Ended::Aborted | Ended::Unwritten) => return Err(no_such_upload()),
            None => {}
        }
        let name = self.to.to_string_lossy();
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.number < b.number) {
            let said = format!("{name:?}: the parts are none, or not in the order of their numbers");
            return Err(ServiceError::new(ServiceErrorKind::Unavailable, "InvalidPartOrder", said));
        }
        let size = self.assemble(parts)?;
        self.data.set_len(size).map_err(|error| self.failed(&error))?;
        staging::keep_metadata(&self.data, &self.how.metadata).map_err(|error| self.failed(&error.into()))?;
        access::finish(&self.data, self.mode).map_err(|error| self.failed(&error))?;
        self.synced(&mut ended, self.data.sync_all())?;
        if caller.gone() {
            return Ok(());
        }
        staging::publish(&self.directory.join(DATA), &self.to, &self.how.condition)?;
        *ended = Some(Ended::Completed);
        // The object exists; `unfinished` will find any remains.
        drop(staged::remove(&self.directory));
        Ok(())
    }

    /// Records how a sync ended. After a failed sync, the kernel forgets the data it could not write, and the next sync
    /// reports success (<https://www.usenix.org/conference/atc20/presentation/rebello>), so the upload can't complete
    /// any more.
    fn synced(&self, ended: &mut Option<Ended>, synced: std::io::Result<()>) -> Result<(), ServiceError> {
        synced.map_err(|error| {
            *ended = Some(Ended::Unwritten);
            self.failed(&error)
        })
    }

    /// Moves every part to its position and returns the size of the whole. May be repeated after a failure.
    fn assemble(&self, parts: &[Part]) -> Result<u64, ServiceError> {
        let mut layout = self.layout();
        // The parts are not as expected, which is not the job's fault. Starting the upload again helps, as with S3.
        let unknown = || {
            let said = format!("{:?}: a part was never written, or since again", self.to.to_string_lossy());
            ServiceError::new(ServiceErrorKind::Unavailable, "InvalidPart", said)
        };
        let destinations = layout.destinations(parts.iter().map(|part| part.number)).ok_or_else(unknown)?;
        let known = |(part, (number, written, _)): (&Part, &(u32, Written, u64))| {
            part.etag == format!("{number}-{}", written.writing)
        };
        if !parts.iter().zip(&destinations).all(known) {
            return Err(unknown());
        }
        // First the misplaced parts move out, then every part that is apart moves to its position.
        for (number, written, start) in &destinations {
            if let Place::At(place) = written.place
                && place != *start
            {
                let mut apart =
                    File::create(self.apart(*number, written.writing)).map_err(|error| self.failed(&error))?;
                copy(&self.data, place, written.size, &mut apart).map_err(|error| self.failed(&error))?;
                layout.written.insert(*number, Written { place: Place::Apart, ..*written });
            }
        }
        let destinations = layout.destinations(parts.iter().map(|part| part.number)).ok_or_else(unknown)?;
        for (number, written, start) in &destinations {
            if written.place == Place::Apart {
                let apart = File::open(self.apart(*number, written.writing)).map_err(|error| self.failed(&error))?;
                let mut data = &self.data;
                data.seek(SeekFrom::Start(*start)).map_err(|error| self.failed(&error))?;
                copy(&apart, 0, written.size, &mut data).map_err(|error| self.failed(&error))?;
            }
        }
        Ok(destinations.last().map_or(0, |(_, written, start)| start + written.size))
    }

    fn abort(&self) -> Result<(), ServiceError> {
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*ended, None | Some(Ended::Unwritten)) {
            remove(&self.directory)?;
            *ended = Some(Ended::Aborted);
        }
        Ok(())
    }
}

/// Copies `size` bytes of `from`, beginning at byte `start`, inside the kernel if possible.
fn copy(mut from: &File, start: u64, size: u64, to: &mut impl std::io::Write) -> std::io::Result<()> {
    from.seek(SeekFrom::Start(start))?;
    let copied = std::io::copy(&mut from.take(size), to)?;
    if copied == size { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

impl Upload for LocalUpload {
    /// The position is chosen before this returns, in the order of the calls, no matter when the future runs.
    fn part(&self, number: u32, body: Bytes) -> ServiceFuture<'_, Part> {
        let size = body.len() as u64;
        if !(1..=MAX_PARTS).contains(&number) || size > MAX_PART {
            let error =
                invalid("InvalidPart", &self.0.to.to_string_lossy(), "a part's number or size is out of bounds");
            return Box::pin(std::future::ready(Err(error)));
        }
        let place = self.0.layout().place(number, size);
        let staging = Arc::clone(&self.0);
        Box::pin(blocking(move |_| staging.write(number, place, &body)))
    }

    fn complete<'a>(&'a self, parts: &'a [Part]) -> ServiceFuture<'a, ()> {
        let (staging, parts) = (Arc::clone(&self.0), parts.to_vec());
        Box::pin(blocking(move |caller| staging.complete(&parts, caller)))
    }

    fn abort(&self) -> ServiceFuture<'_, ()> {
        let staging = Arc::clone(&self.0);
        Box::pin(blocking(move |_| staging.abort()))
    }

    fn unfinished(&self) -> Unfinished {
        // Named as a listing names it: below the path in messages, which may lead through a link.
        let name = self.0.directory.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.0.text.rsplit_once('/').map_or("", |(folder, _)| folder);
        let location = Location::file(self.0.text.as_str());
        Unfinished { location, id: format!("{folder}/{name}"), begun: None, bytes: None, writer: Writer::Unknown }
    }
}

/// Every staged upload whose object would be under `prefix`. A staged file without a directory is the rest of a put
/// that was killed; its destination is unknown, so it is listed under its own name. Names that are not UTF-8 can't be
/// objects and are skipped.
pub(super) fn unfinished(roots: &Roots, prefix: &Location) -> Result<Vec<Unfinished>, ServiceError> {
    let mut walk = Walk::new(roots, paths::text(prefix)?, true)?;
    let mut found = Vec::new();
    while let Some(entry) = walk.next()? {
        let Found::Staged(id) = entry else { continue };
        let path = Path::new(&id);
        // If it is gone by now, the upload has ended; a link is not ours.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if !metadata.is_dir() && !metadata.is_file() {
            continue;
        }
        let target = fs::read_to_string(path.join(TARGET)).unwrap_or_else(|_| id.clone());
        let files = fs::read_dir(path).into_iter().flatten().flatten();
        let in_files = files.filter(|file| file.file_name() != TARGET).filter_map(|file| file.metadata().ok());
        let bytes = if metadata.is_dir() { in_files.map(|file| file.len()).sum() } else { metadata.len() };
        let (location, writer) = (Location::file(target), staged::writer(path));
        if location.is_under(prefix) {
            found.push(Unfinished { location, id, begun: metadata.modified().ok(), bytes: Some(bytes), writer });
        }
    }
    Ok(found)
}

/// Removes the staged file or directory at the path `id`, if it is under a root.
pub(super) fn discard(roots: &Roots, id: &str) -> Result<(), ServiceError> {
    let (parent, name) = id.rsplit_once('/').unwrap_or(("", id));
    if !staged::is_staged(name) {
        return Err(invalid("NoSuchUpload", id, "this is not the name of an upload"));
    }
    match roots.existing(parent)? {
        Some(real) => remove(&real.join(name)),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), ServiceError> {
    staged::remove(path).map_err(|error| match error.kind() {
        ErrorKind::DirectoryNotEmpty => {
            invalid("ENOTEMPTY", &path.to_string_lossy(), "files that batchpipe did not make are in it, and were left")
        }
        _ => fault(path, &error),
    })
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
