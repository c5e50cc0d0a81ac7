//! A mistake in the command line, in our form: what, cause, help. clap's own texts are never shown.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Parsed;
use crate::config::values::nearest;
use crate::error::{Code, UserError};

/// clap's complaint as our own; help and version are no complaints.
pub(super) fn translate(error: &clap::Error, grammar: &mut clap::Command) -> Result<Parsed, UserError> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        Some(ContextValue::StyledStr(text)) => text.to_string(),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    let name = argument.split([' ', '=']).next().unwrap_or("").to_owned();
    let value = text(ContextKind::InvalidValue);
    let see_help = "see what there is:  batchpipe --help".to_owned();
    let wrong = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Ok(Parsed::Text(error.to_string())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Ok(Parsed::Hint(error.to_string())),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let (cause, help) = unknown_option(&name, &text(ContextKind::SuggestedArg), grammar);
            UserError::usage(Code::CommandLine, format!("unknown option {}", name.escape_debug()), cause, help)
        }
        ErrorKind::UnknownArgument => UserError::usage(
            Code::CommandLine,
            format!("unexpected argument {argument:?}"),
            "there is no place for it here",
            format!("a program and its arguments come after --, such as  -- {}", argument.escape_debug()),
        ),
        ErrorKind::InvalidSubcommand => {
            let command = text(ContextKind::InvalidSubcommand);
            let names = grammar.get_subcommands().map(clap::Command::get_name);
            let suggested = text(ContextKind::SuggestedSubcommand);
            let help = match suggested.split(' ').find(|word| !word.is_empty()).or(nearest(&command, names)) {
                Some(name) => format!("did you mean {name}?"),
                None => see_help,
            };
            UserError::usage(
                Code::CommandLine,
                format!("unknown command {command:?}"),
                "no command has this name",
                help,
            )
        }
        ErrorKind::MissingSubcommand => {
            UserError::usage(Code::CommandLine, "the command is missing", "options alone do nothing", see_help)
        }
        ErrorKind::MissingRequiredArgument => UserError::usage(
            Code::CommandLine,
            format!("{} is missing", argument.trim_start_matches('<').replace(['<', '>'], "")),
            "the command can't do without it",
            usage_line(error),
        ),
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg);
            let what = match other.split(' ').next() {
                Some(other) if !other.is_empty() && other != name => {
                    format!("{name} and {other} can't be given together")
                }
                _ => format!("{name} is given twice"),
            };
            UserError::usage(Code::CommandLine, what, "it has one value", "leave one of them out")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if !value.is_empty() => {
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(texts)) => texts.join(", "),
                _ => String::new(),
            };
            let help = match valid.as_str() {
                "" => usage_line(error),
                valid => format!("give one of {valid}"),
            };
            UserError::usage(
                Code::CommandLine,
                format!("{name} can't be {value:?}"),
                "it is not a value of the right kind",
                help,
            )
        }
        ErrorKind::InvalidUtf8 => UserError::usage(
            Code::CommandLine,
            "an argument is not UTF-8",
            "keys and options are texts",
            "check the locale and the file names; list odd names in a file and give  @FILE",
        ),
        ErrorKind::TooManyValues => UserError::usage(
            Code::CommandLine,
            format!("{name} takes no value"),
            "it is on or off",
            format!("write  {name}  alone"),
        ),
        _ => UserError::usage(
            Code::CommandLine,
            format!("{name} needs a value"),
            "nothing follows it",
            usage_line(error),
        ),
    };
    Err(wrong)
}

/// What to say of an option that the command does not have.
fn unknown_option(name: &str, suggested: &str, grammar: &clap::Command) -> (&'static str, String) {
    let longs = |command: &clap::Command| -> Vec<String> {
        command.get_arguments().filter_map(clap::Arg::get_long).map(str::to_owned).collect()
    };
    let bare = name.trim_start_matches('-');
    let owners: Vec<&str> = grammar
        .get_subcommands()
        .filter(|command| longs(command).iter().any(|long| long == bare))
        .map(clap::Command::get_name)
        .collect();
    if !owners.is_empty() {
        return ("this command does not have it", format!("it belongs to  batchpipe {}", owners.join(", batchpipe ")));
    }
    let mut known = longs(grammar);
    grammar.get_subcommands().for_each(|command| known.extend(longs(command)));
    let cause = "no option has this name";
    // Who stops in the middle of a word means that word, whatever else is like it.
    let begun = known.iter().filter(|word| bare.len() > 1 && word.starts_with(bare)).min_by_key(|word| word.len());
    let suggestion = begun.map_or(suggested.trim_start_matches('-'), String::as_str);
    match Some(suggestion).filter(|word| !word.is_empty()).or(nearest(bare, known.iter().map(String::as_str))) {
        Some(word) => (cause, format!("did you mean --{word}?")),
        None => (cause, "see what there is:  batchpipe --help ; a program's own options come after --".to_owned()),
    }
}

/// The usage that clap would show, in one line.
fn usage_line(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let line = usage.lines().next().unwrap_or("").trim_start_matches("Usage:").trim();
    if line.is_empty() { "see  batchpipe --help".to_owned() } else { format!("usage:  {line}") }
}
