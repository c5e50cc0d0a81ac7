//! The memory budget, under real downloads and uploads joined by real links, and few processors, for which jobs wait in
//! turn and are lent the memory to work there.
//!
//! The property: whatever jobs come together, and whoever of them fails or is cut at whatever moment,
//!
//! - every job ends (a wake-up that is lost, or room that two jobs wait for each other with, is a standstill);
//! - the bytes that calls carry at once are never more than the budget, nor is what is granted;
//! - what is written, and what processors have made and nobody has used up, is never more than what is granted;
//! - in the end everything has been given back, and what nobody waits for is free;
//! - an output that is there is whole.
//!
//! Not in here: filters and programs, which run on threads and processes of their own; a script is in their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use batchpipe::error::ErrorKind;
use batchpipe::job::message::Rules;
use batchpipe::link::{Disconnected, Inlet, Outlet, WRITE_CHUNK};
use batchpipe::record::Meters;
use batchpipe::services::queue::JobQueue;
use batchpipe::services::retry::Retry;
use batchpipe::stop::shutdown::{Phase, Shutdown};
use batchpipe::testing::MemoryQueue;
use batchpipe::{Job, Location};
use batchpipe_schedules::capacity::budget::{Budget, LINK_BYTES, Room};
use batchpipe_schedules::pipeline::{Parts, Pipeline, Plan, Shared};
use batchpipe_schedules::processor::{ProcessError, Script, Work};
use batchpipe_schedules::stages::{IfExists, Transfer};
use batchpipe_schedules::stop::cancel::Cut;
use batchpipe_schedules::{transfer, unkept};
use futures::FutureExt;
use futures::future::BoxFuture;
use shuttle::future::{block_on, spawn};
use tokio::sync::Notify;

use super::store::Slow;
use super::{draw, others};

/// Small beside a link, so that little is copied; the budgets below make up for it. Twice the write room of a tiny
/// input, so that one chunk may be too long for that.
pub(super) const PART: u64 = 128 * 1024;

/// Bytes in a processor's chunks: less than a part, a part, and as much as a chunk may have.
const PIECES: [usize; 3] = [PART as usize / 2, PART as usize, WRITE_CHUNK];

/// Budgets from the least there can be to one that holds several whole write parts.
const TOTALS: [u64; 6] =
    [2 * PART, 3 * PART, 5 * PART, LINK_BYTES + 2 * PART, LINK_BYTES + 4 * PART, 3 * (LINK_BYTES + PART)];

/// Steps within which tasks that were ended have ended: far more than there are tasks.
const LATER: usize = 1000;

/// What a job is like.
struct Planned {
    size: u64,
    /// The message tells the size.
    told: bool,
    /// Its room is reserved first, as for a job that is to come with a receive.
    polled: bool,
    /// What a processor makes; none for a copy.
    makes: Option<Make>,
    parallel: usize,
    /// After how many steps it is cut, if it is.
    cut: Option<usize>,
}

impl Planned {
    /// A small one that goes to a processor: what waits in turn, and has little room of its own.
    fn draw_small() -> Self {
        let sizes = [1, PART / 8, PART / 2, PART];
        let size = sizes[draw(0..sizes.len())];
        Self { size, told: true, polled: false, makes: Some(Make::draw()), ..Self::draw() }
    }

    fn draw() -> Self {
        let sizes = [0, 1, PART / 8, PART / 2, PART, PART + 1, 3 * PART];
        Self {
            size: sizes[draw(0..sizes.len())],
            told: draw(0..2) == 0,
            polled: draw(0..2) == 0,
            makes: (draw(0..2) == 0).then(Make::draw),
            parallel: draw(1..4),
            cut: (draw(0..4) == 0).then(|| draw(0..60)),
        }
    }

    fn work(&self, made: &Arc<AtomicU64>) -> Work {
        let script = |make| Work::Script(Arc::new(Making { make, made: Arc::clone(made) }));
        self.makes.map_or(Work::Copy, script)
    }

    fn output(&self) -> u64 {
        self.makes.map_or(self.size, |make| self.size.div_ceil(PART) * make.bytes as u64)
    }
}

pub(super) fn model() {
    block_on(async {
        let budget = Budget::new(TOTALS[draw(0..TOTALS.len())], PART);
        let store = Slow::new(&budget, if draw(0..2) == 0 { 0 } else { 12 });
        let working = Arc::new(Working::default());
        let small = draw(0..3) == 0;
        let most = if small { 1 } else { draw(1..4) };
        let pipeline = pipeline(&store, budget.total(), most);
        let jobs: Vec<_> = (0..draw(2..6))
            .map(|number| {
                let planned = if small { Planned::draw_small() } else { Planned::draw() };
                store.store.insert_pattern(place("in", number), planned.size);
                let (budget, mut pipeline) = (Arc::clone(&budget), pipeline.clone());
                pipeline.plan = Arc::new(plan(planned.work(&store.made()), planned.parallel));
                spawn(work(budget, pipeline, store.clone(), number, planned, Arc::clone(&working)))
            })
            .collect();
        let poll = spawn(poll(Arc::clone(&budget), working));
        for job in jobs {
            job.await.unwrap();
        }
        poll.await.unwrap();
        // Reads and parts of a job that was cut end a little later than it does.
        for _ in 0..LATER {
            if budget.reserved() == 0 {
                break;
            }
            shuttle::future::yield_now().await;
        }
        assert_eq!(budget.reserved(), 0, "not all was given back");
        assert_eq!(pipeline.processors.available_permits(), most, "a processor was not given back");
        assert_eq!(store.store.uploads(), 0, "an upload was neither completed nor aborted");
        all_is_free(&budget);
    });
}

