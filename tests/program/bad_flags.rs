//! Every mistake in flags, variables and files that is in `bad_flags.toml` gets its code and its first line.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The text of `batchpipe.toml`, if there is one.
    file: Option<String>,
    code: String,
    /// The first line of stderr, after `error[CODE]: `.
    line: String,
    /// A part of the `help:` line, where it matters.
    help: Option<String>,
}

#[test]
fn every_mistake_gets_its_code_its_first_line_and_exit_2() {
    let table: Table = toml::from_str(include_str!("../bad_inputs/flags.toml")).unwrap();
    assert!(table.row.len() >= 60, "{} rows", table.row.len());
    let mut wrong = Vec::new();
    for row in &table.row {
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = &row.file {
            fs::write(directory.path().join("batchpipe.toml"), text).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_batchpipe"))
            .args(&row.args)
            .env_clear()
            .env("HOME", directory.path())
            .envs(&row.env)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = stderr.lines().collect();
        let expected = format!("error[{}]: {}", row.code, row.line);
        let form = lines.len() == 3 && lines[1].starts_with("  cause: ") && lines[2].starts_with("  help:  ");
        let helps = row.help.as_ref().is_none_or(|help| lines.last().is_some_and(|line| line.contains(help)));
        let said = lines.len() == 3 && lines[1].len() > 9 && lines[2].len() > 9;
        let right = lines.first() == Some(&expected.as_str()) && form && helps && said;
        if !right || output.status.code() != Some(2) || !output.stdout.is_empty() {
            wrong.push(format!("{:?} {:?}\n  expected {expected}\n{stderr}  {}", row.args, row.env, output.status));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), table.row.len(), wrong.join("\n"));
}
