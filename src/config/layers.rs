//! Where a value comes from: flag, else variable, else file (the nearest first), else the default.
//!
//! Nothing here reads the world: the variables and the texts of the files are handed in, so that a table
//! can test every mixture. A mistake names its place: the flag, the VARIABLE, or file:line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::settings::{SETTINGS, Setting, Shape};
use super::values::{Wrong, nearest, shown};
use crate::error::{Code, UserError};
use crate::runtime::redact::{concealed, concealed_address};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In an environment variable.
    Variable(String),
    /// In a file.
    File(PathBuf, usize),
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The values of a setting, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The setting.
    pub name: &'static str,
    /// The texts, at least one.
    pub texts: Vec<String>,
    /// Where they were set.
    pub origin: Origin,
}

impl Found {
    /// How a message calls the setting, so that the reader knows where to change it.
    pub fn called(&self) -> String {
        match &self.origin {
            Origin::Flag | Origin::Default => format!("--{}", self.name),
            Origin::Variable(name) => name.clone(),
            Origin::File(path, line) => format!("{} in {}:{line}", self.name, path.display()),
        }
    }

    /// Whether it was typed.
    pub fn is_flag(&self) -> bool {
        self.origin == Origin::Flag
    }

    /// The only, or the last, of the texts.
    pub fn text(&self) -> &str {
        self.texts.last().map_or("", String::as_str)
    }

    /// The texts, without the passwords that addresses among them hold.
    pub fn concealed(&self) -> Vec<String> {
        self.texts.iter().map(|text| self.conceal(text).into_owned()).collect()
    }

    fn conceal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        // These name a server, and its scheme may have been forgotten.
        let is_address = matches!(self.name, "endpoint-url" | "queue" | "dead-letter");
        if is_address { concealed_address(text) } else { concealed(text) }
    }

    /// The user's error that `wrong` is about `text`.
    pub fn error(&self, text: &str, wrong: Wrong) -> UserError {
        let text = shown(&self.conceal(text));
        // The same mistake has another page when it lies in wait in a variable or a file.
        let code = if wrong.code == Code::CommandLine && !self.is_flag() { Code::Configuration } else { wrong.code };
        UserError::usage(code, format!("{} can't be {text:?}", self.called()), wrong.cause, wrong.help)
    }
}

/// What was typed: the texts of each flag that was given.
pub type Typed = BTreeMap<String, Vec<String>>;

/// All the places where values are set.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    typed: Typed,
    variables: BTreeMap<String, String>,
    files: Vec<(PathBuf, BTreeMap<String, Entry>)>,
}

#[derive(Clone, Debug)]
struct Entry {
    texts: Vec<String>,
    line: usize,
}

impl Layers {
    /// Puts the layers on top of one another. `files` holds paths and texts, the one that wins first.
    pub fn new(
        typed: Typed,
        variables: &BTreeMap<String, String>,
        files: &[(PathBuf, String)],
    ) -> Result<Self, UserError> {
        let files = files.iter().map(|(path, text)| Ok((path.clone(), read_file(path, text)?)));
        Ok(Self { typed, variables: variables.clone(), files: files.collect::<Result<_, UserError>>()? })
    }

    /// An environment variable that is no setting of ours; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The same layers with a setting typed, if it is set nowhere.
    #[must_use]
    pub fn or(mut self, name: &'static str, text: &str) -> Self {
        if self.find(name).is_none() {
            self.typed.insert(name.to_owned(), vec![text.to_owned()]);
        }
        self
    }

