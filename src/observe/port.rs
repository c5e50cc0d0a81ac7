//! Finds the process that uses a port, for a better error than "address in use". Linux only; on other systems nothing
//! is found.
//!
//! A worker hides its `/proc` entries from other processes (`runtime::machine::conceal`), so it is found by
//! elimination: the socket belongs to its user, and no readable process has the socket. If several processes are
//! hidden, it is one of them.
//!
//! Bounded: one pass over `/proc`, only when listening has failed.

use std::fs;
use std::path::Path;

/// The process that listens on `port`, as `batchpipe (pid 4711)`, or the hidden processes of this program of which it
/// must be one.
pub(super) fn holder(port: u16) -> Option<String> {
    let own = fs::read_to_string("/proc/self/comm").ok()?;
    let (sockets, users) = listening(port);
    let mut hidden = Vec::new();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let (path, file_name) = (process.path(), process.file_name());
        let Some(pid) = file_name.to_str().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let named = || format!("{} (pid {pid})", name.trim_end());
        match holds(&path, &sockets) {
            Some(true) => return (name == own).then(named),
            None if name == own && user(&path).is_some_and(|user| users.contains(&user)) => hidden.push(named()),
            _ => {}
        }
    }
    (!hidden.is_empty()).then(|| hidden.join(" or "))
}

/// The user that a process runs as. If the process is hidden, its files in `/proc` belong to root.
fn user(process: &Path) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_owned())
}

/// The names in `/proc/PID/fd` of the sockets that listen on `port`, and their users. In
/// <https://man7.org/linux/man-pages/man5/proc_pid_net.5.html>'s table, field 1 is the local address in hex, 3 the
/// state (0A is LISTEN), 7 the user and 9 the inode.
fn listening(port: u16) -> (Vec<String>, Vec<String>) {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let ending = format!(":{port:04X}");
    let lines = tables.iter().flat_map(|table| table.lines());
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&ending) && *fields.get(3)? == "0A";
            listens.then_some((format!("socket:[{}]", fields.get(9)?), (*fields.get(7)?).to_owned()))
        })
        .unzip()
}

/// Whether a process has one of the sockets, if we may read its files.
fn holds(process: &Path, sockets: &[String]) -> Option<bool> {
    let files = fs::read_dir(process.join("fd")).ok()?;
    Some(files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
    }))
}
