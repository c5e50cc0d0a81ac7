//! What holds of any object, part size and series of broken bodies: every byte arrives once and in order.

use std::sync::Arc;
use std::time::Duration;

use batchpipe::capacity::budget::{Budget, LINK_BYTES};
use batchpipe::capacity::limit::Lane;
use batchpipe::error::{ServiceErrorKind, Stage};
use batchpipe::job::origin::Origin;
use batchpipe::job::{Job, Location};
use batchpipe::link::link;
use batchpipe::processor::Work;
use batchpipe::record::Meters;
use batchpipe::services::retry::Retry;
use batchpipe::services::store::{ObjectStore, Writing};
use batchpipe::stages::upload::orphans::Leftovers;
use batchpipe::stages::{Source, Target, Transfer, download, part_size, upload};
use batchpipe::stop::cancel::Cut;
use batchpipe::stop::shutdown::Shutdown;
use batchpipe::testing::{Fault, Faults, Faulty, Log, MemoryStore, On, Operation, pattern};

/// S3's limits (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PARTS: u32 = 10_000;
const SMALLEST: u64 = 5 << 20;
const LARGEST: u64 = 5 << 30;

/// Numbers out of the fuzzer's bytes; zero when there are no more.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn byte(&mut self) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u64::from(*first)
    }

    fn number(&mut self, below: u64) -> u64 {
        (0..3).fold(0, |sum, _| sum << 8 | self.byte()) % below.max(1)
    }
}

/// A plan of parts, and a transfer with its faults.
pub(crate) fn check(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    check_plan(SMALLEST + dice.number(1 << 24) * 4096, dice.number(1 << 24) * 1_000_003);
    let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    paused.unwrap().block_on(check_transfer(dice));
}

/// Parts of an output of unknown length: sizes that S3 takes, never shrinking, and enough of them for terabytes.
fn check_plan(first: u64, size: u64) {
    let first = first.min(LARGEST);
    let (mut covered, mut before, mut number) = (0, first, 0);
    while covered < size && number < PARTS {
        let part = if number == 0 { first } else { part_size(first, number, LARGEST) };
        assert!((SMALLEST..=LARGEST).contains(&part) && part >= before, "part {number} of {part} bytes");
        (covered, before, number) = (covered + part, part, number + 1);
    }
    // 5 MiB in front hold 4.8 TiB: what no part size holds is refused, and that is more than an object of 8 MiB parts
    // has.
    assert!(covered >= size || covered > 4 << 40, "{PARTS} parts hold only {covered} bytes");
}

async fn check_transfer(mut dice: Dice<'_>) {
    let part = 1 + dice.number(40_000);
    // Objects of no byte, of parts' sizes and beside them.
    let size = (dice.number(9) * part + dice.number(3)).saturating_sub(1);
    let parallel = 1 + dice.number(8) as usize;
    let known = dice.byte().is_multiple_of(2);
    let (input, output) = (Location::s3("input", "a"), Location::s3("output", "a"));
    let log = Log::default();
    let store = MemoryStore::new().with_log(log.clone());
    store.insert_pattern(input.clone(), size);
    let faults = Faults::none();
    let broken = dice.number(20);
    for _ in 0..broken {
        let at = dice.number(size);
        let (on, fault) = match dice.byte() % 10 {
            0 | 1 => (On::Get, Fault::Break(at)),
            2 | 3 => (On::Get, Fault::End(at)),
            4 => (On::Get, Fault::Stall(at)),
            5 => (On::Get, Fault::Corrupt),
            6 => (On::Get, Fault::Delay(Duration::from_millis(at))),
            7 => (On::Part, Fault::Lost),
            8 => (On::Put, Fault::Lost),
            _ => (On::Part, Fault::Fail(ServiceErrorKind::Throttled)),
        };
        faults.next(on, fault, 1);
    }
    let faulty: Arc<dyn ObjectStore> = Arc::new(Faulty::new(Arc::new(store.clone()), faults));
    // More attempts than there are faults: what fails here fails for want of something else.
    let retry = Retry { attempts: 64, ..Retry::default() };
    let (reads, writes, hedge) = (Lane::default(), Lane::default(), Arc::default());
    let transfer = Transfer { part, parallel, retry, reads, writes, hedge };
    let meters = Arc::new(Meters::default());
    let [reads, writes] = [Stage::Download, Stage::Upload].map(|stage| meters.turn(stage));
    let (outlet, inlet) = link(&reads, &writes);
    let budget = Budget::new(4 * (part + LINK_BYTES), part);
    let room = budget.admit(known.then_some(size)).await;
    let mut job = Job::new("a", input, output.clone());
    job.size = known.then_some(size);
    let shutdown = Shutdown::default();
    let cut = Cut { lease: None, shutdown: &shutdown, deadline: None };
    let target = Target {
        store: Arc::clone(&faulty),
        transfer: transfer.clone(),
        meters: Arc::clone(&meters),
        to: output.clone(),
        how: Writing::default(),
        leftovers: Arc::new(Leftovers::new(Arc::clone(&faulty), transfer.retry, Arc::clone(&meters))),
        origin: None,
    };
    let source = Source::new(faulty, transfer, Arc::clone(&meters), &job);
    let origin = Origin::new(&job, Work::Copy.id());
    let downloading = download(source, &room, &job, &origin, outlet);
    let (downloaded, uploaded) = tokio::join!(downloading, upload(target, &room, &cut, inlet));
    assert_eq!(downloaded.expect("it is read in the end"), size);
    assert_eq!(uploaded.expect("it is written in the end"), size);
    let written = store.contents(&output).expect("it is there");
    assert!(written == pattern(0..size), "{size} bytes in parts of {part} came out otherwise");
    assert_eq!(store.uploads(), 0, "an upload was left open");
    check_log(&log, part, size, broken);
    drop((room, written));
    assert_eq!(budget.reserved(), 0, "memory was not given back");
}

/// No range goes beyond its part, each fault costs one more read at the most, and the parts that were written have
/// successive numbers.
fn check_log(log: &Log, part: u64, size: u64, broken: u64) {
    let reads = log.count(|operation| matches!(operation, Operation::Get { .. })) as u64;
    assert!(reads <= size.div_ceil(part).max(1) + broken, "{reads} reads of {size} bytes through {broken} faults");
    let mut numbers = std::collections::BTreeMap::new();
    for operation in log.operations() {
        match operation {
            Operation::Get { range, .. } => {
                assert!(range.end - range.start <= part, "{range:?} is longer than a part of {part}");
                assert!(range.start < size.max(1), "{range:?} begins beyond {size}");
                assert!(range.start / part == (range.end - 1) / part, "{range:?} crosses parts of {part}");
            }
            Operation::Part { number, size, .. } => {
                numbers.insert(number, size);
            }
            _ => {}
        }
    }
    assert!(numbers.keys().copied().eq(1..=numbers.len() as u32), "{numbers:?}");
    let full = numbers.len().saturating_sub(1);
    assert!(numbers.values().take(full).all(|size| *size == part), "only the last part is shorter: {numbers:?}");
}
