//! Uploads that could not be aborted: tried again for as long as we run, and told at the end.
//!
//! The parts of an upload that is neither completed nor aborted are paid for and never seen. An abort fails mostly when
//! everything fails, because the service is away; asked again a minute later it works. So a job does not wait for it:
//! the upload is remembered here, discarded in the background, and once more when the work is over. What is left then
//! is named in the log with the command that discards it: `batchpipe gc`.
//!
//! What a killed process left half-written in a directory, the next that writes there removes when it starts
//! (`of_the_dead`). In S3 nobody can tell whether the process lives, so there it is left to `gc`.
//!
//! Bounded: `MOST` uploads, one request at a time, and `LAST` at the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::Location;
use crate::record::Meters;
use crate::services::retry::{Call, Retry};
use crate::services::store::{ObjectStore, Unfinished, Writer};

/// Uploads that are remembered: some hundred bytes to a KiB each, and more than a worker has under way. What does not
/// fit is counted, and left to `gc`.
const MOST: usize = 1_000;

/// How long the end of the work waits for the last try: as long as the least that a drain is given, and some dozens of
/// requests to a service that answers.
const LAST: Duration = Duration::from_secs(5);

/// Rounds after which the pause between two grows no more: from 8 s, the longest wait of a [`Retry`], to 4 minutes.
const DOUBLED: u32 = 5;

/// What is left behind.
#[derive(Debug)]
pub struct Leftovers {
    store: Arc<dyn ObjectStore>,
    retry: Retry,
    meters: Arc<Meters>,
    list: Mutex<VecDeque<Unfinished>>,
    /// Uploads that were aborted while a part may have been on its way: S3 may keep such a part, unless asked again.
    again: Mutex<VecDeque<Unfinished>>,
}

impl Leftovers {
    /// Nothing yet. `retry` is for the pauses and the deadline of one attempt.
    pub fn new(store: Arc<dyn ObjectStore>, retry: Retry, meters: Arc<Meters>) -> Self {
        Self { store, retry, meters, list: Mutex::default(), again: Mutex::default() }
    }

    /// Takes charge of an upload that could not be aborted.
    pub fn remember(&self, upload: Unfinished) {
        // Those that don't fit stay in this number, so that it never says less than there is.
        self.meters.unaborted.fetch_add(1, Relaxed);
        let mut list = self.list();
        if list.len() < MOST {
            list.push_back(upload);
        }
    }

    /// Aborts an upload a second time, with the next round: it was aborted, but a part of it was cut on its way.
    pub fn once_more(&self, upload: Unfinished) {
        let mut again = lock(&self.again);
        if again.len() < MOST {
            again.push_back(upload);
        }
    }

    /// Drives `work` to its end, and discards meanwhile and afterwards what it leaves behind.
    pub async fn while_running<T>(&self, work: impl Future<Output = T>) -> T {
        let result = tokio::select! {
            biased;
            result = work => result,
            never = self.again_and_again() => match never {},
        };
        // What it did not come to is still in the list.
        drop(tokio::time::timeout(LAST, self.round()).await);
        self.tell();
        result
    }

    async fn again_and_again(&self) -> Infallible {
        let mut failed = 0;
        loop {
            tokio::time::sleep(self.retry.cap * 2u32.pow(failed)).await;
            failed = if self.round().await { 0 } else { (failed + 1).min(DOUBLED) };
        }
    }

    /// Tries each once, and stops where the service is away; whether all went well.
    async fn round(&self) -> bool {
        let mut well = true;
        let mut again = std::mem::take(&mut *lock(&self.again));
        while let Some(upload) = again.pop_front() {
            let asked = self.retry.attempt(Call::store("abort"), self.store.discard(&upload)).await;
            if asked.is_err_and(|error| error.is_transient()) {
                again.push_front(upload);
                lock(&self.again).extend(again);
                return false;
            }
        }
        let all: Vec<Unfinished> = self.list().iter().cloned().collect();
        for upload in all {
            match self.retry.attempt(Call::store("abort"), self.store.discard(&upload)).await {
                Ok(()) => self.forget(&upload),
                Err(error) => {
                    tracing::debug!(
                        target: "batchpipe::leftovers",
                        object = ?upload.location, code = ?error.code, "not aborted yet"
                    );
                    well = false;
                    // A refusal says nothing of the others: they may be in another bucket.
                    if error.is_transient() {
                        break;
                    }
                }
            }
        }
        well
    }

    /// By its name: another round may be under way, for a `map` submits and works at the same time.
    fn forget(&self, upload: &Unfinished) {
        let mut list = self.list();
        if let Some(at) = list.iter().position(|other| other == upload) {
            list.remove(at);
            self.meters.unaborted.fetch_sub(1, Relaxed);
        }
    }

