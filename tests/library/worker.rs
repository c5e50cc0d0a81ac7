//! The front door of the library: what a worker is told, what it tells, and what it refuses.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchpipe::error::ServiceErrorKind;
use batchpipe::record::metrics::ALL;
use batchpipe::services::queue::JobQueue;
use batchpipe::services::store::ObjectStore;
use batchpipe::testing::{Fault, Faults, Faulty, MemoryQueue, MemoryStore, On};
use batchpipe::worker::{End, WorkerBuilder};
use batchpipe::{
    AsyncInput, AsyncOutput, AsyncProcessor, Event, Job, Location, ProcessError, Processor, Scheme, Summary, Worker,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A queue and a store in memory, with inputs in the bucket `acme-in`.
struct Memory {
    queue: Arc<MemoryQueue>,
    dead: Arc<MemoryQueue>,
    store: Arc<MemoryStore>,
}

impl Memory {
    fn new() -> Self {
        let (queue, dead) = (Arc::new(MemoryQueue::new("jobs")), Arc::new(MemoryQueue::new("dead")));
        Self { queue, dead, store: Arc::new(MemoryStore::new()) }
    }

    /// With these inputs and a message for each.
    fn with(inputs: &[(&str, &str)]) -> Self {
        let memory = Self::new();
        for (key, content) in inputs {
            memory.store.insert(Location::s3("acme-in", *key), content.as_bytes().to_vec());
            memory.queue.push(format!(r#"{{"v":1,"id":"{key}","input":"s3://acme-in/{key}"}}"#));
        }
        memory
    }

    /// A worker of the queue that ends when the queue is empty.
    fn worker(&self) -> WorkerBuilder {
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        let worker = Worker::builder(Arc::clone(&self.queue)).store(store).output("s3://acme-out/");
        worker.dead_letters(Arc::clone(&self.dead)).until_empty().wait_time(Duration::from_millis(50))
    }

    fn output(&self, key: &str) -> Option<String> {
        let bytes = self.store.contents(&Location::s3("acme-out", key))?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }
}

fn upper(_: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    if text.starts_with("bad") {
        return Err(ProcessError::reject("a bad input"));
    }
    Ok(output.write_all(text.to_uppercase().as_bytes())?)
}

async fn run(worker: WorkerBuilder) -> Summary {
    worker.build().await.unwrap().run().await.unwrap()
}

/// The counters of a recorder, by their name and the value of their labels.
fn counters(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<&str> = key.key().labels().map(|label| label.value()).collect();
        let number = match value {
            DebugValue::Counter(number) => number,
            DebugValue::Gauge(number) => number.into_inner() as u64,
            DebugValue::Histogram(values) => values.len() as u64,
        };
        counters.insert([&[key.key().name()], &labels[..]].concat().join(" "), number);
    }
    counters
}

const FIVE: [(&str, &str); 5] = [("a", "one"), ("b", "two"), ("c", "three"), ("d", "four"), ("e", "five")];

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_records_every_metric_of_its_jobs_in_the_recorder_that_it_is_given() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let memory = Memory::with(&FIVE);
    assert_eq!(run(memory.worker().process(upper).recorder(Arc::new(recorder))).await.done, 5);
    let counted = counters(&snapshotter);
    for (name, number) in [
        ("batchpipe_jobs_total ok", 5),
        ("batchpipe_jobs_received_total", 5),
        ("batchpipe_stage_items_total upload out", 5),
        ("batchpipe_stage_duration_seconds process", 5),
        ("batchpipe_object_size_bytes out", 5),
        ("batchpipe_receive_count", 5),
        ("batchpipe_http_requests_total store put ok", 5),
        ("batchpipe_http_requests_total store get ok", 5),
        ("batchpipe_lease_lost_total", 0),
    ] {
        assert_eq!(counted.get(name), Some(&number), "{name} of {counted:#?}");
    }
    let names: Vec<&str> = counted.keys().map(|name| name.split(' ').next().unwrap()).collect();
    let absent: Vec<&str> = ALL.iter().map(|metric| metric.name).filter(|name| !names.contains(name)).collect();
    // What is recorded only when it happens.
    let rare = [
        "batchpipe_message_age_seconds",
        "batchpipe_ack_failures_total",
        "batchpipe_lease_renewal_lag_seconds",
        "batchpipe_retries_total",
        "batchpipe_hedges_total",
        "batchpipe_throttles_total",
        "batchpipe_concurrency_changes_total",
        "batchpipe_bad_inputs_total",
        "batchpipe_queue_messages",
    ];
    assert!(absent.iter().all(|name| rare.contains(name)), "not recorded: {absent:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_worker_without_a_recorder_of_its_own_records_where_the_process_does() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    assert_eq!(run(Memory::with(&FIVE).worker().process(upper)).await.done, 5);
    assert_eq!(counters(&snapshotter).get("batchpipe_jobs_total ok"), Some(&5));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_process_with_recorders_of_their_own_do_not_mix_their_numbers() {
    let recorders = [DebuggingRecorder::new(), DebuggingRecorder::new()];
    let [first, second] = [recorders[0].snapshotter(), recorders[1].snapshotter()];
    let [one, two] = recorders.map(Arc::new);
    let (few, many) = (Memory::with(&FIVE[..2]), Memory::with(&FIVE));
    tokio::join!(run(few.worker().process(upper).recorder(one)), run(many.worker().process(upper).recorder(two)));
    for (snapshotter, jobs) in [(first, 2), (second, 5)] {
        let counted = counters(&snapshotter);
        for name in ["batchpipe_jobs_total ok", "batchpipe_stage_duration_seconds upload", "batchpipe_receive_count"] {
            assert_eq!(counted.get(name), Some(&jobs), "{name}");
        }
    }
}

/// What a listener heard, a word for each event.
async fn heard(memory: &Memory, worker: WorkerBuilder) -> Vec<String> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&events);
    let worker = worker.on_event(move |event| {
        let failure = event.failure().map(|failure| format!(" {}", failure.code)).unwrap_or_default();
        let word = match event {
            Event::Finished { .. } => "finished",
            Event::Skipped { .. } => "skipped",
            Event::Retried { .. } => "retried",
            Event::Rejected { .. } => "rejected",
            Event::Released { .. } => "released",
            _ => "other",
        };
        let job = event.job();
        let (id, input) = (job.id.as_deref().unwrap_or("-"), job.input.as_deref().unwrap_or("-"));
        listener.lock().unwrap().push(format!("{word} {id} {input} {}{failure}", job.attempt));
    });
    run(worker).await;
    assert_eq!(memory.queue.counts().await.unwrap().visible, 0);
    let mut events = events.lock().unwrap().clone();
    events.sort();
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_how_each_job_ended() {
    let memory = Memory::with(&[("a", "good"), ("b", "bad"), ("c", "absent")]);
    memory.store.remove(&Location::s3("acme-in", "c"));
    memory.queue.push("no job");
    memory.queue.push(r#"{"Event":"s3:TestEvent","Service":"Amazon S3","Bucket":"acme-in"}"#);
    let events = heard(&memory, memory.worker().process(upper)).await;
    assert_eq!(
        events,
        [
            "finished a s3://acme-in/a 1",
            "rejected - - 1 BP201",
            "rejected b s3://acme-in/b 1 BP400",
            "rejected c s3://acme-in/c 1 BP301",
            "skipped - - 1",
        ]
    );
    assert_eq!(memory.dead.counts().await.unwrap().visible, 3, "where .dead_letters() says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_of_each_attempt_and_one_that_panics_stops_nothing() {
    let memory = Memory::with(&[("a", "good")]);
    let again = |job: &Job, _: &mut dyn BufRead, _: &mut dyn Write| match job.attempt {
        1 => Err(ProcessError::retry_after("not yet", Duration::ZERO)),
        _ => Ok(()),
    };
    let events = heard(&memory, memory.worker().process(again)).await;
    assert_eq!(events, ["finished a s3://acme-in/a 2", "retried a s3://acme-in/a 1 BP400"]);

    let memory = Memory::with(&FIVE);
    let summary = run(memory.worker().process(upper).on_event(|_| panic!("a listener"))).await;
    assert_eq!((summary.done, summary.end), (5, End::Empty));
}

struct Asynchronous;

impl AsyncProcessor for Asynchronous {
    async fn process(&self, job: &Job, input: &mut AsyncInput, output: &mut AsyncOutput) -> Result<(), ProcessError> {
        let mut text = String::new();
        input.read_to_string(&mut text).await?;
        output.write_all(b"half").await?;
        match job.key() {
            "reject" => Err(ProcessError::reject("no")),
            "panic" => panic!("a processor"),
            _ => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(output.write_all(text.to_uppercase().as_bytes()).await?)
            }
        }
    }

    fn id(&self) -> Option<String> {
        Some("asynchronous:v1".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_async_processor_publishes_only_what_it_ends_well() {
    let memory = Memory::with(&[("a", "one"), ("reject", "x"), ("panic", "x"), ("long", &"y".repeat(3_000_000))]);
    let summary = run(memory.worker().process_async(Asynchronous).processors(2).max_receives(1)).await;
    assert_eq!((summary.done, summary.rejected), (2, 2));
    assert_eq!(memory.output("a").as_deref(), Some("halfONE"));
    assert_eq!(memory.output("long").map(|output| output.len()), Some(3_000_004));
    assert_eq!((memory.output("reject"), memory.output("panic")), (None, None));
}

struct Stuck(Arc<tokio::sync::Notify>);

impl AsyncProcessor for Stuck {
    async fn process(&self, _: &Job, _: &mut AsyncInput, _: &mut AsyncOutput) -> Result<(), ProcessError> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_cuts_an_async_processor_where_it_waits_and_its_job_is_given_back() {
    let memory = Memory::with(&[("a", "one")]);
    let at_work = Arc::new(tokio::sync::Notify::new());
    let worker = memory.worker().process_async(Stuck(Arc::clone(&at_work))).build().await.unwrap();
    let stop = worker.stop_handle();
    let running = tokio::spawn(worker.run());
    at_work.notified().await;
    stop.clone().cut();
    let summary = running.await.unwrap().unwrap();
    assert_eq!((summary.released, summary.done, summary.end), (1, 0, End::Stopped));
    assert_eq!(memory.queue.counts().await.unwrap().visible, 1);
}

/// Writes what it is told of its job.
struct Tells;

impl Processor for Tells {
    fn process(&self, job: &Job, _: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        let etag = job.etag.as_ref().is_some_and(|etag| !etag.is_empty());
        Ok(write!(output, "{} {:?} {} {etag} {:?}", job.key(), job.size, job.attempt, job.metadata)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_is_told_the_key_the_size_the_version_the_attempt_and_the_metadata_of_its_input() {
    let memory = Memory::with(&[("a", "four")]);
    let mut how = batchpipe::services::store::Writing::default();
    how.metadata.insert("tenant".to_owned(), "acme".to_owned());
    memory.store.put(&Location::s3("acme-in", "a"), "five5".into(), &how).await.unwrap();
    assert_eq!(run(memory.worker().process(Tells)).await.done, 1);
    assert_eq!(memory.output("a").unwrap(), r#"a Some(5) 1 true {"tenant": "acme"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_programs_are_what_they_are_on_the_command_line() {
    let memory = Memory::with(&[("a.txt", "one")]);
    assert_eq!(run(memory.worker().steps("gzip:9,decompress:gzip,sha256")).await.done, 1);
    let sum = memory.output("a.txt.sha256").expect("the ending of the steps");
    assert!(sum.starts_with("7692c3ad3540bb80"), "{sum}");

    let memory = Memory::with(&[("a.txt", "one")]);
    assert_eq!(run(memory.worker().program(["tr", "a-z", "A-Z"]).output_suffix(".up")).await.done, 1);
    assert_eq!(memory.output("a.txt.up").as_deref(), Some("ONE"));

    let memory = Memory::with(&[("a.txt", "one")]);
    let folder = tempfile::tempdir().unwrap();
    let worker = memory.worker().program(["sh", "-c", "exit 3"]).reject_codes([3]).work_dir(folder.path());
    assert_eq!(run(worker).await.rejected, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_ones_own_serves_its_scheme_and_files_stay_files() {
    let memory = Memory::with(&[("a", "one")]);
    let folder = tempfile::tempdir().unwrap();
    let place = format!("file://{}/", folder.path().canonicalize().unwrap().display());
    let store = Arc::clone(&memory.store) as Arc<dyn ObjectStore>;
    let worker = Worker::builder(Arc::clone(&memory.queue)).store_for(Scheme::S3, store).process(upper);
    assert_eq!(run(worker.output(&place).until_empty()).await.done, 1);
    assert_eq!(std::fs::read_to_string(folder.path().join("a")).unwrap(), "ONE");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_a_worker_and_its_summary_says_which() {
    let memory = Memory::with(&FIVE);
    let summary = run(memory.worker().process(upper).max_jobs(2).concurrency(1).receivers(1)).await;
    assert_eq!((summary.done, summary.end), (2, End::Enough));
    let memory = Memory::new();
    let queue = Arc::clone(&memory.queue) as Arc<dyn JobQueue>;
    let idle = Worker::builder(queue).steps("copy").idle_exit(Duration::from_secs(1));
    assert_eq!(run(idle).await.end, End::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_every_job_would_fail_stops_with_the_number_of_the_failure() {
    let memory = Memory::with(&FIVE);
    let faults = Faults::none();
    faults.always(On::Get, Fault::Fail(ServiceErrorKind::Denied));
    let store = Arc::new(Faulty::new(Arc::new(memory.store.as_ref().clone()), faults));
    let worker = memory.worker().store(store).process(upper).build().await.unwrap();
    let error = worker.run().await.unwrap_err();
    assert_eq!(error.code.number(), 106, "{error}");
    let left = memory.queue.counts().await.unwrap();
    assert_eq!(left.visible + left.in_flight + left.delayed, 5, "every job is given back, some to come again later");
    assert_eq!(memory.dead.counts().await.unwrap().visible, 0);
}

#[tokio::test]
async fn every_mistake_is_told_by_build_with_its_number_and_what_to_do() {
    let queue = || Worker::builder(Arc::new(MemoryQueue::new("jobs")));
    let second = Duration::from_secs(1);
    let missing = "sqlite:/no/such/folder/jobs.db";
    let mistakes: [(&str, u16, WorkerBuilder); 22] = [
        ("nothing to do", 110, queue()),
        ("no queue", 103, Worker::builder("s3://no/queue").process(upper)),
        ("no folder", 103, Worker::builder(missing).process(upper)),
        ("no dead letters", 103, queue().dead_letters(missing).process(upper)),
        ("itself", 110, queue().dead_letters(Arc::new(MemoryQueue::new("jobs"))).process(upper)),
        ("no place", 120, queue().process(upper).output("acme-out")),
        ("no place", 120, queue().process(upper).allow("http://acme")),
        ("no step", 120, queue().steps("zip")),
        ("no program", 112, queue().program(["/no/such/program"])),
        ("no word", 111, queue().program(Vec::<String>::new())),
        ("too little memory", 121, queue().process(upper).memory(1 << 20)),
        ("too little for steps", 121, queue().steps("zstd:22").memory(64 << 20)),
        ("no job", 110, queue().process(upper).concurrency(0)),
        ("too many jobs", 110, queue().process(upper).concurrency(1_000_000)),
        ("no processor", 110, queue().process(upper).processors(0)),
        ("a part too small for S3", 110, queue().process(upper).output("s3://acme-out/").part_size(1 << 20)),
        ("a part too small", 110, queue().process(upper).part_size(1)),
        ("a short lease", 116, queue().process(upper).visibility_timeout(second)),
        ("a long poll", 116, queue().process(upper).wait_time(21 * second)),
        ("a short job", 110, queue().process(upper).job_timeout(Duration::ZERO)),
        ("no message", 110, queue().process(upper).max_jobs(0)),
        ("never", 110, queue().process(upper).max_receives(0)),
    ];
    for (name, code, builder) in mistakes {
        let error = builder.build().await.expect_err(name);
        assert_eq!(error.code.number(), code, "{name}: {error}");
        assert!(!error.help.is_empty() && !error.cause.is_empty(), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_configuration_of_the_sdk_is_what_aws_is_reached_with() {
    let config = aws_config::SdkConfig::builder().build();
    let error = Worker::builder("jobs").aws_config(&config).process(upper).build().await.unwrap_err();
    assert_eq!(error.code.number(), 102, "it names no region, whatever the environment does: {error}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(deprecated, reason = "what was promised stays")]
async fn the_worker_of_the_first_version_still_works() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap().display().to_string();
    std::fs::write(folder.path().join("a.txt"), "quiet").unwrap();
    let queue = format!("sqlite:{place}/jobs.db");
    let jobs = batchpipe::services::open::open_queue(&queue, &Default::default()).await.unwrap();
    let body = format!(r#"{{"v":1,"input":"file://{place}/a.txt"}}"#);
    jobs.send(&[batchpipe::services::queue::Outgoing { body, ..Default::default() }]).await.unwrap();
    let worker = Worker::new(&queue, upper).output(&format!("file://{place}/out/")).unwrap();
    let settled = worker.allow(&format!("file://{place}/")).unwrap().until_empty().run().await.unwrap();
    assert_eq!(settled.done, 1);
}
