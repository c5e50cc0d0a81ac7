//! Shows the live panel and the status page without a pipeline: made-up stages keep the meters moving.
//!
//! ```sh
//! cargo run --example status_demo            # the panel, and the page at http://127.0.0.1:9464/
//! cargo run --example status_demo 2>log      # the lines of a log
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use batchpipe::error::Stage;
use batchpipe::error::UserError;
use batchpipe::observe::{self, About, Leases, Memory, Mode, Screen, Sources, export, listener};
use batchpipe::record::{Ended, Meters, State};
use batchpipe::services::queue::Counts;
use tokio::sync::watch;

const MIB: u64 = 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), UserError> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(30);
    let meters = Arc::new(Meters::default());
    let about = About {
        command: "run",
        queue: "jobs (eu-west-1)".into(),
        process: "gzip".into(),
        output: "s3://acme-out/gz/".into(),
        page: Some("http://127.0.0.1:9464/".into()),
        ..About::default()
    };
    let mut sources = Sources::new(Arc::clone(&meters), about);
    (sources.slots, sources.processors) = (16, 2);
    sources.memory = Arc::new(|| Memory { reserved: 612 * MIB, budget: 1024 * MIB, ..Memory::default() });
    sources.leases = Arc::new(|| Leases { held: 16, shortest_remaining: Some(Duration::from_secs(44)) });
    sources.queue.set(Counts { visible: 18_500, in_flight: 73, delayed: 0 });

    let processors = Arc::new(tokio::sync::Semaphore::new(sources.processors));
    for _ in 0..sources.slots {
        tokio::spawn(work(Arc::clone(&meters), Arc::clone(&processors)));
    }
    let (_ready, ready) = watch::channel(true);
    let prometheus = export::install().ok();
    let listener = listener::serve(([127, 0, 0, 1], 9464).into(), sources.clone(), ready, prometheus).await?;
    let (stop, stopped) = watch::channel(false);
    let mode = Mode::auto(observe::colour("auto"), false);
    // The log shares the screen with the panel: its lines appear above.
    let screen = Screen::default();
    tracing_subscriber::fmt().with_writer(screen.clone()).with_ansi(observe::colour("auto")).init();
    let showing = observe::show(mode, screen, sources.clone(), stopped);
    for second in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let left = 18_500_u64.saturating_sub(60 * second);
        sources.queue.set(Counts { visible: left, in_flight: 73, delayed: 0 });
    }
    stop.send_replace(true);
    showing.finished().await;
    drop(listener);
    let next = Some("Run a real one:  batchpipe map ./in ./out --process zstd");
    if observe::summary(mode, &sources, 0, next).is_err() {
        std::process::exit(1);
    }
    Ok(())
}

/// One slot: job after job through all stages.
async fn work(meters: Arc<Meters>, processors: Arc<tokio::sync::Semaphore>) {
    loop {
        let receive = meters.turn(Stage::Receive);
        meters.received(SystemTime::now().checked_sub(Duration::from_secs(252)), 1, 1);
        receive.ended(true);
        drop(receive);
        let (download, process, upload) =
            (meters.turn(Stage::Download), meters.turn(Stage::Process), meters.turn(Stage::Upload));
        {
            let _waiting = (process.waits(State::WaitUpstream), upload.waits(State::WaitUpstream));
            tokio::time::sleep(Duration::from_millis(20 + fastrand::u64(0..40))).await;
            download.meter().bytes_out.fetch_add(2 * MIB, Relaxed);
        }
        {
            let _waiting = (download.waits(State::WaitDownstream), upload.waits(State::WaitUpstream));
            let permit = {
                let _waiting = process.waits(State::WaitPermit);
                processors.acquire().await
            };
            tokio::time::sleep(Duration::from_millis(30)).await;
            process.meter().bytes_in.fetch_add(2 * MIB, Relaxed);
            drop(permit);
        }
        download.ended(true);
        process.ended(true);
        drop((download, process));
        tokio::time::sleep(Duration::from_millis(15)).await;
        upload.meter().bytes_in.fetch_add(MIB / 2, Relaxed);
        upload.ended(true);
        let delete = meters.turn(Stage::Acknowledge);
        delete.ended(true);
        let failed = fastrand::u32(0..400) == 0;
        if failed {
            tracing::warn!("a made-up job failed");
        }
        meters.ended(if failed { Ended::Failed } else { Ended::Ok });
    }
}
