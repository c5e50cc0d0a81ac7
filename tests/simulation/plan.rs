//! Everything that a seed decides: the jobs, the settings, and what goes wrong when.

use std::time::Duration;

use batchpipe::error::Code;
use batchpipe::stages::IfExists;
use batchpipe::testing::{Fault, On};

use super::script::{Behaviour, Shape, Trouble};

/// One run of the simulation.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) messages: Vec<Planned>,
    /// The queue is a FIFO queue, and each message has a group.
    pub(super) fifo: bool,
    /// Whether scripts process the objects, or they are copied as they are.
    pub(super) scripted: bool,
    pub(super) part: u64,
    pub(super) if_exists: IfExists,
    pub(super) max_receives: Option<u32>,
    pub(super) visibility: Duration,
    pub(super) job_timeout: Option<Duration>,
    /// The part of all calls that fail.
    pub(super) faults: f64,
    /// The part of all ways that take long.
    pub(super) long: f64,
    /// The part of all reads that begin late.
    pub(super) late: f64,
    pub(super) workers: Vec<Slot>,
    pub(super) events: Vec<(Duration, Event)>,
    /// From then on nothing goes wrong any more, and every worker ends when the queue is empty.
    pub(super) calm: Duration,
}

/// A place for workers, one after the other.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) concurrency: usize,
    pub(super) processors: usize,
    pub(super) receivers: usize,
    pub(super) parallel: usize,
    pub(super) memory: u64,
    pub(super) attempts: u32,
    pub(super) wait: Duration,
    pub(super) ends: Ends,
}

/// When a worker ends by itself before it is calm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    Never,
    WhenEmpty,
    WhenIdle(Duration),
    After(u64),
}

