//! What a SOURCE in S3 contains: one object, or everything in a folder.
//!
//! S3 has no folders: a prefix is any beginning of a key, and `logs` is a prefix of `logs/a`, of `logs2/b` and of
//! `logs.txt`. People think in folders, so a SOURCE is a folder with or without its slash. Objects that only begin
//! with the same letters are beside the folder: they are not taken, but counted and reported, so that nobody assumes
//! that they were taken.
//!
//! Bounded: at most `MOST_BESIDE` objects beside the folder are looked at, before it and after it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use crate::error::ServiceError;
use crate::job::Location;
use crate::services::store::{ObjectInfo, ObjectStore};
use crate::submit::discover::{AHEAD, Found, Place, Select, Source};

/// Objects beside a folder that are counted before it, and again after it: ten pages of ListObjectsV2 each, so that a
/// forgotten slash costs a second and not a listing of the bucket.
const MOST_BESIDE: u64 = 10_000;

/// Counts the objects whose keys begin like a SOURCE without a slash, but which are not in the folder of that name.
#[derive(Debug, Default)]
pub struct Beside(AtomicU64);

impl Beside {
    /// A sentence with their number; `None` if there are none.
    pub fn told(&self, place: &Location) -> Option<String> {
        let (count, text) = (self.0.load(Relaxed), place.to_string());
        let (text, key) = (text.escape_debug(), place.key().escape_debug());
        let what = match count {
            0 => return None,
            1 => format!("1 object is beside it and was not taken: its key only begins with \"{key}\""),
            count => {
                let more = if count >= MOST_BESIDE { "or more " } else { "" };
                format!("{count} {more}objects are beside it and were not taken: their keys only begin with \"{key}\"")
            }
        };
        Some(format!("{text} was read as {text}/ ; {what}"))
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Finds out what a SOURCE in S3 without a slash is: a folder, if there is anything in it; otherwise the object of that
/// name, as for a path on a disk; and if neither exists, an empty folder.
pub async fn settle(source: Source, store: &Arc<dyn ObjectStore>) -> Result<Source, ServiceError> {
    let Source::Named(place) = source else { return Ok(source) };
    let folder = place.as_folder();
    if let Some(first) = store.list(&folder).next().await {
        first?;
        return Ok(Source::Prefix(folder));
    }
    Ok(match store.head(&place).await? {
        Some(_) => Source::Object(place),
        None => Source::Prefix(folder),
    })
}

/// The contents of the folder of `place`, as [`find`](crate::submit::discover::find) returns them; counts the objects
/// beside the folder.
pub fn find_beside(
    place: &Location,
    select: Select,
    store: &Arc<dyn ObjectStore>,
    beside: Arc<Beside>,
) -> BoxStream<'static, io::Result<Found>> {
    list(place.as_folder(), select, Arc::clone(store), Some((place.clone(), beside)))
}

/// The objects in a folder and, on request, a count of those beside it. An empty object whose key ends in a slash is a
/// folder made by a console, not an input.
pub(crate) fn list(
    folder: Location,
    select: Select,
    store: Arc<dyn ObjectStore>,
    beside: Option<(Location, Arc<Beside>)>,
) -> BoxStream<'static, io::Result<Found>> {
    let (output, found) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let counted = beside.as_ref().map(|(_, beside)| Arc::clone(beside)).unwrap_or_default();
        let mut objects = store.list(beside.as_ref().map_or(&folder, |(place, _)| place));
        let mut most = MOST_BESIDE;
        while let Some(object) = objects.next().await {
            let found = match object {
                Ok(object) if !object.location.is_under(&folder) => {
                    let count = counted.0.fetch_add(1, Relaxed) + 1;
                    if object.location > folder {
                        // No more objects of the folder follow.
                        if count >= most {
                            return;
                        }
                    } else if count >= MOST_BESIDE {
                        objects = store.list(&folder);
                    } else {
                        most = MOST_BESIDE + count;
                    }
                    continue;
                }
                Ok(object) if object.size == 0 && object.location.key().ends_with('/') => continue,
                Ok(object) => {
                    let name = object.location.key().strip_prefix(folder.key()).unwrap_or_default().to_owned();
                    if !select.takes(&name) {
                        continue;
                    }
                    Ok(item(name, object))
                }
                Err(error) => Err(io::Error::other(error)),
            };
            if output.send(found).await.is_err() {
                return;
            }
        }
    });
    stream::unfold(found, |mut found| async move { Some((found.recv().await?, found)) }).boxed()
}

