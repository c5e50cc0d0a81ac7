//! A walk over the source before anything is done: how much there is, what lies beside it, and whether two inputs would
//! have one output. `map` and `submit` begin with it, and a `--dry-run` is nothing else.
//!
//! Costs one walk; a second one only to name inputs that have one output.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::output::escaped;
use super::service;
use crate::error::{Code, Role, UserError};
use crate::job::Location;
use crate::observe::Totals;
use crate::services::store::ObjectStore;
use crate::submit::discover::{self, Found, Listed, Place, Select, Source};
use crate::submit::names::{Clash, Clashes, Culprits, Names, Naming, Once, Seen};
use crate::submit::prefix::{self, Beside};

/// What is walked over, and what for.
pub(super) struct Survey<'a> {
    pub source: &'a Source,
    /// How the source is read, if it is a list.
    pub list: Listed,
    /// The SOURCE as it was typed, if that was a place in S3 without a slash.
    pub typed: Option<&'a Location>,
    pub select: &'a Select,
    pub store: &'a Arc<dyn ObjectStore>,
    pub naming: &'a Naming,
    /// Where digests go that do not fit in memory.
    pub scratch: PathBuf,
}

/// What there is.
pub(super) struct Surveyed {
    pub totals: Totals,
    /// How many of them are objects that are there already.
    pub objects: u64,
    /// What could not be read, each with its reason.
    pub unreadable: Vec<String>,
    pub beside: Arc<Beside>,
    pub clashes: Clashes,
}

/// The source, with a place in S3 that was typed without a slash as the folder or the object that it is. Fails if
/// nothing can be listed there: then no single object is to blame.
pub(super) async fn settled(source: &Source, store: &Arc<dyn ObjectStore>) -> Result<Source, UserError> {
    let settled = prefix::settle(source.clone(), store).await.map_err(|error| {
        let place = match source {
            Source::Named(place) => escaped(&place.to_string()),
            _ => "the source".to_owned(),
        };
        service::failed(Role::Read, &format!("read {place}"), &error)
    })?;
    service::readable(&settled, store).await?;
    Ok(settled)
}

/// The place, if SOURCE was typed as one in S3 without a slash, and is a folder.
pub(super) fn typed<'a>(typed: &'a Source, settled: &Source) -> Option<&'a Location> {
    match (typed, settled) {
        (Source::Named(place), Source::Prefix(_)) => Some(place),
        _ => None,
    }
}

/// Says once what was not taken.
pub(super) fn tell_beside(typed: Option<&Location>, beside: &Beside) {
    if let Some(told) = typed.and_then(|place| beside.told(place)) {
        super::output::say(&format!("note: {told}"));
    }
}

impl Survey<'_> {
    pub(super) async fn run(&self) -> Result<Surveyed, UserError> {
        let beside = Arc::new(Beside::default());
        let mut look = Look::new(self);
        let mut surveyed = Surveyed {
            totals: Totals { files: 0, bytes: 0 },
            objects: 0,
            unreadable: Vec::new(),
            beside: Arc::clone(&beside),
            clashes: Clashes::default(),
        };
        let mut found = self.find(beside);
        while let Some(found) = found.next().await {
            match found {
                Ok(found) => {
                    if let Look::Once(once) = &mut look {
                        match met(once, &found) {
                            Ok(true) => {}
                            Ok(false) => {
                                surveyed.clashes.again += 1;
                                continue;
                            }
                            Err(taken) => {
                                surveyed.unreadable.push(taken);
                                continue;
                            }
                        }
                    }
                    surveyed.totals.files += 1;
                    surveyed.totals.bytes += found.size;
                    surveyed.objects += u64::from(!matches!(found.place, Place::File(_)));
                    look.note(self, &found).map_err(|error| unsorted(&self.scratch, &error))?;
                }
                Err(error) => surveyed.unreadable.push(error.to_string()),
            }
        }
        match look {
            Look::Digests(names) => {
                let culprits = names.shared().map_err(|error| unsorted(&self.scratch, &error))?;
                surveyed.clashes = self.named(culprits).await;
                surveyed.totals.files = surveyed.totals.files.saturating_sub(surveyed.clashes.again);
            }
            Look::Folders { clashes, .. } => surveyed.clashes = clashes,
            Look::Once(_) | Look::Nothing => {}
        }
        Ok(surveyed)
    }

    fn find(&self, beside: Arc<Beside>) -> BoxStream<'static, std::io::Result<Found>> {
        match self.typed {
            Some(place) => prefix::find_beside(place, self.select.clone(), self.store, beside),
            None => self.again(),
        }
    }

    fn again(&self) -> BoxStream<'static, std::io::Result<Found>> {
        match self.source {
            Source::Names | Source::List(_) => {
                discover::listed(self.source, self.list.clone(), self.select.clone(), self.store)
            }
            _ => discover::find(self.source, self.select.clone(), self.store),
        }
    }

    /// Walks again, to tell which names the digests are of.
    async fn named(&self, mut culprits: Culprits) -> Clashes {
        if !culprits.is_empty() {
            let mut found = self.again();
            while let Some(found) = found.next().await {
                if let Ok(found) = found {
                    culprits.note(&found.name, &place(&found));
                }
            }
        }
        culprits.clashes()
    }
}

