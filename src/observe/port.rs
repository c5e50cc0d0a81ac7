//! Finds out who holds a port, to say so instead of "address in use". Linux only; elsewhere nobody is found.
//!
//! A worker lets nobody look into it (`config::machine::conceal`), so it is found by what is left: the socket is of its
//! user, and no process that can be looked into has it. Where several hide, it is one of them.
//!
//! Bounded: one pass over `/proc`, only when listening has failed.

use std::fs;
use std::path::Path;

/// The process of the same program as this one that listens on `port`, as `batchpipe (pid 4711)`, or those of which it
/// is one.
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

/// The user that a process runs as: its files in `/proc` are root's where it hides.
fn user(process: &Path) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_owned())
}

/// How `/proc/PID/fd` names the sockets that listen on `port`, and whose they are. In
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

/// Whether a process has one of the sockets, if it lets us look.
fn holds(process: &Path, sockets: &[String]) -> Option<bool> {
    let files = fs::read_dir(process.join("fd")).ok()?;
    Some(files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
    }))
}
