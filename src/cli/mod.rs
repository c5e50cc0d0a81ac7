//! The command line: its grammar, and one file for each command.
//!
//! The commands and their arguments are declared here with clap; the flags that variables and files can set too come
//! from the one table in [`crate::config::settings`]. Parsing only sorts the words. [`crate::config`] decides what they
//! mean, because it also knows the other places a value may come from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

mod assemble;
pub mod completions;
pub mod config;
pub mod dlq;
pub mod doctor;
pub mod explain;
pub mod gc;
pub mod log;
pub mod map;
pub mod output;
mod resume;
pub mod run;
pub mod service;
mod session;
pub mod status;
mod stuck;
pub mod submit;
mod survey;
mod usage;

use crate::config::settings::{self, SETTINGS, Setting, Shape};
use crate::config::{Global, Layers, MapConfig, RunConfig, SubmitConfig, Typed};
use crate::error::{Code, Exit, UserError};
use crate::observe::Screen;
use crate::runtime::machine::Machine;

/// The help begins with examples, because most readers look for an example close to their own task.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "\
Examples:
  batchpipe map ./in ./out --process zstd      (local, no account needed)
  batchpipe submit ./photos --queue jobs \\
      --input s3://acme-in/ --output s3://acme-out/
  batchpipe run --queue jobs -- convert {input} -resize 800x {output}";

/// Turns any program into a fleet that works through S3 objects from an SQS queue, and never loses a job.
#[derive(Debug, Parser)]
#[command(name = "batchpipe", version, before_help = EXAMPLES)]
#[command(help_template = TEMPLATE, disable_help_subcommand = true)]
#[command(after_help = "Settings also come from BATCHPIPE_* variables and batchpipe.toml:  batchpipe config explain")]
#[command(subcommand_required = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Configuration file to read instead of the usual ones
    #[arg(long, global = true, value_name = "FILE|none", help_heading = "Global options", hide_short_help = true)]
    config: Option<String>,
    /// Log more (-vv: even more)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// Log less (-qq: errors only)
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        help_heading = "Global options",
        hide_short_help = true
    )]
    quiet: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work through the jobs of a queue
    #[command(before_help = run::EXAMPLES, help_template = TEMPLATE)]
    Run(run::Args),
    /// Upload files and queue a job for each of them
    #[command(before_help = submit::EXAMPLES, help_template = TEMPLATE)]
    Submit(submit::Args),
    /// Process every file of a directory on this machine, without a queue service
    #[command(before_help = map::EXAMPLES, help_template = TEMPLATE)]
    Map(map::Args),
    /// Show the counts of a queue, or the progress of a batch
    #[command(before_help = status::EXAMPLES, help_template = TEMPLATE)]
    Status(status::Args),
    /// List, show, move back or delete the jobs that failed for good (dead letters)
    #[command(before_help = dlq::EXAMPLES, help_template = TEMPLATE)]
    Dlq(dlq::Args),
    /// Check credentials, queue, places and machine, and print how to repair them
    #[command(before_help = doctor::EXAMPLES, help_template = TEMPLATE)]
    Doctor(doctor::Args),
    /// Explain an error code, or what a message means
    #[command(before_help = explain::EXAMPLES, help_template = TEMPLATE)]
    Explain(explain::Args),
    /// Discard unfinished multipart uploads
    #[command(before_help = gc::EXAMPLES, help_template = TEMPLATE)]
    Gc(gc::Args),
    /// Show each setting and where its value comes from
    Config(config::Args),
    /// Print completions for a shell
    #[command(before_help = completions::EXAMPLES, help_template = TEMPLATE)]
    Completions(completions::Args),
    /// Print the manual page
    Man(completions::ManArgs),
}

/// The parsed command line.
#[derive(Debug)]
pub struct Typing {
    /// The command and the arguments that only this command has.
    pub command: Command,
    /// The settings that were given as flags.
    pub typed: Typed,
    /// `--config`.
    pub config: Option<String>,
}

/// The result of parsing.
#[derive(Debug)]
pub enum Parsed {
    /// A command to run.
    Typing(Box<Typing>),
    /// Text that the user asked for: help, or the version.
    Text(String),
    /// The concise help, for a user who typed no command.
    Hint(String),
}

/// The whole grammar.
pub fn grammar() -> clap::Command {
    let mut grammar = Cli::command().args(flags(settings::ALL).map(|flag| flag.global(true)));
    let owners = [
        ("run", settings::RUN),
        ("submit", settings::SUBMIT),
        ("map", settings::MAP),
        ("status", settings::STATUS),
        ("doctor", settings::DOCTOR),
    ];
    for (name, owner) in owners {
        grammar = grammar.mut_subcommand(name, |command| command.args(flags(owner)));
    }
    grammar.mut_subcommand("dlq", |command| command.args(flags(settings::DLQ).map(|flag| flag.global(true))))
}

