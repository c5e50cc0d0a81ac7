//! The SOURCE of `submit` and `map`: a directory, a file, `-`, `@FILE` or `s3://bucket/prefix/`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::values::{self, Wrong};
use crate::error::Code;
use crate::job::Location;
use crate::submit::discover::Source;

/// Reads the argument. Looks at what kind of file it is, and at nothing else.
pub(super) fn read(text: &str, directory: &Path) -> Result<Source, Wrong> {
    if text == "-" {
        return Ok(Source::Names);
    }
    if let Some(list) = text.strip_prefix('@') {
        let path = directory.join(list);
        return if list.is_empty() {
            Err(Wrong::new(Code::BadPlaceOrStep, "the file after @ is missing", "give  @FILE  with one name a line"))
        } else {
            kind(&path).and_then(|is_directory| match is_directory {
                false => Ok(Source::List(path)),
                true => Err(Wrong::new(Code::CommandLine, "it is a directory", "give the directory without the @")),
            })
        };
    }
    match values::location(text, directory)? {
        place @ Location::S3 { .. } if place == place.as_folder() => Ok(Source::Prefix(place)),
        place @ Location::S3 { .. } => Ok(Source::Named(place)),
        Location::File { path } => {
            let path = PathBuf::from(path);
            Ok(if kind(&path)? { Source::Directory(path) } else { Source::File(path) })
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) | Self::File(path) => write!(f, "{}", path.display()),
            Self::Names => f.write_str("-"),
            Self::List(path) => write!(f, "@{}", path.display()),
            Self::Prefix(place) | Self::Named(place) | Self::Object(place) => write!(f, "{place}"),
        }
    }
}

impl Source {
    /// The same source, with the slash that was not typed: with and without it, it is one place, one journal, one
    /// queue.
    #[must_use]
    pub fn with_slash(&self) -> Self {
        match self {
            Self::Named(place) => Self::Prefix(place.as_folder()),
            other => other.clone(),
        }
    }
}

/// Whether the path is a directory, as opposed to a regular file.
fn kind(path: &Path) -> Result<bool, Wrong> {
    let metadata = fs::metadata(path).map_err(|error| {
        let help = format!("check with:  ls -ld {:?}", path.display().to_string());
        Wrong::new(Code::CommandLine, error.to_string(), help)
    })?;
    if !metadata.is_dir() && !metadata.is_file() {
        let help = "give a directory or a regular file; names can be piped in with  -";
        return Err(Wrong::new(Code::CommandLine, "it is a pipe, a socket or a device", help));
    }
    Ok(metadata.is_dir())
}
