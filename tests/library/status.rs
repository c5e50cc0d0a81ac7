//! What is shown is what the meters say, in exactly these words, whatever the width of the terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use batchpipe::error::{ServiceError, ServiceErrorKind, Stage};
use batchpipe::observe::{
    About, Bottleneck, Concurrency, CpuLoad, Errors, Leases, Ledger, Load, Mode, Progress, QueueCounts, QueueNow,
    Sampler, Screen, Snapshot, Sources, StageLoad, StageNow, Totals, ask_queue, bottleneck, events, lines, panel, show,
};
use batchpipe::record::{Ended, Meters, State};
use batchpipe::services::ServiceFuture;
use batchpipe::services::queue::{Counts, JobQueue, Message, Outcome, Outgoing, Policy, Receipt};
use tokio::sync::watch;

const MIB: f64 = 1024.0 * 1024.0;

fn stage(
    stage: &'static str,
    shares: [f64; 4],
    in_progress: u32,
    rate: f64,
    mib: Option<f64>,
    failed: u64,
) -> StageNow {
    let [busy, wait_upstream, wait_downstream, wait_permit] = shares;
    StageNow {
        stage,
        busy,
        wait_upstream,
        wait_downstream,
        wait_permit,
        in_progress,
        items: 1_204_118,
        items_per_second: rate,
        bytes_per_second: mib.map(|mib| mib * MIB),
        p50: Some(0.031),
        p99: Some(0.120),
        failed,
    }
}

/// The moment that the design draws.
fn moment() -> Snapshot {
    Snapshot {
        command: "run",
        queue_name: "jobs (eu-west-1)".into(),
        elapsed: 2971.0,
        interval: 10.0,
        slots: 16,
        reads_limit: 64,
        writes_limit: 64,
        stages: vec![
            stage("receive", [0.22, 0.03, 0.75, 0.0], 1, 412.0, None, 0),
            stage("download", [0.48, 0.02, 0.50, 0.0], 32, 412.0, Some(824.0), 3),
            stage("process", [0.79, 0.01, 0.0, 0.20], 16, 410.0, Some(810.0), 0),
            stage("upload", [0.35, 0.65, 0.0, 0.0], 9, 410.0, Some(270.0), 1),
            stage("delete", [0.04, 0.96, 0.0, 0.0], 2, 41.0, None, 0),
        ],
        bottleneck: Some(Bottleneck {
            stage: "process",
            reason: "CPU",
            hint: "more cores or more machines",
            cause: "cpu",
            knob: None,
        }),
        jobs: Ledger { done: 1_204_118, failed: 3, duplicates: 12, ..Ledger::default() },
        jobs_per_second: 410.0,
        bytes_in: 2_638_827_906_662,
        bytes_out: 900,
        bytes_in_per_second: 824.0 * MIB,
        bytes_out_per_second: 270.0 * MIB,
        queue: Some(QueueNow {
            waiting: 18_204,
            in_flight: 73,
            delayed: 0,
            falling: true,
            oldest: Some(252),
            eta: Some(44.4),
        }),
        cpu: Some(0.97),
        processors_taken: 0.9,
        memory_reserved: 612 << 20,
        memory_budget: 1 << 30,
        leases_held: 16,
        lease_remaining: Some(71.0),
        temp_bytes: 1_288_490_189,
        temp_budget: Some(40 << 30),
        errors: Errors::default(),
        progress: None,
    }
}

fn submitting() -> Snapshot {
    let progress =
        Progress { files: 7412, files_total: 10_000, bytes: 2_576_980_378, bytes_total: 3_435_973_837, eta: Some(2.0) };
    Snapshot { command: "submit", progress: Some(progress), bytes_out_per_second: 412.0 * MIB, ..moment() }
}

/// 2026-11-24T12:04:10Z.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_850)
}