fn flags(owner: u16) -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter(move |setting| setting.on & owner != 0).map(flag)
}

fn flag(setting: &'static Setting) -> Arg {
    let help = match setting.default {
        "" => setting.help.to_owned(),
        default => format!("{} [default: {default}]", setting.help),
    };
    let flag = Arg::new(setting.name)
        .long(setting.name)
        .help(help)
        .help_heading(setting.heading)
        .hide_short_help(!setting.common);
    let flag = match setting.name {
        "dry-run" => flag.short('n'),
        "null" => flag.short('0'),
        _ => flag,
    };
    match setting.shape {
        Shape::Switch => flag.action(ArgAction::SetTrue),
        // `-1` is a bad number; this error is clearer than "unknown option -1".
        Shape::One => flag.value_name(setting.value).allow_negative_numbers(true),
        Shape::Many => flag.value_name(setting.value).allow_negative_numbers(true).action(ArgAction::Append),
    }
}

/// Sorts the words of a command line, the program's name included.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, UserError> {
    let words: Vec<OsString> = words.into_iter().collect();
    if words.len() <= 1 {
        return Ok(Parsed::Hint(grammar().render_help().to_string()));
    }
    if words.last().is_some_and(|word| word == "--") && words.iter().filter(|word| *word == "--").count() == 1 {
        return Err(UserError::usage(
            Code::CommandLine,
            "the program after -- is missing",
            "-- separates the options of batchpipe from a program and its arguments",
            "for example  -- gzip -9",
        ));
    }
    let mut grammar = grammar();
    let matches = match grammar.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) => return usage::translate(&error, &mut grammar),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage::translate(&error, &mut grammar),
    };
    let mut typed = typed(&matches);
    for (name, times) in [("verbose", cli.verbose), ("quiet", cli.quiet)] {
        typed.insert(name.to_owned(), vec![times.to_string()]);
    }
    Ok(Parsed::Typing(Box::new(Typing { command: cli.command, typed, config: cli.config })))
}

/// The settings that were typed, in the command or before it.
fn typed(matches: &ArgMatches) -> Typed {
    let mut typed = match matches.subcommand() {
        Some((_, matches)) => self::typed(matches),
        None => BTreeMap::new(),
    };
    for setting in SETTINGS {
        let source = matches.try_contains_id(setting.name).ok().and_then(|_| matches.value_source(setting.name));
        if source != Some(ValueSource::CommandLine) || typed.contains_key(setting.name) {
            continue;
        }
        let texts = match setting.shape {
            Shape::Switch => vec![matches.get_flag(setting.name).to_string()],
            Shape::One | Shape::Many => {
                matches.get_many::<String>(setting.name).into_iter().flatten().cloned().collect()
            }
        };
        typed.insert(setting.name.to_owned(), texts);
    }
    typed
}

/// What every command gets besides its own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    /// The settings that all commands have.
    pub global: Global,
    /// The sources of settings, for settings that only some commands have.
    pub layers: Layers,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The machine.
    pub machine: Machine,
    /// Stderr, which the log and the progress display share.
    pub screen: Screen,
}

/// Logs the notes about a command's settings, except those that `told` already logged before the settings were read.
fn tell(global: &Global, told: &Global) {
    let new = global.notes.iter().filter(|note| !told.notes.contains(note));
    new.for_each(|note| tracing::warn!("{}", output::escaped(note)));
}

/// Runs a command to its end.
pub async fn perform(command: Command, context: Context) -> Result<Exit, UserError> {
    let Context { layers, machine, .. } = &context;
    match command {
        Command::Run(args) => {
            let config = RunConfig::resolve(layers, args.program, machine)?;
            tell(&config.global, &context.global);
            Box::pin(run::run(config, context.screen)).await
        }
        Command::Submit(args) => {
            let config = SubmitConfig::resolve(layers, &args.source, machine)?;
            tell(&config.global, &context.global);
            Box::pin(submit::run(config, context.screen)).await
        }
        Command::Map(args) => {
            let config = MapConfig::resolve(layers, &args.source, &args.dest, args.program, machine)?;
            tell(&config.global, &context.global);
            Box::pin(map::run(config, context.screen)).await
        }
        Command::Status(args) => status::run(args, &context).await,
        Command::Dlq(args) => dlq::run(args, &context).await,
        Command::Doctor(args) => doctor::run(args, &context).await,
        Command::Explain(args) => explain::run(&args, &context),
        Command::Gc(args) => gc::run(args, &context).await,
        Command::Config(args) => config::run(&args, &context).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => completions::man(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        grammar().debug_assert();
    }
}
