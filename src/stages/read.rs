//! Streams a local file in, a part at a time, on blocking threads.
//!
//! A part is read whole, so that an upload can send it as it is. A file that fits in one part costs one trip to a
//! blocking thread. Bounded by the file's room, as a download is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use crate::budget::Room;
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
        let (path, file) = (path.clone(), open.take());
        let filled = blocking(move || {
            let file = match file {
                Some(file) => file,
                None => File::open(path)?,
            };
            buffer.read_from(&file, length as usize)?;
            // One byte more than was listed means that the file grows under us.
            let grew = length < part && (&file).read(&mut [0])? > 0;
            Ok((file, buffer, grew))
        });
        let (file, buffer, grew) = filled.await?;
        if grew || (buffer.len() as u64) < length {
            let cause = format!("the file had {size} bytes when it was listed and has not now; it is being written");
            return Err(JobError::new(Read, ErrorKind::Changed, Code(302), cause));
        }
        sent += length;
        open = Some(file);
        output.send_counted(claim.hold_buffer(buffer)).await.map_err(|gone| gone.at(Read))?;
        if sent == size {
            break;
        }
    }
    output.finish().await.map_err(|gone| gone.at(Read))?;
    Ok(sent)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, JobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::Missing,
                _ => ErrorKind::Failed,
            };
            Err(JobError::new(Read, kind, Code(301), error.to_string()))
        }
        Err(panic) => Err(JobError::new(Read, ErrorKind::Panicked, Code(403), panic.to_string())),
    }
}
