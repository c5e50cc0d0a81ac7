//! A process group that is killed with its job.
//!
//! Every program leads its own process group, so that all processes that it starts are killed with it, and so that a
//! Ctrl-C at the terminal reaches the worker (which drains) and not its programs. The signal is SIGKILL, because a
//! job that is cut must end before its message goes to another worker: there is no time for a program that ignores
//! SIGTERM. A process that starts its own session (`setsid`) leaves the group; only a container could hold such a
//! process.

use crate::runtime::cpu::Program;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Kills the group when dropped.
#[derive(Debug)]
pub(super) struct Group(Pid, #[expect(dead_code, reason = "held")] Program);

impl Group {
    /// The group whose leader is the process `leader`.
    pub(super) fn of(leader: u32) -> Self {
        // The kernel's ids are well below the sign bit (PID_MAX_LIMIT is 2^22).
        Self(Pid::from_raw(leader.cast_signed()), Program::at_work(leader))
    }

    /// Kills every process of the group, if any is left. While one is left, the kernel gives the group's number to no
    /// other process, and numbers are assigned in order: a free number is not reused for thousands of forks.
    pub(super) fn kill(&self) {
        if let Err(error) = killpg(self.0, Signal::SIGKILL)
            && error != nix::errno::Errno::ESRCH
        {
            tracing::warn!(target: "batchpipe::program", group = self.0.as_raw(), %error, "cannot kill a process \
                group");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
