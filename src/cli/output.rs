//! Results go to stdout, and only results do.
//!
//! A reader that went away (`| head`) has what it wanted: that is no failure. A full disk is one.

use std::io::{self, IsTerminal, Write};

pub use crate::error::escaped;
use crate::error::{Code, UserError};
use crate::runtime::redact::concealed;

/// Writes a result to stdout.
pub fn print(text: &str) -> Result<(), UserError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(unwritten(&error)),
        Ok(()) => Ok(()),
    }
}

fn unwritten(error: &io::Error) -> UserError {
    let help = "what was asked for is not written; give stdout some room and repeat the command";
    UserError::new(Code::StdoutFailed, "cannot write to stdout", error.to_string(), help)
}

/// Writes one event as a line of JSON.
pub fn event(kind: &str, mut fields: serde_json::Value) -> Result<(), UserError> {
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("schema".to_owned(), "batchpipe.event/1".into());
        fields.insert("type".to_owned(), kind.into());
    }
    print(&format!("{fields}\n"))
}

/// Writes talk to stderr. If even that fails there is nobody left to tell.
pub fn say(text: &str) {
    writeln!(io::stderr(), "{text}").unwrap_or(());
}

/// Writes a failure to stderr, always in its three lines, whatever others put into its words.
pub fn say_error(error: &UserError) {
    let [what, cause, help] = [&error.what, &error.cause, &error.help].map(|text| escaped(&concealed(text)));
    say(&UserError::new(error.code, what, cause, help).to_string());
}

/// The beginning of the text, escaped, at most `most` letters long.
pub fn shortened(text: &str, most: usize) -> String {
    let mut short = escaped(&text.chars().take(most).collect::<String>());
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

/// Asks that `word` be typed, unless the answer is known or nobody is there to give it.
pub fn confirm(question: &str, word: &str, global: &crate::config::Global) -> Result<(), UserError> {
    if global.yes {
        return Ok(());
    }
    let refuse = |cause: &str| {
        let what = format!("not confirmed: {question}");
        Err(UserError::usage(
            Code::NeedsYes,
            what,
            cause,
            "add  --yes  if this is what you want, or look first with  --dry-run",
        ))
    };
    if global.no_input || !io::stdin().is_terminal() {
        return refuse("it can't be undone, and there is nobody to ask");
    }
    say(&format!("{question}\nThis can't be undone. Type {word} to go on:"));
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == word => Ok(()),
        Ok(_) => refuse("something else was typed; nothing was done"),
        Err(error) => refuse(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_can_neither_move_the_cursor_nor_forge_a_line() {
        assert_eq!(escaped("a \"b\" \u{1b}[2J\nerror: \u{202e}x é"), "a \"b\" \\u{1b}[2J\\nerror: \\u{202e}x é");
        assert_eq!(shortened("abcdef", 3), "abc…");
        assert_eq!(shortened("abc", 3), "abc");
    }
}
