//! Every setting, once. This table makes the flags, their help, the `BATCHPIPE_*` variables, the keys of
//! `batchpipe.toml` and the rows of `config explain`, so they can't come to differ.
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
    /// The heading of the help it stands under.
    pub heading: &'static str,
    /// The commands it belongs to.
    pub on: u16,
    /// Whether only a flag can set it: it answers for one command, and must not lie in wait in a file.
    pub flag_only: bool,
    /// Whether the short help shows it.
    pub common: bool,
    /// The default, as the help shows it; empty if there is none.
    pub default: &'static str,
    /// One line of what it does.
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

const PLACES: &str = "Where from and where to";
const PROCESSING: &str = "What is done to each object";
const SPEED: &str = "How much at once";
const SAFETY: &str = "Leases, failures and safety";
const ENDING: &str = "When to stop";
const METRICS: &str = "Metrics";
const GLOBAL: &str = "Everywhere";

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
        "Where the objects to process are put: s3://bucket/prefix/ or a directory",
    )
    .common(),
    Setting::switch(
        "null",
        PLACES,
        SUBMIT,
        "The names of a list (- or @FILE) end in a NUL each, as find -print0 \
        writes them",
    )
    .flag_only(),
    Setting::one(
        "output",
        "URI",
        PLACES,
        RUN | SUBMIT | STATUS | DOCTOR,
        "Where results go. A worker's --output is for messages that name no output",
    )
    .common(),
    Setting::one(
        "input-prefix",
        "TEXT",
        PLACES,
        RUN,
        "The folder that is taken off the input's key before it is appended to --output; an input outside it is \
        rejected",
    ),
    Setting::one(
        "output-suffix",
        "TEXT",
        PLACES,
        WORK | SUBMIT,
        "Appended to every output's key, in place of the suffix the steps imply. For submit: as the workers will have \
        it",
    ),
    Setting::many("include", "GLOB", PLACES, SUBMIT | MAP, "Take only what matches, such as '**/*.csv' (repeatable)")
        .common(),
    Setting::many("exclude", "GLOB", PLACES, SUBMIT | MAP, "Leave out what matches (repeatable)").common(),
    Setting::many(
        "allow",
        "URI",
        PLACES,
        RUN,
        "Let messages name only this object and what is in the folder of its name (repeatable; for file: places it is \
        needed)",
    ),
    Setting::one(
        "if-exists",
        "overwrite|skip|fail",
        PLACES,
        WORK,
        "What to do about an output that is there already; skip keeps one made by the same process from the same \
        version of its input and makes any other again, fail rejects the job for any other; both reject a job whose \
        output is another input's",
    )
    .default("overwrite"),
    Setting::switch(
        "allow-nested-output",
        PLACES,
        RUN | SUBMIT | MAP,
        "Allow an output inside the input, where each result might become a new job",
    ),
    Setting::one("batch", "ID", PLACES, SUBMIT | STATUS, "The name of the batch: the jobs of one submit")
        .flag_only()
        .common(),
    Setting::one(
        "format",
        "own|sample2013",
        PLACES,
        SUBMIT,
        "The form of the messages; sample2013 is what the 2013 sample's workers read",
    )
    .default("own"),
    Setting::one(
        "journal",
        "FILE|none",
        PLACES,
        SUBMIT | STATUS,
        "Where submit notes what is acknowledged, so that it can go on after a kill",
    )
    .default("under $XDG_STATE_HOME/batchpipe"),
    Setting::one(
        "process",
        "STEPS",
        PROCESSING,
        WORK | SUBMIT,
        "Comma-separated steps: copy, gzip, zstd, bzip2, xz, brotli, lz4 (each with :level), decompress, \
        decompress:any (lets through what is not compressed), sha256. For submit: as the workers will have them, to \
        refuse inputs that would have one output",
    )
    .default("copy in map; run has none")
    .common(),
    Setting::one(
        "max-expanded-bytes",
        "SIZE|none",
        PROCESSING,
        WORK,
        "Fail a job whose decompressed input grows beyond this",
    )
    .default("1TiB"),
    Setting::one(
        "max-ratio",
        "N|none",
        PROCESSING,
        WORK,
        "Fail a job whose decompressed input is more than N times as long as the input, beyond its first 64MiB",
    )
    .default("1000"),
    Setting::many(
        "reject-codes",
        "CODE",
        PROCESSING,
        WORK,
        "Exit codes of the program that reject the job, beside 64-78 without 75 (repeatable)",
    ),
    Setting::switch("pass-credentials", PROCESSING, WORK, "Let the program see the AWS credentials in its environment"),
    Setting::one("work-dir", "DIR", PROCESSING, WORK, "Where scratch files of programs are kept")
        .default("the system's temporary directory"),
    Setting::one("concurrency", "N|auto", SPEED, RUN | SUBMIT | MAP, "Jobs (for submit: files) in flight")
        .default("auto: finds it, from 4 x cores, at least 16")
        .common(),
    Setting::one("processors", "N", SPEED, WORK, "Processors running at once")
        .default("cores; for --process a quarter more"),
    Setting::one("memory", "SIZE|N%", SPEED, RUN | SUBMIT | MAP, "Bytes of objects held in memory at any time")
        .default("a quarter of the machine's or cgroup's memory")
        .common(),
    Setting::one("part-size", "SIZE", SPEED, RUN | SUBMIT | MAP, "Size of ranged reads and of uploaded parts")
        .default("8MiB"),
    Setting::one("receivers", "N", SPEED, RUN, "Long polls in flight")
        .default("as many as fill the jobs in flight, 1 while the queue is empty"),
    Setting::one(
        "visibility-timeout",
        "TIME",
        SAFETY,
        WORK,
        "How long a message stays ours without a sign of life; extended at half time",
    )
    .default("60s"),
    Setting::one("wait-time", "TIME", SAFETY, RUN, "How long a receive waits for a message").default("20s"),
    Setting::one("job-timeout", "TIME|none", SAFETY, WORK, "Cut a job that takes longer than this, and try it again")
        .default("none"),
    Setting::one("max-receives", "N", SAFETY, WORK, "Give a job up to the dead letters after this many receives")
        .default("the queue's redrive policy; map has its own"),
    Setting::one("dead-letter", "QUEUE", SAFETY, RUN | DLQ, "Where rejected messages go")
        .default("the queue's redrive policy"),
    Setting::one("drain-timeout", "TIME", SAFETY, WORK, "How long a stopping worker lets its jobs finish")
        .default("100s"),
    Setting::one(
        "stuck-timeout",
        "TIME|none",
        SAFETY,
        WORK,
        "End with exit code 7 when nothing has moved for so long, beyond every deadline, though there are jobs",
    )
    .default("10m"),
    Setting::switch("until-empty", ENDING, RUN, "Stop when the queue is empty").common(),
    Setting::one("max-jobs", "N", ENDING, RUN, "Stop after this many jobs"),
    Setting::one("idle-exit", "TIME", ENDING, RUN, "Stop after so long without a message (exit code 10)"),
    Setting::switch("fail-if-empty", ENDING, RUN | MAP, "Exit with code 9 if there was nothing to do"),
    Setting::switch("wait", ENDING, SUBMIT, "Wait until every output is there (exit code 8 if some jobs failed)"),
    Setting::one("metrics-addr", "ADDR|none", METRICS, WORK, "Where the status page and Prometheus metrics are served")
        .default("127.0.0.1:9464 (map: none)"),
    Setting::many(
        "metrics-host",
        "NAME",
        METRICS,
        WORK,
        "A host name that the status page may be asked for by, beside localhost and addresses (repeatable)",
    ),
    Setting::switch("metrics-allow", METRICS, WORK, "Allow --metrics-addr to be reachable from other machines"),
    Setting::switch("dry-run", GLOBAL, SUBMIT | MAP, "Say what would be done, and do nothing").flag_only().common(),
    Setting::one("profile", "NAME", GLOBAL, ALL, "AWS profile").common(),
    Setting::one("region", "REGION", GLOBAL, ALL, "AWS region").common(),
    Setting::one("endpoint-url", "URL", GLOBAL, ALL, "An S3- and SQS-compatible server in place of AWS"),
    Setting::one("log-format", "auto|text|json", GLOBAL, ALL, "The form of the log").default("auto: text"),
    Setting::one("log-file", "FILE", GLOBAL, ALL, "Append the log to a file rather than stderr"),
    Setting::one("color", "auto|always|never", GLOBAL, ALL, "Colours on stderr").default("auto"),
    Setting::switch("json", GLOBAL, ALL, "Results as JSON, one event a line").common(),
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
