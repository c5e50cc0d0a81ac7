//! The order of the rooms: ARCHITECTURE.md draws it, and this test holds the code to it.
//!
//! The first map of ARCHITECTURE.md lists the entries of `src/` from the roof to the ground. Code in a room may name
//! the rooms below it, and no room above. This test reads every path that begins with `crate::` in the code of `src/`,
//! not only those in `use` declarations. Comments and strings do not count. Nor does code under `#[cfg(test)]`: the
//! tests inside a room may use `testing`, which stands above most rooms.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::code::{code, is_word, sources};

/// A person can keep about so many names in view; more would need a second level.
const MOST_ENTRIES: usize = 20;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The entries of `src/` as the map names them, from the roof to the ground. `main.rs` and `lib.rs` are among them.
fn map() -> Vec<String> {
    let house = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = house.split("```text\nsrc/\n").nth(1).expect("a map of src/").split("```").next().unwrap();
    let entry = |line: &str| Some(line.trim_start_matches(['├', '└', '─', ' ']).split_whitespace().next()?.to_owned());
    map.lines().filter_map(entry).collect()
}

/// The name of a room: `stages/` and `pipeline.rs` are the rooms `stages` and `pipeline`.
fn room(entry: &str) -> &str {
    entry.trim_end_matches('/').trim_end_matches(".rs")
}

/// Every room with its floor: 0 is the ground.
fn floors() -> BTreeMap<String, usize> {
    let rooms = map().into_iter().filter(|entry| entry != "main.rs" && entry != "lib.rs");
    let rooms: Vec<String> = rooms.map(|entry| room(&entry).to_owned()).collect();
    rooms.into_iter().rev().zip(0..).collect()
}

/// The end of the item that begins at `from`: after its semicolon, or after the brace that closes it.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Takes what is under `#[cfg(test)]` out of `code`, and names the modules that are declared so.
fn without_tests(mut code: String) -> (String, Vec<String>) {
    let mut modules = Vec::new();
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = item_end(&code, start);
        let item = code[start..end].to_owned();
        if let Some(module) = item.split("mod ").nth(1).and_then(|rest| rest.trim_end().strip_suffix(';')) {
            modules.push(module.to_owned());
        }
        let blank: String = item.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    (code, modules)
}

/// The first names after each `crate::`, with their lines: several where braces follow.
fn named(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let line = 1 + code[..at].matches('\n').count();
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        match rest.strip_prefix('{') {
            None => found.push((line, word(rest))),
            Some(group) => {
                let mut depth = 0;
                let ends = |letter: char| {
                    depth += i32::from(letter == '{') - i32::from(letter == '}');
                    depth < 0
                };
                let group = group.split(ends).next().unwrap_or_default();
                let mut depth = 0;
                let parts = group.split(|letter: char| {
                    depth += i32::from(letter == '{') - i32::from(letter == '}');
                    depth == 0 && letter == ','
                });
                found.extend(parts.map(|part| (line, word(part.trim()))).filter(|(_, word)| !word.is_empty()));
            }
        }
    }
    found
}

/// The code of `src/` without its tests, by its path below `src/`.
fn house() -> BTreeMap<String, String> {
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut house = BTreeMap::new();
    let mut tests = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let (code, modules) = without_tests(code(&text));
        let folder = path.parent().unwrap();
        for module in modules {
            // A module of tests is a file or a folder; `#[path]` names it otherwise.
            tests.push(folder.join(format!("{module}.rs")));
            tests.push(folder.join(&module));
            tests.push(folder.join(format!("{}_{module}.rs", path.file_stem().unwrap().to_string_lossy())));
        }
        house.insert(path, code);
    }
    house.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
    house.into_iter().map(|(path, code)| (path.strip_prefix(&src).unwrap().display().to_string(), code)).collect()
}

/// What breaks the order, one line each.
fn broken(house: &BTreeMap<String, String>, floors: &BTreeMap<String, usize>) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, code) in house {
        let here = room(path.split('/').next().unwrap());
        if here == "main" || here == "lib" {
            continue;
        }
        for (line, there) in named(code) {
            match (floors.get(here), floors.get(&there)) {
                (None, _) => broken.push(format!("src/{path}: the map has no room {here:?}")),
                (_, None) => broken.push(format!("src/{path}:{line}: crate::{there} is no room")),
                (Some(own), Some(other)) if other > own => {
                    broken.push(format!("src/{path}:{line}: {here} uses {there}, which stands above it"));
                }
                _ => {}
            }
        }
        // `super` may climb within its room, not out of it.
        let levels = path.trim_end_matches("/mod.rs").split('/').count();
        let climb = "super::".repeat(levels);
        if code.contains(&climb) {
            broken.push(format!("src/{path}: {climb} leaves the room; write crate::"));
        }
    }
    broken
}

#[test]
fn no_room_uses_one_above_it() {
    let broken = broken(&house(), &floors());
    assert!(broken.is_empty(), "{} break the order of ARCHITECTURE.md:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn the_map_names_every_entry_of_src_and_no_other_and_they_are_few() {
    let mut entries: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| entry.file_name().into_string().unwrap() + if entry.path().is_dir() { "/" } else { "" })
        .collect();
    let mut named = map();
    entries.sort();
    named.sort();
    assert_eq!(entries, named);
    assert!(entries.len() <= MOST_ENTRIES, "{} entries: give some a common room", entries.len());
}

#[test]
fn an_import_upwards_is_found_wherever_it_stands_and_comments_strings_and_tests_are_not_code() {
    let floors: BTreeMap<String, usize> = [("low".to_owned(), 0), ("high".to_owned(), 1)].into();
    let look = |text: &str| {
        let (code, _) = without_tests(code(text));
        broken(&[("low/mod.rs".to_owned(), code)].into(), &floors).len()
    };
    for up in [
        "use crate::high::Thing;",
        "use crate::{low::Other, high};",
        "fn f() { crate::high::g(\"x\") }",
        "impl crate::high::Trait for u8 {}",
        "fn f(a: &'static str, b: char) -> bool { b == '\"' && crate::high::g(a) }",
        "use crate::attic::Thing;",
        "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::high::Thing;",
        "fn f() { super::g() }",
    ] {
        assert_eq!(look(up), 1, "{up}");
    }
    for well in [
        "use crate::low::Thing;",
        "//! See crate::high::Thing.\n/* crate::high */ fn f() {}",
        "fn f() -> &'static str { \"crate::high::g()\" }",
        "fn f() -> &'static str { r#\"a \" crate::high::g()\"# }",
        "#[cfg(test)]\nmod tests { use crate::high::Thing; fn f() { crate::high::g() } }",
        "#[cfg(test)]\nuse crate::high::Thing;",
        "pub(crate) fn f(macrocrate: u8) {}",
    ] {
        assert_eq!(look(well), 0, "{well}");
    }
}
