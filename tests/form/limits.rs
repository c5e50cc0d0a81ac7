//! The limits of form that CONTRIBUTING.md states hold, but for what is still to be split, which may only shrink.
//!
//! rustfmt leaves comments and strings alone, and Clippy has no limit on the length of a file, so this test reads the
//! sources itself. A test inside a file of `src/` counts like the code beside it, because a reader scrolls past it too.

use std::fs;
use std::path::{Path, PathBuf};

use crate::code::{code, is_word, sources};

/// What a reader keeps in mind while reading a file of the product.
const MOST_LINES: usize = 300;
/// A function fits on one screen.
const MOST_LINES_OF_A_FUNCTION: usize = 60;
/// `self` does not count. More parameters belong together in a struct with a name.
const MOST_PARAMETERS: usize = 5;
/// `max_width` of rustfmt.toml; two files fit side by side on a wide screen.
const MOST_COLUMNS: usize = 120;

/// What is over a limit and still to be split, by the name of the file or the function, with its present size. It may
/// shrink and never grow, and an entry that is no longer needed fails the test.
const TO_SPLIT: [(&str, usize); 18] = [
    ("src/cli/submit/mod.rs", 414),
    ("src/config/settings.rs", 328),
    ("src/config/values.rs", 313),
    ("src/config/working.rs", 404),
    ("src/pipeline.rs", 332),
    ("src/services/aws/classify.rs", 442),
    ("src/stages/receive/mod.rs", 331),
    ("src/submit/mod.rs", 320),
    ("src/cli/submit/mod.rs run", 80),
    ("src/cli/usage.rs translate", 95),
    ("src/config/submit.rs resolve", 95),
    ("src/config/working.rs resolve", 82),
    ("src/error/codes/mod.rs text", 79),
    ("src/services/aws/classify.rs by_code", 74),
    ("src/stages/receive/mod.rs poll", 110),
    ("src/cli/assemble.rs pipeline()", 6),
    ("src/stages/receive/dispatch.rs deliver()", 6),
    ("src/worker/mod.rs join()", 7),
];

/// A function with its first line, the lines from `fn` to its closing brace, and its parameters without `self`.
struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
}

