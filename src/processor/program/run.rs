//! One run of a program on one job.
//!
//! The order of steps keeps a half-done job from doing harm. Output is finished only if the exit status is 0 *and*
//! stdout reached its own end. When a job is cut, the whole process group is killed before stdin is closed, so that
//! no program takes the cut for the end of its input.

use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::{Either, select};
use nix::fcntl::{FcntlArg, fcntl};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::group::Group;
use super::pumps::{Cut, Drain, feed, fill, send_file, tail};
use super::{Program, environment, outcome};
use crate::error::{Code, ErrorKind, JobError, Stage::Process};
use crate::job::Job;
use crate::link::{Inlet, Outlet, WRITE_CHUNK};
use crate::processor::Slots;
use crate::processor::scratch::ScratchFile;
use crate::runtime::failpoint;

/// How long a program's stdout may be silent after the program has ended. Data in the pipe arrives at once; this time
/// is for a process that outlived its parent and is about to end too.
const HELD_OPEN: Duration = Duration::from_secs(5);

/// How long stderr may take to end after everything else has ended: only text for a log would be lost.
const LAST_WORDS: Duration = Duration::from_millis(200);

impl Program {
    /// Runs the program on one job. Dropping the future kills the program, with its whole process group.
    pub async fn run(&self, job: &Job, mut input: Inlet, output: Outlet, slots: &Slots) -> Result<(), JobError> {
        refuse_nul(job)?;
        let mut given = self.reserve(self.template.input.as_deref())?;
        let mut left = self.reserve(self.template.output.as_deref())?;
        let has_input = match &mut given {
            Some(file) => fill(file, &mut input).await? > 0,
            None => input.has_some().await.map_err(|gone| gone.at(Process))?,
        };
        let slot = slots.take(input.turn(), &output).await?;
        let command = self.command(job, given.as_ref(), left.as_ref());
        let stream = given.is_none().then_some(&mut input);
        let mut written = failpoint::during("CP4", self.drive(command, &job.id, stream, &output)).await?;
        drop((slot, given));
        if let Some(file) = &mut left {
            written = self.upload(file, &output).await?;
        }
        if has_input && written == 0 {
            self.notices.wrote_nothing(&job.input);
        }
        output.finish().await.map_err(|gone| gone.at(Process))
    }

    fn reserve(&self, extension: Option<&str>) -> Result<Option<ScratchFile>, JobError> {
        match (extension, &self.scratch) {
            (None, _) => Ok(None),
            (Some(extension), Some(scratch)) => Ok(Some(scratch.reserve(extension))),
            (Some(_), None) => {
                Err(JobError::new(Process, ErrorKind::Failed, Code::WorkDirectory, "there is no work directory"))
            }
        }
    }

