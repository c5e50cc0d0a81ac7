//! What the kernel says about this process in `/proc/self`. A number that can't be read is left out.

use std::time::{SystemTime, UNIX_EPOCH};

/// The unit of times in `/proc/self/stat`: Linux fixes it for programs at 100 per second on every architecture that
/// Rust's std supports (`USER_HZ`, <https://man7.org/linux/man-pages/man7/time.7.html>).
pub(crate) const TICKS_A_SECOND: f64 = 100.0;

/// Resident memory in bytes.
pub(crate) fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
    Some(kibibytes.parse::<f64>().ok()? * 1024.0)
}

/// Open file descriptors, without the one that is used to count them.
pub(crate) fn open_fds() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

/// When this process started, in seconds since 1970.
pub(crate) fn start_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses and may contain spaces; the start time is field 22.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(22 - 3)?.parse().ok()?;
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    // Rounded, because "now" and the uptime are not read at the same instant and the start time must not change.
    Some((now - uptime + ticks / TICKS_A_SECOND).round())
}