/// One object, named by the last part of its key.
pub(crate) fn one(at: Location, select: Select, store: Arc<dyn ObjectStore>) -> BoxStream<'static, io::Result<Found>> {
    let name = at.key().rsplit('/').next().unwrap_or_default().to_owned();
    if !select.takes(&name) {
        return stream::empty().boxed();
    }
    let look = async move {
        match store.head(&at).await {
            Ok(Some(object)) => Ok(item(name, object)),
            Ok(None) => Err(io::Error::other(format!("{at:?} is gone"))),
            Err(error) => Err(io::Error::other(error)),
        }
    };
    stream::once(look).boxed()
}

fn item(name: String, object: ObjectInfo) -> Found {
    let stamp = format!("{}-{}", object.size, object.version.etag.as_deref().unwrap_or_default());
    Found { name, size: object.size, stamp, place: Place::Object(object) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::discover;
    use crate::testing::MemoryStore;

    fn holding(keys: impl IntoIterator<Item = String>) -> Arc<dyn ObjectStore> {
        let store = MemoryStore::new();
        keys.into_iter().for_each(|key| store.insert(Location::s3("acme", key), "x"));
        Arc::new(store)
    }

    async fn names(found: BoxStream<'static, io::Result<Found>>) -> Vec<String> {
        found.map(|found| found.unwrap().name).collect().await
    }

    #[tokio::test]
    async fn a_source_without_a_slash_is_a_folder_and_what_is_beside_it_is_counted_and_not_taken() {
        let keys = ["logs", "logs-old/a", "logs.txt", "logs/a.txt", "logs/2/c.txt", "logs2/c.txt", "logs~"];
        let store = holding(keys.map(str::to_owned));
        let place = Location::s3("acme", "logs");
        let settled = settle(Source::Named(place.clone()), &store).await.unwrap();
        assert_eq!(settled, Source::Prefix(Location::s3("acme", "logs/")));
        let beside = Arc::new(Beside::default());
        let found = names(find_beside(&place, Select::default(), &store, Arc::clone(&beside))).await;
        assert_eq!(found, ["2/c.txt", "a.txt"]);
        assert_eq!(names(discover::find(&settled, Select::default(), &store)).await, found);
        assert_eq!(beside.count(), 5);
        let told = beside.told(&place).unwrap();
        assert!(told.starts_with("s3://acme/logs was read as s3://acme/logs/ ; 5 objects are beside it"), "{told}");
        assert_eq!(Beside::default().told(&place), None);
    }

    #[tokio::test]
    async fn an_object_is_a_source_where_no_folder_has_its_name() {
        let store = holding(["a/x.csv", "a/x.csv.bak", "b"].map(str::to_owned));
        let at = Location::s3("acme", "a/x.csv");
        let settled = settle(Source::Named(at.clone()), &store).await.unwrap();
        assert_eq!(settled, Source::Object(at));
        assert_eq!(names(discover::find(&settled, Select::default(), &store)).await, ["x.csv"]);
        let nothing = settle(Source::Named(Location::s3("acme", "a/x")), &store).await.unwrap();
        assert_eq!(nothing, Source::Prefix(Location::s3("acme", "a/x/")));
        assert!(names(discover::find(&nothing, Select::default(), &store)).await.is_empty());
    }

    #[tokio::test]
    async fn a_bucket_full_of_neighbours_is_not_listed_to_its_end_and_nothing_of_the_folder_is_left_out() {
        let many = |key: &'static str| (0..2 * MOST_BESIDE).map(move |number| format!("{key}{number:06}"));
        let inside = ["logs/a", "logs/b"].map(str::to_owned);
        let place = Location::s3("acme", "logs");
        let store = holding(many("logs-").chain(many("logs0")).chain(inside));
        let beside = Arc::new(Beside::default());
        let found = names(find_beside(&place, Select::default(), &store, Arc::clone(&beside))).await;
        assert_eq!((found, beside.count()), (vec!["a".to_owned(), "b".to_owned()], MOST_BESIDE));
        assert!(beside.told(&place).unwrap().contains("10000 or more objects"), "{:?}", beside.told(&place));
        let store = holding(many("logs0").chain(["logs/a".to_owned(), "logs.txt".to_owned()]));
        let beside = Arc::new(Beside::default());
        assert_eq!(names(find_beside(&place, Select::default(), &store, Arc::clone(&beside))).await, ["a"]);
        assert_eq!(beside.count(), MOST_BESIDE + 1);
    }
}