    fn tell(&self) {
        let count = self.meters.unaborted.load(Relaxed);
        if let Some(under) = shared(self.list().iter().map(|upload| &upload.location)) {
            tracing::warn!(
                target: "batchpipe::leftovers", count,
                ?under,
                "unfinished uploads could not be aborted; discard them, once nobody writes there or they are a day \
                old, with:  batchpipe gc"
            );
        }
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Unfinished>> {
        lock(&self.list)
    }
}

/// Removes from the directory `place` what writers left half-written that are dead for certain. A failure leaves it
/// there, and stops nobody.
pub async fn of_the_dead(store: &dyn ObjectStore, place: &Location) {
    let Location::File { .. } = place else { return };
    let found = match store.unfinished(place).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(
                target: "batchpipe::leftovers",
                ?place, cause = ?error.message, "cannot look for what killed processes left"
            );
            return;
        }
    };
    let mut removed = 0;
    for upload in found.iter().filter(|upload| upload.writer == Writer::Gone) {
        match store.discard(upload).await {
            Ok(()) => removed += 1,
            Err(error) => tracing::debug!(
                target: "batchpipe::leftovers",
                id = ?upload.id, cause = ?error.message, "not removed"
            ),
        }
    }
    if removed > 0 {
        tracing::info!(
            target: "batchpipe::leftovers",
            removed, ?place, "removed what killed processes left half-written"
        );
    }
}

fn lock(list: &Mutex<VecDeque<Unfinished>>) -> MutexGuard<'_, VecDeque<Unfinished>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest prefix, up to a slash, that the locations share, or at least the first one's bucket or root.
fn shared<'a>(mut locations: impl Iterator<Item = &'a Location>) -> Option<Location> {
    let first = locations.next()?;
    let mut key = folder(first.key());
    for location in locations {
        while !location.key().starts_with(key) {
            key = folder(key.strip_suffix('/').unwrap_or(key));
        }
    }
    Some(match first {
        Location::S3 { bucket, .. } => Location::s3(bucket, key),
        Location::File { .. } => Location::file(key),
    })
}

fn folder(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |slash| slash + 1)]
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::error::ServiceErrorKind::{Denied, Unavailable};
    use crate::services::store::Writing;
    use crate::testing::{Fault, Faults, Faulty, MemoryStore, On};

    /// A store with `count` uploads that nobody ended, and what remembers them.
    async fn left(count: usize, faults: &Faults) -> (MemoryStore, Leftovers) {
        let memory = MemoryStore::new();
        let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(Arc::new(memory.clone()), faults.clone()));
        let leftovers = Leftovers::new(Arc::clone(&store), Retry::default(), Arc::default());
        for number in 0..count {
            let at = Location::s3("out", format!("a/{number}"));
            leftovers.remember(store.begin(&at, &Writing::default()).await.unwrap().unfinished());
        }
        (memory, leftovers)
    }

    fn counted(leftovers: &Leftovers) -> u64 {
        leftovers.meters.unaborted.load(Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_aborted_is_discarded_while_the_work_goes_on() {
        let faults = Faults::none();
        let (store, leftovers) = left(3, &faults).await;
        faults.next(On::Abort, Fault::Fail(Unavailable), 2);
        let work = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert_eq!((store.uploads(), faults.calls(On::Abort)), (3, 1), "one question a round while it is away");
            tokio::time::sleep(Duration::from_secs(100)).await;
            store.uploads()
        };
        assert_eq!(leftovers.while_running(work).await, 0);
        assert_eq!(counted(&leftovers), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn once_more_at_the_end_is_enough_for_a_service_that_came_back() {
        let (store, leftovers) = left(3, &Faults::none()).await;
        leftovers.while_running(async {}).await;
        assert_eq!((store.uploads(), counted(&leftovers)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_a_silent_service() {
        let faults = Faults::none();
        faults.always(On::Abort, Fault::Silence);
        let (store, leftovers) = left(3, &faults).await;
        let begun = Instant::now();
        leftovers.while_running(async {}).await;
        assert!(begun.elapsed() <= LAST, "{:?}", begun.elapsed());
        assert_eq!((store.uploads(), counted(&leftovers)), (3, 3), "told, and still counted");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_does_not_keep_the_others() {
        let faults = Faults::none();
        faults.next(On::Abort, Fault::Fail(Denied), 1);
        let (store, leftovers) = left(3, &faults).await;
        assert!(!leftovers.round().await);
        assert_eq!((store.uploads(), counted(&leftovers)), (1, 1));
        assert!(leftovers.round().await);
        assert_eq!(store.uploads(), 0);
    }

    #[tokio::test]
    async fn the_list_is_bounded_and_the_number_tells_the_rest() {
        let (_, leftovers) = left(MOST + 5, &Faults::none()).await;
        assert_eq!((leftovers.list().len(), counted(&leftovers)), (MOST, MOST as u64 + 5));
        leftovers.round().await;
        assert_eq!((leftovers.list().len(), counted(&leftovers)), (0, 5));
    }

    #[test]
    fn the_place_that_is_told_holds_all_of_them() {
        let place = |keys: &[&str]| {
            let locations: Vec<_> = keys.iter().map(|key| Location::s3("b", *key)).collect();
            shared(locations.iter()).map(|place| place.to_string())
        };
        assert_eq!(place(&[]), None);
        assert_eq!(place(&["gz/a/1"]).as_deref(), Some("s3://b/gz/a/"));
        assert_eq!(place(&["gz/a/1", "gz/ab/2"]).as_deref(), Some("s3://b/gz/"));
        assert_eq!(place(&["gz/a/1", "x"]).as_deref(), Some("s3://b/"));
    }
}