    /// How often a flag that only counts was typed.
    pub fn times(&self, flag: &str) -> i32 {
        self.typed.get(flag).and_then(|texts| texts.first()).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The value that wins, if any is set.
    pub fn find(&self, name: &'static str) -> Option<Found> {
        if let Some(texts) = self.typed.get(name) {
            return Some(Found { name, texts: texts.clone(), origin: Origin::Flag });
        }
        let setting = Setting::named(name)?;
        if setting.flag_only {
            return None;
        }
        let variable = setting.variable();
        if !self.is_scratch(&variable)
            && let Some(text) = self.variable(&variable)
        {
            let texts = match setting.shape {
                Shape::Many => text.split(',').map(|part| part.trim().to_owned()).collect(),
                Shape::One | Shape::Switch => vec![text.to_owned()],
            };
            return Some(Found { name, texts, origin: Origin::Variable(variable) });
        }
        self.files.iter().find_map(|(path, entries)| {
            let entry = entries.get(name)?;
            let origin = Origin::File(path.clone(), entry.line);
            Some(Found { name, texts: entry.texts.clone(), origin })
        })
    }

    /// `BATCHPIPE_INPUT` and `BATCHPIPE_OUTPUT` name scratch files for a program that a worker runs. A batchpipe
    /// that such a program starts must not take them for its settings.
    fn is_scratch(&self, variable: &str) -> bool {
        matches!(variable, "BATCHPIPE_INPUT" | "BATCHPIPE_OUTPUT") && self.variables.contains_key("BATCHPIPE_JOB_ID")
    }

    /// Variables that look like a setting and are none: worth a warning, for a typo there is otherwise silent.
    pub fn mistyped_variables(&self) -> Vec<String> {
        let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        let ours = ["BATCHPIPE_CONFIG", "BATCHPIPE_INPUT", "BATCHPIPE_OUTPUT", "BATCHPIPE_KEY", "BATCHPIPE_JOB_ID"];
        let mistyped =
            |name: &&String| name.starts_with("BATCHPIPE_") && !known.contains(*name) && !ours.contains(&name.as_str());
        let close = |name: &String| {
            // The common beginning would make any two of them alike.
            let stem = name.strip_prefix("BATCHPIPE_")?;
            let word = nearest(stem, known.iter().filter_map(|known| known.strip_prefix("BATCHPIPE_")))?;
            let likely = strsim::osa_distance(stem, word) <= 2;
            likely.then(|| format!("{name} is not a setting; did you mean BATCHPIPE_{word}?"))
        };
        self.variables.keys().filter(mistyped).filter_map(close).collect()
    }
}

/// The line, counted from 1, that the byte at `offset` is on.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn read_file(path: &Path, text: &str) -> Result<BTreeMap<String, Entry>, UserError> {
    let shown = path.display();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let cause = error.message().lines().next().unwrap_or("the syntax is wrong").to_owned();
        UserError::usage(
            Code::Configuration,
            format!("{shown}:{line} is not TOML"),
            cause,
            "settings are written  name = \"value\"",
        )
    })?;
    let mut entries = BTreeMap::new();
    for (key, value) in table.get_ref() {
        let line = line_of(text, key.span().start);
        let setting = Setting::named(key.get_ref()).filter(|setting| !setting.flag_only);
        let setting = setting.ok_or_else(|| unknown(key.get_ref(), &format!("{shown}:{line}")))?;
        let texts = texts(setting, value.get_ref()).map_err(|cause| {
            let what = format!("{} in {shown}:{line} can't be {}", setting.name, kind(value.get_ref()));
            UserError::usage(Code::Configuration, what, cause, format!("write  {}", example(setting)))
        })?;
        entries.insert(setting.name.to_owned(), Entry { texts, line });
    }
    Ok(entries)
}

fn unknown(key: &str, place: &str) -> UserError {
    let short: String = key.chars().take(80).collect();
    let what = format!("unknown key `{}` in {place}", short.escape_debug());
    if Setting::named(key).is_some() {
        return UserError::usage(
            Code::Configuration,
            what,
            "it answers for one command",
            format!("give it as a flag:  --{key}"),
        );
    }
    let help = match nearest(key, SETTINGS.iter().filter(|setting| !setting.flag_only).map(|setting| setting.name)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "see them all:  batchpipe config explain".to_owned(),
    };
    UserError::usage(Code::Configuration, what, "no setting has this name", help)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Float(_) | DeValue::Integer(_) => "a number",
        DeValue::String(_) => "a text",
    }
}

fn example(setting: &Setting) -> String {
    match setting.shape {
        Shape::Switch => format!("{} = true", setting.name),
        Shape::Many => format!("{} = [\"{}\"]", setting.name, setting.value),
        Shape::One => format!("{} = \"{}\"", setting.name, setting.value),
    }
}

fn texts(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match (setting.shape, value) {
        (Shape::Switch, DeValue::Boolean(on)) => Ok(vec![on.to_string()]),
        (Shape::Switch, _) => Err("it is true or false"),
        (Shape::Many, DeValue::Array(values)) => {
            let texts: Option<Vec<String>> = values.iter().map(|value| scalar(value.get_ref())).collect();
            texts.ok_or("the list holds something that is neither text nor number")
        }
        (_, value) => scalar(value).map(|text| vec![text]).ok_or("it takes a text or a number"),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            // `0x10` and `1_000` are numbers in TOML, so they are read by its rules, not by ours.
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).ok().map(|number| number.to_string()).or(Some(digits))
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