#[test]
fn a_line_has_the_same_keys_always() {
    assert_eq!(
        lines::progress(&moment(), noon()),
        "2026-11-24T12:04:10Z progress done=1204118 failed=3 rate=410/s in=824MiB/s out=270MiB/s waiting=18204 \
         in_flight=73 oldest=252s bottleneck=process eta=44s"
    );
    let idle = Snapshot { queue: None, bottleneck: None, jobs_per_second: 0.0, ..moment() };
    assert_eq!(
        lines::progress(&idle, noon()),
        "2026-11-24T12:04:10Z progress done=1204118 failed=3 rate=0/s in=824MiB/s out=270MiB/s waiting=- in_flight=- \
         oldest=- bottleneck=- eta=-"
    );
    assert_eq!(
        lines::progress(&submitting(), noon()),
        "2026-11-24T12:04:10Z progress files=7412/10000 bytes=2.4GiB/3.2GiB rate=412MiB/s eta=2s"
    );
}

#[test]
fn the_last_lines_say_how_it_ended_and_what_to_do() {
    assert_eq!(
        lines::summary(&moment(), noon(), 8),
        "2026-11-24T12:04:10Z summary done=1204118 failed=3 duplicates=12 lost=0 bytes_in=2.4TiB elapsed=49m31s exit=8 \
        skipped=0"
    );
    let skipping = Snapshot { jobs: Ledger { skipped: 4, ..moment().jobs }, ..moment() };
    assert!(lines::summary(&skipping, noon(), 8).ends_with(" exit=8 skipped=4"));
    assert!(panel::summary(&skipping).starts_with("1 204 118 done · 4 skipped · 3 failed"));
    assert!(panel::summary(&moment()).starts_with("1 204 118 done · 3 failed"));
    assert_eq!(
        lines::next_step(&moment()).as_deref(),
        Some("3 jobs failed. See them: batchpipe dlq list --queue jobs")
    );
    assert_eq!(lines::next_step(&Snapshot { jobs: Ledger::default(), ..moment() }), None);
    assert_eq!(
        lines::draining(16, Duration::from_secs(90), true),
        "Draining 16 jobs (up to 90 s). Press Ctrl-C again to stop now; nothing will be lost."
    );
}

#[test]
fn the_panel_is_the_one_of_the_design() {
    let about = About {
        command: "run",
        queue: "jobs (eu-west-1)".into(),
        process: "gzip".into(),
        output: "s3://acme-out/gz/".into(),
        page: Some("http://127.0.0.1:9464/".into()),
        ..About::default()
    };
    let head = panel::head(&about, 16);
    assert_eq!(panel::render(&moment(), &head, "Ctrl-C drains · details are on the page", 120, false), PANEL);
    assert_eq!(panel::render(&moment(), &head, "Ctrl-C drains", 80, false), PANEL_80);
    assert_eq!(panel::render(&moment(), &head, "Ctrl-C drains", 20, false), PANEL_20);
}

const PANEL: &str = "\
batchpipe run · queue jobs (eu-west-1) · gzip → s3://acme-out/gz/ · 16 slots · http://127.0.0.1:9464/

  stage                 busy    in  wait up  wait down     rate     bytes/s     p50     p99  err
  receive    ██░░░░░░   22 %     –      3 %       75 %    412/s           –    31ms   120ms    0
  download   ████░░░░   48 %    32      2 %       50 %    412/s   824 MiB/s    31ms   120ms    3
  process    ████████   99 %    16      1 %        0 %    410/s   810 MiB/s    31ms   120ms    0  ◀ bottleneck: CPU
  upload     ███░░░░░   35 %     9     65 %        0 %    410/s   270 MiB/s    31ms   120ms    1
  delete     ░░░░░░░░    4 %     2     96 %        0 %     41/s           –    31ms   120ms    0

  tune     more cores or more machines
  queue    18 204 waiting ▼   73 in flight   oldest 4m12s   empty in about 44 s
  memory   612 MiB of 1.0 GiB     leases: shortest 71 s left     temp 1.2 of 40 GiB
  jobs     1 204 118 done · 3 failed · 12 delivered twice · 0 lost
  Ctrl-C drains · details are on the page";
