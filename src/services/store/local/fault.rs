//! What a failure of the file system means for the caller.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Reason, ServiceError, ServiceErrorKind, again};

/// The error for `error`, which occurred at `path`, in the system's own words.
pub(super) fn fault(path: &Path, error: &io::Error) -> ServiceError {
    use ServiceErrorKind::{Corrupt, Denied, Exists, Invalid, Missing, NoSpace, Throttled, Unavailable};
    let errno = error.raw_os_error().map(Errno::from_raw);
    let kind = match errno {
        Some(Errno::ENOENT) => Missing,
        Some(Errno::EEXIST) => Exists,
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => Denied,
        Some(Errno::ENOSPC | Errno::EDQUOT) => NoSpace,
        Some(Errno::EISDIR | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP | Errno::EFBIG | Errno::EINVAL) => {
            Invalid
        }
        // File descriptors become free again when other jobs end.
        Some(Errno::EMFILE | Errno::ENFILE) => Throttled,
        _ if error.kind() == io::ErrorKind::UnexpectedEof => Corrupt,
        _ => Unavailable,
    };
    let code = errno.map_or_else(|| "io".to_owned(), |errno| format!("{errno:?}"));
    ServiceError::new(kind, code, format!("{path:?}: {error}")).with_source(again(error))
}

/// A request that can't be right.
pub(super) fn invalid(code: &str, path: &str, why: &str) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Invalid, code, format!("{path:?}: {why}"))
}

/// The error for an upload that was aborted, discarded or completed.
pub(super) fn no_such_upload() -> ServiceError {
    ServiceError::new(ServiceErrorKind::Missing, "NoSuchUpload", "the upload was aborted or discarded")
        .because(Reason::UploadMissing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_keep_their_meaning_and_their_name() {
        for (errno, kind) in [
            (Errno::ENOSPC, ServiceErrorKind::NoSpace),
            (Errno::EDQUOT, ServiceErrorKind::NoSpace),
            (Errno::EROFS, ServiceErrorKind::Denied),
            (Errno::ENOTDIR, ServiceErrorKind::Invalid),
            (Errno::EMFILE, ServiceErrorKind::Throttled),
            (Errno::EIO, ServiceErrorKind::Unavailable),
        ] {
            let error = fault(Path::new("/a\nb"), &io::Error::from(errno));
            assert_eq!((error.kind, error.code), (kind, format!("{errno:?}")));
            assert!(error.message.starts_with("\"/a\\nb\": "), "a path is escaped: {}", error.message);
        }
    }
}