/// Nothing is counted any more as waiting, growing or granted: one job alone may have all there is.
fn all_is_free(budget: &Arc<Budget>) {
    let room = budget.try_admit(Some(0)).expect("the room of an empty job");
    let mut claims: Vec<_> = std::iter::from_fn(|| room.try_more(PART)).collect();
    let rest = budget.total() - budget.reserved();
    // What stays free is what the job itself may need to reach a whole write part.
    let full = (PART + LINK_BYTES).min(budget.total() - PART);
    assert_eq!(rest / PART, (full - PART.min(full)) / PART, "{} parts were granted", claims.len());
    claims.clear();
}

/// Jobs that have their room.
#[derive(Default)]
struct Working {
    jobs: AtomicUsize,
    ended: Notify,
}

/// A poll of an empty queue, which holds the room of one job for as long as any job works: none of them may need that
/// room.
async fn poll(budget: Arc<Budget>, working: Arc<Working>) {
    let room = budget.reserve().await;
    loop {
        let ended = working.ended.notified();
        if working.jobs.load(SeqCst) == 0 {
            break;
        }
        ended.await;
    }
    assert!(budget.reserved() <= budget.total());
    drop(room);
}

fn place(what: &str, number: usize) -> Location {
    Location::s3("bucket", format!("{what}/{number}"))
}

async fn work(
    budget: Arc<Budget>,
    pipeline: Pipeline,
    store: Slow,
    number: usize,
    planned: Planned,
    working: Arc<Working>,
) {
    let size = planned.told.then_some(planned.size);
    let room = if planned.polled {
        let room = budget.reserve().await;
        others(3).await;
        room.begin();
        room
    } else {
        budget.admit(size).await
    };
    working.jobs.fetch_add(1, SeqCst);
    let shutdown = Shutdown::default();
    let cutting = planned.cut.map(|steps| {
        let shutdown = shutdown.clone();
        spawn(async move {
            others(steps).await;
            shutdown.advance(Phase::Cutting);
        })
    });
    let to = place("out", number);
    let result = Box::pin(transfer_one(&pipeline, number, &planned, &room, &shutdown)).await;
    match result {
        Ok(()) => assert_eq!(store.store.size(&to), Some(planned.output())),
        Err(ErrorKind::Stopped) => assert!(planned.cut.is_some()),
        Err(ErrorKind::Denied | ErrorKind::Disconnected) => {}
        Err(ErrorKind::Rejected) => assert_eq!(planned.size, 0),
        Err(kind) => panic!("job {number} ended with {kind:?}"),
    }
    drop(room);
    working.jobs.fetch_sub(1, SeqCst);
    working.ended.notify_one();
    if let Some(cutting) = cutting {
        cutting.await.unwrap();
    }
}

/// The bytes of one job. The pipeline is the model's, with the job's own plan.
async fn transfer_one(
    pipeline: &Pipeline,
    number: usize,
    planned: &Planned,
    room: &Room,
    shutdown: &Shutdown,
) -> Result<(), ErrorKind> {
    let mut job = Job::new("job", place("in", number), place("out", number));
    job.size = planned.told.then_some(planned.size);
    let cut = Cut { lease: None, shutdown, deadline: None };
    Box::pin(transfer(pipeline, &job, room, &cut)).await.map_err(|error| error.kind)
}

/// A pipeline that receives nothing: its jobs are handed to it by the model.
fn pipeline(store: &Slow, memory: u64, processors: usize) -> Pipeline {
    let (meters, queue) = (Arc::new(Meters::default()), Arc::new(MemoryQueue::new("jobs")) as Arc<dyn JobQueue>);
    Pipeline::assemble(Parts {
        shared: Shared::new(Arc::clone(&meters), Shutdown::default(), Retry::default()),
        leases: unkept(Arc::clone(&queue), meters),
        queue,
        dead_letters: None,
        max_receives: None,
        store: Arc::new(store.clone()),
        concurrency: 1,
        tuner: None,
        processors,
        memory,
        plan: plan(Work::Copy, 1),
    })
}

fn plan(work: Work, parallel: usize) -> Plan {
    Plan {
        rules: Rules::default(),
        work,
        transfer: Transfer::new(PART, parallel, Retry::default()),
        if_exists: IfExists::Overwrite,
        job_timeout: None,
        linger: Duration::ZERO,
    }
}

/// A processor that makes so many bytes of each chunk, in chunks of `piece`.
#[derive(Clone, Copy, Debug)]
struct Make {
    bytes: usize,
    piece: usize,
}

impl Make {
    fn draw() -> Self {
        let part = PART as usize;
        let bytes = [1, part / 2, part - 1, part, 2 * part - 1, 5 * part];
        Self { bytes: bytes[draw(0..bytes.len())], piece: PIECES[draw(0..PIECES.len())] }
    }
}

#[derive(Debug)]
struct Making {
    make: Make,
    made: Arc<AtomicU64>,
}

impl Script for Making {
    fn run<'a>(
        &'a self,
        _job: &'a Job,
        input: &'a mut Inlet,
        output: &'a Outlet,
    ) -> BoxFuture<'a, Result<Result<(), ProcessError>, Disconnected>> {
        async move {
            while let Some(chunk) = input.recv().await? {
                drop(chunk);
                others(2).await;
                let mut left = self.make.bytes;
                while left > 0 {
                    let piece = left.min(self.make.piece);
                    output.send(Slow::chunk(&self.made, piece)).await?;
                    left -= piece;
                }
            }
            Ok(Ok(()))
        }
        .boxed()
    }
}