const PANEL_80: &str = "\
batchpipe run · queue jobs (eu-west-1) · gzip → s3://acme-out/gz/ · 16 slots · h

  stage                 busy    in  wait up  wait down     rate     bytes/s  err
  receive    ██░░░░░░   22 %     –      3 %       75 %    412/s           –    0
  download   ████░░░░   48 %    32      2 %       50 %    412/s   824 MiB/s    3
  process    ████████   99 %    16      1 %        0 %    410/s   810 MiB/s    0
  upload     ███░░░░░   35 %     9     65 %        0 %    410/s   270 MiB/s    1
  delete     ░░░░░░░░    4 %     2     96 %        0 %     41/s           –    0

  tune     process: CPU, more cores or more machines
  queue    18 204 waiting ▼   73 in flight   oldest 4m12s   empty in about 44 s
  memory   612 MiB of 1.0 GiB     leases: shortest 71 s left     temp 1.2 of 40 
  jobs     1 204 118 done · 3 failed · 12 delivered twice · 0 lost
  Ctrl-C drains";
const PANEL_20: &str = "\
batchpipe run · queu

  stage       busy
  receive     22 %
  download    48 %
  process     99 %
  upload      35 %
  delete       4 %

  tune     process: 
  queue    18 204 wa
  memory   612 MiB o
  jobs     1 204 118
  Ctrl-C drains";

#[test]
fn no_line_is_wider_than_the_terminal_and_no_width_breaks_the_panel() {
    for snapshot in [moment(), submitting()] {
        for width in 0..=200 {
            let drawn = panel::render(&snapshot, "batchpipe run", "Ctrl-C drains", width, false);
            assert!(drawn.lines().all(|line| line.chars().count() <= width), "{width}: {drawn}");
            let coloured = panel::render(&snapshot, "batchpipe run", "Ctrl-C drains", width, true);
            let plain = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"]
                .iter()
                .fold(coloured, |text, code| text.replace(code, ""));
            assert_eq!(plain, drawn, "colours change no text");
        }
    }
    assert!(panel::render(&moment(), "", "", 120, true).contains("\x1b[31m████████\x1b[0m"));
}

#[test]
fn a_name_with_control_characters_cannot_move_the_cursor() {
    let about = About { command: "run", queue: "a\x1b[2Jb\n".into(), ..About::default() };
    assert_eq!(panel::head(&about, 1), "batchpipe run · queue a?[2Jb? · 1 slots");
}

#[test]
fn submit_shows_its_own_screen() {
    assert_eq!(
        panel::render(&submitting(), "", "", 100, false).lines().last(),
        Some("Uploading  ████████████░░░░  7 412/10 000   2.4/3.2 GiB   412 MiB/s   eta 2 s")
    );
}

#[test]
fn an_event_is_one_line_of_json_with_schema_type_and_time() {
    let summary = events::Summary { exit: 8, next: None, snapshot: &moment() };
    let line = events::line("summary", &summary, noon()).unwrap();
    assert!(!line.contains('\n'));
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["schema"], "batchpipe.event/1");
    assert_eq!(event["type"], "summary");
    assert_eq!(event["time"], "2026-11-24T12:04:10.000Z");
    assert_eq!(event["exit"], 8);
    assert_eq!(event["jobs"]["done"], 1_204_118);
    assert_eq!(event["stages"][2]["stage"], "process");
    assert_eq!(event["bottleneck"]["reason"], "CPU");
}

fn sources(slots: usize) -> Sources {
    let mut sources = Sources::new(Arc::new(Meters::default()), About { command: "run", ..About::default() });
    (sources.slots, sources.processors) = (slots, 2);
    sources
}

#[tokio::test(start_paused = true)]
async fn the_shares_of_a_stage_are_its_slots_times_the_elapsed_time() {
    let sources = sources(4);
    let mut sampler = Sampler::new(sources.clone(), Duration::from_secs(60));
    // Three places taken, one empty: busy, waiting down and waiting for a permit for as long.
    let turns: Vec<_> = (0..3).map(|_| sources.meters.turn(Stage::Process)).collect();
    let waits = (turns[1].waits(State::WaitDownstream), turns[2].waits(State::WaitPermit));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let now = sampler.snapshot();
    drop(waits);
    let process = &now.stages[2];
    assert_eq!((process.stage, process.in_progress), ("process", 3));
    assert_eq!([process.busy, process.wait_upstream, process.wait_downstream, process.wait_permit], [0.25; 4]);
    for stage in now.stages.iter().filter(|stage| stage.stage != "process") {
        assert_eq!((stage.wait_upstream, stage.load()), (1.0, 0.0), "{} is idle", stage.stage);
    }
}

