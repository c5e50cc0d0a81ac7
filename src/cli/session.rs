//! What `run`, `map` and `submit` share: signals, the screen, the metrics listener, and how it all ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Color, Global, LogFormat, Progress};
use crate::error::{Code, Exit, Subject, UserError};
use crate::observe::{self, Mode, Screen, Sources, export, listener};
use crate::record::Meters;
use crate::runtime::task;
use crate::stop::circuit::Tripped;
use crate::stop::shutdown::{Phase, Shutdown};

/// How long a forced end may take: a second after the second Ctrl-C nothing of ours is left.
const FORCED: Duration = Duration::from_millis(700);

/// Everything around the work: started before it, ended after it.
pub(super) struct Session {
    mode: Mode,
    sources: Sources,
    shutdown: Shutdown,
    stop: watch::Sender<bool>,
    ready: watch::Sender<bool>,
    showing: observe::Running,
    _exporting: observe::Running,
    _listener: Option<listener::Listener>,
}

impl Session {
    /// Shows `sources` and serves their metrics at `place`, if there is one.
    pub(super) async fn start(
        global: &Global,
        screen: Screen,
        mut sources: Sources,
        place: Option<listener::Place>,
        shutdown: Shutdown,
    ) -> Result<Self, UserError> {
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = watch::channel(false);
        let handle = export::install().ok();
        let listener = match place {
            Some(place) => Some(listener::serve_at(place, sources.clone(), is_ready, handle.clone()).await?),
            None => None,
        };
        sources.about.page = listener.as_ref().map(|listener| format!("http://{}/", listener.addr()));
        let mode = mode(global);
        Ok(Self {
            mode,
            shutdown,
            stop,
            ready,
            showing: observe::show(mode, screen, sources.clone(), stopped),
            _exporting: export::export_each_second(sources.clone(), handle),
            _listener: listener,
            sources,
        })
    }

