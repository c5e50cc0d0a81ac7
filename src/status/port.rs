//! Finds out who holds a port, to say so instead of "address in use". Linux only; elsewhere, and for the processes
//! of other users, nobody is found.
//!
//! Bounded: one pass over `/proc`, only when listening has failed.

use std::fs;
use std::path::Path;

/// The process of the same program as this one that listens on `port`, as `batchpipe (pid 4711)`.
pub(super) fn holder(port: u16) -> Option<String> {
    let own = fs::read_to_string("/proc/self/comm").ok()?;
    let sockets = listening(port);
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        (name == own && holds(&process.path(), &sockets)).then(|| format!("{} (pid {pid})", name.trim_end()))
    })
}

/// How `/proc/PID/fd` names the sockets that listen on `port`. In <https://man7.org/linux/man-pages/man5/proc_pid_net.5.html>'s
/// table, field 1 is the local address in hex, 3 the state (0A is LISTEN) and 9 the inode.
fn listening(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let ending = format!(":{port:04X}");
    let lines = tables.iter().flat_map(|table| table.lines());
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&ending) && *fields.get(3)? == "0A";
            listens.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
        })
        .collect()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
    })
}
