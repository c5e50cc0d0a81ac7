//! How much CPU time this process and its programs use, and how much the machine had for them.
//!
//! "The CPU is full" is a statement about what is left. So there are three numbers: what we used, how long the
//! machine's cores were idle, and how many cores we may use. If the machine is full of other programs' work, a small
//! use may be all that we get.
//!
//! The CPU time of programs is known after they have ended and been waited for. Until then it is read from their
//! `/proc/PID/stat`, because a program may run for an hour; the time of a program's own children counts once that
//! program has waited for them. Bounded: one short file for each running program. Linux only, except for our own
//! time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::resource::{Usage, UsageWho, getrusage};

use super::process::TICKS_A_SECOND;

/// CPU time so far. The difference between two of these is the use in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuTime {
    /// Seconds that this process and its programs have used.
    pub used: f64,
    /// Seconds that the machine's cores were idle, summed over the cores, if known. Processes with a lower priority
    /// (`nice`) make room for us, so their time counts as idle.
    pub idle: Option<f64>,
    /// Cores that we may use; a fraction if the quota is one.
    pub cores: f64,
}

/// CPU time of this process in seconds.
pub fn cpu_seconds() -> Option<f64> {
    getrusage(UsageWho::RUSAGE_SELF).ok().map(|usage| seconds(&usage))
}

/// What this process and its programs have used so far, and what was left.
pub fn cpu_time() -> Option<CpuTime> {
    // The running programs come first: a program that ends between the two reads is counted twice for a moment, instead
    // of being missed.
    let at_work: f64 = programs().iter().filter_map(|pid| used_by(&read(&format!("/proc/{pid}/stat")))).sum();
    let ended = getrusage(UsageWho::RUSAGE_CHILDREN).ok().map_or(0.0, |usage| seconds(&usage));
    Some(CpuTime { used: cpu_seconds()? + ended + at_work, idle: idle(&read("/proc/stat")), cores: cores() })
}

fn seconds(usage: &Usage) -> f64 {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The standard library's number includes affinity and a quota of whole cores, but not a fraction of a core.
fn cores() -> f64 {
    static CORES: OnceLock<f64> = OnceLock::new();
    *CORES.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        crate::runtime::machine::cpu_quota(Path::new("/")).map_or(cores, |quota| quota.min(cores.max(quota.ceil())))
    })
}

/// The CPU seconds in a `/proc/PID/stat`: of the process, and of those of its children that it has waited for.
fn used_by(stat: &str) -> Option<f64> {
    // The second field is the name in parentheses and may contain spaces; fields 14 to 17 are utime, stime, cutime and
    // cstime.
    let fields: Vec<f64> = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4).flat_map(str::parse).collect();
    (fields.len() == 4).then(|| fields.iter().sum::<f64>() / TICKS_A_SECOND)
}

/// The idle seconds in a `/proc/stat`, including those of `nice` and of waiting for a disk.
fn idle(stat: &str) -> Option<f64> {
    let cpu = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = cpu.split_whitespace().take(5).flat_map(str::parse).collect();
    let [_, nice, _, idle, waiting] = ticks.try_into().ok()?;
    Some((nice + idle + waiting) / TICKS_A_SECOND)
}

static PROGRAMS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn programs() -> MutexGuard<'static, BTreeSet<u32>> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running program, whose CPU time counts as ours until it ends.
#[derive(Debug)]
pub struct Program(u32);

impl Program {
    /// The program with this process id.
    pub fn at_work(pid: u32) -> Self {
        programs().insert(pid);
        Self(pid)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        programs().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_program_is_its_own_and_that_of_children_it_has_waited_for() {
        let stat = "4711 (a (b) c) S 1 4711 4711 0 -1 4194304 1 2 3 4 150 50 700 100 20 0 1 0 12345 1 1";
        assert_eq!(used_by(stat), Some(10.0));
        assert_eq!(used_by(""), None);
        assert_eq!(used_by("1 (x) S 1"), None);
    }

    #[test]
    fn a_core_is_idle_when_it_waits_for_a_disk_or_does_what_can_wait() {
        assert_eq!(idle("cpu  100 200 300 400 500 6 7 8 0 0\ncpu0 1 2 3 4 5\n"), Some(11.0));
        assert_eq!(idle(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_program_uses_counts_while_it_runs_and_when_it_has_ended() {
        let used = || cpu_time().unwrap().used;
        let before = used();
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let program = Program::at_work(child.id());
        let own = cpu_seconds().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while used() - before < 0.2 && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let (running, ours) = (used() - before, cpu_seconds().unwrap() - own);
        assert!(running >= 0.2 && running > ours, "{running} s, {ours} s of them ours");
        child.kill().unwrap();
        child.wait().unwrap();
        drop(program);
        assert!(used() - before >= 0.2, "and it still counts");
    }
}
