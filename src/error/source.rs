//! The error that caused another, kept so that a program can look for it.
//!
//! It is for `source()` alone. Neither `Display` nor `Debug` of an error of batchpipe prints its source, because an
//! error of the SDK holds the whole request and answer, and these may hold what is secret. What a person needs of the
//! source is in the text of the error already.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The error that caused another, if there was one. Shared, because errors are cloned.
#[derive(Clone, Default)]
pub struct Source(Option<Arc<dyn Error + Send + Sync>>);

impl Source {
    /// No source.
    pub const NONE: Self = Self(None);

    /// This error.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(error)))
    }

    /// The error, as `source()` returns it.
    pub fn error(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|error| error as &(dyn Error + 'static))
    }

    /// The error of this type nearest in the chain of sources.
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        let mut next = self.error();
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// Two failures are equal if they mean the same, whatever caused them: errors of others can't be compared.
impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::{JobError, ServiceError, ServiceErrorKind, Stage, Subject};

    fn full() -> ServiceError {
        let disk = io::Error::from(io::ErrorKind::StorageFull);
        ServiceError::new(ServiceErrorKind::NoSpace, "ENOSPC", "no space").with_source(disk)
    }

    #[test]
    fn the_error_of_a_full_disk_is_found_through_the_chain_of_sources() {
        let told = full().told(&Subject::write("file:///out/"));
        let job = full().at(Stage::Upload);
        for error in [&told as &(dyn Error + 'static), &job] {
            let service = error.source().unwrap();
            assert!(service.is::<ServiceError>(), "{service:?}");
            let disk = service.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(disk.kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(job.source.find::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    }

    #[test]
    fn no_text_of_an_error_holds_its_source() {
        let secret =
            ServiceError::new(ServiceErrorKind::Denied, "Denied", "no").with_source(io::Error::other("CANARY"));
        let told = secret.told(&Subject::read("s3://b/"));
        let job: JobError = secret.clone().at(Stage::Download);
        let texts = format!("{secret} {secret:?} {told} {told:?} {job} {job:?}");
        assert!(!texts.contains("CANARY"), "{texts}");
        assert_eq!(job, JobError { source: Source::NONE, ..job.clone() }, "errors that mean the same are equal");
    }
}