    fn command(&self, job: &Job, given: Option<&ScratchFile>, left: Option<&ScratchFile>) -> Command {
        let mut command = Command::new(&self.path);
        command
            .arg0(&self.name)
            .args(self.template.fill(given.map(ScratchFile::path), left.map(ScratchFile::path), &job.args))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(environment::of_job(job))
            .stdin(if given.is_some() { Stdio::null() } else { Stdio::piped() })
            // With `{output}` the result is the file, so what the program prints is discarded.
            .stdout(if left.is_some() { Stdio::null() } else { Stdio::piped() })
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Starts the program and waits for its success; returns how many bytes it wrote to stdout.
    async fn drive(
        &self,
        mut command: Command,
        job: &str,
        input: Option<&mut Inlet>,
        output: &Outlet,
    ) -> Result<u64, JobError> {
        let mut child = command.spawn().map_err(|error| self.not_started(&error))?;
        let mut stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        stdin.as_ref().map(widen);
        stdout.as_ref().map(widen);
        // Declared after stdin, so dropped before it: a program that is cut must not see its input end.
        let group = child.id().map(Group::of);
        let mut said = Vec::new();
        let ended = {
            let work = std::pin::pin!(attend(&mut child, input, &mut stdin, stdout, output));
            let talk = std::pin::pin!(tail(stderr, &mut said, job));
            match select(work, talk).await {
                Either::Left((ended, talk)) => {
                    // Processes that the program left running would hold stderr open, and are no longer needed.
                    drop(group);
                    drop(tokio::time::timeout(LAST_WORDS, talk).await);
                    ended
                }
                Either::Right(((), work)) => work.await,
            }
        };
        self.judge(ended, &String::from_utf8_lossy(&said))
    }

    fn judge(&self, ended: Result<(ExitStatus, u64), Cut>, said: &str) -> Result<u64, JobError> {
        let name = self.shown();
        let (kind, what) = match ended {
            Ok((status, written)) => match outcome::kind(status, &self.reject_codes) {
                None => return Ok(written),
                Some(kind) => (kind, format!("{name} {}", outcome::describe(status))),
            },
            Err(Cut::Disconnected) => return Err(JobError::disconnected(Process)),
            Err(Cut::HeldOpen) => {
                (ErrorKind::Failed, format!("{name} ended, but something it started still holds its stdout"))
            }
            Err(Cut::Io(error)) => (ErrorKind::Failed, format!("the pipes of {name} failed: {error}")),
        };
        Err(outcome::failure(kind, Code::ProgramFailed, what, said))
    }

    fn not_started(&self, error: &io::Error) -> JobError {
        // The arguments come from the job, so too many of them would be too many every time.
        let kind = match error.kind() {
            io::ErrorKind::ArgumentListTooLong => ErrorKind::Rejected,
            _ => ErrorKind::Failed,
        };
        outcome::failure(kind, Code::ProgramFailed, format!("{} could not be started: {error}", self.shown()), "")
    }

    /// Sends the file that the program wrote; returns its size in bytes.
    async fn upload(&self, file: &mut ScratchFile, output: &Outlet) -> Result<u64, JobError> {
        let none = |error: io::Error| {
            let what = format!("{} ended with status 0 and left no output: {error}", self.shown());
            outcome::failure(ErrorKind::Failed, Code::ProgramOutputMissing, what, "")
        };
        let source = file.open().map_err(none)?;
        let size = source.metadata().map_err(none)?.len();
        file.count(size);
        send_file(source, output).await?;
        Ok(size)
    }

    fn shown(&self) -> String {
        format!("{:?}", self.name.display().to_string())
    }
}

/// Moves the program's stdin and stdout until it has ended and its output has come to an end. Returns how it ended, and
/// how many bytes of output came.
async fn attend(
    child: &mut Child,
    input: Option<&mut Inlet>,
    stdin: &mut Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    output: &Outlet,
) -> Result<(ExitStatus, u64), Cut> {
    let mut drain = stdout.map(Drain::new);
    let (mut fed, mut drained) = (input.is_none(), drain.is_none());
    let status = {
        let mut feeding = std::pin::pin!(async {
            match input {
                Some(input) => feed(input, stdin).await,
                None => Ok(()),
            }
        });
        let mut draining = std::pin::pin!(async {
            match &mut drain {
                Some(drain) => drain.run(output, None).await,
                None => Ok(()),
            }
        });
        loop {
            tokio::select! {
                status = child.wait() => break status.map_err(Cut::Io)?,
                result = &mut feeding, if !fed => { result?; fed = true; }
                result = &mut draining, if !drained => { result?; drained = true; }
                // A program may work for hours between two writes; it is stopped now, not at its next write.
                () = output.closed() => return Err(Cut::Disconnected),
            }
        }
    };
    if status.success()
        && !drained
        && let Some(drain) = &mut drain
    {
        drain.run(output, Some(HELD_OPEN)).await?;
    }
    Ok((status, drain.map_or(0, |drain| drain.bytes())))
}

/// Gives a pipe room for a chunk, because the kernel's 64 KiB would mean four turns of the runtime for each chunk: 0.6
/// to 0.8 GiB/s went through `cat` before, 0.8 to 1.8 after (measured on a busy machine; 1 MiB was no better). If the
/// user's share of pipe memory is used up, the pipe keeps its size (pipe(7), pipe-user-pages-soft).
fn widen(pipe: &impl AsFd) {
    if let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(WRITE_CHUNK as i32)) {
        tracing::trace!(target: "batchpipe::program", %error, "a pipe keeps its size");
    }
}

/// NUL is legal in a key and in JSON, but ends a string for the kernel.
fn refuse_nul(job: &Job) -> Result<(), JobError> {
    let fixed = environment::of_job(job);
    let mut texts = fixed.iter().map(|(name, text)| (*name, text)).chain(job.args.iter().map(|arg| ("{args}", arg)));
    match texts.find(|(_, text)| text.contains('\0')) {
        None => Ok(()),
        Some((name, text)) => {
            let what = format!("{name} would hold a NUL byte, which no program can be given: {text:?}");
            Err(JobError::new(Process, ErrorKind::Rejected, Code::ProgramFailed, what))
        }
    }
}