/// How outputs are looked at, which is as cheap as the naming allows.
enum Look {
    /// No two can meet.
    Nothing,
    /// All that can meet is a file and a folder that is named like its output.
    Folders { before: String, clashes: Clashes },
    /// Any two can.
    Digests(Box<Names>),
    /// Any two can, and there is no second walk.
    Once(Box<Once>),
}

impl Look {
    fn new(survey: &Survey<'_>) -> Self {
        let is_tree = matches!(survey.source, Source::Directory(_));
        match survey.source {
            Source::File(_) | Source::Object(_) => Self::Nothing,
            Source::List(_) => Self::digests(survey),
            Source::Names => Self::Once(Box::new(Once::new(survey.naming.clone(), None))),
            _ if survey.naming.can_meet(is_tree) => Self::digests(survey),
            _ if is_tree && survey.naming.in_directory && !survey.naming.suffix.append.is_empty() => {
                Self::Folders { before: String::new(), clashes: Clashes::default() }
            }
            _ => Self::Nothing,
        }
    }

    fn digests(survey: &Survey<'_>) -> Self {
        Self::Digests(Box::new(Names::new(survey.naming.clone(), &survey.scratch)))
    }

    fn note(&mut self, survey: &Survey<'_>, found: &Found) -> std::io::Result<()> {
        match (self, survey.source) {
            (Self::Digests(names), _) => names.note(&found.name)?,
            (Self::Folders { before, clashes }, Source::Directory(root)) => {
                for stem in survey.naming.folder_that_is_an_output(&found.name, before) {
                    let file = root.join(stem);
                    if survey.select.takes(stem) && file.is_file() {
                        let inputs = [file.display().to_string(), place(found)];
                        clashes.add(Clash { output: survey.naming.output(stem), inputs, is_folder: true });
                    }
                }
                before.clone_from(&found.name);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether something of a list is to be done: not if it is the file of an earlier line again. The reason, if another
/// line has its output.
pub(super) fn met(once: &mut Once, found: &Found) -> Result<bool, String> {
    let place = place(found);
    match once.meet(&found.name, &place) {
        Seen::New => Ok(true),
        Seen::Again => Ok(false),
        Seen::Taken(number) => {
            let output = once.naming().output(&found.name);
            Err(format!("{place:?}: name {number} of the list has the same output, {output:?}"))
        }
    }
}

/// Where something is, as people know it; two that are in one place are one.
pub(super) fn place(found: &Found) -> String {
    match &found.place {
        Place::File(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        Place::Object(object) => object.location.to_string(),
        Place::Unseen(location) => location.to_string(),
    }
}

fn unsorted(scratch: &Path, error: &std::io::Error) -> UserError {
    let what = format!("cannot sort the names of the outputs in {:?}", scratch.display().to_string());
    let help = "make room there: 16 bytes are needed for each input";
    UserError::new(Code::NoSpace, what, error.to_string(), help)
}

/// Fails if two inputs would have one `output`, or whatever else it is called; `help` says how to keep them apart.
pub(super) fn refuse_clashes(clashes: &Clashes, naming: &Naming, output: &str, help: &str) -> Result<(), UserError> {
    let Some((first, others)) = clashes.told.split_first() else { return Ok(()) };
    let pair = |clash: &Clash| format!("{:?} and {:?}", clash.inputs[0], clash.inputs[1]);
    let (what, mut cause) = if first.is_folder {
        let cause = "in a directory a name is that of a file or of a folder".to_owned();
        (
            format!("{} can't both be written: one makes {:?} a file, the other a folder", pair(first), first.output),
            cause,
        )
    } else {
        let cause = match naming.folds {
            true => "the file system takes both names for one: the second would replace the first",
            false => "the second would replace the first, and both would be told as done",
        };
        (format!("{} would have one {output}: {:?}", pair(first), first.output), cause.to_owned())
    };
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(pair).collect();
        cause.push_str(&format!("; so would {}", others.join(", ")));
    }
    match clashes.count - clashes.told.len() as u64 {
        0 => {}
        more => cause.push_str(&format!(", and {more} more")),
    }
    Err(UserError::usage(Code::OutputCollision, what, cause, help))
}
