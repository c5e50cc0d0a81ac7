//! Opens the queue and the stores that a URI names: the only place that knows all backends.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_config::SdkConfig;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::error::{Code, ServiceError, UserError};
use crate::job::Location;
use crate::services::aws::address::QueueAddress;
use crate::services::aws::{Aws, AwsSettings};
use crate::services::queue::JobQueue;
#[cfg(feature = "local-queue")]
use crate::services::queue::local::LocalQueue;
use crate::services::queue::sqs::SqsQueue;
use crate::services::store::local::{LocalStore, Places};
use crate::services::store::s3::S3Store;
use crate::services::store::{ObjectInfo, ObjectStore, Reading, Unfinished, Upload, Version, Writing};
use crate::services::{ServiceFuture, aws};

/// How AWS is reached.
#[derive(Clone)]
pub enum AwsSource {
    /// As these settings say; the rest is the SDK's default chain.
    Settings(AwsSettings),
    /// As a program has configured the SDK itself.
    Configured(Box<SdkConfig>),
}

impl AwsSource {
    /// Connects, in the region `nearby` if settings name none.
    async fn connect(&self, nearby: Option<&str>) -> Result<Aws, UserError> {
        match self {
            Self::Settings(settings) => aws::connect_near(settings, nearby).await,
            Self::Configured(config) => Aws::from_config((**config).clone()),
        }
    }
}

impl Default for AwsSource {
    fn default() -> Self {
        Self::Settings(AwsSettings::default())
    }
}

/// Without the configuration of the SDK, which holds keys.
impl std::fmt::Debug for AwsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(settings) => settings.fmt(f),
            Self::Configured(_) => f.write_str("Configured"),
        }
    }
}

/// Opens `sqlite:PATH`, or an SQS queue by name, ARN or URL. Each call has connections of its own, so that work on
/// another runtime can have its own queue.
pub async fn open_queue(queue: &str, aws: &AwsSettings) -> Result<Arc<dyn JobQueue>, UserError> {
    open_queue_with(queue, &AwsSource::Settings(aws.clone())).await
}

/// The same, with AWS reached in either way.
pub async fn open_queue_with(queue: &str, aws: &AwsSource) -> Result<Arc<dyn JobQueue>, UserError> {
    if let Some(path) = queue.strip_prefix("sqlite:") {
        return open_file(queue, Path::new(path));
    }
    let Some(address) = QueueAddress::parse(queue) else {
        let cause = "it is no name (up to 80 letters, digits, - and _), no ARN, no URL and no sqlite: path";
        let help = "a queue is written  jobs  or  arn:aws:sqs:eu-west-1:123456789012:jobs  or  https://sqs…/jobs  or  \
                    sqlite:jobs.db";
        return Err(UserError::usage(Code::QueueMissing, format!("{queue:?} is not a queue"), cause, help));
    };
    let aws = aws.connect(address.region.as_deref()).await?;
    // On the heap: the future is large, and every caller would carry it.
    Ok(Arc::new(Box::pin(SqsQueue::open(&address, &aws)).await?))
}

#[cfg(feature = "local-queue")]
fn open_file(queue: &str, path: &Path) -> Result<Arc<dyn JobQueue>, UserError> {
    let opened = LocalQueue::open(path).map_err(|error| {
        let what = format!("cannot open the queue {queue:?}");
        let help = "give the path of a file in a directory that exists and that you may write to";
        UserError::new(Code::QueueMissing, what, error.to_string(), help).with_source(error)
    })?;
    Ok(Arc::new(opened))
}

#[cfg(not(feature = "local-queue"))]
fn open_file(queue: &str, _: &Path) -> Result<Arc<dyn JobQueue>, UserError> {
    let cause = "this program was built without batchpipe's feature local-queue, which brings SQLite";
    let help = "build batchpipe with the feature local-queue, or use an SQS queue";
    Err(UserError::usage(Code::QueueMissing, format!("cannot open the queue {queue:?}"), cause, help))
}

/// Refuses two names of one queue where a message moves from the one to the other: it would come back for ever. `what`
/// says whose names they are.
pub fn refuse_same(from: &dyn JobQueue, to: &dyn JobQueue, what: &str) -> Result<(), UserError> {
    if from.identity() != to.identity() {
        return Ok(());
    }
    let cause = format!("a message that moves from {:?} to {:?} would come back for ever", from.name(), to.name());
    Err(UserError::usage(Code::CommandLine, what, cause, "name another queue"))
}

