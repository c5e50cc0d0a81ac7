//! What `map` needs to know, and how it is read from the layers.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::layers::Layers;
use super::reading::Reading;
use super::values::{self, Wrong};
use super::{Global, Working, argument, glob, refuse_nested, s3_server, source, state_directory};
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::runtime::digest;
use crate::runtime::machine::Machine;
use crate::submit::discover::Source;

/// What `map` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapConfig {
    /// What every command knows.
    pub global: Global,
    /// How objects are worked on.
    pub working: Working,
    /// What is read.
    pub source: Source,
    /// The prefix that the results are written under.
    pub dest: Location,
    /// Globs to take; empty takes all.
    pub include: Vec<String>,
    /// Globs to leave out.
    pub exclude: Vec<String>,
    /// Whether to only say what would be done.
    pub dry_run: bool,
    /// The server that stands in for S3 where objects are read from or written to it.
    pub server: Option<String>,
    /// Where the queue and the journal are kept, so that a killed run goes on where it was: below a directory that is
    /// written to, else in the user's own state directory.
    pub state: PathBuf,
}

impl MapConfig {
    /// Reads the layers. `source` and `dest` are the arguments, `program` is what stood after `--`.
    pub fn resolve(
        layers: &Layers,
        source: &str,
        dest: &str,
        program: Vec<String>,
        machine: &Machine,
    ) -> Result<Self, UserError> {
        let mut global = Global::resolve(layers)?;
        let read = Reading { layers, machine };
        let from = source::read(source, &machine.directory).map_err(|wrong| argument("SOURCE", source, wrong))?;
        let dest = values::prefix(dest, &machine.directory).map_err(|wrong| argument("DEST", dest, wrong))?;
        let input = match &from {
            Source::Prefix(place) | Source::Named(place) | Source::Object(place) => Some(place.as_folder()),
            Source::Directory(path) => Some(Location::file(format!("{}/", path.display()))),
            Source::File(_) => None,
            Source::Names | Source::List(_) => {
                let help = "give a directory, a file or s3://bucket/prefix/;  submit  takes lists";
                return Err(argument(
                    "SOURCE",
                    source,
                    Wrong::new(Code::BadPlaceOrStep, "map does not read lists of names", help),
                ));
            }
        };
        if let Some(input) = &input {
            refuse_nested(&read, &dest, input)?;
        }
        let mut working = Working::resolve(&read, program, Some(&dest), &mut global.notes)?;
        // The queue is our own and has no policy. Three tries, 2 and 4 seconds apart, tell a hiccup from a program that
        // always fails before somebody who looks on loses patience.
        working.max_receives = working.max_receives.or(NonZeroU32::new(3));
        let in_s3 = matches!((&input, &dest), (Some(Location::S3 { .. }), _) | (_, Location::S3 { .. }));
        let server = if in_s3 { s3_server(&global.aws, layers) } else { None };
        let state = match &dest {
            Location::File { path } => Path::new(path).join(crate::submit::discover::OWN_FOLDER),
            Location::S3 { .. } => {
                let name = format!("map-{}", digest::short(&format!("{:?}", (from.with_slash(), &dest, &server))));
                state_directory(read.layers)
                    .unwrap_or_else(|| PathBuf::from(crate::submit::discover::OWN_FOLDER))
                    .join(name)
            }
        };
        Ok(Self {
            include: read.many("include", glob)?,
            exclude: read.many("exclude", glob)?,
            dry_run: read.on("dry-run")?,
            source: from,
            dest,
            server,
            working,
            global,
            state,
        })
    }
}