/// A message and what it is about.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) at: Duration,
    /// Its group, on a FIFO queue.
    pub(super) group: Option<String>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// One object, or several named by one event.
    Objects(Vec<Object>),
    /// Nobody can understand it.
    Nonsense(&'static str),
    /// A message that asks for nothing.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: String,
    /// Its contents, one after the other: it is replaced in the middle if there are several. None: there is no such
    /// object.
    pub(super) contents: Vec<Vec<u8>>,
    pub(super) replaced: Option<Duration>,
    pub(super) behaviour: Behaviour,
    /// What the message says of the input, wrongly.
    pub(super) pinned: Option<Pinned>,
    /// What lies under the output's name before.
    pub(super) before: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Pinned {
    Size,
    Etag,
}

/// What happens to a worker or to all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The worker of this slot is killed; another is started soon.
    Kill(usize),
    /// It is told to stop, and cut after so long.
    Drain(usize, Duration),
    /// Nothing gets through from or to it.
    Cut(usize, Duration),
    /// Every call of these kinds goes wrong like that, for so long.
    Storm(usize, &'static [On], Fault, Duration),
    /// What is in flight is delivered to somebody who does nothing with it.
    Steal(Duration),
    /// The queue forgets that messages are in flight.
    Forget,
    /// It forgets that as soon as some hold up others of their group, so many times: both come at once then. By chance
    /// they hardly ever do, since most jobs are short beside the time in which all this happens.
    Again(u32),
}

const STORE: &[On] = &[On::Get, On::Put, On::Begin, On::Part, On::Complete, On::Abort, On::Head];
const QUEUE: &[On] = &[On::Receive, On::Extend, On::Delete, On::Counts, On::Send];

const NONSENSE: [&str; 4] = ["this is not a job", "", "{}", r#"{"v":1,"input":"s3://input/x","output":"nowhere"}"#];

fn seconds(dice: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(dice.u64(range.start * 1000..range.end * 1000))
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn draw(seed: u64) -> Self {
        let dice = &mut fastrand::Rng::with_seed(seed);
        let part = 1 << dice.u32(10..15);
        let scripted = dice.u8(..4) > 0;
        let max_receives = dice.bool().then(|| dice.u32(2..8));
        let calm = seconds(dice, 20..400);
        let if_exists = [IfExists::Overwrite, IfExists::Overwrite, IfExists::Skip, IfExists::Fail][dice.usize(..4)];
        // From one line of all messages to many of a few.
        let groups = if dice.u8(..3) == 0 { dice.usize(1..6) } else { 0 };
        let mut messages: Vec<Planned> = (0..dice.usize(1..16))
            .map(|number| Planned {
                at: if dice.bool() { Duration::ZERO } else { calm.mul_f64(dice.f64()) },
                group: (groups > 0).then(|| format!("group-{}", dice.usize(..groups))),
                what: draw_message(dice, number, part, scripted, calm, if_exists),
            })
            .collect();
        let mut workers: Vec<Slot> = (0..dice.usize(1..=2)).map(|_| draw_slot(dice, part)).collect();
        let mut events: Vec<(Duration, Event)> =
            (0..dice.usize(..8)).map(|_| (calm.mul_f64(dice.f64()), draw_event(dice, workers.len()))).collect();
        if groups > 0 {
            draw_followers(dice, &mut messages, calm);
            // A worker that has places free asks for several at once.
            for slot in &mut workers {
                if dice.bool() {
                    slot.concurrency = dice.usize(4..=8);
                    slot.memory = (2 * part + batchpipe::capacity::budget::LINK_BYTES) * slot.concurrency as u64;
                }
            }
            // Most often at the beginning, when most messages wait.
            let at = |dice: &mut fastrand::Rng| if dice.bool() { Duration::ZERO } else { calm.mul_f64(dice.f64()) };
            events.extend((0..dice.usize(1..4)).map(|_| (at(dice), Event::Again(dice.u32(1..8)))));
        }
        Self {
            messages,
            fifo: groups > 0,
            scripted,
            part,
            if_exists,
            max_receives,
            visibility: seconds(dice, 8..60),
            job_timeout: (dice.u8(..4) == 0).then(|| seconds(dice, 120..300)),
            faults: if dice.u8(..4) == 0 { 0.0 } else { dice.f64() * 0.08 },
            long: if dice.bool() { 0.0 } else { dice.f64() * 0.03 },
            // About the twentieth of all reads that may be asked again.
            late: if dice.bool() { 0.0 } else { dice.f64() * 0.1 },
            workers,
            events,
            calm,
        }
    }
}

/// Makes some messages follow the one before in its group, while that is at work.
fn draw_followers(dice: &mut fastrand::Rng, messages: &mut [Planned], calm: Duration) {
    for number in 1..messages.len() {
        if dice.bool() {
            let (before, group) = (messages[number - 1].at, messages[number - 1].group.clone());
            let after = Duration::from_millis(dice.u64(50..1500));
            (messages[number].at, messages[number].group) = (calm.min(before + after), group);
        }
    }
}

fn draw_slot(dice: &mut fastrand::Rng, part: u64) -> Slot {
    let link = batchpipe::capacity::budget::LINK_BYTES;
    Slot {
        concurrency: dice.usize(1..=8),
        processors: dice.usize(1..=4),
        receivers: dice.usize(1..=3),
        parallel: dice.usize(1..=4),
        memory: if dice.bool() { part * dice.u64(2..=40) } else { (part + link) * dice.u64(1..=10) },
        // With few attempts a failure reaches the job, with many it is overcome below.
        attempts: dice.u32(1..=8),
        wait: seconds(dice, 1..20),
        ends: match dice.u8(..4) {
            0 => Ends::Never,
            1 => Ends::WhenIdle(seconds(dice, 1..60)),
            2 => Ends::After(dice.u64(1..10)),
            _ => Ends::WhenEmpty,
        },
    }
}

fn draw_event(dice: &mut fastrand::Rng, workers: usize) -> Event {
    let slot = dice.usize(..workers);
    match dice.u8(..12) {
        0..=3 => Event::Kill(slot),
        4 => Event::Drain(slot, seconds(dice, 0..20)),
        5 => Event::Cut(slot, seconds(dice, 1..120)),
        6 => Event::Storm(
            slot,
            &[On::Extend],
            Fault::Fail(batchpipe::error::ServiceErrorKind::Unavailable),
            seconds(dice, 10..120),
        ),
        7 => Event::Storm(
            slot,
            STORE,
            Fault::Fail(batchpipe::error::ServiceErrorKind::Unavailable),
            seconds(dice, 5..60),
        ),
        8 => {
            Event::Storm(slot, QUEUE, Fault::Fail(batchpipe::error::ServiceErrorKind::Throttled), seconds(dice, 5..60))
        }
        9 => Event::Storm(
            slot,
            &[On::Get],
            Fault::Fail(batchpipe::error::ServiceErrorKind::Denied),
            seconds(dice, 5..30),
        ),
        10 => Event::Steal(seconds(dice, 1..60)),
        _ => Event::Forget,
    }
}

fn draw_message(
    dice: &mut fastrand::Rng,
    number: usize,
    part: u64,
    scripted: bool,
    calm: Duration,
    if_exists: IfExists,
) -> What {
    match dice.u8(..20) {
        0 => What::Nonsense(NONSENSE[dice.usize(..NONSENSE.len())]),
        1 => What::Nothing,
        2 | 3 => {
            let several = dice.usize(2..4);
            What::Objects(
                (0..several)
                    .map(|at| draw_object(dice, format!("{number}-{at}"), part, scripted, None, if_exists))
                    .collect(),
            )
        }
        _ => {
            let replaced = (dice.u8(..10) == 0).then(|| calm.mul_f64(dice.f64()));
            let mut object = draw_object(dice, number.to_string(), part, scripted, replaced, if_exists);
            if object.replaced.is_none() && !object.contents.is_empty() {
                object.pinned = match dice.u8(..20) {
                    0 => Some(Pinned::Size),
                    1 => Some(Pinned::Etag),
                    _ => None,
                };
            }
            What::Objects(vec![object])
        }
    }
}

fn draw_object(
    dice: &mut fastrand::Rng,
    name: String,
    part: u64,
    scripted: bool,
    replaced: Option<Duration>,
    if_exists: IfExists,
) -> Object {
    let size = match dice.u8(..4) {
        0 => dice.u64(..100),
        1 => part - 1 + dice.u64(..3),
        _ => dice.u64(..12 * part),
    };
    let count = if replaced.is_some() { 2 } else { usize::from(dice.u8(..20) > 0) };
    let contents = (0..count)
        .map(|_| {
            // Of one size, so that only its version tells one from the other.
            let mut bytes = vec![0; size as usize];
            dice.fill(&mut bytes);
            bytes
        })
        .collect();
    let shape = match dice.u8(..6) {
        _ if !scripted => Shape::Copy,
        0 => Shape::Copy,
        1 | 2 => Shape::Repeat(dice.usize(2..5)),
        3 => Shape::Head(dice.usize(1..=3 * part as usize)),
        4 => Shape::Nothing,
        _ => Shape::Flip,
    };
    let trouble = match dice.u8(..10) {
        _ if !scripted => Trouble::None,
        0 => Trouble::Retry(dice.u32(1..4)),
        1 => Trouble::Panic(dice.u32(1..4)),
        2 => Trouble::Reject(if dice.bool() { Code::ProcessorFailed } else { Code::DataDamaged }),
        _ => Trouble::None,
    };
    let pace = match dice.u8(..4) {
        _ if !scripted => Duration::ZERO,
        // Twelve chunks of it are longer than most visibility timeouts.
        0 => Duration::from_millis(dice.u64(..8_000)),
        1 => Duration::from_millis(dice.u64(..100)),
        _ => Duration::ZERO,
    };
    let before = (if_exists != IfExists::Overwrite && dice.u8(..5) == 0).then(|| b"what was there before".to_vec());
    Object {
        name,
        contents,
        replaced,
        behaviour: Behaviour { shape, trouble, after: dice.usize(..=4 * part as usize), pace },
        pinned: None,
        before,
    }
}
