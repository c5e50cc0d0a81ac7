//! Where a path really is: on which file system, and at which path in it.
//!
//! A bind mount shows a folder under a second path. No link indicates this, and the folders above the two paths have
//! nothing in common; only the kernel's table of mounts tells (`/proc/self/mountinfo`,
//! <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>). For each mount, the table has a number, a
//! device, the folder of the device that is shown, and the path at which it is shown. So a path without links
//! corresponds to the folder of its mount plus the rest of the path, on the mount's device, and this is the same for
//! every path of one folder.
//!
//! On systems without such a table (macOS), nothing is known, and [`Mounts::place`] is always `None`.
//!
//! Bounded by one line for each mount of the machine: some dozens, or thousands on machines with many containers.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mounts that this process sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts(Vec<Mount>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    number: u64,
    /// "major:minor", as in the table. This differs from `stat`: on Btrfs, `stat` gives each subvolume a device of its
    /// own.
    device: String,
    /// The folder of the device that is shown.
    folder: PathBuf,
    /// The path at which it is shown.
    at: PathBuf,
}

/// A path on a file system, independent of the path by which it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    device: String,
    path: PathBuf,
}

impl Place {
    /// The path from `outer` down to this place; empty if they are the same, `None` if this place is not in `outer`.
    pub(crate) fn below(&self, outer: &Self) -> Option<&Path> {
        if self.device == outer.device { self.path.strip_prefix(&outer.path).ok() } else { None }
    }

    /// How many folders deep this place is.
    pub(crate) fn depth(&self) -> usize {
        self.path.components().count()
    }
}

impl Mounts {
    /// The current mounts.
    pub(crate) fn now() -> Self {
        Self::parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Parses the table. Lines of another form are skipped.
    fn parse(table: &[u8]) -> Self {
        Self(table.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// The place of a path that exists and contains no link.
    pub(crate) fn place(&self, real: &Path) -> Option<Place> {
        self.place_on(real, if self.0.is_empty() { None } else { number_of_mount(real) })
    }

    /// The place of a path on the mount with this number. Without a number, the newest of the deepest mounts above the
    /// path is taken, which is right unless a later mount above it has hidden it.
    fn place_on(&self, real: &Path, number: Option<u64>) -> Option<Place> {
        let above = self.0.iter().filter(|mount| real.starts_with(&mount.at));
        let mount = match number {
            Some(number) => above.into_iter().find(|mount| mount.number == number)?,
            None => above.max_by_key(|mount| mount.at.components().count())?,
        };
        let rest = real.strip_prefix(&mount.at).ok()?;
        let path = if rest.as_os_str().is_empty() { mount.folder.clone() } else { mount.folder.join(rest) };
        Some(Place { device: mount.device.clone(), path })
    }

    /// The paths below `real` at which something is mounted.
    #[cfg(feature = "cli")]
    pub(crate) fn below<'a>(&'a self, real: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.0.iter().map(|mount| mount.at.as_path()).filter(move |at| *at != real && at.starts_with(real))
    }
}

/// Parses the mount in a line: `36 35 98:0 /folder /at rw,noatime master:1 - ext3 /dev/root rw`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = std::str::from_utf8(fields.nth(1)?).ok()?.to_owned();
    let (folder, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
    (folder.is_absolute() && at.is_absolute()).then_some(Mount { number, device, folder, at })
}

/// Decodes a path in which spaces, tabs, line ends and backslashes are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (*first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The number of the mount that a path is on; needs Linux 5.8 or later.
#[cfg(target_os = "linux")]
fn number_of_mount(real: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let found = statx(CWD, real, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn number_of_mount(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /proc rw,nosuid - proc proc rw
40 22 254:0 /home/a/in/sub /home/a/out rw,relatime shared:1 - ext4 /dev/vda rw
41 22 254:0 /home/a/with\\040space\\134and\\012line /home/a/b\\040c rw - ext4 /dev/vda rw
42 22 254:16 / /mnt rw - ext4 /dev/vdb rw
43 42 254:0 /home /mnt/home rw - ext4 /dev/vda rw
44 22 254:32 / /mnt rw - ext4 /dev/vdc rw
45 22 0:4 net:[4026532] /run/netns/x rw - nsfs nsfs rw
nonsense
46 22";

    fn place(path: &str, number: Option<u64>) -> Option<(String, String)> {
        let place = Mounts::parse(TABLE.as_bytes()).place_on(Path::new(path), number)?;
        Some((place.device, place.path.to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_folder_has_one_place_by_whatever_path_it_is_reached() {
        let on = |device: &str, path: &str| Some((device.to_owned(), path.to_owned()));
        for (path, number, wanted) in [
            ("/home/a/in/sub/x", None, on("254:0", "/home/a/in/sub/x")),
            ("/home/a/out/x", None, on("254:0", "/home/a/in/sub/x")),
            ("/home/a/out", None, on("254:0", "/home/a/in/sub")),
            ("/home/a/outer", None, on("254:0", "/home/a/outer")),
            ("/home/a/b c/d", None, on("254:0", "/home/a/with space\\and\nline/d")),
            ("/", None, on("254:0", "/")),
            ("/proc/1", None, on("0:25", "/1")),
            ("/mnt/x", None, on("254:32", "/x")),
            // Only the number can identify a mount that a later mount hides.
            ("/mnt/home/a", Some(44), on("254:32", "/home/a")),
            ("/mnt/home/a", Some(43), on("254:0", "/home/a")),
            ("/mnt/home/a", Some(9), None),
        ] {
            assert_eq!(place(path, number), wanted, "{path} {number:?}");
        }
        assert_eq!(Mounts::parse(b"").place(Path::new("/")), None, "where there is no table nothing is known");
    }

    #[test]
    fn the_way_down_leads_through_a_mount_and_never_to_another_device() {
        let mounts = Mounts::parse(TABLE.as_bytes());
        let place = |path: &str| mounts.place_on(Path::new(path), None).unwrap();
        assert_eq!(place("/home/a/out/deep").below(&place("/home/a/in")), Some(Path::new("sub/deep")));
        assert_eq!(place("/home/a/out").below(&place("/home/a/in/sub")), Some(Path::new("")));
        assert_eq!(place("/home/a/in").below(&place("/home/a/out")), None);
        assert_eq!(place("/mnt/home/a").below(&place("/mnt")), None);
        let below: Vec<_> = mounts.below(Path::new("/home/a")).collect();
        assert_eq!(below, [Path::new("/home/a/out"), Path::new("/home/a/b c")]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_mounts_of_this_machine_tell_where_a_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let mounts = Mounts::now();
        let (inner, outer) = (mounts.place(&real).unwrap(), mounts.place(Path::new("/proc")).unwrap());
        assert!(inner.below(&inner).is_some() && inner.below(&outer).is_none(), "{inner:?} {outer:?}");
    }
}