    /// Drives `work` to its end, which a signal may bring about: the first drains, and cuts after `patience`; a
    /// second one does not wait. `None` is the second.
    pub(super) async fn drive<T>(
        &self,
        screen: &Screen,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, UserError> {
        let mut signals = listen_all()?;
        self.ready.send_replace(true);
        tokio::pin!(work);
        let told = tokio::select! {
            ended = &mut work => return Ok(Some(ended)),
            () = any(&mut signals) => true,
            () = self.shutdown.reached(Phase::Draining) => false,
        };
        self.ready.send_replace(false);
        let jobs = self.in_flight();
        if jobs > 0 {
            screen.print(&observe::lines::draining(jobs, patience, told));
        }
        let shutdown = self.shutdown.clone();
        let _draining = task::spawn(async move { shutdown.drain(patience).await });
        tokio::select! {
            ended = &mut work => return Ok(Some(ended)),
            () = any(&mut signals) => {}
        }
        self.shutdown.advance(Phase::Cutting);
        Ok(tokio::time::timeout(FORCED, work).await.ok().and(None))
    }

    fn in_flight(&self) -> usize {
        self.sources
            .stages()
            .iter()
            .skip(1)
            .map(|stage| self.sources.meters.stage(*stage).in_progress() as usize)
            .max()
            .unwrap_or(0)
    }

    /// Ends the display and says how it went.
    pub(super) async fn end(self, exit: Exit, next: Option<&str>) -> Exit {
        self.stop.send_replace(true);
        self.showing.finished().await;
        if let Err(error) = observe::summary(self.mode, &self.sources, exit as u8, next) {
            tracing::debug!(cause = ?error, "the summary could not be written");
        }
        exit
    }
}

/// A terminal that is closed ends the work as SIGTERM does: left to itself the signal would end us and leave the
/// programs of our jobs running, each in a group of its own. Whoever started us under `nohup` wants neither.
fn listen_all() -> Result<Vec<Signal>, UserError> {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    if !ignores_hangups(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        kinds.push(SignalKind::hangup());
    }
    kinds.into_iter().map(listen).collect()
}

/// Whether SIGHUP, the first of the signals, is ignored by a process with this `/proc/PID/status`. Other systems have
/// none; there `nohup` is not honoured.
fn ignores_hangups(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn listen(kind: SignalKind) -> Result<Signal, UserError> {
    signal(kind).map_err(|error| {
        let help = "raise the limit of open files:  ulimit -n";
        UserError::new(Code::SystemLimit, "cannot listen for signals", error.to_string(), help).with_source(error)
    })
}

async fn any(signals: &mut [Signal]) {
    futures::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
}

fn mode(global: &Global) -> Mode {
    let json_log = global.log.format == LogFormat::Json;
    let colour = observe::colour(match global.color {
        Color::Auto => "auto",
        Color::Always => "always",
        Color::Never => "never",
    });
    match global.progress {
        _ if global.json => Mode::Json,
        Progress::Auto => Mode::auto(colour, json_log),
        Progress::Panel => Mode::Panel { colour },
        Progress::Lines => Mode::Lines { json: json_log },
        Progress::Json => Mode::Json,
        Progress::None => Mode::None,
    }
}

/// The error of a worker of this queue that stopped by itself.
pub(super) fn stopped(tripped: &Tripped, queue: &str, meters: &Meters) -> UserError {
    // A store that did not answer is a failure of each job that it met; all of them are in the queue still.
    let retried = if tripped.code == Code::Unreachable { meters.retried.load(Relaxed) } else { 0 };
    let given_back = meters.jobs(crate::record::Ended::Released) + retried;
    let error = tripped.told(&Subject::of(tripped.stage, queue));
    let help = format!("{}.  Stopped receiving; {given_back} jobs given back, none lost", error.help);
    UserError { help, ..error }
}

/// How the run of a pipeline ended, as an exit code.
pub(super) fn exit(
    settled: &crate::stages::Settled,
    shutdown: &Shutdown,
    meters: &Meters,
    fail_if_empty: bool,
) -> Exit {
    if shutdown.phase() == Phase::Cutting && settled.released > 0 {
        return Exit::GaveBack;
    }
    if settled.rejected > 0 {
        return Exit::SomeFailed;
    }
    if fail_if_empty && meters.messages.load(Relaxed) == 0 {
        return Exit::Nothing;
    }
    Exit::Done
}

/// A share of the meters for a screen.
pub(super) fn sources(meters: &Arc<Meters>, about: observe::About) -> Sources {
    Sources::new(Arc::clone(meters), about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, JobError, ServiceError, ServiceErrorKind, Stage};
    use crate::record::Ended;
    use crate::stop::circuit::Circuit;

    /// What is told of a worker that stopped for `error` with two jobs given back and three to be tried again.
    fn told(error: JobError) -> UserError {
        let meters = Meters::default();
        (0..2).for_each(|_| meters.ended(Ended::Released));
        meters.retried.fetch_add(3, Relaxed);
        let circuit = Circuit::new(Shutdown::default());
        circuit.trip(&error);
        stopped(&circuit.tripped().unwrap(), "jobs", &meters)
    }

    #[test]
    fn a_worker_that_stopped_by_itself_tells_why_what_to_do_and_what_became_of_its_jobs() {
        use ServiceErrorKind::{Credentials, Denied, Unavailable};
        let service = |kind, stage| ServiceError::new(kind, "Refused", "refused\u{1b}[2J").at(stage);
        let own = |kind, code| JobError::new(Stage::Receive, kind, code, "refused\u{1b}[2J");
        let table = [
            (
                service(Credentials, Stage::Download),
                Code::CredentialsExpired,
                Exit::Credentials,
                "cannot read",
                "token; they",
            ),
            (service(Denied, Stage::Receive), Code::QueueDenied, Exit::Access, "queue \"jobs\"", "sqs:ReceiveMessage"),
            (service(Denied, Stage::Send), Code::QueueDenied, Exit::Access, "queue \"jobs\"", "sqs:SendMessage"),
            (service(Denied, Stage::Download), Code::AccessDenied, Exit::Access, "read the inputs", "s3:GetObject"),
            (service(Denied, Stage::Upload), Code::AccessDenied, Exit::Access, "write the outputs", "s3:PutObject"),
            (
                service(Unavailable, Stage::Upload),
                Code::Unreachable,
                Exit::Failed,
                "write",
                "Stopped receiving; 5 jobs given back",
            ),
            (
                own(ErrorKind::Denied, Code::PlaceNotAllowed),
                Code::PlaceNotAllowed,
                Exit::Usage,
                "may touch none",
                "--allow DIRECTORY/  (repeatable).  Stopped receiving; 2 jobs given back",
            ),
            (
                own(ErrorKind::Denied, Code::NoOutputNamed),
                Code::NoOutputNamed,
                Exit::Usage,
                "name no output",
                "--output s3://bucket/prefix/.  Stopped receiving; 2 jobs given back",
            ),
        ];
        for (error, code, exit, what, help) in table {
            let error = told(error);
            assert_eq!((error.code, error.exit), (code, exit));
            assert!(error.what.contains(what) && error.help.contains(help), "{error}");
            assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
        }
    }
}
