//! The table of bad messages (`bad_inputs/messages.toml`): each ends with its own number and one clear line, or is
//! harmless and becomes the job that is written there. What a row can say is what [`Row`] holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use batchpipe::error::codes;
use batchpipe::error::{Code, Disposition, JobError};
use batchpipe::job::Location;
use batchpipe::job::message::{Record, Rules, parse};
use batchpipe::job::suffix::Suffix;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    message: Vec<Row>,
}

/// A message, the rules of the worker that reads it, and what must come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// The message. Its `@@` becomes the repeated text.
    body: String,
    repeat: Option<Repeat>,
    /// What it is wrapped in, the innermost first: `sns`, `base64`.
    #[serde(default)]
    wrap: Vec<String>,
    /// The worker's `--output`; empty for none.
    #[serde(default = "usual_output")]
    output: String,
    #[serde(default)]
    input_prefix: String,
    #[serde(default)]
    suffix: String,
    #[serde(default)]
    allow: Vec<String>,
    /// `BPnnn`, `nothing`, or `jobs:N`; `jobs:N,BPnnn` where one of several records is refused.
    expect: String,
    /// The cause of an error or of nothing, whole.
    #[serde(default)]
    first_line: String,
    /// The jobs, as `input -> output`; not looked at where there are none.
    #[serde(default)]
    jobs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    text: String,
    times: usize,
}

fn usual_output() -> String {
    "s3://acme-out/o/".to_owned()
}

impl Row {
    fn message(&self) -> String {
        let filled = match &self.repeat {
            Some(repeat) => self.body.replace("@@", &repeat.text.repeat(repeat.times)),
            None => self.body.clone(),
        };
        self.wrap.iter().fold(filled, |inner, outer| match outer.as_str() {
            "sns" => serde_json::json!({"Type": "Notification", "TopicArn": "arn", "Message": inner}).to_string(),
            "base64" => STANDARD.encode(inner),
            other => panic!("{}: no wrapping {other:?}", self.name),
        })
    }

    fn rules(&self) -> Rules {
        let place = |uri: &String| Location::parse(uri).unwrap_or_else(|| panic!("{}: {uri:?}", self.name));
        Rules {
            output: (!self.output.is_empty()).then(|| place(&self.output)),
            input_prefix: (!self.input_prefix.is_empty()).then(|| self.input_prefix.clone()),
            suffix: Suffix::of(&self.suffix),
            allow: self.allow.iter().map(place).collect(),
        }
    }

    /// What a worker makes of the message: the jobs, as `input -> output`, why there is nothing to do, and what is
    /// refused.
    fn outcome(&self) -> (Vec<String>, Option<&'static str>, Option<JobError>) {
        let (mut jobs, mut nothing, mut refused, rules) = (Vec::new(), None, None, self.rules());
        let records = parse(&self.message()).unwrap_or_else(|error| vec![Record::Refused(error)]);
        for record in records {
            match record {
                Record::Job(request) => match rules.job(&request, "m-1", 1) {
                    Ok(job) => jobs.push(format!("{} -> {}", job.input, job.output)),
                    Err(error) => refused = refused.or(Some(error)),
                },
                Record::Nothing(why) => nothing = nothing.or(Some(why)),
                Record::Refused(error) => refused = refused.or(Some(error)),
            }
        }
        (jobs, nothing, refused)
    }

    /// What is wrong with the outcome, if anything is.
    fn complaint(&self) -> Option<String> {
        let (jobs, nothing, refused) = self.outcome();
        let count = format!("jobs:{}", jobs.len());
        let (found, line) = match (&refused, nothing) {
            (Some(error), _) if jobs.is_empty() => (error.code.to_string(), error.cause.clone()),
            (Some(error), _) => (format!("{count},{}", error.code), error.cause.clone()),
            (None, Some(why)) if jobs.is_empty() => ("nothing".to_owned(), why.to_owned()),
            (None, _) => (count, String::new()),
        };
        let right = found == self.expect && line == self.first_line && (self.jobs.is_empty() || jobs == self.jobs);
        (!right).then(|| format!("{}:\n  expect {found:?}\n  first_line {line:?}\n  jobs {jobs:?}", self.name))
    }
}

fn rows() -> Vec<Row> {
    let table: Table = toml::from_str(include_str!("../bad_inputs/messages.toml")).expect("the table is TOML");
    table.message
}

#[test]
fn every_bad_message_gets_its_own_answer() {
    let complaints: Vec<String> = rows().iter().filter_map(Row::complaint).collect();
    assert!(complaints.is_empty(), "{} rows differ:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_refused_message_goes_to_the_dead_letters_with_one_line_and_a_page() {
    let mut refused = 0;
    for row in rows() {
        let (_, _, Some(error)) = row.outcome() else { continue };
        refused += 1;
        assert_eq!(error.disposition(), Disposition::Reject, "{}", row.name);
        assert!(!error.cause.is_empty() && !error.cause.chars().any(char::is_control), "{}", row.name);
        assert!(error.cause.len() < 400, "{}: {} bytes of cause", row.name, error.cause.len());
    }
    assert!(refused >= 60, "only {refused} rows are refused");
}

#[test]
fn the_table_has_a_row_for_every_code_of_messages() {
    let rows = rows();
    for page in codes::all().filter(|page| {
        (Code::NotAJob..=Code::PointerMessage).contains(&page.code) && page.code != Code::MessageDamaged
            || page.code == Code::OutputAmongInputs
    }) {
        assert!(rows.iter().any(|row| row.expect == page.code.to_string()), "no row for {}", page.code);
    }
    assert!(rows.len() >= 70, "{} rows", rows.len());
}