#[tokio::test(start_paused = true)]
async fn one_delete_that_is_always_under_way_is_no_load_where_dozens_may_be() {
    let sources = sources(16);
    let mut sampler = Sampler::new(sources.clone(), Duration::from_secs(60));
    let _delete = sources.meters.turn(Stage::Acknowledge);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(sampler.snapshot().stages[4].busy, 1.0 / 16.0);
}

#[tokio::test(start_paused = true)]
async fn receivers_that_come_and_go_have_the_time_in_which_they_are_there_and_no_more() {
    let mut sources = sources(4);
    sources.receivers = 9;
    let mut sampler = Sampler::new(sources.clone(), Duration::from_secs(60));
    let turn = sources.meters.turn(Stage::Receive);
    let waiting = turn.waits(State::WaitDownstream);
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(waiting);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let receive = sampler.snapshot().stages[0].clone();
    assert_eq!((receive.wait_downstream, receive.busy, receive.wait_upstream), (0.75, 0.25, 0.0));
}

/// A worker of 16 slots of which all have jobs that wait for the store, and nothing else is scarce.
fn load() -> Load {
    let busy = |stage, busy| StageLoad { stage, busy, throttled: 0.0 };
    Load {
        stages: vec![
            busy(Stage::Receive, 0.0),
            busy(Stage::Download, 9.0),
            busy(Stage::Process, 1.0),
            busy(Stage::Upload, 6.0),
            busy(Stage::Acknowledge, 1.0),
        ],
        cpu: Some(CpuLoad { used: 0.4, idle: Some(3.6), cores: 4.0 }),
        processors: 0.1,
        processor_slots: 4.0,
        short_of_processors: 0.0,
        short_of_memory: 0.0,
        cramped: 0.0,
        memory: 0.2,
        at_work: 16.0,
        on_call: 0.0,
        slots: 16.0,
        concurrency: Concurrency::Fixed,
        settling: 16.0,
        asked: 10.0,
        brought: Some(1.0),
        waiting: Some(1000),
        calling: 0.1,
        receivers: 1.0,
    }
}

/// A worker that has more of everything than it needs.
fn easy() -> Load {
    Load { at_work: 4.0, ..load() }
}

/// The same with so much at work in a stage.
fn with(load: Load, stage: Stage, busy: f64, throttled: f64) -> Load {
    let mut stages = load.stages.clone();
    stages.iter_mut().filter(|load| load.stage == stage).for_each(|load| {
        (load.busy, load.throttled) = (busy, throttled);
    });
    Load { stages, ..load }
}

