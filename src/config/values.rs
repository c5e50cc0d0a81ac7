//! Reads single values: numbers, sizes, durations, places, queues.
//!
//! Every function takes the text as it was typed and says what is wrong with it and what would be right;
//! the caller adds whose value it was. All are pure, so a table tests them, but for a `..` in a path, which only the
//! file system can resolve. Only ASCII digits count as digits: `４` looks like a 4 and would otherwise be read by nobody
//! in the same way twice.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::error::Code;
use crate::job::Location;
use crate::runtime::redact::{self, has_secret};

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The number of the kind of mistake.
    pub code: Code,
    /// What was expected, as the end of "expected …".
    pub cause: String,
    /// An example, or the step that repairs it.
    pub help: String,
}

impl Wrong {
    pub(crate) fn new(code: Code, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, cause: cause.into(), help: help.into() }
    }
}

/// Reads a whole number between `least` and `most`.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64, Wrong> {
    let help = format!("give a whole number from {least} to {most}");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new(Code::CommandLine, "not a whole number in the digits 0-9", help));
    }
    match text.parse::<u64>() {
        Ok(number) if number < least => {
            Err(Wrong::new(Code::CommandLine, format!("less than the smallest, {least}"), help))
        }
        Ok(number) if number <= most => Ok(number),
        _ => Err(Wrong::new(Code::CommandLine, format!("more than the largest, {most}"), help)),
    }
}

/// The suffixes of sizes. As `ls -h` and `dd` read them: a bare letter or `iB` is a power of 1024, `kB` to `TB`
/// are powers of 1000.
const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads a size in bytes: `8MiB`, `8M`, `8MB`, `1.5 GiB`, `8388608`.
pub fn size(text: &str) -> Result<u64, Wrong> {
    let wrong = |cause: &str| {
        Wrong::new(
            Code::CommandLine,
            cause,
            "give a size such as 8MiB, 8M (the same), 8MB (8 000 000 bytes), 1.5GiB or 8388608",
        )
    };
    let text = text.trim_matches(' ');
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong(if digits.is_empty() { "not a size" } else { "the unit is not one of KiB MiB GiB TiB" }));
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || digits.ends_with('.') || fraction.contains('.') {
        return Err(wrong("not a size"));
    }
    if fraction.len() > 9 || (!fraction.is_empty() && *scale == 1) {
        return Err(wrong("there are no parts of a byte"));
    }
    let too_large = || wrong("more bytes than can be counted");
    let whole = whole.parse::<u64>().map_err(|_| too_large())?;
    // Nine digits after the point fit, times a tebibyte, in 128 bits.
    let ten = 10u128.pow(fraction.len() as u32);
    let part = fraction.parse::<u128>().unwrap_or(0) * u128::from(*scale) / ten;
    let bytes = u128::from(whole) * u128::from(*scale) + part;
    match u64::try_from(bytes).map_err(|_| too_large())? {
        0 => Err(wrong("zero bytes hold nothing")),
        bytes => Ok(bytes),
    }
}

/// Writes a size the way it is read, in the largest unit that loses nothing worth knowing.
pub fn show_size(bytes: u64) -> String {
    for (unit, scale) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= scale {
            let tenths = (u128::from(bytes) * 10 / u128::from(scale)) as u64;
            let tail = if tenths.is_multiple_of(10) { String::new() } else { format!(".{}", tenths % 10) };
            return format!("{}{tail}{unit}", tenths / 10);
        }
    }
    format!("{bytes}B")
}

/// Reads a duration: `90s`, `2m`, `1h 30m`, `500ms`, or seconds with no unit.
pub fn duration(text: &str, least: Duration, most: Duration, code: Code) -> Result<Duration, Wrong> {
    let help = format!("give a time from {} to {}, written like 90s, 2m or 1h 30m", show(least), show(most));
    let seconds = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if seconds {
        text.parse().map(Duration::from_secs).map_err(|_| "more seconds than can be counted".to_owned())
    } else if text.is_ascii() {
        humantime::parse_duration(text).map_err(|error| error.to_string())
    } else {
        Err("not a time in the digits 0-9".to_owned())
    };
    match parsed {
        Err(cause) => Err(Wrong::new(Code::CommandLine, cause, help)),
        Ok(time) if time < least => Err(Wrong::new(code, format!("less than the shortest, {}", show(least)), help)),
        Ok(time) if time > most => Err(Wrong::new(code, format!("more than the longest, {}", show(most)), help)),
        Ok(time) => Ok(time),
    }
}

/// Writes a duration the way it is read, and typed: `4d 6h`.
pub fn show(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace("days", "d").replace("day", "d")
}

/// A value as an error shows it: its beginning, without what in a web address may be secret (a password, the signature
/// in a query).
pub fn shown(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or("");
        let rest = match host.rfind('@') {
            Some(at) => format!("…{}", &rest[at..]),
            None => rest.to_owned(),
        };
        let path = rest.split_once('?').map_or(rest.clone(), |(path, _)| format!("{path}?…"));
        let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        text = if web { format!("{scheme}://{path}") } else { text };
    }
    text.chars().take(80).collect()
}

/// Reads one of a few words.
pub fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = match nearest(text, names.iter().copied()) {
        Some(word) => format!("did you mean {word}?"),
        None => format!("give one of {}", names.join(", ")),
    };
    Err(Wrong::new(Code::CommandLine, format!("not one of {}", names.join(", ")), help))
}

