//! Reads the sources as text: which files there are, and what in a file is code.
//!
//! A parser would know more, but it would be a dependency of all tests. The tests here need only braces, commas and
//! names, so it is enough to blank out what is not code.

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files below `folder`.
pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Rust code with blanks in the place of comments, strings and characters, so that lines keep their numbers.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let long = if rest.starts_with(b"//") {
            find(rest, b"\n").unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            find(rest, b"*/").map_or(rest.len(), |end| end + 2)
        } else if rest[0] == b'r' && !(at > 0 && is_word(bytes[at - 1])) && raw(rest).is_some() {
            raw(rest).unwrap()
        } else if rest[0] == b'"' {
            quoted(rest)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            at += 1;
            continue;
        };
        for byte in &mut code[at..at + long] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += long;
    }
    String::from_utf8(code).expect("whole characters were replaced")
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The length of a raw string that begins here.
fn raw(text: &[u8]) -> Option<usize> {
    let hashes = text[1..].iter().take_while(|byte| **byte == b'#').count();
    if text.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
    Some(2 + hashes + find(&text[2 + hashes..], &close)? + close.len())
}

fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The length of a character literal that begins here; 1 for a lifetime.
fn character(text: &[u8]) -> usize {
    if text.get(1) == Some(&b'\\') {
        return 2 + find(&text[3..], b"'").map_or(0, |end| end + 2);
    }
    let end = find(&text[1..text.len().min(6)], b"'");
    end.filter(|end| std::str::from_utf8(&text[1..1 + end]).is_ok_and(|inside| inside.chars().count() == 1))
        .map_or(1, |end| end + 2)
}
