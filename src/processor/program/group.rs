//! A process group that dies with its job.
//!
//! Every program leads a group of its own, so that whatever it starts dies with it, and so that a Ctrl-C at the
//! terminal reaches the worker (which drains) and not its programs. SIGKILL, because a job that is cut must be over
//! before its message is somebody else's: there is no time for a program that ignores SIGTERM. A process that makes
//! a session of its own (`setsid`) leaves the group; nothing short of a container keeps that one.

use crate::runtime::cpu::Program;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Kills the group when dropped.
#[derive(Debug)]
pub(super) struct Group(Pid, #[expect(dead_code, reason = "held")] Program);

impl Group {
    /// The group that the process `leader` was started as the leader of.
    pub(super) fn of(leader: u32) -> Self {
        // The kernel's ids are well below the sign bit (PID_MAX_LIMIT is 2^22).
        Self(Pid::from_raw(leader.cast_signed()), Program::at_work(leader))
    }

    /// Ends every process of the group, if any is left. As long as one is, the kernel gives its number to nobody
    /// else, and numbers are given out in turn: one that is free is not used again for thousands of forks.
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
