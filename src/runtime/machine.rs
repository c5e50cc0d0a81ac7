//! What the machine has: cores, memory, open files. Measured once, and passed to pure functions as numbers. Also
//! hides this process from other processes of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The machine as this process may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores this process may use: affinity and cgroup quota count.
    pub cores: usize,
    /// Bytes of memory: the machine's, or the cgroup's limit if that is lower.
    pub memory: u64,
    /// Open files this process may have, after [`prepare`].
    pub open_files: u64,
    /// The working directory, to which relative paths refer.
    pub directory: PathBuf,
    /// Where temporary files go by default.
    pub temporary: PathBuf,
}

/// Assumed if /proc tells nothing: the smallest machine worth renting has this much.
const UNKNOWN_MEMORY: u64 = 512 << 20;

impl Machine {
    /// Looks at the machine this process runs on.
    pub fn look() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory(Path::new("/")),
            open_files: getrlimit(Resource::RLIMIT_NOFILE).map_or(256, |(soft, _)| soft),
            // A deleted working directory is no reason to stop; only relative paths would fail, with an error.
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            temporary: std::env::temp_dir(),
        }
    }
}

/// Hides what this process holds, including keys, from every other process of the same user, above all from the
/// programs that it runs, whose own environment has no keys. They could read `/proc/PID/environ` and `/proc/PID/mem`,
/// or attach like a debugger; Linux refuses all of these, and core dumps, for a process that is not dumpable. A process
/// can still read its own files. Only processes with `CAP_SYS_PTRACE` keep access: root outside a container
/// (<https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html>).
///
/// Programs inherit the limit on core files; the rest of the protection ends with their exec.
pub fn conceal() -> nix::Result<()> {
    set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Raises the limit on open files as far as we may.
pub fn prepare() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Refused only if the kernel's own maximum is lower; then the soft limit stays unchanged, and is the number
        // that counts.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap_or(());
    }
}

/// The smaller of what the machine has and what the cgroups above this process allow. `root` is `/` except in tests.
pub fn memory(root: &Path) -> u64 {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let total = read(&root.join("proc/meminfo")).lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim();
        kibibytes.parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read(&root.join("proc/self/cgroup"));
    let limits = groups.lines().flat_map(|line| {
        // `0::/path` is cgroup v2; `5:memory:/path` is the memory controller of v1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // A limit may be set on any level. In a container the path may not exist, but only the top of the mount.
        let relative = Path::new(path.trim_start_matches('/'));
        relative.ancestors().map(|level| root.join(mount).join(level).join(file)).collect()
    });
    let limits = limits.filter_map(|file| read(&file).trim().parse::<u64>().ok());
    limits.chain(total).filter(|bytes| *bytes > 0).min().unwrap_or(UNKNOWN_MEMORY)
}

/// The cores that the cgroups above this process allow, if they set a limit. `root` is `/` except in tests.
pub fn cpu_quota(root: &Path) -> Option<f64> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let groups = read(root.join("proc/self/cgroup"));
    let quotas = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let relative = Path::new(path.trim_start_matches('/'));
        let of_level = |level: &Path| match controllers {
            "" => read(root.join("sys/fs/cgroup").join(level).join("cpu.max")),
            names if names.split(',').any(|name| name == "cpu") => {
                let folder = root.join("sys/fs/cgroup/cpu").join(level);
                read(folder.join("cpu.cfs_quota_us")) + " " + &read(folder.join("cpu.cfs_period_us"))
            }
            _ => String::new(),
        };
        relative.ancestors().map(of_level).collect::<Vec<_>>()
    });
    // `max 100000` and `-1 100000` mean no limit.
    let cores = quotas.filter_map(|text| {
        let mut numbers = text.split_whitespace().map(str::parse::<f64>);
        let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    });
    cores.min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_of_the_cpu_is_the_least_of_every_cgroup_above_and_may_be_a_part_of_a_core() {
        let quota = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            cpu_quota(root.path())
        };
        let (v2, v1) = (("proc/self/cgroup", "0::/a/b\n"), ("proc/self/cgroup", "3:cpu,cpuacct:/x\n"));
        assert_eq!(quota(&[v2]), None);
        assert_eq!(quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")]), None);
        let parent = ("sys/fs/cgroup/a/cpu.max", "50000 100000\n");
        assert_eq!(quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "150000 100000\n"), parent]), Some(0.5));
        let period = ("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(&[v1, ("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "250000\n"), period]), Some(2.5));
        assert_eq!(quota(&[v1, ("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n"), period]), None);
    }

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");

    #[test]
    fn memory_is_the_least_of_the_machine_and_of_every_cgroup_above() {
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        let v1 = ("proc/self/cgroup", "7:cpu:/x\n5:hugetlb,memory:/a\n");
        assert_eq!(machine(&[MEMINFO]), 16 << 20);
        assert_eq!(machine(&[MEMINFO, v2, ("sys/fs/cgroup/a/b/memory.max", "max\n")]), 16 << 20);
        assert_eq!(machine(&[MEMINFO, v2, ("sys/fs/cgroup/a/b/memory.max", "4194304\n")]), 4 << 20);
        let parent = ("sys/fs/cgroup/a/memory.max", "2097152\n");
        assert_eq!(machine(&[MEMINFO, v2, ("sys/fs/cgroup/a/b/memory.max", "4194304\n"), parent]), 2 << 20);
        assert_eq!(machine(&[MEMINFO, v2, ("sys/fs/cgroup/memory.max", "1048576\n")]), 1 << 20);
        assert_eq!(machine(&[MEMINFO, v1, ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "8388608")]), 8 << 20);
        let unlimited = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712");
        assert_eq!(machine(&[MEMINFO, v1, unlimited]), 16 << 20);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_taken_for_a_small_one() {
        assert_eq!(machine(&[]), UNKNOWN_MEMORY);
        assert_eq!(machine(&[("proc/meminfo", "MemTotal: lots\n")]), UNKNOWN_MEMORY);
    }
}
