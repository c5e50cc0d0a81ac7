//! `explain`: what an error code means, or how a worker would interpret a message.

use std::fs::File;
use std::io::{self, Read};

use super::Context;
use super::output::{escaped, event, print};
use crate::config::values;
use crate::error::codes;
use crate::error::{Code, Exit, UserError};
use crate::job::message::{Rules, understand};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe explain BP303
  batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a.jpg\"}'
  batchpipe explain @message.json";

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An error code (BP303), the text of a message, @FILE, or - for stdin
    #[arg(value_name = "CODE|MESSAGE")]
    what: String,
}

/// The longest text worth explaining: four times what SQS takes in a message, for pretty-printing grows it.
const LONGEST: u64 = 4 << 20;

/// Explains it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, UserError> {
    if let Some(number) = codes::number(&args.what) {
        let code = Code::from_number(number).ok_or_else(|| unknown(&format!("BP{number:03}")))?;
        return explain_code(code, context.global.json);
    }
    let unreadable = |error: io::Error| {
        UserError::usage(Code::CommandLine, "cannot read the message", error.to_string(), "give its text, @FILE or -")
    };
    let text = match args.what.strip_prefix('@') {
        Some(path) => read(&mut File::open(path).map_err(unreadable)?),
        None if args.what == "-" => read(&mut io::stdin().lock()),
        None => Ok(args.what.clone()),
    };
    let text = text.map_err(unreadable)?;
    if let Some(word) = looks_like_code(&text) {
        return Err(unknown(word));
    }
    let understood = understand(&text, &Rules::default());
    if context.global.json {
        let fields = serde_json::to_value(&understood).unwrap_or_default();
        event("message", fields)?;
    } else {
        print(&understood.to_string())?;
    }
    Ok(if understood.is_refused() { Exit::Failed } else { Exit::Done })
}

fn explain_code(code: Code, json: bool) -> Result<Exit, UserError> {
    let page = codes::page(code);
    if json {
        let fields = serde_json::json!({
            "code": page.code.to_string(), "title": page.title, "meaning": page.meaning,
            "why": page.why, "fix": page.fix, "example": page.example,
        });
        event("code", fields)?;
    } else {
        print(&page.to_string())?;
    }
    Ok(Exit::Done)
}

fn read(from: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LONGEST).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Whether somebody meant a code and mistyped it: no message begins with BP.
fn looks_like_code(text: &str) -> Option<&str> {
    let word = text.trim();
    (word.len() <= 8 && word.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("BP"))).then_some(word)
}

fn unknown(code: &str) -> UserError {
    let cause = "there is no page of this number";
    UserError::usage(Code::CommandLine, format!("unknown code {}", escaped(code)), cause, nearest_code(code))
}

fn nearest_code(word: &str) -> String {
    let known: Vec<String> = codes::all().map(|page| page.code.to_string()).collect();
    match values::nearest(&word.to_ascii_uppercase(), known.iter().map(String::as_str)) {
        Some(code) if word.len() > 3 => format!("codes are BP and three digits; did you mean {code}?"),
        _ => "codes are BP and three digits, as in error texts and dead letters".to_owned(),
    }
}
