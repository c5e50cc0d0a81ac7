//! `completions` and `man`: what packages install beside the binary, made from the one grammar.

use clap_complete::Shell;

use super::output::print;
use crate::error::{Code, Exit, UserError};

/// Shown at the top of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  batchpipe completions bash > /etc/bash_completion.d/batchpipe
  batchpipe completions zsh > \"${fpath[1]}/_batchpipe\"";

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command to print the page of; without a command, the page of batchpipe itself
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// Prints completions.
pub fn run(args: &Args) -> Result<Exit, UserError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::grammar(), "batchpipe", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Prints a manual page.
pub fn man(args: &ManArgs) -> Result<Exit, UserError> {
    let mut grammar = super::grammar();
    grammar.build();
    let command = match &args.command {
        None => grammar,
        Some(name) => {
            let unknown = || {
                let cause = "no command has this name";
                UserError::usage(
                    Code::CommandLine,
                    format!("unknown command {name:?}"),
                    cause,
                    "see them:  batchpipe --help",
                )
            };
            grammar.find_subcommand(name).cloned().ok_or_else(unknown)?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(|error| {
        UserError::new(Code::StdoutFailed, "cannot write the manual page", error.to_string(), "repeat the command")
    })?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
