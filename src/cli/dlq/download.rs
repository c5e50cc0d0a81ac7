//! `dlq show --download`: the input of a dead letter, in a file, for trying the program on it by hand.
//!
//! The file's name is made of the letter's id and never of the key; a file that is there already stays as it is.
//! Read in parts of [`PART`], each pinned to the version of the first.

use std::io::Write;
use std::path::Path;

use futures::TryStreamExt;

use super::letters::request;
use crate::cli::service::failed;
use crate::config::Global;
use crate::error::{Code, Role, UserError};
use crate::job::Location;
use crate::services::open::open_store;
use crate::services::queue::Message;
use crate::services::store::{ObjectStore, Version};

/// The size of a read: large enough that the requests cost nothing beside the bytes.
const PART: u64 = 64 << 20;

/// Writes the letter's input into a file, and returns the file's name.
pub(super) async fn input(letter: &Message, global: &Global) -> Result<String, UserError> {
    let request = request(letter).ok_or_else(|| {
        let what = format!("message {:?} has no input to download", letter.id);
        UserError::usage(Code::NotAJob, what, "it is not a job", "look at its body:  batchpipe dlq show ID")
    })?;
    let (from, pin) = (request.input, Version { etag: request.etag, version_id: request.version_id });
    // The person at the terminal may read any file that this process may; a message is never obeyed without one.
    let roots = match &from {
        Location::File { .. } => vec!["/".into()],
        Location::S3 { .. } => Vec::new(),
    };
    let store = open_store(&global.aws, &roots)?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let name = format!("dead-{}.input", letter.id.chars().filter(|c| plain(*c)).take(40).collect::<String>());
    save(store.as_ref(), &from, pin, Path::new(&name)).await?;
    Ok(name)
}

/// Copies an object into a new file.
async fn save(store: &dyn ObjectStore, from: &Location, mut pin: Version, to: &Path) -> Result<(), UserError> {
    let unwritten = |error: std::io::Error| {
        let what = format!("cannot write {:?}", to.display().to_string());
        UserError::new(Code::NoSpace, what, error.to_string(), "remove the file or make room, and repeat")
    };
    let what = format!("read {from:?}");
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Under another name until it is whole: a copy that breaks off leaves nothing.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritten)?;
    let mut at = 0;
    loop {
        let reading = store.get(from, at..at + PART, &pin).await.map_err(|error| failed(Role::Read, &what, &error))?;
        let (size, mut body) = (reading.size, reading.body);
        pin = reading.version;
        while let Some(chunk) = body.try_next().await.map_err(|error| failed(Role::Read, &what, &error))? {
            file.write_all(&chunk).map_err(unwritten)?;
            at += chunk.len() as u64;
        }
        if at >= size {
            return file.persist_noclobber(to).map(drop).map_err(|error| unwritten(error.error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::store::local::LocalStore;

    #[tokio::test]
    async fn an_object_is_copied_whole_and_never_over_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::write(&from, vec![7; 300_000]).unwrap();
        let store = LocalStore::new(vec![directory.path().into()]);
        let place = Location::file(from.to_str().unwrap());
        save(&store, &place, Version::default(), &to).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), vec![7; 300_000]);
        assert_eq!(save(&store, &place, Version::default(), &to).await.unwrap_err().code, Code::NoSpace);
        let missing = Location::file(directory.path().join("missing").to_str().unwrap());
        let error = save(&store, &missing, Version::default(), &directory.path().join("new")).await.unwrap_err();
        assert_eq!(error.code, Code::ObjectMissing);
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 2, "what could not be copied leaves nothing");
    }
}
