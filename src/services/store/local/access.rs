//! Who may read an output, and which files an output must not replace.
//!
//! Whoever may not read a local input may not read its output. The output is created with the permissions of its
//! input, less what the umask removes, so it is never wider, not even while it is written. The output belongs to us.
//! If the input belongs to another group, the members of that group are "others" for the output, and the members of
//! our group were "others" for the input, so both get only the permissions that both had. An input that is not a
//! local file has no permissions, so only the umask decides for its output.
//!
//! The same holds for folders: a folder that is made for an output is no wider than the corresponding folder above
//! the input, so that the contents of a closed folder are not exposed.
//!
//! Cost: one look at the input for each output, and one look at a folder above it for each folder that is made.

use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::fault::invalid;
use crate::error::{Reason, ServiceError};
use crate::job::Location;

/// The permissions of an output in `directory`, before the umask.
pub(super) fn of_output(input: Option<&Location>, directory: &Path) -> u32 {
    let Some(Location::File { path }) = input else { return 0o666 };
    // If the input is gone since it was read, it may have been closed to everybody.
    let Ok(input) = fs::metadata(path) else { return 0o600 };
    narrowed(input.mode(), input.uid() == nix::unistd::geteuid().as_raw(), input.gid() == group_in(directory))
}

fn narrowed(mode: u32, same_user: bool, same_group: bool) -> u32 {
    let (user, group, others) = (mode >> 6 & 6, mode >> 3 & 6, mode & 6);
    let user = if same_user { user } else { 6 };
    let (group, others) = if same_group { (group, others) } else { (group & others, group & others) };
    user << 6 | group << 3 | others
}

/// The permissions, before the umask, of a folder in `directory` that corresponds to `folder` above the input. We must
/// be able to write in it.
pub(crate) fn of_folder(folder: Option<&Path>, directory: &Path) -> u32 {
    let Some(folder) = folder else { return 0o777 };
    let Ok(found) = fs::metadata(folder) else { return 0o700 };
    // The third bit allows passing through a folder; files do not keep it.
    let (group, others) = (found.mode() >> 3 & 7, found.mode() & 7);
    let both = group & others;
    let (group, others) = if found.gid() == group_in(directory) { (group, others) } else { (both, both) };
    0o700 | group << 3 | others
}

/// The group that a new file in `directory` belongs to.
fn group_in(directory: &Path) -> u32 {
    const SETGID: u32 = 0o2000;
    match fs::metadata(directory) {
        Ok(found) if found.mode() & SETGID != 0 => found.gid(),
        _ => nix::unistd::getegid().as_raw(),
    }
}

/// The permissions with which to create a file that will have `mode`: its owner must first be able to write it.
pub(super) fn while_written(mode: u32) -> u32 {
    mode | 0o200
}

/// Removes the permission that was needed only for writing our own file.
pub(super) fn finish(file: &File, mode: u32) -> std::io::Result<()> {
    if mode & 0o200 == 0 {
        let now = file.metadata()?.mode();
        file.set_permissions(Permissions::from_mode(now & 0o7577))?;
    }
    Ok(())
}

/// Refuses to write to `to` if a directory, a device or a pipe is there, or the very file that the output is made from
/// (under another name). A link is replaced, and so is one of several hard links of a file; the file that they lead to
/// stays.
pub(super) fn check_place(to: &Path, text: &str, input: Option<&Location>) -> Result<(), ServiceError> {
    let Ok(there) = to.symlink_metadata() else { return Ok(()) };
    if there.is_dir() {
        return Err(invalid("EISDIR", text, "this is a directory, not a file"));
    }
    if !there.is_file() && !there.is_symlink() {
        return Err(invalid("special", text, "this is a device, a pipe or a socket, which no output may replace"));
    }
    match input {
        Some(Location::File { path }) if is_same(to, &there, Path::new(path)) => {
            Err(invalid("InputItself", text, &format!("this is the input {path:?} itself, by another name"))
                .because(Reason::InputItself))
        }
        _ => Ok(()),
    }
}

fn is_same(to: &Path, there: &Metadata, input: &Path) -> bool {
    let Ok(found) = fs::metadata(input) else { return false };
    let one_file = (found.dev(), found.ino()) == (there.dev(), there.ino());
    one_file && (found.nlink() == 1 || input.canonicalize().is_ok_and(|real| real == to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_open_to_nobody_to_whom_its_input_is_closed() {
        assert_eq!(narrowed(0o100_600, true, true), 0o600);
        assert_eq!(narrowed(0o100_755, true, true), 0o644, "what is executed is not what comes of it");
        assert_eq!(narrowed(0o100_400, true, true), 0o400);
        assert_eq!(narrowed(0o100_440, false, true), 0o640, "the output is ours");
        assert_eq!(narrowed(0o100_640, true, false), 0o600, "another group is not let in");
        assert_eq!(narrowed(0o100_604, true, false), 0o600, "a group that was shut out is not let in as others");
        assert_eq!(narrowed(0o100_644, true, false), 0o644);
        assert_eq!(of_output(None, Path::new("/")), 0o666);
        assert_eq!(of_output(Some(&Location::s3("b", "k")), Path::new("/")), 0o666);
        assert_eq!(of_output(Some(&Location::file("/no/such/file")), Path::new("/")), 0o600);
    }
}
