//! Finds inputs that would share an output before the first job, if the list of inputs is known.
//!
//! An output's name is a function of its input's name. If this function only appends, no two outputs can be equal,
//! and nothing is checked. If it removes something (`decompress` makes `a.csv` from `a.csv.gz` and from
//! `a.csv.zst`), or if the file system treats two names as equal, the second job would replace the output of the
//! first, and both would be reported as done. Also, an output in a directory can't have the name of a folder that
//! contains another output (`a` and `a/b`; S3 can hold both).
//!
//! The check takes two walks: the first sorts digests of the outputs (`sorted.rs`), so that ten million names take
//! little memory; the second, made only if two digests are equal, finds the names of the clashing inputs
//! ([`Culprits`]). For a list that can be read only once, the digests are kept in memory instead ([`Once`]).

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use sha2::Digest as _;

use crate::job::suffix::Suffix;

mod fold;
mod once;
mod sorted;

pub use fold::folds;
pub use once::{Once, Seen};
pub use sorted::{Digest, Sorted};

/// Clashes that are reported by name; there may be as many clashes as files.
const TOLD: usize = 3;

/// How the names of inputs become names of outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// How the end of a name is changed.
    pub suffix: Suffix,
    /// Whether outputs are files in a directory, where a name is either a file's or a folder's.
    pub in_directory: bool,
    /// Whether that directory treats `A` and `a` as equal ([`folds`]).
    pub folds: bool,
}

impl Naming {
    /// Whether two different names can have the same output. `is_tree` says that no input's name is another's folder,
    /// as for files below a directory; an appended suffix may still create such outputs
    /// ([`Naming::folder_that_is_an_output`]).
    pub fn can_meet(&self, is_tree: bool) -> bool {
        !self.suffix.strip.is_empty() || self.folds || (self.in_directory && !is_tree)
    }

    /// The output of `name`, relative to where outputs are.
    pub fn output(&self, name: &str) -> String {
        self.suffix.apply(name)
    }

    /// The key of an output; equal keys mean the same file.
    fn key(&self, output: &str) -> Digest {
        let folded = if self.folds { fold::folded(output) } else { output.to_owned() };
        let whole = sha2::Sha256::digest(folded);
        let mut half = Digest::default();
        half.copy_from_slice(&whole[..16]);
        half[15] &= !FOLDER;
        half
    }

    /// If names only get a suffix and the inputs are files below a directory, there is one way to clash: a folder whose
    /// name ends in the suffix (`a.zst/`) beside the file that has the rest of its name (`a`). Returns such files'
    /// names for the folders that contain `name` but not `before`, the previous name.
    pub fn folder_that_is_an_output<'a>(&self, name: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        let suffix = if self.in_directory { self.suffix.append.clone() } else { String::new() };
        let fresh = folders(name).filter(move |folder| !folders(before).any(|other| other == *folder));
        fresh.filter_map(move |folder| {
            let stem = folder.strip_suffix(suffix.as_str())?;
            (!suffix.is_empty() && !stem.is_empty() && !stem.ends_with('/')).then_some(stem)
        })
    }
}

/// The bit of a digest that distinguishes a folder from a file. It is the last bit, so that both sort next to each
/// other.
const FOLDER: u8 = 1;

/// The folders that contain a name, the outermost first.
fn folders(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(slash, _)| &name[..slash]).filter(|folder| !folder.is_empty())
}

/// Outputs that are collected to find equal ones.
#[derive(Debug)]
pub struct Names {
    naming: Naming,
    sorted: Sorted,
    /// The previous output, whose folders are recorded already.
    before: String,
}

impl Names {
    /// An empty collection. Digests that do not fit in memory go to an unnamed file in `folder`.
    pub fn new(naming: Naming, folder: &Path) -> Self {
        Self { naming, sorted: Sorted::new(folder), before: String::new() }
    }

    /// Adds the output of one more input.
    pub fn note(&mut self, name: &str) -> io::Result<()> {
        let output = self.naming.output(name);
        self.sorted.push(self.naming.key(&output))?;
        if self.naming.in_directory {
            for folder in folders(&output) {
                if !folders(&self.before).any(|known| known == folder) {
                    let mut key = self.naming.key(folder);
                    key[15] |= FOLDER;
                    self.sorted.push(key)?;
                }
            }
            self.before = output;
        }
        Ok(())
    }

    /// The outputs that belong to two inputs, or to one input and to a folder of another; usually none.
    pub fn shared(self) -> io::Result<Culprits> {
        let mut merged = self.sorted.merged()?;
        let mut shared = HashSet::new();
        let (mut last, mut is_file) = (None, false);
        while let Some(mut key) = merged.next()? {
            let folder = key[15] & FOLDER != 0;
            key[15] &= !FOLDER;
            // Files sort before folders, and two folders of the same name are the same folder.
            if last == Some(key) && is_file {
                shared.insert(key);
            }
            is_file = !folder;
            last = Some(key);
        }
        Ok(Culprits { naming: self.naming, shared, first: HashMap::new(), clashes: Clashes::default() })
    }
}

/// Two inputs with the same output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The output, as the first input would name it.
    pub output: String,
    /// Where the two inputs are.
    pub inputs: [String; 2],
    /// Whether it is a file for one input and a folder for the other.
    pub is_folder: bool,
}

/// All clashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clashes {
    /// The first few.
    pub told: Vec<Clash>,
    /// How many there are.
    pub count: u64,
    /// Files that were named twice: not a clash, but to be processed only once.
    pub twice: HashSet<Digest>,
    /// How often such a file was named again.
    pub again: u64,
}

impl Clashes {
    /// Adds a clash.
    pub fn add(&mut self, clash: Clash) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(clash);
        }
    }
}

/// Finds the names behind equal digests, in a second walk over the inputs.
#[derive(Debug)]
pub struct Culprits {
    naming: Naming,
    shared: HashSet<Digest>,
    /// The first input for each digest, until another input has met it.
    first: HashMap<Digest, Option<First>>,
    clashes: Clashes,
}

#[derive(Debug)]
struct First {
    output: String,
    input: String,
    is_folder: bool,
}

impl Culprits {
    /// Whether there are no equal digests, so that a second walk is not needed.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// Adds an input and its location: names with the same location are the same input.
    pub fn note(&mut self, name: &str, input: &str) {
        let output = self.naming.output(name);
        self.meet(&output, input, false);
        if self.naming.in_directory {
            folders(&output).for_each(|folder| self.meet(folder, input, true));
        }
    }

    fn meet(&mut self, output: &str, input: &str, is_folder: bool) {
        let key = self.naming.key(output);
        if !self.shared.contains(&key) {
            return;
        }
        let new = || First { output: output.to_owned(), input: input.to_owned(), is_folder };
        let seen = self.first.entry(key).or_insert_with(|| Some(new()));
        match seen {
            Some(first) if first.input == input && !first.is_folder && !is_folder => {
                self.clashes.twice.insert(key);
                self.clashes.again += 1;
            }
            Some(first) if !(first.is_folder && is_folder) => {
                let inputs = [std::mem::take(&mut first.input), input.to_owned()];
                let output = std::mem::take(&mut first.output);
                let clash = Clash { output, inputs, is_folder: first.is_folder != is_folder };
                *seen = None;
                self.clashes.add(clash);
            }
            _ => {}
        }
    }

    /// The clashes that were found. Names that have disappeared since the first walk can't clash.
    pub fn clashes(self) -> Clashes {
        self.clashes
    }
}

#[cfg(test)]
mod tests;
