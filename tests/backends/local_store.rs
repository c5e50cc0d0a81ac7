//! The store in a directory: the suite, and what is its own: roots, links, odd files, changes while reading.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use batchpipe::Location;
use batchpipe::error::{ServiceError, ServiceErrorKind};
use batchpipe::store::local::LocalStore;
use batchpipe::store::{ObjectStore, Reading, Version, Writing};
use bytes::Bytes;
use futures::TryStreamExt;

use super::store_conformance::conforms;

fn at(path: &Path) -> Location {
    Location::file(path.to_str().unwrap())
}

fn any() -> Version {
    Version::default()
}

async fn put(store: &LocalStore, to: &Path, body: &'static [u8]) -> Result<(), ServiceError> {
    store.put(&at(to), Bytes::from_static(body), &Writing::default()).await
}

async fn collect(reading: Reading) -> Result<Vec<u8>, ServiceError> {
    let chunks: Vec<Bytes> = reading.body.try_collect().await?;
    Ok(chunks.concat())
}

async fn read(store: &LocalStore, from: &Path) -> Result<Vec<u8>, ServiceError> {
    collect(store.get(&at(from), 0..u64::MAX, &any()).await?).await
}

async fn list(store: &LocalStore, prefix: &str) -> Result<Vec<String>, ServiceError> {
    let listed: Vec<_> = store.list(&Location::file(prefix)).try_collect().await?;
    Ok(listed.into_iter().map(|info| info.location.key().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_store_keeps_every_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::new(vec![directory.path().to_owned()]));
    conforms("file", store, Location::file(format!("{}/", directory.path().display()))).await;
    for sentence in fs::read_dir(directory.path()).unwrap() {
        for left in fs::read_dir(sentence.unwrap().path()).unwrap() {
            let name = left.unwrap().file_name();
            assert!(!name.to_str().unwrap().starts_with(".batchpipe"), "{name:?} was left behind");
        }
    }
}