/// The file of a queue, if the queue is a file.
pub fn file_of_queue(queue: &str) -> Option<PathBuf> {
    queue.strip_prefix("sqlite:").map(PathBuf::from)
}

/// The region in a queue's ARN or URL, to use if no region is configured.
pub fn region_of_queue(queue: &str) -> Option<String> {
    QueueAddress::parse(queue)?.region
}

/// Opens the store for all locations, both `s3:` and `file:`. Local files are reached only under `roots`; the
/// connection to S3 is made at its first use.
pub fn open_store(aws: &AwsSettings, roots: &[PathBuf]) -> Result<Arc<dyn ObjectStore>, UserError> {
    open_store_at(aws, Places { write: roots.to_vec(), ..Places::default() })
}

/// The same, with places that may only be read, and with files that no output may replace.
pub fn open_store_at(aws: &AwsSettings, places: Places) -> Result<Arc<dyn ObjectStore>, UserError> {
    Ok(open_stores(&AwsSource::Settings(aws.clone()), places, Stores::default()))
}

/// Stores of somebody's own, in the place of those that a scheme names.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// For `s3:`.
    pub s3: Option<Arc<dyn ObjectStore>>,
    /// For `file:`.
    pub files: Option<Arc<dyn ObjectStore>>,
}

/// The same, with stores of somebody's own where there are some.
pub fn open_stores(aws: &AwsSource, places: Places, own: Stores) -> Arc<dyn ObjectStore> {
    let files = own.files.unwrap_or_else(|| Arc::new(LocalStore::of(places)));
    Arc::new(AnyStore { aws: aws.clone(), s3: OnceCell::new_with(own.s3), files })
}

/// The store that a location's scheme names.
#[derive(Debug)]
struct AnyStore {
    aws: AwsSource,
    s3: OnceCell<Arc<dyn ObjectStore>>,
    files: Arc<dyn ObjectStore>,
}

impl AnyStore {
    async fn at(&self, location: &Location) -> Result<&dyn ObjectStore, ServiceError> {
        match location {
            Location::File { .. } => Ok(&*self.files),
            // On the heap: it happens once, and every request would carry it.
            Location::S3 { .. } => Ok(&**self.s3.get_or_try_init(|| Box::pin(self.connect())).await?),
        }
    }

    async fn connect(&self) -> Result<Arc<dyn ObjectStore>, ServiceError> {
        let connected = self.aws.connect(None).await.map_err(ServiceError::not_connected)?;
        Ok(Arc::new(S3Store::new(&connected)))
    }
}

impl ObjectStore for AnyStore {
    // A caller cuts its parts before it knows their destination, so the parts must suit every store.
    fn part_bounds(&self) -> (u64, u64) {
        let s3 = self.s3.get().map_or(S3Store::PART_BOUNDS, |store| store.part_bounds());
        let files = self.files.part_bounds();
        (files.0.max(s3.0), files.1.min(s3.1))
    }

    fn max_parts(&self) -> u32 {
        self.files.max_parts().min(self.s3.get().map_or(S3Store::MAX_PARTS, |store| store.max_parts()))
    }

