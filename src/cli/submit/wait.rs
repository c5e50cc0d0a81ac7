//! `submit --wait`: waits until every output is there, or until nothing is left that could still make it.
//!
//! Outputs are looked for by listing, a request for each thousand; at most a tenth of the time goes into that. How far
//! it is, and whether anybody is at work on the queue, is told as often as progress is elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use crate::cli::output;
use crate::cli::service;
use crate::config::SubmitConfig;
use crate::error::{Exit, Role, ServiceError, UserError};
use crate::job::Location;
use crate::job::suffix::Suffix;
use crate::observe::Screen;
use crate::runtime::words::things;
use crate::services::queue::{Counts, JobQueue};
use crate::services::store::{ObjectInfo, ObjectStore};
use crate::submit::Submitted;

/// How often `--wait` looks for the outputs, at the most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How much longer than a look it waits for the next one: a million outputs take a thousand requests, which one client
/// has answered in a minute or two, and then at most a tenth of the time is spent on them.
const REST: u32 = 9;

/// How often it tells how far it is: as often as a log has a line of progress.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Outputs that are looked for one by one, side by side, rather than by listing all that lies between them.
const FEW: usize = 20;

/// Waits until every output is there, or the queue holds nothing that could still make it.
pub(super) async fn wait(
    config: &SubmitConfig,
    screen: &Screen,
    store: &Arc<dyn ObjectStore>,
    queue: &dyn JobQueue,
    mut names: Vec<String>,
) -> Result<Exit, UserError> {
    let Some(output) = &config.output else { return Ok(Exit::Done) };
    let all = names.len();
    screen.print(&format!("Waiting for {} under {output}", things(all as u64, "output")));
    let look = |names| missing(names, store, output).boxed();
    let seen = Mutex::new(None);
    let is_empty = || {
        let look = queue.counts().map(|counts| {
            let counts = counts.ok();
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = counts;
            counts == Some(Counts::default())
        });
        look.boxed()
    };
    let tell = |missing| screen.print(&told(all, missing, *seen.lock().unwrap_or_else(PoisonError::into_inner)));
    names = watch(names, look, is_empty, tell).await?;
    if names.is_empty() {
        screen.print("Every output is there.");
        return Ok(Exit::Done);
    }
    for name in names.iter().take(Submitted::NAMED) {
        screen.print(&format!("no output: {}", output::escaped(name)));
    }
    let (failed, queue) = (things(names.len() as u64, "job"), &config.queue);
    screen.print(&format!("{failed} failed. See them:  batchpipe dlq list --queue {queue}"));
    Ok(Exit::SomeFailed)
}

/// How far it is: so many outputs of all are there, and what the queue holds, where it says so.
fn told(all: usize, missing: usize, counts: Option<Counts>) -> String {
    let there = format!("{} of {} are there", all - missing, things(all as u64, "output"));
    match counts {
        Some(counts) => format!(
            "{there}; in the queue: {} waiting, {} in flight, {} delayed",
            counts.visible, counts.in_flight, counts.delayed
        ),
        None => there,
    }
}

/// Looks again and again until nothing is missing, or the queue is empty and something still is: that is returned.
async fn watch<'a>(
    mut names: Vec<String>,
    look: impl Fn(Vec<String>) -> BoxFuture<'a, Result<Vec<String>, UserError>>,
    is_empty: impl Fn() -> BoxFuture<'a, bool>,
    mut tell: impl FnMut(usize),
) -> Result<Vec<String>, UserError> {
    let (mut was_empty, mut pause, mut told) = (false, LOOK_EVERY, Instant::now());
    loop {
        tokio::time::sleep(pause).await;
        let begun = Instant::now();
        names = look(names).await?;
        pause = LOOK_EVERY.max(begun.elapsed() * REST);
        // Twice in a row: an output may have appeared between the look at the outputs and the look at the queue.
        let empty = !names.is_empty() && is_empty().await;
        if names.is_empty() || (empty && was_empty) {
            return Ok(names);
        }
        was_empty = empty;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(names.len());
        }
    }
}

