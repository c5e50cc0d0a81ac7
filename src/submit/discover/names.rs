//! A list of names: on stdin (`-`) or in a file (`@FILE`), one per line, or each ended by a NUL (`--null`).
//!
//! If a name can't be submitted, only this name fails, with its line number, and the names after it are still
//! submitted. The same holds for a name that is longer than any path, which is never held completely. Only a list
//! that can't be read ends early, with an error that names the line. A line may end in CRLF; with `--null` a name is
//! taken literally. Empty lines are skipped.
//!
//! A name that begins with `s3://` is an object that exists already: nothing is uploaded. Its size and version are
//! looked up, a few dozen objects at a time; if we may not read an object (for example a role that only submits),
//! its job is sent without them. The name of an object is the part of its key after `--input`, or the whole key if
//! the object is elsewhere. Any other name is a file; absolute names and names with `./` keep their paths without
//! the leading part.

use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use super::{AHEAD, Found, Place, Select, look};
use crate::error::{ServiceError, ServiceErrorKind};
use crate::job::Location;
use crate::record::Meters;
use crate::services::retry::{Call, Retry};
use crate::services::store::ObjectStore;
use crate::submit::discover::Source;
use crate::submit::own_places::Look;

/// The longest name that is read: a path has at most 4,095 bytes (`PATH_MAX`), an object's URI some 1,100.
const LONGEST: u64 = 8 * 1024;

/// Concurrent lookups of objects. At 20 ms each, they keep up with the rate at which a submit sends jobs.
const LOOKS: usize = 64;

/// How to read a list.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Whether names end in a NUL instead of a line end.
    pub null: bool,
    /// The prefix that is left out of an object's name.
    pub below: Option<Location>,
    /// Whether to look up objects; without a lookup they have no size.
    pub look: bool,
}

/// One name of a list.
enum Name {
    File(Found),
    Object { line: u64, name: String, location: Location },
}

/// The entries of a list, in its order. Empty for a source that is not a list.
pub fn listed(
    source: &Source,
    how: Listed,
    select: Select,
    store: &Arc<dyn ObjectStore>,
) -> BoxStream<'static, io::Result<Found>> {
    let (output, found) = mpsc::channel(AHEAD);
    let (source, looks, store) = (source.clone(), how.look, Arc::clone(store));
    tokio::task::spawn_blocking(move || {
        let reader = Reader { how, select, output, line: 0 };
        match source {
            Source::Names => reader.read(io::stdin().lock()),
            Source::List(path) => match std::fs::File::open(&path) {
                Ok(file) => reader.read(BufReader::new(file)),
                Err(error) => drop(reader.output.blocking_send(Err(super::named(&path, &error)))),
            },
            _ => {}
        }
    });
    let found = stream::unfold(found, |mut found| async move { Some((found.recv().await?, found)) });
    found
        .map(move |name: io::Result<Name>| {
            let store = Arc::clone(&store);
            async move {
                match name? {
                    Name::File(found) => Ok(found),
                    Name::Object { line, name, location } if looks => object(line, name, location, &*store).await,
                    Name::Object { name, location, .. } => Ok(unseen(name, location)),
                }
            }
        })
        .buffered(LOOKS)
        .boxed()
}

/// Looks up an object that was named.
async fn object(line: u64, name: String, location: Location, store: &dyn ObjectStore) -> io::Result<Found> {
    let asked = Retry::default().run(&Meters::default(), Call::store("head"), || store.head(&location)).await;
    match asked {
        Ok(Some(object)) => {
            let stamp = format!("{}-{}", object.size, object.version.etag.as_deref().unwrap_or_default());
            Ok(Found { name, size: object.size, stamp, place: Place::Object(object) })
        }
        Ok(None) => Err(at(line, &location.to_string(), &io::Error::other("there is no such object"))),
        // If we may not read it, we can't tell whether it exists; the worker will.
        Err(ServiceError { kind: ServiceErrorKind::Denied, .. }) => Ok(unseen(name, location)),
        Err(error) => Err(at(line, &location.to_string(), &io::Error::other(error))),
    }
}

/// An object of which only the name is known.
fn unseen(name: String, location: Location) -> Found {
    Found { name, size: 0, stamp: String::new(), place: Place::Unseen(location) }
}

/// The failure of one name of the list.
fn at(line: u64, name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("line {line}: {name:?}: {error}"))
}

/// Reads a list on a thread that may block.
struct Reader {
    how: Listed,
    select: Select,
    output: mpsc::Sender<io::Result<Name>>,
    line: u64,
}

