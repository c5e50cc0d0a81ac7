//! The one table of all settings. The flags, their help, the `BATCHPIPE_*` variables, the keys of `batchpipe.toml` and
//! the rows of `config explain` are made from this table, so they always agree.
//!
//! A setting `part-size` is the flag `--part-size`, the variable `BATCHPIPE_PART_SIZE` and the key `part-size`.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name, as in the flag.
    pub name: &'static str,
    /// How many values it takes.
    pub shape: Shape,
    /// What the value is called in the help; empty for a switch.
    pub value: &'static str,
    /// The heading of the help under which it is listed.
    pub heading: &'static str,
    /// The commands it belongs to.
    pub on: u16,
    /// Whether only a flag can set it: it applies to one invocation, and a value forgotten in a file would be
    /// dangerous.
    pub flag_only: bool,
    /// Whether the short help shows it.
    pub common: bool,
    /// The default, as the help shows it; empty if there is none.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// Any number: the flag is repeated, the variable is separated by commas, the key holds a list.
    Many,
    /// None: it is on or off.
    Switch,
}

/// `run`.
pub const RUN: u16 = 1;
/// `submit`.
pub const SUBMIT: u16 = 2;
/// `map`.
pub const MAP: u16 = 4;
/// `status`.
pub const STATUS: u16 = 8;
/// `dlq` and its commands.
pub const DLQ: u16 = 16;
/// `doctor`.
pub const DOCTOR: u16 = 32;
/// Every command.
pub const ALL: u16 = 64;

const WORK: u16 = RUN | MAP;

impl Setting {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("BATCHPIPE_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    const fn one(name: &'static str, value: &'static str, heading: &'static str, on: u16, help: &'static str) -> Self {
        Self { name, shape: Shape::One, value, heading, on, flag_only: false, common: false, default: "", help }
    }

    const fn many(name: &'static str, value: &'static str, heading: &'static str, on: u16, help: &'static str) -> Self {
        let mut setting = Self::one(name, value, heading, on, help);
        setting.shape = Shape::Many;
        setting
    }