#[test]
fn what_is_used_up_is_the_bottleneck_and_the_setting_that_helps_is_named() {
    let cpu = |used, idle| Some(CpuLoad { used, idle, cores: 4.0 });
    let process = |load| with(load, Stage::Process, 14.0, 0.0);
    let burst = Load { cpu: cpu(3.2, None), processors: 0.9, processor_slots: 16.0, ..process(load()) };
    let few = |processors| Load { processors, short_of_processors: 9.0, ..process(load()) };
    let auto = |concurrency| Load { concurrency, ..load() };
    for (what, load, stage, cause, knob) in [
        ("a full CPU", Load { cpu: cpu(3.9, Some(0.1)), ..few(1.0) }, "process", "cpu", None),
        ("a CPU that others fill", Load { cpu: cpu(1.2, Some(0.0)), ..load() }, "download", "cpu", None),
        (
            "others fill it, and we need none",
            Load { cpu: cpu(0.1, Some(0.0)), ..few(1.0) },
            "process",
            "processors",
            Some("--processors"),
        ),
        ("a CPU that computes in bursts", burst, "process", "cpu", None),
        (
            "processors of jobs that wait for their input",
            Load { processors: 1.0, short_of_processors: 3.0, ..load() },
            "download",
            "latency",
            None,
        ),
        ("a CPU that is not known", Load { cpu: None, ..few(1.0) }, "process", "processors", Some("--processors")),
        (
            "processors that are taken and nobody waits",
            Load { short_of_processors: 0.0, ..few(1.0) },
            "process",
            "slots",
            None,
        ),
        ("memory", Load { short_of_memory: 0.9, slots: 64.0, ..load() }, "download", "memory", Some("--memory")),
        (
            "a far store, and too little memory for the slots",
            Load { short_of_memory: 0.9, slots: 24.0, ..load() },
            "download",
            "latency",
            Some("--memory"),
        ),
        ("slots", load(), "download", "slots", Some("--concurrency")),
        ("slots of jobs that wait in a step", process(load()), "process", "slots", Some("--concurrency")),
        ("slots, and no memory for more jobs", Load { memory: 0.95, ..load() }, "download", "latency", None),
        ("auto that still looks", auto(Concurrency::Climbing), "download", "latency", None),
        ("auto that has found the end", auto(Concurrency::Found), "download", "line", None),
        ("auto at its most", auto(Concurrency::Most), "download", "latency", None),
        ("a store that throttles", with(load(), Stage::Upload, 14.0, 9.0), "upload", "throttled", None),
        ("a queue that throttles", with(easy(), Stage::Receive, 0.0, 0.9), "receive", "throttled", None),
        ("deletes", with(easy(), Stage::Acknowledge, 16.0, 0.0), "delete", "slots", Some("--concurrency")),
        ("a far queue", easy(), "receive", "queue_calls", Some("--receivers")),
        (
            "a far queue and few messages in a receive",
            Load { asked: 7.0, at_work: 10.0, ..easy() },
            "receive",
            "queue_calls",
            Some("--concurrency"),
        ),
        (
            "a far queue and few slots",
            Load { asked: 2.0, at_work: 10.0, ..easy() },
            "receive",
            "slots",
            Some("--concurrency"),
        ),
        (
            "slots that wait for messages that nobody has sent",
            Load { on_call: 12.0, waiting: Some(0), ..easy() },
            "receive",
            "queue_empty",
            None,
        ),
        ("an empty queue", Load { brought: Some(0.1), ..easy() }, "receive", "queue_empty", None),
        ("a queue that counts nothing", Load { waiting: Some(0), ..easy() }, "receive", "queue_empty", None),
        (
            "nothing at all",
            with(Load { at_work: 0.0, brought: None, ..easy() }, Stage::Acknowledge, 0.0, 0.0),
            "receive",
            "queue_empty",
            None,
        ),
    ] {
        let named = bottleneck(&load).unwrap_or_else(|| panic!("nothing is named of {what}"));
        assert_eq!((named.stage, named.cause, named.knob), (stage, cause, knob), "{what}: {named:?}");
    }
    let stopped = Load { at_work: 0.0, receivers: 0.0, ..with(easy(), Stage::Acknowledge, 0.0, 0.0) };
    assert_eq!(bottleneck(&stopped), None, "before the start and after the end");
}

#[test]
fn of_files_that_are_submitted_the_disk_the_memory_or_the_slots_are_named() {
    let busy = |stage, busy| StageLoad { stage, busy, throttled: 0.0 };
    let submit = |read, upload| Load {
        stages: vec![busy(Stage::Read, read), busy(Stage::Upload, upload), busy(Stage::Send, 0.5)],
        asked: 0.0,
        brought: None,
        waiting: None,
        receivers: 0.0,
        ..load()
    };
    let name = |load: &Load| bottleneck(load).map(|named| (named.stage, named.reason, named.knob));
    assert_eq!(name(&submit(14.0, 2.0)), Some(("read", "disk", Some("--concurrency"))));
    assert_eq!(name(&submit(2.0, 14.0)), Some(("upload", "store answers", Some("--concurrency"))));
    let short = Load { short_of_memory: 0.9, at_work: 4.0, ..submit(1.0, 3.0) };
    assert_eq!(name(&short), Some(("read", "memory", Some("--memory"))));
    assert_eq!(name(&Load { at_work: 2.0, ..submit(1.0, 1.0) }), Some(("read", "disk", None)), "a list that is slow");
}

