//! One page for each `BPnnn`: what it means, why it happens, what to do. `batchpipe explain BPnnn` prints it.
//!
//! The hundreds tell who is asked to act: 1xx whoever set the worker up, 2xx whoever sent the message, 3xx whoever
//! made the object, 4xx whoever wrote the processor, 5xx the machine, 6xx nobody (it settles itself), 7xx us.
//! A test holds that every number used in the sources has its page.

use std::fmt;

use crate::error::Code;

mod messages;
mod objects;
mod setup;
mod work;

/// What there is to say of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The number.
    pub code: Code,
    /// What happened, in one line.
    pub title: &'static str,
    /// What it means for the job or the worker.
    pub meaning: &'static str,
    /// Why it happens.
    pub why: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// A command to start with.
    pub example: &'static str,
}

impl Page {
    const fn new(
        code: u16,
        title: &'static str,
        meaning: &'static str,
        why: &'static str,
        fix: &'static str,
        example: &'static str,
    ) -> Self {
        Self { code: Code(code), title, meaning, why, fix, example }
    }
}

/// Every page, in the order of the numbers.
pub fn all() -> impl Iterator<Item = &'static Page> {
    [setup::PAGES, messages::PAGES, objects::PAGES, work::PAGES].into_iter().flatten()
}

/// The page of a code.
///
/// ```
/// use batchpipe::error::{Code, codes};
///
/// assert_eq!(codes::page(Code(601)).unwrap().title, "the lease of a message was lost");
/// assert!(codes::page(Code(999)).is_none());
/// ```
pub fn page(code: Code) -> Option<&'static Page> {
    all().find(|page| page.code == code)
}

/// Reads a code as people type it: `BP303`, `bp303` or `303`.
pub fn parse(text: &str) -> Option<Code> {
    let prefix = text.get(..2).filter(|start| start.eq_ignore_ascii_case("BP"));
    let digits = &text[prefix.map_or(0, str::len)..];
    let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Code)).flatten()
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.code, self.title)?;
        for (name, text) in [("means", self.meaning), ("why", self.why), ("do", self.fix)] {
            writeln!(f)?;
            for (nth, line) in wrap(text).into_iter().enumerate() {
                writeln!(f, "  {:<6} {line}", if nth == 0 { name } else { "" })?;
            }
        }
        writeln!(f, "\n  try    {}", self.example)
    }
}

/// Lines of at most 80 characters, so that a page with its margin fits a terminal of 90.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= 80 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_whole_and_in_order_and_none_is_there_twice() {
        let codes: Vec<u16> = all().map(|page| page.code.0).collect();
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
        for page in all() {
            assert!(!page.title.ends_with('.') && page.title.len() <= 80, "{page:?}");
            for text in [page.meaning, page.why, page.fix] {
                assert!(text.ends_with('.') && text.len() > 10, "{}: {text:?}", page.code);
            }
            assert!(!page.example.is_empty() && !page.example.contains('\n'), "{page:?}");
        }
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for text in ["BP303", "bp303", "303"] {
            assert_eq!(parse(text), Some(Code(303)), "{text}");
        }
        for text in ["", "B", "BP", "BP30", "BP3033", "BP+30", "é303", "BPé1", "0x1", "[303]"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_fits_a_terminal() {
        for page in all() {
            for line in page.to_string().lines() {
                assert!(line.chars().count() <= 120, "{line}");
            }
        }
    }

    /// The three digits right after each `opening` in `source`, white space aside.
    fn numbers_after(source: &str, opening: &str) -> Vec<u16> {
        let digits = |rest: &str| rest.trim_start().get(..3).and_then(|digits| digits.parse().ok());
        source.match_indices(opening).filter_map(|(at, _)| digits(&source[at + opening.len()..])).collect()
    }

    /// How a code is written in the sources, up to its number.
    const OPENINGS: [&str; 9] = [
        "BP",
        "code: ",
        "Code(",
        "usage(",
        "malformed(",
        "Wrong::new(",
        "fault(",
        "failure(kind, ",
        "ErrorKind::Failed, ",
    ];

    #[test]
    fn every_code_in_the_sources_has_its_page() {
        let mut found = 0;
        for file in walkdir::WalkDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")) {
            let file = file.unwrap();
            let path = file.path();
            if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("codes/mod.rs") {
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            for opening in OPENINGS {
                for code in numbers_after(&source, opening) {
                    assert!(page(Code(code)).is_some(), "BP{code:03} of {} has no page", path.display());
                    found += 1;
                }
            }
        }
        assert!(found > 40, "only {found} codes were found: the sources are written in another way by now");
    }
}