    const fn switch(name: &'static str, heading: &'static str, on: u16, help: &'static str) -> Self {
        let mut setting = Self::one(name, "", heading, on, help);
        setting.shape = Shape::Switch;
        setting
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn common(mut self) -> Self {
        self.common = true;
        self
    }

    const fn flag_only(mut self) -> Self {
        self.flag_only = true;
        self
    }
}

const PLACES: &str = "Input and output";
const PROCESSING: &str = "Processing";
const SPEED: &str = "Concurrency and memory";
const SAFETY: &str = "Leases, failures and safety";
const ENDING: &str = "When to stop";
const METRICS: &str = "Metrics";
const GLOBAL: &str = "Global options";

const QUEUED: u16 = RUN | SUBMIT | STATUS | DLQ | DOCTOR;

/// The table, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    Setting::one("queue", "QUEUE", PLACES, QUEUED, "The job queue: an SQS queue's name, ARN or URL, or sqlite:PATH")
        .common(),
    Setting::one(
        "input",
        "URI",
        PLACES,
        SUBMIT,
        "Where submit puts the objects to process: s3://bucket/prefix/ or a directory",
    )
    .common(),
    Setting::switch("null", PLACES, SUBMIT, "Each name in a list (- or @FILE) ends in NUL, as find -print0 writes it")
        .flag_only(),
    Setting::one(
        "output",
        "URI",
        PLACES,
        RUN | SUBMIT | STATUS | DOCTOR,
        "Where results go. A worker uses it only for messages that name no output",
    )
    .common(),
    Setting::one(
        "input-prefix",
        "TEXT",
        PLACES,
        RUN,
        "Folder to remove from the input's key before appending the key to --output; rejects inputs outside it",
    ),
    Setting::one(
        "output-suffix",
        "TEXT",
        PLACES,
        WORK | SUBMIT,
        "Suffix of every output's key, in place of the suffix of the steps. For submit: the suffix of the workers",
    ),
    Setting::many("include", "GLOB", PLACES, SUBMIT | MAP, "Take only matching names, such as '**/*.csv' (repeatable)")
        .common(),
    Setting::many("exclude", "GLOB", PLACES, SUBMIT | MAP, "Leave out names that match (repeatable)").common(),
    Setting::many(
        "allow",
        "URI",
        PLACES,
        RUN,
        "Let messages name only this object, or objects in the folder of this name (repeatable; needed for files)",
    ),
    Setting::one(
        "if-exists",
        "overwrite|skip|fail",
        PLACES,
        WORK,
        "What to do if the output already exists. skip keeps an output that the same process made from the same \
        version of the input, and makes any other output again. fail keeps the same outputs as skip, and rejects the \
        job for any other. skip and fail reject a job whose output was made from another input",
    )
    .default("overwrite"),
    Setting::switch(
        "allow-nested-output",
        PLACES,
        RUN | SUBMIT | MAP,
        "Allow --output inside the input, although each result might then become a new job",
    ),
    Setting::one("batch", "ID", PLACES, SUBMIT | STATUS, "The name of the batch, which is all jobs of one submit")
        .flag_only()
        .common(),
    Setting::one(
        "format",
        "own|sample2013",
        PLACES,
        SUBMIT,
        "Message format; sample2013 is the format that workers of the 2013 sample read",
    )
    .default("own"),
    Setting::one(
        "journal",
        "FILE|none",
        PLACES,
        SUBMIT | STATUS,
        "File where submit records what was acknowledged, so that it can resume after being killed",
    )
    .default("under $XDG_STATE_HOME/batchpipe"),
    Setting::one(
        "process",
        "STEPS",
        PROCESSING,
        WORK | SUBMIT,
        "Comma-separated steps: copy, gzip, zstd, bzip2, xz, brotli, lz4 (each with :level), decompress, \
        decompress:any (passes uncompressed input through), sha256. For submit: the steps of the workers, so that \
        submit refuses two inputs with the same output",
    )
    .default("copy for map, none for run")
    .common(),
    Setting::one(
        "max-expanded-bytes",
        "SIZE|none",
        PROCESSING,
        WORK,
        "Fail a job whose decompressed input is larger than this",
    )
    .default("1TiB"),
    Setting::one(
        "max-ratio",
        "N|none",
        PROCESSING,
        WORK,
        "Fail a job whose decompressed input is over N times as long as the input; the first 64MiB are exempt",
    )
    .default("1000"),
    Setting::many(
        "reject-codes",
        "CODE",
        PROCESSING,
        WORK,
        "More exit statuses of the program that reject the job; 64-78 except 75 always do (repeatable)",
    ),
    Setting::switch("pass-credentials", PROCESSING, WORK, "Leave the AWS credentials in the program's environment"),
    Setting::one("work-dir", "DIR", PROCESSING, WORK, "Directory for the scratch files of programs")
        .default("the system's temporary directory"),
    Setting::one("concurrency", "N|auto", SPEED, RUN | SUBMIT | MAP, "Jobs (for submit: files) in flight")
        .default("auto: starts at 4 x cores, at least 16, and adapts")
        .common(),
    Setting::one("processors", "N", SPEED, WORK, "Processors running at once")
        .default("number of cores; a quarter more for --process"),
    Setting::one("memory", "SIZE|N%", SPEED, RUN | SUBMIT | MAP, "Most memory for the contents of objects")
        .default("a quarter of the machine's or cgroup's memory")
        .common(),
    Setting::one("part-size", "SIZE", SPEED, RUN | SUBMIT | MAP, "Size of ranged reads and of uploaded parts")
        .default("8MiB"),
    Setting::one("receivers", "N", SPEED, RUN, "Long polls in flight")
        .default("enough to fill the jobs in flight; 1 while the queue is empty"),
    Setting::one(
        "visibility-timeout",
        "TIME",
        SAFETY,
        WORK,
        "How long the queue hides a received message; batchpipe extends the time when half of it has passed",
    )
    .default("60s"),
    Setting::one("wait-time", "TIME", SAFETY, RUN, "How long a receive request waits for a message").default("20s"),
    Setting::one("job-timeout", "TIME|none", SAFETY, WORK, "Stop a job that takes longer than this, and retry it")
        .default("none"),
    Setting::one("max-receives", "N", SAFETY, WORK, "Move a job to the dead-letter queue after this many receives")
        .default("the queue's redrive policy; map has its own limit"),
    Setting::one("dead-letter", "QUEUE", SAFETY, RUN | DLQ, "Where rejected messages go")
        .default("the queue's redrive policy"),
    Setting::one("drain-timeout", "TIME", SAFETY, WORK, "How long a stopping worker lets its jobs finish")
        .default("100s"),
    Setting::one(
        "stuck-timeout",
        "TIME|none",
        SAFETY,
        WORK,
        "Exit with code 7 if there are jobs but nothing has progressed for this long beyond every deadline",
    )
    .default("10m"),
    Setting::switch("until-empty", ENDING, RUN, "Stop when the queue is empty").common(),
    Setting::one("max-jobs", "N", ENDING, RUN, "Stop after this many jobs"),
    Setting::one("idle-exit", "TIME", ENDING, RUN, "Stop after this long without a message (exit code 10)"),
    Setting::switch("fail-if-empty", ENDING, RUN | MAP, "Exit with code 9 if there was no job to do"),
    Setting::switch("wait", ENDING, SUBMIT, "Wait until every output exists (exit code 8 if some jobs failed)"),
    Setting::one("metrics-addr", "ADDR|none", METRICS, WORK, "Address of the status page and the Prometheus metrics")
        .default("127.0.0.1:9464 (map: none)"),
    Setting::many(
        "metrics-host",
        "NAME",
        METRICS,
        WORK,
        "A host name that requests to the status page may use, besides localhost and IP addresses (repeatable)",
    ),
    Setting::switch("metrics-allow", METRICS, WORK, "Allow a --metrics-addr that other machines can reach"),
    Setting::switch("dry-run", GLOBAL, SUBMIT | MAP, "Print what would be done, and do nothing").flag_only().common(),
    Setting::one("profile", "NAME", GLOBAL, ALL, "AWS profile").common(),
    Setting::one("region", "REGION", GLOBAL, ALL, "AWS region").common(),
    Setting::one("endpoint-url", "URL", GLOBAL, ALL, "A server compatible with S3 and SQS, to use instead of AWS"),
    Setting::one("log-format", "auto|text|json", GLOBAL, ALL, "Format of the log").default("auto: text"),
    Setting::one("log-file", "FILE", GLOBAL, ALL, "Append the log to this file instead of writing it to stderr"),
    Setting::one("color", "auto|always|never", GLOBAL, ALL, "Colours on stderr").default("auto"),
    Setting::switch("json", GLOBAL, ALL, "Print results as JSON, one event per line").common(),
    Setting::one("progress", "auto|panel|lines|json|none", GLOBAL, ALL, "How progress is shown on stderr")
        .default("auto"),
    Setting::switch("no-input", GLOBAL, ALL, "Never ask a question"),
    Setting::switch("yes", GLOBAL, ALL, "Answer every question with yes").flag_only(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_every_setting_says_what_it_does() {
        for (place, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[..place].iter().all(|earlier| earlier.name != setting.name), "{}", setting.name);
            assert!(setting.on != 0 && !setting.help.ends_with('.') && !setting.help.is_empty(), "{}", setting.name);
            assert_eq!(setting.value.is_empty(), setting.shape == Shape::Switch, "{}", setting.name);
        }
        assert_eq!(Setting::named("part-size").map(Setting::variable).as_deref(), Some("BATCHPIPE_PART_SIZE"));
    }
}
