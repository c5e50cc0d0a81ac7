//! How fast the pipeline is with no network in it: on memory, on the embedded queue and directories, and in its parts.
//!
//! `cargo bench` in a minute or so. Elements are jobs, bytes those of inputs. What these say is where our own time
//! goes: beside real services, see `benches/peers/run`. Times on a shared machine wander by a tenth; compare with a
//! baseline taken just before (`cargo bench -- --save-baseline before`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use batchpipe::capacity::budget::Budget;
use batchpipe::error::Stage;
use batchpipe::job::message::{self, Rules};
use batchpipe::link::link;
use batchpipe::pipeline::Pipeline;
use batchpipe::processor::Work;
use batchpipe::record::Meters;
use batchpipe::services::aws::AwsSettings;
use batchpipe::services::open::{self};
use batchpipe::services::queue::Outgoing;
use batchpipe::services::retry::Retry;
use batchpipe::stages::Receive;
use batchpipe::stop::shutdown::Shutdown;
use batchpipe::testing::{MemoryStore, Rig};
use batchpipe::worker::{self, Queues, Settings};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const MIB: u64 = 1024 * 1024;

/// The loads: their name, the size of an object, how many there are.
const LOADS: [(&str, u64, u64); 3] =
    [("many small", 4096, 500), ("few large", 32 * MIB, 4), ("one huge", 256 * MIB, 1)];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn throughput(size: u64, count: u64) -> Throughput {
    if size < MIB { Throughput::Elements(count) } else { Throughput::Bytes(size * count) }
}

/// A rig with the settings of a worker rather than of a test.
fn memory(size: u64, count: u64) -> Rig {
    let mut rig = Rig::new();
    rig.transfer.part = 8 * MIB;
    rig.transfer.retry = Retry::default();
    rig.memory = 512 * MIB;
    rig.concurrency = 64;
    rig.visibility = Duration::from_secs(60);
    rig.receive.max_messages = Some(count);
    rig.receive.until_empty = false;
    rig.store = MemoryStore::sink().with_log(rig.log.clone());
    (0..count).for_each(|number| drop(rig.job(&number.to_string(), size)));
    rig
}

fn on_memory(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("pipeline on memory");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for (name, size, count) in LOADS {
        group.throughput(throughput(size, count)).bench_function(name, |bencher| {
            let run = |rig: Rig| runtime.block_on(async move { rig.run(Work::Copy).await });
            bencher.iter_batched(|| memory(size, count), run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// What `batchpipe run` makes of its defaults, on a queue and a directory under `root`.
async fn embedded(root: &Path, size: u64, count: u64, run: u32) -> Pipeline {
    let settings = AwsSettings::default();
    let name = format!("sqlite:{}/jobs-{run}.db", root.display());
    let queue = open::open_queue(&name, &settings).await.expect("a queue");
    let messages: Vec<Outgoing> = (0..count)
        .map(|number| {
            let (root, input, output) = (root.display(), format!("in-{size}"), format!("out/{number}"));
            let body = format!(r#"{{"v":1,"input":"file://{root}/{input}","output":"file://{root}/{output}"}}"#);
            Outgoing { body, ..Outgoing::default() }
        })
        .collect();
    for batch in messages.chunks(queue.max_batch()) {
        queue.send(batch).await.expect("a send");
    }
    let leases = open::open_queue(&name, &settings).await.expect("a queue");
    let allow = vec![batchpipe::Location::file(format!("{}/", root.display()))];
    let queues = Queues { jobs: queue, leases, dead_letters: None, max_receives: None };
    let numbers = Settings { concurrency: 16, processors: 4, memory: 512 * MIB, part: 8 * MIB, ..Settings::default() };
    let store = open::open_store(&settings, &[root.to_owned()]).expect("a store");
    let rules = Rules { allow, ..Rules::default() };
    worker::join(&numbers, queues, store, rules, Work::Copy, Arc::default(), Shutdown::default()).expect("a thread")
}

fn on_directories(criterion: &mut Criterion) {
    let runtime = runtime();
    // Memory where there is some: a disk would be measured otherwise.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let root = tempfile::tempdir_in(place).expect("a directory");
    let runs = AtomicU32::new(0);
    let mut group = criterion.benchmark_group("pipeline on directories");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for (name, size, count) in LOADS {
        std::fs::write(root.path().join(format!("in-{size}")), vec![7; size as usize]).expect("an input");
        let how = Receive {
            receivers: Some(1),
            wait: Duration::from_secs(1),
            until_empty: false,
            idle_exit: None,
            max_messages: Some(count),
        };
        group.throughput(throughput(size, count)).bench_function(name, |bencher| {
            let make = || runtime.block_on(embedded(root.path(), size, count, runs.fetch_add(1, Relaxed)));
            let run = |pipeline: Pipeline| {
                let settled =
                    runtime.block_on(async move { tokio::spawn(async move { pipeline.run(how).await }).await });
                assert_eq!(settled.map(|settled| settled.done).ok(), Some(count));
            };
            bencher.iter_batched(make, run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("parts");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let body = r#"{"v":1,"id":"1","input":"s3://bucket/in/a.csv","output":"s3://bucket/out/a.csv","batch":"b"}"#;
    group.throughput(Throughput::Elements(1));
    group.bench_function("a message is parsed", |bencher| bencher.iter(|| message::parse(std::hint::black_box(body))));
    let budget = Budget::new(512 * MIB, 8 * MIB);
    let _others: Vec<_> = (0..64).filter_map(|_| budget.try_admit(Some(4096))).collect();
    group.bench_function("a small job's memory comes and goes", |bencher| {
        bencher.iter(|| {
            let room = budget.try_admit(None).expect("room");
            room.fit(4096);
        });
    });
    let chunk = Bytes::from(vec![0; 256 * 1024]);
    group.throughput(Throughput::Bytes(64 * chunk.len() as u64));
    group.bench_function("16 MiB cross a link", |bencher| {
        let meters = Arc::new(Meters::default());
        bencher.iter(|| {
            runtime.block_on(async {
                let (outlet, mut inlet) = link(&meters.turn(Stage::Download), &meters.turn(Stage::Process));
                let chunk = chunk.clone();
                let sending = tokio::spawn(async move {
                    for _ in 0..64 {
                        outlet.send(chunk.clone()).await?;
                    }
                    outlet.finish().await
                });
                while let Ok(Some(_)) = inlet.recv().await {}
                sending.await
            })
        });
    });
    group.finish();
}

criterion_group!(benches, parts, on_memory, on_directories);
criterion_main!(benches);