#[test]
fn the_ledger_balances_and_what_nobody_holds_is_lost() {
    let mut sources = sources(4);
    let meters = Arc::clone(&sources.meters);
    for how in [Ended::Ok, Ended::Ok, Ended::Failed, Ended::Released, Ended::LeaseLost, Ended::Skipped] {
        meters.received(None, 1, 1);
        meters.ended(how);
    }
    meters.received(None, 1, 1);
    meters.ended(Ended::Failed);
    meters.retried.fetch_add(1, Relaxed);
    meters.received(Some(SystemTime::now() - Duration::from_secs(5)), 2, 3);
    meters.duplicates.fetch_add(1, Relaxed);
    sources.leases = Arc::new(|| Leases { held: 1, shortest_remaining: None });
    let jobs = Sampler::new(sources.clone(), Duration::from_secs(1)).snapshot().jobs;
    let ended = jobs.done + jobs.failed + jobs.retried + jobs.released + jobs.lease_lost + jobs.skipped;
    assert_eq!((jobs.received, ended + jobs.in_progress, jobs.in_progress, jobs.lost), (10, 10, 3, 0));
    assert_eq!((jobs.failed, jobs.retried), (1, 1), "an attempt that failed is not yet a job that did");
    sources.leases = Arc::new(Leases::default);
    let now = Sampler::new(sources, Duration::from_secs(1)).snapshot();
    assert_eq!(now.jobs.lost, 3, "in progress, and no lease is held");
    assert_eq!(meters.messages.load(Relaxed), 8);
    assert_eq!(meters.message_age.load(Relaxed), 5);
}

#[test]
fn the_queue_empties_at_the_rate_of_all_workers() {
    let sources = sources(1);
    let began = Instant::now();
    sources.queue.set(Counts { visible: 1000, in_flight: 5, delayed: 1 });
    std::thread::sleep(Duration::from_millis(50));
    sources.queue.set(Counts { visible: 900, in_flight: 5, delayed: 1 });
    let most = began.elapsed().as_secs_f64();
    let queue = Sampler::new(sources, Duration::from_secs(1)).snapshot().queue.unwrap();
    assert!(queue.falling);
    let eta = queue.eta.unwrap();
    assert!((9.0 * 0.05..=9.0 * most).contains(&eta), "900 messages at 100 in {most} s: {eta}");
}

/// An idle worker would show for ever how old the last message was when it came.
#[test]
fn an_empty_queue_has_no_oldest_message_and_no_end() {
    let sources = sources(1);
    sources.meters.received(Some(SystemTime::now() - Duration::from_secs(100)), 1, 1);
    let look = |counts: Counts| {
        sources.queue.set(counts);
        let queue = Sampler::new(sources.clone(), Duration::from_secs(1)).snapshot().queue.unwrap();
        (queue.oldest, queue.eta)
    };
    look(Counts { visible: 9, ..Counts::default() });
    std::thread::sleep(Duration::from_millis(5));
    let (oldest, eta) = look(Counts { visible: 3, ..Counts::default() });
    assert_eq!((oldest, eta.is_some()), (Some(100), true));
    assert_eq!(look(Counts { in_flight: 1, ..Counts::default() }), (Some(100), None));
    assert_eq!(look(Counts::default()), (None, None));
    let empty = QueueNow { waiting: 0, in_flight: 0, delayed: 0, falling: false, oldest: None, eta: None };
    let shown = Snapshot { queue: Some(empty), ..moment() };
    let line = lines::progress(&shown, noon());
    assert!(line.contains(" oldest=- ") && line.ends_with(" eta=-"), "{line}");
    let drawn = panel::render(&shown, "head", "foot", 100, false);
    assert!(drawn.contains("  queue    0 waiting   0 in flight\n"), "{drawn}");
}

