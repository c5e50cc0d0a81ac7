//! What the documents say must be there: files that are linked, tests that are named, codes of exit.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/benchmarks.md",
    "docs/deploy.md",
    "docs/metrics.md",
    "docs/reliability.md",
    "docs/scaling.md",
    "docs/tuning.md",
];

fn read(name: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents by name, and the records of decisions.
fn documents() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
    let records = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let records = records.map(|name| format!("docs/decisions/{name}"));
    DOCUMENTS.into_iter().map(str::to_owned).chain(records).collect()
}

/// The links of a document, as text and target.
fn links(document: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = document;
    while let Some(middle) = rest.find("](") {
        let text = rest[..middle].rfind('[').map_or("", |start| &rest[start + 1..middle]);
        let end = rest[middle..].find(')').map_or(rest.len(), |end| middle + end);
        found.push((text.to_owned(), rest[middle + 2..end].to_owned()));
        rest = &rest[end..];
    }
    found
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for name in documents() {
        let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
        for (text, target) in links(&read(&name)) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
            assert!(path.exists(), "{name}: [{text}]({target})");
        }
    }
}

#[test]
fn every_guarantee_is_linked_to_a_test_of_that_name() {
    let readme = read("README.md");
    let named: Vec<_> = links(&readme).into_iter().filter(|(text, _)| text.starts_with('`')).collect();
    assert!(named.len() >= 15, "{}", named.len());
    for (text, file) in named {
        let test = format!("fn {}(", text.trim_matches('`'));
        assert!(read(&file).contains(&test), "{file} has no {test}");
    }
}

#[test]
fn the_front_page_tells_every_exit_code() {
    let source = read("src/error/user.rs");
    let readme = read("README.md");
    let section = readme.split("## Exit codes").nth(1).unwrap().split("##").next().unwrap();
    let codes = source.split("pub enum Exit {").nth(1).unwrap().split('}').next().unwrap();
    for code in codes.lines().filter_map(|line| line.trim().strip_suffix(',')?.split(" = ").nth(1)) {
        assert!(section.contains(&format!("{code} ")), "exit code {code} is not in {section}");
    }
}

#[test]
fn the_map_of_the_house_names_every_room() {
    let house = read("ARCHITECTURE.md");
    let maps: Vec<&str> = house.split("```").skip(1).step_by(2).collect();
    for (map, floor) in maps.iter().zip(["src", "tests"]) {
        assert!(map.contains(&format!("\n{floor}/\n")), "the maps of ARCHITECTURE.md are not those of src/ and tests/");
        let named: Vec<&str> =
            map.split(|letter: char| !(letter.is_alphanumeric() || "_./".contains(letter))).collect();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(floor)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let name = if entry.path().is_dir() { name + "/" } else { name };
            assert!(named.contains(&name.as_str()), "ARCHITECTURE.md does not name {floor}/{name}");
        }
    }
    assert_eq!(maps.len(), 2);
}