/// The names that have no output yet.
async fn missing(
    names: Vec<String>,
    store: &Arc<dyn ObjectStore>,
    output: &Location,
) -> Result<Vec<String>, UserError> {
    let list = |prefix: &Location| store.list(prefix);
    let missing = if names.len() > FEW {
        without(names, output, list).await
    } else {
        let each = names.into_iter().map(|name| without(vec![name], output, list));
        futures::future::try_join_all(each).await.map(|missing| missing.concat())
    };
    missing.map_err(|error| service::failed(Role::Read, &format!("list {output}"), &error))
}

/// Those of the names whose outputs `list` does not show. Workers may have appended an ending, or taken one off. Lists
/// what lies between the first and the last of them, in step with their order.
async fn without<'a>(
    names: Vec<String>,
    output: &Location,
    list: impl Fn(&Location) -> BoxStream<'a, Result<ObjectInfo, ServiceError>>,
) -> Result<Vec<String>, ServiceError> {
    let mut stems: Vec<(String, usize)> = Vec::with_capacity(2 * names.len());
    for (nth, name) in names.iter().enumerate() {
        stems.extend([name.clone(), Suffix::strip_one().apply(name)].map(|stem| (stem, nth)));
    }
    stems.sort_unstable();
    let (Some((first, _)), Some((last, _))) = (stems.first(), stems.last()) else { return Ok(names) };
    let common = first.chars().zip(last.chars()).take_while(|(one, other)| one == other);
    let prefix: String = common.map(|(letter, _)| letter).collect();
    let mut objects = list(&if prefix.is_empty() { output.clone() } else { output.join(&prefix) });
    let mut next = async || {
        let object = objects.next().await.transpose()?;
        let name = |object: ObjectInfo| object.location.key().strip_prefix(output.key()).unwrap_or_default().to_owned();
        Ok::<_, ServiceError>(object.map(name))
    };
    let mut there = vec![false; names.len()];
    let mut key = next().await?;
    for (stem, nth) in &stems {
        // The first that is not before it begins with it, if any does.
        while key.as_ref().is_some_and(|key| key < stem) {
            key = next().await?;
        }
        let Some(key) = &key else { break };
        there[*nth] |= key.starts_with(stem);
    }
    Ok(names.into_iter().zip(there).filter(|(_, there)| !there).map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::testing::MemoryStore;

    /// What `without` leaves of the names, what it listed, and how many objects it took of that.
    async fn look(store: &MemoryStore, names: &[&str]) -> (Vec<String>, String, usize) {
        let (asked, taken) = (Mutex::new(String::new()), AtomicUsize::new(0));
        let output = Location::s3("out", "o/");
        let list = |prefix: &Location| {
            *asked.lock().unwrap() = prefix.key().to_owned();
            let count = |_: &_| {
                taken.fetch_add(1, SeqCst);
            };
            store.list(prefix).inspect(count).boxed()
        };
        let missing = without(names.iter().map(|name| (*name).to_owned()).collect(), &output, list).await.unwrap();
        (missing, asked.lock().unwrap().clone(), taken.load(SeqCst))
    }

    #[tokio::test]
    async fn outputs_are_found_by_their_names_with_an_ending_more_or_less_and_nothing_else_is_listed() {
        let store = MemoryStore::new();
        let there = ["a/1", "a/2.zst", "a/3", "a/4.tar", "b/1", "b/2", "c/1"];
        there.iter().for_each(|name| store.insert(Location::s3("out", format!("o/{name}")), "x"));
        let (missing, asked, taken) = look(&store, &["a/3.gz", "a/1", "a/2", "a/5", "a/4.tgz", "a/0"]).await;
        assert_eq!((missing, asked.as_str()), (vec!["a/5".to_owned(), "a/0".to_owned()], "o/a/"));
        assert_eq!(taken, 4, "all of the folder");
        assert_eq!(look(&store, &["a/2"]).await, (vec![], "o/a/2".to_owned(), 1));
        assert_eq!(look(&store, &["c/2.gz"]).await, (vec!["c/2.gz".to_owned()], "o/c/2".to_owned(), 0));
        assert_eq!(look(&store, &["a/1", "b/1"]).await, (vec![], "o/".to_owned(), 5), "none behind the last");
        assert_eq!(look(&store, &["é", "è"]).await, (vec!["é".to_owned(), "è".to_owned()], "o/".to_owned(), 7));
        let every = Arc::new(store) as Arc<dyn ObjectStore>;
        for names in [1, FEW, 3 * FEW] {
            let names: Vec<String> = (0..names).map(|nth| format!("a/{}", 9 - nth % 9)).collect();
            let expected: Vec<String> = names.iter().filter(|name| name.as_str() > "a/4").cloned().collect();
            assert_eq!(missing_of(names, &every).await, expected);
        }
    }

    async fn missing_of(names: Vec<String>, store: &Arc<dyn ObjectStore>) -> Vec<String> {
        missing(names, store, &Location::s3("out", "o/")).await.unwrap()
    }

    /// When it looked, in seconds, with looks of so many seconds; an output comes before the last of them, or the queue
    /// is empty from one of them on.
    async fn watched(takes: &[u64], empty_from: usize) -> (Vec<u64>, usize, Vec<(u64, usize)>) {
        let (begun, looked, tells) = (Instant::now(), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let look = |names: Vec<String>| {
            let mut looked = looked.lock().unwrap();
            let nth = looked.len();
            looked.push(begun.elapsed().as_secs());
            let left = if nth + 1 < takes.len() { names } else { Vec::new() };
            tokio::time::sleep(Duration::from_secs(takes[nth])).map(|()| Ok(left)).boxed()
        };
        let is_empty = || std::future::ready(looked.lock().unwrap().len() > empty_from).boxed();
        let tell = |missing| tells.lock().unwrap().push((begun.elapsed().as_secs(), missing));
        let left = watch(vec!["a".to_owned()], look, is_empty, tell).await.unwrap().len();
        (looked.into_inner().unwrap(), left, tells.into_inner().unwrap())
    }

    async fn looks(takes: &[u64], empty_from: usize) -> (Vec<u64>, usize) {
        let (looked, left, _) = watched(takes, empty_from).await;
        (looked, left)
    }

    #[tokio::test(start_paused = true)]
    async fn it_tells_every_ten_seconds_how_many_are_there_and_what_the_queue_holds() {
        assert_eq!(watched(&[0; 13], 99).await.2, [(10, 1), (20, 1)]);
        assert_eq!(watched(&[0; 4], 99).await.2, [], "a short wait needs no word");
        let counts = Counts { visible: 7, in_flight: 2, delayed: 1 };
        let said = told(100, 63, Some(counts));
        assert_eq!(said, "37 of 100 outputs are there; in the queue: 7 waiting, 2 in flight, 1 delayed");
        assert_eq!(told(2, 1, None), "1 of 2 outputs are there");
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_every_two_seconds_and_a_tenth_of_the_time_at_the_most() {
        assert_eq!(looks(&[0, 0, 0], 9).await, (vec![2, 4, 6], 0));
        // Ten seconds, and ninety of rest; then as quickly as before.
        assert_eq!(looks(&[10, 0, 1, 0], 9).await, (vec![2, 102, 104, 114], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_queue_ends_the_wait_when_it_was_so_at_two_looks() {
        assert_eq!(looks(&[0; 9], 0).await, (vec![2, 4], 1));
        assert_eq!(looks(&[0; 9], 3).await, (vec![2, 4, 6, 8, 10], 1));
        assert_eq!(looks(&[0; 2], 0).await, (vec![2, 4], 0), "what is there counts more");
    }
}
