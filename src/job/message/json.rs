//! JSON as a tree that keeps everything for which a message may be refused: repeated fields stay visible.
//!
//! `serde_json::Value` silently keeps the last of two equal fields, and two readers that keep different ones see two
//! different jobs. Derived structs detect a repeated field, but report it only as text and can't tell which format
//! they read. Two bounds hold for any input: serde_json's own 128 levels of nesting, and [`MAX_VALUES`].

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Wrapping;
use super::checks::{malformed, quote};
use crate::error::{Code, JobError};

/// The most JSON values in one text. An S3 event has about 40 for each record and a queue accepts 1 MiB of text, so
/// there is room for some 1500 records; without a limit `[0],[0],…` grows to 40 times its size in memory.
const MAX_VALUES: usize = 1 << 16;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `null`, `true`, `false`, and numbers that are not whole or are negative: no format uses them.
    Other,
    /// A whole number, not negative.
    Number(u64),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// An object as it was written: in order, including repeated fields.
    Object(Vec<(String, Self)>),
}

/// Reads a text that contains one JSON value and nothing else.
pub(super) fn read(text: &str, wrapping: &[Wrapping]) -> Result<Node, JobError> {
    let room = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_str(text);
    Tree { room: &room }
        .deserialize(&mut reader)
        .and_then(|node| reader.end().map(|()| node))
        .map_err(|error| not_a_job(error.line(), error.column(), wrapping))
}

/// The error for a text that is not a JSON object, or has no known shape.
pub(super) fn not_a_job(line: usize, column: usize, wrapping: &[Wrapping]) -> JobError {
    let inside = wrapping.last().map(|outer| format!(" of the {}", outer.inner())).unwrap_or_default();
    let (line, column) = (line.max(1), column.max(1));
    malformed(
        Code::NotAJob,
        format!("message is not a job: expected a JSON object (line {line}, column {column}{inside})"),
    )
}

/// Builds a [`Node`] while the limit on values allows it.
#[derive(Clone, Copy)]
struct Tree<'a> {
    room: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        let left = self.room.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.room.set(left);
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(name) = fields.next_key::<String>()? {
            object.push((name, fields.next_value_seed(self)?));
        }
        Ok(Node::Object(object))
    }
}

/// The fields of an object without repeated fields. `path` names the object in errors about its fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    fields: &'a [(String, Node)],
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The fields of `object`; a repeated field is refused, because readers disagree on which of the two counts.
    pub(super) fn new(object: &'a [(String, Node)], path: &'a str) -> Result<Self, JobError> {
        let mut seen = HashSet::new();
        match object.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            Some((name, _)) => {
                Err(malformed(Code::RepeatedField, format!("duplicate field {}", quote(&format!("{path}{name}")))))
            }
            None => Ok(Self { fields: object, path }),
        }
    }

    /// The value of a field, if it exists.
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, node)| node)
    }

    /// The names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// The text of a field, if it exists and is a text.
    pub(super) fn peek(&self, name: &str) -> Option<&'a str> {
        match self.get(name) {
            Some(Node::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// An optional text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, JobError> {
        match self.get(name) {
            None => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "expected a string")),
        }
    }

    /// An optional whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, JobError> {
        match self.get(name) {
            None => Ok(None),
            Some(Node::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(self.wrong(name, "expected a whole number")),
        }
    }

    /// A required text.
    pub(super) fn needed(&self, name: &str) -> Result<&'a str, JobError> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A required object. `path` is its own path, with a dot at the end.
    pub(super) fn object(&self, name: &str, path: &'a str) -> Result<Self, JobError> {
        match self.get(name) {
            None => Err(self.missing(name)),
            Some(Node::Object(object)) => Self::new(object, path),
            Some(_) => Err(self.wrong(name, "expected an object")),
        }
    }

    /// The error for a field with a wrong value.
    pub(super) fn wrong(&self, name: &str, expected: &str) -> JobError {
        malformed(Code::BadField, format!("field {}: {expected}", quote(&format!("{}{name}", self.path))))
    }

    /// The error for a missing field.
    pub(super) fn missing(&self, name: &str) -> JobError {
        malformed(Code::BadField, format!("missing field {}", quote(&format!("{}{name}", self.path))))
    }
}