/// The word most like `text`, if one is like it at all.
pub fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler above 0.8 is what clap takes for its own suggestions; a swapped pair of letters scores 0.95.
    words
        .map(|word| (strsim::jaro_winkler(text, word), word))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// Reads a place: `s3://bucket/prefix`, `file:///path`, or a path, which is taken from `directory` if relative.
pub fn location(text: &str, directory: &Path) -> Result<Location, Wrong> {
    if let Some(location) = text.strip_prefix("s3://").and_then(|_| Location::parse(text)) {
        return Ok(location);
    }
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::new(Code::BadPlaceOrStep, "no place is named", "give s3://bucket/prefix/ or a directory"));
    }
    let lower = text.to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("s3:") {
        let start = text.len() - rest.trim_start_matches('/').len();
        let rest = &text[start..];
        let cause = if !text.starts_with("s3://") {
            "an S3 place begins with s3:// in lower case"
        } else if rest.is_empty() {
            "the bucket is missing"
        } else {
            "the bucket's name is not one that S3 allows (3-63 of a-z 0-9 . -)"
        };
        let bucket = rest.split('/').next().unwrap_or("");
        let right = format!("s3://{}", rest.replacen(bucket, &bucket.to_ascii_lowercase(), 1));
        let right = Location::parse(&right).map_or("s3://bucket/prefix/".to_owned(), |location| location.to_string());
        return Err(Wrong::new(Code::BadPlaceOrStep, cause, format!("write  {right}")));
    }
    if lower.starts_with("arn:aws") && lower.contains(":s3:::") {
        let rest = text.splitn(4, ":::").last().unwrap_or("bucket/");
        return Err(Wrong::new(Code::BadPlaceOrStep, "an ARN is not read as a place", format!("write  s3://{rest}")));
    }
    if lower.starts_with("https://") || lower.starts_with("http://") {
        return Err(Wrong::new(
            Code::BadPlaceOrStep,
            "a web address is not read as a place",
            format!("write  {}", from_web(text)),
        ));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return match path.strip_prefix("//").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(file(Path::new(path), path.ends_with('/'))),
            None => Err(Wrong::new(
                Code::BadPlaceOrStep,
                "a file: place has three slashes and a full path",
                "write  file:///dir/",
            )),
        };
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let cause = format!("places of the kind {scheme:?} are not known");
        return Err(Wrong::new(Code::BadPlaceOrStep, cause, "give s3://bucket/prefix/, file:///dir/ or a path"));
    }
    Ok(file(&directory.join(text), text.ends_with('/')))
}

/// Reads a place that keys are appended to. It is a folder, in S3 as on a disk, and ends in a slash whether or not the
/// slash was typed: without it `s3://acme/logs` would take `logs2/` and `logs.txt`, too, and write `logsa.csv`.
pub fn prefix(text: &str, directory: &Path) -> Result<Location, Wrong> {
    Ok(location(text, directory)?.as_folder())
}

/// The S3 place that a bucket's web address stands for, in virtual-host or path style.
fn from_web(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or("");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or("");
    match host.split_once(".s3") {
        Some((bucket, _)) => format!("s3://{bucket}/{path}"),
        None if host.starts_with("s3") => format!("s3://{path}"),
        None => "s3://bucket/prefix/".to_owned(),
    }
}

/// A local place without `.` and `..`; whether it ends in a slash is kept, for a prefix is text.
fn file(path: &Path, slash: bool) -> Location {
    let mut parts = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                // Behind a link, the folder above is that of where the link leads, as for the kernel.
                parts = parts.canonicalize().unwrap_or(parts);
                parts.pop();
            }
            Component::Normal(name) => parts.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let path = parts.to_string_lossy();
    Location::file(if slash && path != "/" { format!("{path}/") } else { path.into_owned() })
}

/// Checks a queue's name: `sqlite:PATH`, an SQS queue's name, ARN or URL. It is returned as it stands.
pub fn queue(text: &str) -> Result<String, Wrong> {
    let wrong = |cause: &str| {
        Wrong::new(
            Code::BadPlaceOrStep,
            cause,
            "give a name, an ARN (arn:aws:sqs:REGION:ACCOUNT:NAME), a URL (https://sqs.…/ACCOUNT/NAME) or sqlite:PATH",
        )
    };
    if let Some(path) = text.strip_prefix("sqlite:") {
        return if path.is_empty() { Err(wrong("the path after sqlite: is missing")) } else { Ok(text.to_owned()) };
    }
    if text.starts_with("arn:") {
        let parts: Vec<&str> = text.split(':').collect();
        let right = parts.len() == 6 && parts[2] == "sqs" && !parts[3].is_empty() && queue_name(parts[5]);
        return if right { Ok(text.to_owned()) } else { Err(wrong("not the ARN of an SQS queue")) };
    }
    if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
        let mut parts = rest.split('/');
        let host = parts.next().unwrap_or("");
        let name = parts.next_back().unwrap_or("");
        if has_secret(text) {
            return Err(Wrong::new(Code::SecretInAddress, redact::REFUSED, redact::INSTEAD));
        }
        return if !host.is_empty() && queue_name(name) {
            Ok(text.to_owned())
        } else {
            Err(wrong("not a queue's URL"))
        };
    }
    match () {
        () if queue_name(text) => Ok(text.to_owned()),
        () if text.is_empty() => Err(wrong("no queue is named")),
        () if text.contains("://") => Err(wrong("a queue is not an s3: or file: place")),
        () => Err(wrong("not a queue's name (1-80 of A-Z a-z 0-9 - _, then .fifo or nothing)")),
    }
}

/// SQS's rule for names (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>).
fn queue_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !stem.is_empty() && name.len() <= 80 && stem.bytes().all(plain)
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