    fn get<'a>(&'a self, from: &'a Location, range: Range<u64>, pin: &'a Version) -> ServiceFuture<'a, Reading> {
        async move { self.at(from).await?.get(from, range, pin).await }.boxed()
    }

    fn put<'a>(&'a self, to: &'a Location, body: Bytes, how: &'a Writing) -> ServiceFuture<'a, ()> {
        async move { self.at(to).await?.put(to, body, how).await }.boxed()
    }

    fn begin<'a>(&'a self, to: &'a Location, how: &'a Writing) -> ServiceFuture<'a, Box<dyn Upload>> {
        async move { self.at(to).await?.begin(to, how).await }.boxed()
    }

    fn head<'a>(&'a self, at: &'a Location) -> ServiceFuture<'a, Option<ObjectInfo>> {
        async move { self.at(at).await?.head(at).await }.boxed()
    }

    fn list(&self, prefix: &Location) -> BoxStream<'_, Result<ObjectInfo, ServiceError>> {
        let prefix = prefix.clone();
        stream::once(async move { Ok(self.at(&prefix).await?.list(&prefix)) }).try_flatten().boxed()
    }

    fn unfinished<'a>(&'a self, prefix: &'a Location) -> ServiceFuture<'a, Vec<Unfinished>> {
        async move { self.at(prefix).await?.unfinished(prefix).await }.boxed()
    }

    fn discard<'a>(&'a self, upload: &'a Unfinished) -> ServiceFuture<'a, ()> {
        async move { self.at(&upload.location).await?.discard(upload).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, Reason, Stage, Subject};

    fn unreachable_aws() -> AwsSettings {
        AwsSettings {
            region: Some("eu-west-1".to_owned()),
            endpoint_url: Some("no-scheme".to_owned()),
            ..AwsSettings::default()
        }
    }

    #[tokio::test]
    async fn a_location_is_served_by_the_store_of_its_scheme() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let store = open_store(&unreachable_aws(), std::slice::from_ref(&root)).unwrap();
        // Files work even if S3 can't be reached.
        let file = Location::file(format!("{}/a", root.display()));
        store.put(&file, Bytes::from_static(b"x"), &Writing::default()).await.unwrap();
        let listed: Vec<ObjectInfo> = store.list(&file).try_collect().await.unwrap();
        assert_eq!((listed.len(), listed[0].size), (1, 1));
        let s3 = store.head(&Location::s3("bucket", "key")).await.unwrap_err();
        assert_eq!((s3.reason.clone(), s3.at(Stage::Download).code), (Some(Reason::NotConnected), Code::Unreachable));
        let listed: Result<Vec<ObjectInfo>, _> = store.list(&Location::s3("bucket", "")).try_collect().await;
        assert_eq!(listed.unwrap_err().reason, Some(Reason::NotConnected));
    }

    #[test]
    fn parts_suit_every_store() {
        let store = open_store(&AwsSettings::default(), &[]).unwrap();
        assert_eq!(store.part_bounds().0, 5 * 1024 * 1024);
        assert!(store.max_parts() <= 10_000);
    }

    #[tokio::test]
    async fn a_queue_is_a_file_or_in_sqs_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("sqlite:{}/jobs.db", dir.path().display());
        let queue = open_queue(&file, &unreachable_aws()).await.unwrap();
        assert_eq!(queue.counts().await.unwrap().visible, 0);
        let error = open_queue("s3://bucket/key", &unreachable_aws()).await.unwrap_err();
        assert_eq!((error.code, error.exit), (Code::QueueMissing, Exit::Usage));
        let error = open_queue("sqlite:/no/such/directory/jobs.db", &unreachable_aws()).await.unwrap_err();
        assert_eq!((error.code, error.exit), (Code::QueueMissing, Exit::Access));
        assert_eq!(open_queue("jobs", &unreachable_aws()).await.unwrap_err().code, Code::Unreachable);
    }

    #[tokio::test]
    async fn an_endpoint_with_a_password_is_everybodys_matter_and_is_not_asked_again() {
        let aws = AwsSettings { endpoint_url: Some("http://user:CANARY@h".to_owned()), ..unreachable_aws() };
        let error = open_store(&aws, &[]).unwrap().head(&Location::s3("bucket", "key")).await.unwrap_err();
        assert!(!error.is_transient() && !error.message.contains("CANARY"), "{error}");
        let told = error.told(&Subject::read(Location::s3("bucket", "key")));
        assert_eq!((told.code, told.exit), (Code::SecretInAddress, Exit::Usage), "{told}");
        assert_eq!(error.at(crate::error::Stage::Download).code, Code::SecretInAddress);
    }

    #[test]
    fn a_missing_connection_is_no_fault_of_a_job() {
        for code in [Code::CredentialsMissing, Code::RegionMissing, Code::Unreachable, Code::SecretInAddress] {
            let error = ServiceError::not_connected(UserError::new(code, "w", "c", "h"));
            let disposition = error.at(crate::error::Stage::Download).disposition();
            assert_ne!(disposition, crate::error::Disposition::Reject, "{code}");
        }
    }

    #[test]
    fn a_queue_tells_its_region_where_it_can() {
        assert_eq!(region_of_queue("https://sqs.eu-west-1.amazonaws.com/1/jobs").as_deref(), Some("eu-west-1"));
        assert_eq!(region_of_queue("jobs"), None);
    }
}
