//! The names of a list that can be read only once, such as standard input. Each name is checked when it is read, so
//! that the second of two names with the same output is left out before it does harm.
//!
//! Bounded by the length of the list: some 50 bytes for each name, as in a journal that is read again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::{Digest, Naming};

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No earlier name has its output.
    New,
    /// The same file was named before.
    Again,
    /// Another name has its output: the name with this number, counted from 1.
    Taken(u64),
}

/// The outputs so far.
#[derive(Debug)]
pub struct Once {
    naming: Naming,
    /// If only some outputs can occur again, only those are kept.
    only: Option<HashSet<Digest>>,
    first: HashMap<Digest, (u32, u32)>,
    count: u64,
}

impl Once {
    /// An empty list; any output may occur again, or only those in `only`.
    pub fn new(naming: Naming, only: Option<HashSet<Digest>>) -> Self {
        Self { naming, only, first: HashMap::new(), count: 0 }
    }

    /// How names become outputs.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Adds the next name and its location: names with the same location are the same file.
    pub fn meet(&mut self, name: &str, place: &str) -> Seen {
        self.count += 1;
        let key = self.naming.key(&self.naming.output(name));
        if self.only.as_ref().is_some_and(|only| !only.contains(&key)) {
            return Seen::New;
        }
        // A quarter of a digest is enough, because only the locations of equal outputs are compared.
        let [a, b, c, d, ..] = Naming::default().key(place);
        let place = u32::from_be_bytes([a, b, c, d]);
        match self.first.entry(key) {
            Entry::Vacant(free) => {
                free.insert((u32::try_from(self.count).unwrap_or(u32::MAX), place));
                Seen::New
            }
            Entry::Occupied(first) if first.get().1 == place => Seen::Again,
            Entry::Occupied(first) => Seen::Taken(first.get().0.into()),
        }
    }
}