impl Reader {
    fn read(mut self, mut list: impl BufRead) {
        let end = if self.how.null { b'\0' } else { b'\n' };
        let mut name = Vec::new();
        let places = Arc::clone(&self.select.own);
        let own = places.look(Path::new(""));
        loop {
            name.clear();
            self.line += 1;
            let found = match io::Read::take(&mut list, LONGEST + 1).read_until(end, &mut name) {
                Ok(0) => return,
                Ok(_) if name.ends_with(&[end]) => self.name(trimmed(&name, self.how.null), &own),
                Ok(read) if read as u64 > LONGEST => match list.skip_until(end) {
                    Ok(_) => Err(self.wrong(&name[..80], &format!("it has more than {LONGEST} bytes"))),
                    Err(error) => return self.ended(&error),
                },
                // The last name, which has no end of line.
                Ok(_) => self.name(trimmed(&name, self.how.null), &own),
                Err(error) => return self.ended(&error),
            };
            let goes_on = match found {
                Ok(None) => true,
                Ok(Some(name)) => self.output.blocking_send(Ok(name)).is_ok(),
                Err(error) => self.output.blocking_send(Err(error)).is_ok(),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// The entry for a name; `None` if the name is empty or not selected.
    fn name(&self, bytes: &[u8], own: &Look<'_>) -> io::Result<Option<Name>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(self.wrong(bytes, "its name is not UTF-8, as every key must be"));
        };
        if text.starts_with("s3://") {
            return self.object(text);
        }
        let path = Path::new(text);
        let Some(name) = below_root(path) else {
            return Err(self.wrong(bytes, "a name with .. has no place below the input prefix"));
        };
        if !self.select.takes(&name) {
            return Ok(None);
        }
        look(&name, path, own).map(|found| found.map(Name::File)).map_err(|error| at(self.line, text, &error))
    }

    fn object(&self, uri: &str) -> io::Result<Option<Name>> {
        let location = match Location::parse(uri) {
            Some(location) if !location.key().is_empty() => location,
            _ => return Err(self.wrong(uri.as_bytes(), "it names no object: expected s3://bucket/key")),
        };
        let below = self.how.below.as_ref().filter(|below| location.is_under(below));
        let name =
            below.and_then(|below| location.key().strip_prefix(below.key())).unwrap_or(location.key()).to_owned();
        Ok(self.select.takes(&name).then_some(Name::Object { line: self.line, name, location }))
    }

    fn wrong(&self, name: &[u8], what: &str) -> io::Error {
        // Bytes that are not UTF-8 are shown in hexadecimal.
        let shown: String = name
            .utf8_chunks()
            .flat_map(|chunk| {
                let bytes = chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}"));
                std::iter::once(chunk.valid().escape_debug().to_string()).chain(bytes)
            })
            .collect();
        io::Error::new(io::ErrorKind::InvalidData, format!("line {}: \"{shown}\": {what}", self.line))
    }

    /// Reports a list that can't be read any further.
    fn ended(&self, error: &io::Error) {
        let error = io::Error::new(error.kind(), format!("the list of names ends at line {}: {error}", self.line));
        drop(self.output.blocking_send(Err(error)));
    }
}

/// A name without its terminator.
fn trimmed(line: &[u8], null: bool) -> &[u8] {
    if null {
        return line.strip_suffix(b"\0").unwrap_or(line);
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The path without its root and without `.` components; `None` if it contains `..` or nothing is left.
fn below_root(path: &Path) -> Option<String> {
    let mut name = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => name.push(part),
            Component::ParentDir => return None,
            _ => {}
        }
    }
    let name = name.as_os_str();
    (!name.as_bytes().is_empty()).then(|| name.to_str().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fault, Faults, Faulty, MemoryStore, On};

    /// The result of a list of objects below `s3://acme-in/2026/`: name, size and place, or the failure.
    async fn found(list: &str, store: Arc<dyn ObjectStore>, look: bool) -> Vec<Result<(String, u64, String), String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, list).unwrap();
        let how = Listed { null: false, below: Some(Location::s3("acme-in", "2026/")), look };
        let found = listed(&Source::List(path), how, Select::new(&[], &["*.tmp".to_owned()]).unwrap(), &store);
        let told = found.map(|found| match found {
            Ok(Found { name, size, place: Place::Object(object), .. }) => Ok((name, size, object.location.to_string())),
            Ok(Found { name, place: Place::Unseen(at), .. }) => Ok((name, 0, format!("unseen {at}"))),
            Ok(other) => panic!("{other:?} is no object"),
            Err(error) => Err(error.to_string()),
        });
        told.collect().await
    }

    fn store() -> MemoryStore {
        let store = MemoryStore::new();
        for (bucket, key) in
            [("acme-in", "2026/a b.csv"), ("acme-in", "2025/a.csv"), ("other", "2026/a+%2B"), ("acme-in", "2026/x.tmp")]
        {
            store.insert(Location::s3(bucket, key), "four");
        }
        store
    }

    #[tokio::test]
    async fn an_object_in_a_list_is_there_already_and_is_named_by_what_follows_the_input() {
        let list = "s3://acme-in/2026/a b.csv\r\ns3://acme-in/2025/a.csv\ns3://acme-in/2026/none\n\
            s3://acme-in/2026/x.tmp\ns3://other/2026/a+%2B\ns3://acme-in/";
        let found = found(list, Arc::new(store()), true).await;
        let object = |name: &str, at: &str| Ok((name.to_owned(), 4, at.to_owned()));
        assert_eq!(found[0], object("a b.csv", "s3://acme-in/2026/a b.csv"));
        assert_eq!(found[1], object("2025/a.csv", "s3://acme-in/2025/a.csv"), "elsewhere: by its whole key");
        assert_eq!(found[2], Err("line 3: \"s3://acme-in/2026/none\": there is no such object".to_owned()));
        assert_eq!(found[3], object("2026/a+%2B", "s3://other/2026/a+%2B"), "and nothing is decoded");
        assert!(
            found[4].as_ref().is_err_and(|error| error.starts_with("line 6: \"s3://acme-in/\": it names no object"))
        );
        assert_eq!(found.len(), 5, "what is excluded is left out");
    }

    #[tokio::test]
    async fn an_object_that_may_not_be_looked_at_is_sent_without_its_size() {
        let faults = Faults::none();
        faults.always(On::Head, Fault::Fail(ServiceErrorKind::Denied));
        let refused: Arc<dyn ObjectStore> = Arc::new(Faulty::new(Arc::new(store()), faults.clone()));
        for look in [true, false] {
            let found = found("s3://acme-in/2026/a b.csv\n", Arc::clone(&refused), look).await;
            assert_eq!(found, [Ok(("a b.csv".to_owned(), 0, "unseen s3://acme-in/2026/a b.csv".to_owned()))]);
        }
        assert_eq!(faults.calls(On::Head), 1, "and only who looks asks");
    }
}