/// Where the bracket that opens at `from` closes. In `code` there are no brackets in strings or comments.
fn close(code: &[u8], from: usize) -> Option<usize> {
    let (open, end) = match code[from] {
        b'(' => (b'(', b')'),
        b'{' => (b'{', b'}'),
        _ => (b'<', b'>'),
    };
    let mut depth = 0;
    for at in from..code.len() {
        if code[at] == open {
            depth += 1;
        } else if code[at] == end && !is_arrow(code, at) {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

fn is_arrow(code: &[u8], at: usize) -> bool {
    code[at] == b'>' && at > 0 && matches!(code[at - 1], b'-' | b'=')
}

/// The parameters between two parentheses, without `self`.
fn parameters(list: &[u8]) -> usize {
    let mut depth = 0;
    let mut parts = vec![Vec::new()];
    for (at, &byte) in list.iter().enumerate() {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'>' if !is_arrow(list, at) => depth -= 1,
            b',' if depth == 0 => {
                parts.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    let is_self = |part: &str| {
        let name = part.split(':').next().unwrap_or_default().trim();
        name.split([' ', '&']).next_back() == Some("self")
    };
    let parts = parts.into_iter().map(|part| String::from_utf8_lossy(&part).trim().to_owned());
    parts.filter(|part| !part.is_empty() && !is_self(part)).count()
}

/// Every function of a file that has a name, whether it has a body or not.
fn functions(text: &str) -> Vec<Function> {
    let code = code(text);
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(bytes[at - 1]) {
            continue;
        }
        let name: String =
            code[at + 3..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        let mut next = at + 3 + name.len();
        if bytes.get(next) == Some(&b'<') {
            next = close(bytes, next).expect("generics end") + 1;
        }
        if name.is_empty() || bytes.get(next) != Some(&b'(') {
            continue;
        }
        let end = close(bytes, next).expect("parameters end");
        let mut last = end;
        let mut depth = 0;
        while last < bytes.len() && (depth > 0 || !matches!(bytes[last], b'{' | b';')) {
            depth += i32::from(bytes[last] == b'[') - i32::from(bytes[last] == b']');
            last += 1;
        }
        if bytes.get(last) == Some(&b'{') {
            last = close(bytes, last).expect("a body ends");
        }
        let line = 1 + code[..at].matches('\n').count();
        let lines = 1 + code[at..last.min(code.len())].matches('\n').count();
        found.push(Function { name, line, lines, parameters: parameters(&bytes[next + 1..end]) });
    }
    found
}

fn long_lines(text: &str) -> Vec<(usize, usize)> {
    let widths = text.lines().map(|line| line.chars().count());
    (1..).zip(widths).filter(|(_, width)| *width > MOST_COLUMNS).collect()
}

/// The files with these endings below these folders, with the path that a reader knows.
fn texts(folders: &[&str]) -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        sources(&root.join(folder), &mut files);
    }
    files.sort();
    let name = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
    files.into_iter().map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// Whether a size is within its limit, or is that of what is still to be split.
fn fits(name: &str, size: usize, most: usize) -> bool {
    let listed = TO_SPLIT.iter().find(|(listed, _)| *listed == name);
    size <= listed.map_or(most, |(_, over)| *over)
}

fn holds(broken: Vec<String>) {
    assert!(broken.is_empty(), "{} places break a limit of CONTRIBUTING.md:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn no_file_of_the_product_is_longer_than_a_reader_keeps_in_mind() {
    let files = texts(&["src"]).into_iter().map(|(path, text)| (path, text.lines().count()));
    let long = files.filter(|(path, lines)| !fits(path, *lines, MOST_LINES));
    holds(long.map(|(path, lines)| format!("{path}: {lines} lines, at most {MOST_LINES}")).collect());
}

#[test]
fn every_function_fits_on_a_screen_and_takes_few_parameters() {
    let mut broken = Vec::new();
    for (path, text) in texts(&["src", "benches", "examples"]) {
        for Function { name, line, lines, parameters } in functions(&text) {
            let whole = format!("{path} {name}");
            if !fits(&whole, lines, MOST_LINES_OF_A_FUNCTION) {
                broken.push(format!("{path}:{line}: {name} has {lines} lines, at most {MOST_LINES_OF_A_FUNCTION}"));
            }
            if !fits(&format!("{whole}()"), parameters, MOST_PARAMETERS) {
                broken.push(format!("{path}:{line}: {name} has {parameters} parameters, at most {MOST_PARAMETERS}"));
            }
        }
    }
    holds(broken);
}

#[test]
fn what_is_split_is_no_longer_listed() {
    let mut sizes = Vec::new();
    for (path, text) in texts(&["src"]) {
        for Function { name, lines, parameters, .. } in functions(&text) {
            sizes.push((format!("{path} {name}()"), parameters, MOST_PARAMETERS));
            sizes.push((format!("{path} {name}"), lines, MOST_LINES_OF_A_FUNCTION));
        }
        sizes.push((path, text.lines().count(), MOST_LINES));
    }
    for (listed, _) in TO_SPLIT {
        let is_over = |(name, size, most): &(String, usize, usize)| name == listed && size > most;
        assert!(sizes.iter().any(is_over), "{listed} no longer is over its limit: take it out of TO_SPLIT");
    }
}

#[test]
fn no_line_is_wider_than_the_limit_be_it_code_or_comment_or_text() {
    let mut broken = Vec::new();
    for (path, text) in texts(&["src", "tests", "benches", "examples", "fuzz/targets"]) {
        broken.extend(
            long_lines(&text)
                .into_iter()
                .map(|(line, width)| format!("{path}:{line}: {width} columns, at most {MOST_COLUMNS}")),
        );
    }
    holds(broken);
}

#[test]
fn the_limits_are_those_that_contributing_states() {
    let rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md")).unwrap();
    let rules = rules.split_whitespace().collect::<Vec<_>>().join(" ");
    for stated in [
        format!("at most {MOST_LINES} lines"),
        format!("at most {MOST_LINES_OF_A_FUNCTION} lines"),
        format!("at most {MOST_PARAMETERS} parameters"),
        format!("at most {MOST_COLUMNS} columns"),
    ] {
        assert!(rules.contains(&stated), "CONTRIBUTING.md does not say {stated:?}");
    }
    let format = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml")).unwrap();
    assert!(format.contains(&format!("max_width = {MOST_COLUMNS}\n")), "{format}");
}

#[test]
fn functions_and_parameters_are_counted_as_a_reader_counts_them() {
    let one = |text: &str| {
        let found = functions(text);
        assert_eq!(found.len(), 1, "{text}");
        (found[0].line, found[0].lines, found[0].parameters)
    };
    assert_eq!(one("fn f() {}"), (1, 1, 0));
    assert_eq!(one("\nfn f(\n    a: u8, // one, two\n    b: u8,\n) {\n    g(\"}\")\n}\nstruct After;"), (2, 6, 2));
    assert_eq!(
        one("fn f<T: Fn(u8, u8) -> u8>(&mut self, map: Map<u8, (u8, u8)>, of: impl Fn(u8, u8) -> u8);"),
        (1, 1, 2)
    );
    assert_eq!(one("fn f(self: Arc<Self>, &[a, b]: &[u8; 2]) -> [u8; 2] {\n}"), (1, 2, 1));
    assert_eq!(one("fn f<'a>(mut self, a: &'a str) -> Box<dyn Fn(u8, u8)> where Self: 'a {\n\n}"), (1, 3, 1));
    assert!(functions("type F = fn(u8); // fn f() {}\nconst G: &str = \"fn g() {}\"; fn_h (1)").is_empty());
    assert_eq!(long_lines(&format!("{}\n// {}\n", "é".repeat(MOST_COLUMNS), "x".repeat(MOST_COLUMNS))), [(2, 123)]);
}
