//! Streams a local file in, a part at a time, on blocking threads.
//!
//! A part is read whole, so that an upload can send it as it is. A file that fits in one part costs one trip to a
//! blocking thread. One that is written meanwhile is refused: its object would be cut short, or of two versions.
//! Bounded by the file's room, as a download is.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use crate::capacity::budget::Room;
use crate::error::Stage::Read;
use crate::error::{Code, ErrorKind, JobError};
use crate::link::Outlet;

/// Sends the file at `path`, which had `size` bytes when it was listed, to `output`; returns its size.
pub async fn read(path: PathBuf, size: u64, part: u64, room: &Room, output: Outlet) -> Result<u64, JobError> {
    let mut open = None;
    let mut sent = 0;
    loop {
        let length = part.min(size - sent);
        let mut claim = room.read(length).await;
        let mut buffer = claim.buffer(length as usize);
        let (path, file, last) = (path.clone(), open.take(), sent + length == size);
        let filled = blocking(move || {
            let (file, since) = match file {
                Some(open) => open,
                None => {
                    let file = File::open(path)?;
                    let since = changed(&file)?;
                    (file, since)
                }
            };
            buffer.read_from(&file, length as usize)?;
            // One byte more than was listed means that the file grows under us; another time, that it is written over.
            let written = last && ((&file).read(&mut [0])? > 0 || changed(&file)? != since);
            Ok(((file, since), buffer, written))
        });
        let (file, buffer, written) = filled.await?;
        if written || (buffer.len() as u64) < length {
            let cause = format!("the file had {size} bytes when it was listed; it is being written");
            return Err(JobError::new(Read, ErrorKind::Changed, Code::ObjectChanged, cause));
        }
        sent += length;
        output.turn().meter().bytes_in.fetch_add(length, Relaxed);
        open = Some(file);
        output.send_counted(claim.hold_buffer(buffer)).await.map_err(|gone| gone.at(Read))?;
        if sent == size {
            break;
        }
    }
    output.finish().await.map_err(|gone| gone.at(Read))?;
    Ok(sent)
}

/// When the content of a file changed last, to the resolution of the kernel's clock (some ms).
fn changed(file: &File) -> io::Result<(i64, i64)> {
    let metadata = file.metadata()?;
    Ok((metadata.mtime(), metadata.mtime_nsec()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, JobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::Missing,
                _ => ErrorKind::Failed,
            };
            Err(JobError::new(Read, kind, Code::ObjectMissing, error.to_string()))
        }
        Err(panic) => Err(JobError::new(Read, ErrorKind::Panicked, Code::ProcessorPanicked, panic.to_string())),
    }
}