/// A queue that can only be counted: 5 messages the first time, then it fails.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl JobQueue for Counted {
    fn name(&self) -> &str {
        "counted"
    }
    fn max_batch(&self) -> usize {
        1
    }
    fn send<'a>(&'a self, _: &'a [Outgoing]) -> ServiceFuture<'a, Vec<Outcome>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn receive(&self, _: usize, _: Duration, _: Duration) -> ServiceFuture<'_, Vec<Message>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn extend<'a>(&'a self, _: &'a [Receipt], _: Duration) -> ServiceFuture<'a, Vec<Outcome>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn delete<'a>(&'a self, _: &'a [Receipt]) -> ServiceFuture<'a, Vec<Outcome>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn counts(&self) -> ServiceFuture<'_, Counts> {
        let first = self.0.fetch_add(1, Relaxed) == 0;
        Box::pin(async move {
            let failed = ServiceError::new(ServiceErrorKind::Unavailable, "Gone", "no answer");
            if first { Ok(Counts { visible: 5, ..Counts::default() }) } else { Err(failed) }
        })
    }
    fn policy(&self) -> ServiceFuture<'_, Policy> {
        Box::pin(async { Ok(Policy::default()) })
    }
    fn dead_letters(&self) -> ServiceFuture<'_, Option<Arc<dyn JobQueue>>> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_asked_soon_again_then_every_ten_seconds_and_a_failure_keeps_the_last_answer() {
    let queue = Arc::new(Counted::default());
    let counts = QueueCounts::default();
    let asking = ask_queue(Arc::<Counted>::clone(&queue), counts.clone());
    tokio::time::sleep(Duration::from_secs(36)).await;
    assert_eq!(queue.0.load(Relaxed), 7, "at 0, 1, 3, 7, 15, 25 and 35 seconds");
    assert_eq!(counts.latest().map(|counts| counts.visible), Some(5));
    drop(asking);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(queue.0.load(Relaxed), 7, "it ends when it is dropped");
}

#[test]
fn rates_are_about_the_window_only() {
    let sources = sources(1);
    let mut sampler = Sampler::new(sources.clone(), Duration::from_millis(50));
    sources.meters.stage(Stage::Download).bytes_out.fetch_add(1000, Relaxed);
    std::thread::sleep(Duration::from_millis(60));
    assert!(sampler.snapshot().bytes_in_per_second > 0.0);
    std::thread::sleep(Duration::from_millis(60));
    let later = sampler.snapshot();
    assert_eq!((later.bytes_in_per_second, later.bytes_in), (0.0, 1000));
}

#[test]
fn an_object_that_is_in_the_store_already_counts_as_submitted() {
    let mut sources = Sources::new(Arc::new(Meters::default()), About { command: "submit", ..About::default() });
    sources.totals = Some(Totals { files: 3, bytes: 1000 });
    sources.meters.there.fetch_add(2, Relaxed);
    sources.meters.bytes_there.fetch_add(700, Relaxed);
    let now = Sampler::new(sources, Duration::from_secs(1)).snapshot();
    let progress = now.progress.as_ref().unwrap();
    assert_eq!((progress.files, progress.bytes, now.bytes_out), (2, 700, 0), "nothing went over the network");
    let line = lines::summary(&now, SystemTime::UNIX_EPOCH, 0);
    assert!(line.contains("summary files=2 bytes=700B elapsed="), "{line}");
}

#[test]
fn what_was_not_uploaded_to_its_end_is_not_told_as_sent() {
    let mut sources = Sources::new(Arc::new(Meters::default()), About { command: "submit", ..About::default() });
    sources.totals = Some(Totals { files: 2, bytes: 1000 });
    let mut sampler = Sampler::new(sources.clone(), Duration::from_secs(1));
    let upload = sources.meters.stage(Stage::Upload);
    let sent = |sampler: &mut Sampler| {
        let now = sampler.snapshot();
        (now.bytes_out, now.progress.map(|progress| progress.bytes))
    };
    let turn = sources.meters.turn(Stage::Upload);
    upload.bytes_in.fetch_add(700, Relaxed);
    assert_eq!(sent(&mut sampler), (700, Some(700)), "on its way");
    turn.ended(false);
    drop(turn);
    assert_eq!(sent(&mut sampler), (0, Some(0)), "refused");
    upload.bytes_in.fetch_add(300, Relaxed);
    upload.bytes_out.fetch_add(300, Relaxed);
    assert_eq!(sent(&mut sampler), (300, Some(300)));
}

#[tokio::test]
async fn every_display_ends_when_it_is_told_to_or_when_its_owner_is_gone() {
    for mode in [Mode::Panel { colour: true }, Mode::Lines { json: false }, Mode::Lines { json: true }, Mode::None] {
        for told in [true, false] {
            let (stop, stopped) = watch::channel(false);
            let showing = show(mode, Screen::default(), sources(1), stopped);
            tokio::time::sleep(Duration::from_millis(5)).await;
            if told {
                stop.send_replace(true);
            } else {
                drop(stop);
            }
            tokio::time::timeout(Duration::from_secs(5), showing.finished()).await.unwrap();
        }
    }
}
