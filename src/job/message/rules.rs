//! Turns a request into this worker's job: where the output goes, and whether the worker may read and write there.
//!
//! The operator's rules, not the sender's wishes, decide which places are used. The rules are pure: a job is a
//! function of the message and the rules, so that every delivery of a message, on any worker of the fleet, writes
//! the same key.

use std::collections::BTreeMap;

use super::Request;
use super::checks::{check_key, malformed, quote};
use crate::error::{Code, ErrorKind, JobError, Stage};
use crate::job::suffix::Suffix;
use crate::job::{Job, Location};

/// The suffixes of names that reach a bucket indirectly: access points and the like
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
const ALIASES: [&str; 3] = ["-s3alias", "--ol-s3", ".mrap"];

/// The operator's rules for inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The folder for outputs of messages that name none. Writing there is always allowed.
    pub output: Option<Location>,
    /// The folder that is removed from the input's key before the key is joined to `output`, with or without its slash.
    /// An input outside the folder is refused, because otherwise two inputs could share an output.
    pub input_prefix: Option<String>,
    /// How the end of every output's key is changed.
    pub suffix: Suffix,
    /// The places that may be read and written: each is an object and the folder of the same name. If empty: everything
    /// in S3 that the credentials reach, and no local file.
    pub allow: Vec<Location>,
}

impl Rules {
    /// The job that a request becomes on this worker.
    ///
    /// ```
    /// use batchpipe::Location;
    /// use batchpipe::job::message::{Format, Request, Rules};
    /// use batchpipe::job::suffix::Suffix;
    ///
    /// let rules = Rules {
    ///     output: Some(Location::s3("out", "gz/")),
    ///     input_prefix: Some("raw/".into()),
    ///     suffix: Suffix::of(".gz"),
    ///     ..Rules::default()
    /// };
    /// let request = Request::new(Format::Own, Location::s3("photos", "raw/a.csv"));
    /// let job = rules.job(&request, "5f3c", 1)?;
    /// assert_eq!(job.output.to_string(), "s3://out/gz/a.csv.gz");
    /// # Ok::<(), batchpipe::error::JobError>(())
    /// ```
    pub fn job(&self, request: &Request, message_id: &str, attempt: u32) -> Result<Job, JobError> {
        self.check_allowed(&request.input)?;
        let output = self.output(request)?;
        check_key(&output, "output")?;
        if !self.is_ours(&output) {
            self.check_allowed(&output)?;
        }
        check_path(&output)?;
        if output == request.input {
            let cause = format!("the output is the input: {}", quote(&output.to_string()));
            return Err(malformed(Code::OutputAmongInputs, cause));
        }
        let id = match (&request.id, request.nth) {
            (Some(id), _) => id.clone(),
            (None, None) => message_id.to_owned(),
            (None, Some(nth)) => format!("{message_id}#{nth}"),
        };
        Ok(Job {
            id,
            input: request.input.clone(),
            output,
            batch: request.batch.clone(),
            size: request.size,
            etag: request.etag.clone(),
            version_id: request.version_id.clone(),
            args: request.args.clone(),
            attempt,
            metadata: BTreeMap::new(),
        })
    }

    /// Where the output goes: where the message says, otherwise to the same name in our folder.
    fn output(&self, request: &Request) -> Result<Location, JobError> {
        let named = match (&request.output, &self.output) {
            (Some(output), _) => output.clone(),
            (None, Some(folder)) => folder.as_folder().join(self.name_of(&request.input)?),
            (None, None) => {
                return Err(malformed(Code::NoOutputNamed, "message names no output and the worker has none"));
            }
        };
        Ok(match &named {
            Location::S3 { bucket, key } => Location::s3(bucket, self.suffix.apply(key)),
            Location::File { path } => Location::file(self.suffix.apply(path)),
        })
    }

    /// The part of the input's key that is kept in the output's key.
    fn name_of<'a>(&self, input: &'a Location) -> Result<&'a str, JobError> {
        let key = input.key();
        let Some(prefix) = self.input_prefix.as_deref().filter(|prefix| !prefix.is_empty()) else {
            return Ok(match input {
                Location::S3 { .. } => key,
                Location::File { .. } => key.trim_start_matches('/'),
            });
        };
        // The prefix is a folder. Without its slash, `raw` would also match `raw2/a.csv` and `raw.txt`.
        let folder = format!("{}/", prefix.strip_suffix('/').unwrap_or(prefix));
        key.strip_prefix(&folder).ok_or_else(|| {
            malformed(
                Code::OutsideInputPrefix,
                format!("input key {} does not begin with the input prefix {}", quote(key), quote(&folder)),
            )
        })
    }

    /// Whether an output is in the folder that the operator chose.
    fn is_ours(&self, output: &Location) -> bool {
        self.output.as_ref().is_some_and(|folder| output.is_under(&folder.as_folder()))
    }

    /// Whether messages may name this place as an input.
    pub fn allows(&self, location: &Location) -> bool {
        self.check_allowed(location).is_ok()
    }

    /// Refuses a place that no prefix allows.
    fn check_allowed(&self, location: &Location) -> Result<(), JobError> {
        check_path(location)?;
        let allowed = match location {
            Location::S3 { bucket, .. } if self.allow.is_empty() => {
                !ALIASES.iter().any(|ending| bucket.ends_with(ending))
            }
            _ => self.allow.iter().any(|place| location.is_in(place)),
        };
        if allowed {
            return Ok(());
        }
        let place = match location {
            Location::S3 { bucket, .. } if !self.allow.iter().any(|prefix| is_in(prefix, bucket)) => {
                format!("bucket {}", quote(bucket))
            }
            _ => quote(&location.to_string()),
        };
        Err(forbidden(format!("{place} is not in the allow-list{}", self.describe_allowed(location))))
    }

    /// What may be read and written, for the error about a refused place.
    fn describe_allowed(&self, refused: &Location) -> String {
        match self.allow.as_slice() {
            [] if matches!(refused, Location::File { .. }) => {
                ": files are allowed by --allow DIRECTORY/ only".to_owned()
            }
            [] => String::new(),
            [first] => format!(": this worker may use {first:?} only"),
            [first, rest @ ..] => format!(": this worker may use {first:?} and {} more", rest.len()),
        }
    }
}

/// Whether a location is in this bucket.
fn is_in(location: &Location, name: &str) -> bool {
    matches!(location, Location::S3 { bucket, .. } if bucket == name)
}

/// Refuses a path that may not mean what it says: `..`, `.`, `//`, a final slash, NUL. A key may contain any of them.
fn check_path(location: &Location) -> Result<(), JobError> {
    let Location::File { path } = location else { return Ok(()) };
    let plain = |rest: &str| !rest.contains('\0') && rest.split('/').all(|name| !matches!(name, "" | "." | ".."));
    match path.strip_prefix('/').is_some_and(plain) {
        true => Ok(()),
        false => Err(forbidden(format!("path {} is not a plain absolute path", quote(path)))),
    }
}

/// The error for a place that this worker must not use.
fn forbidden(cause: String) -> JobError {
    JobError::new(Stage::Receive, ErrorKind::Forbidden, Code::PlaceNotAllowed, cause)
}
