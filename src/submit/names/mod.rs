//! Two inputs, one output: found before the first job, where the list of inputs is known.
//!
//! An output's name is a function of its input's. Where that only adds to a name no two of them can meet, and nothing
//! is done. Where it takes something off (`decompress` makes `a.csv` of `a.csv.gz` and of `a.csv.zst`), or where a file
//! system takes two names for one, the second job would replace the output of the first, and both would be told as
//! done. In a directory, too, an output can't have the name of a folder in which another is (`a` and `a/b`; in S3 both
//! can be).
//!
//! Found in two walks: the first sorts digests of the outputs (`sorted.rs`), so that ten million names take little
//! memory; the second, made only if two are equal, gives the culprits their names ([`Culprits`]). A list that can be
//! read only once has its digests in memory instead ([`Once`]).

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

/// Clashes that are told by name; there may be as many as files.
const TOLD: usize = 3;

/// How inputs' names become outputs'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// What is done to the end of a name.
    pub suffix: Suffix,
    /// Whether outputs are files in a directory, where a name is a file's or a folder's.
    pub in_directory: bool,
    /// Whether that directory takes `A` and `a` for one name ([`folds`]).
    pub folds: bool,
}

impl Naming {
    /// Whether two different names can have one output. `is_tree` says that no input's name is another's folder, as it
    /// is when they are files below a directory; a suffix that is added may still make such outputs
    /// ([`Naming::folder_that_is_an_output`]).
    pub fn can_meet(&self, is_tree: bool) -> bool {
        !self.suffix.strip.is_empty() || self.folds || (self.in_directory && !is_tree)
    }

    /// The output of `name`, below wherever outputs are.
    pub fn output(&self, name: &str) -> String {
        self.suffix.apply(name)
    }

    /// What the output is known by, so that equal ones are one file.
    fn key(&self, output: &str) -> Digest {
        let folded = if self.folds { fold::folded(output) } else { output.to_owned() };
        let whole = sha2::Sha256::digest(folded);
        let mut half = Digest::default();
        half.copy_from_slice(&whole[..16]);
        half[15] &= !FOLDER;
        half
    }

    /// Where names only get a suffix and the inputs are files below a directory, the one way to clash: a folder whose
    /// name ends in the suffix (`a.zst/`) beside the file that has the rest of its name (`a`). Returns that file's name
    /// for the folders that `name` is in and `before`, the name before it, is not.
    pub fn folder_that_is_an_output<'a>(&self, name: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        let suffix = if self.in_directory { self.suffix.append.clone() } else { String::new() };
        let fresh = folders(name).filter(move |folder| !folders(before).any(|other| other == *folder));
        fresh.filter_map(move |folder| {
            let stem = folder.strip_suffix(suffix.as_str())?;
            (!suffix.is_empty() && !stem.is_empty() && !stem.ends_with('/')).then_some(stem)
        })
    }
}

/// The bit of a digest that tells a folder from a file. It is the last one, so that both come one after the other.
const FOLDER: u8 = 1;

/// The folders that a name is in, the outermost first.
fn folders(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(slash, _)| &name[..slash]).filter(|folder| !folder.is_empty())
}

/// Outputs that are collected, to see whether any two are one.
#[derive(Debug)]
pub struct Names {
    naming: Naming,
    sorted: Sorted,
    /// The output before, whose folders are known already.
    before: String,
}

impl Names {
    /// None yet. What does not fit in memory goes to a nameless file in `folder`.
    pub fn new(naming: Naming, folder: &Path) -> Self {
        Self { naming, sorted: Sorted::new(folder), before: String::new() }
    }

    /// The output of one more input.
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

    /// Whatever is the output of two inputs, or of one and a folder of another; usually nothing.
    pub fn shared(self) -> io::Result<Culprits> {
        let mut merged = self.sorted.merged()?;
        let mut shared = HashSet::new();
        let (mut last, mut is_file) = (None, false);
        while let Some(mut key) = merged.next()? {
            let folder = key[15] & FOLDER != 0;
            key[15] &= !FOLDER;
            // Files come before folders, and two folders of one name are one.
            if last == Some(key) && is_file {
                shared.insert(key);
            }
            is_file = !folder;
            last = Some(key);
        }
        Ok(Culprits { naming: self.naming, shared, first: HashMap::new(), clashes: Clashes::default() })
    }
}

/// Two inputs of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The output, as the first of them would name it.
    pub output: String,
    /// Where the two inputs are.
    pub inputs: [String; 2],
    /// Whether it is a file for one and a folder for the other.
    pub is_folder: bool,
}

/// All that clash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clashes {
    /// The first few.
    pub told: Vec<Clash>,
    /// How many there are.
    pub count: u64,
    /// What was named twice and is one file: no clash, but to be done once.
    pub twice: HashSet<Digest>,
    /// How often such a file was named again.
    pub again: u64,
}

impl Clashes {
    /// One more.
    pub fn add(&mut self, clash: Clash) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(clash);
        }
    }
}

/// Finds the names behind digests that are equal, in a second walk over the inputs.
#[derive(Debug)]
pub struct Culprits {
    naming: Naming,
    shared: HashSet<Digest>,
    /// The first input of each, until it has met another.
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
    /// Whether there are none, so that nobody need walk again.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// One of the inputs, and where it is: what is in one place is one input.
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

    /// What was found. Names that have gone since the first walk are in nobody's way.
    pub fn clashes(self) -> Clashes {
        self.clashes
    }
}

#[cfg(test)]
mod tests;
