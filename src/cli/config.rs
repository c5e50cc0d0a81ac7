//! `config explain`: each setting, its value, and where the value comes from.

use serde_json::json;

use super::Context;
use super::output::{escaped, event, print};
use crate::config::settings::{SETTINGS, Setting};
use crate::config::values::show_size;
use crate::config::{Layers, RunConfig};
use crate::error::{Exit, UserError};
use crate::runtime::redact::concealed_address;
use crate::services::aws;

/// The arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print each setting and where its value comes from
    Explain,
}

/// Prints the settings.
pub async fn run(args: &Args, context: &Context) -> Result<Exit, UserError> {
    let Command::Explain = args.command;
    // Resolving finds the mistakes that a worker would find; it needs a queue and a process, which are never used.
    let layers = context.layers.clone().or("queue", "jobs").or("process", "copy");
    let chosen_region = aws::chosen_region(&context.global.aws).await;
    let resolved = RunConfig::resolve(&layers, Vec::new(), &context.machine)?;
    let mut page = String::new();
    for setting in SETTINGS.iter().filter(|setting| !setting.flag_only) {
        let found = context.layers.find(setting.name);
        let (value, origin) = match found {
            Some(found) => (found.concealed().join(","), found.origin.to_string()),
            None if setting.name == "region" && chosen_region.is_some() => chosen_region.clone().unwrap_or_default(),
            None => default(setting.name, &resolved, &context.layers),
        };
        if context.global.json {
            event("setting", json!({ "name": setting.name, "value": value, "origin": origin }))?;
        } else {
            let value = if value.is_empty() { "-".to_owned() } else { escaped(&value) };
            page.push_str(&format!("{:<20} {value:<40} {}\n", setting.name, escaped(&origin)));
        }
    }
    let files: Vec<String> = context.files.iter().map(|path| path.display().to_string()).collect();
    let keys = aws::keys_from(&context.global.aws);
    if context.global.json {
        event("summary", json!({ "files": files, "aws_keys": keys }))?;
    } else {
        let files = if files.is_empty() { "none".to_owned() } else { escaped(&files.join(", ")) };
        page.push_str(&format!("\nconfiguration files read: {files}\nAWS keys: {}\n", escaped(&keys)));
        print(&page)?;
    }
    Ok(Exit::Done)
}

/// What a setting is when nobody sets it, and who says so: in numbers where it depends on the machine, and from AWS's
/// own variables where those are what the SDK reads.
fn default(name: &'static str, resolved: &RunConfig, layers: &Layers) -> (String, String) {
    let theirs: &[&str] = match name {
        "profile" => &["AWS_PROFILE"],
        "region" => &["AWS_REGION", "AWS_DEFAULT_REGION"],
        "endpoint-url" => &["AWS_ENDPOINT_URL"],
        _ => &[],
    };
    if let Some((variable, text)) = theirs.iter().find_map(|name| Some((*name, layers.variable(name)?))) {
        return (concealed_address(text).into_owned(), variable.to_owned());
    }
    let working = &resolved.working;
    let value = match name {
        "concurrency" if working.most > working.concurrency => {
            format!("auto: starts at {}, at most {}", working.concurrency, working.most)
        }
        "concurrency" => working.concurrency.to_string(),
        "processors" => working.processors.to_string(),
        "memory" => show_size(working.memory),
        "work-dir" => working.work_dir.display().to_string(),
        name => Setting::named(name).map_or("", |setting| setting.default).to_owned(),
    };
    (value, "default".to_owned())
}
