//! How to test a processor: on bytes in memory, through the real pipeline, without a runtime and without AWS.
//!
//! In a project of your own, the calls of `run_one` stand in functions with `#[test]`.
//!
//! ```sh
//! cargo run --example test_a_processor
//! ```

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Duration;

use batchpipe::testing::{Outcome, run_one};
use batchpipe::{Code, Job, ProcessError, Processor};

/// Adds up the numbers of a file, one in a line.
struct Sum;

impl Processor for Sum {
    fn process(&self, _job: &Job, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), ProcessError> {
        let mut sum = 0_i64;
        for (number, line) in input.lines().enumerate() {
            let line = line?;
            if line == "locked" {
                return Err(ProcessError::retry_after("the file is locked", Duration::from_secs(60)));
            }
            let Ok(value) = line.parse::<i64>() else {
                return Err(ProcessError::reject(format!("line {}: {line:?} is not a number", number + 1)));
            };
            sum += value;
        }
        Ok(writeln!(output, "{sum}")?)
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let report = run_one(Sum, "1\n2\n39\n");
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(report.output.as_deref(), Some(&b"42\n"[..]));

    let report = run_one(Sum, "1\ntwo\n");
    let reason = r#"line 2: "two" is not a number"#.to_owned();
    assert_eq!(report.outcome, Outcome::Reject { code: Code::ProcessorFailed, reason });
    assert_eq!(report.output, None, "a processor that fails publishes nothing");

    let report = run_one(Sum, "locked\n");
    let (reason, after) = ("the file is locked".to_owned(), Some(Duration::from_secs(60)));
    assert_eq!(report.outcome, Outcome::Retry { reason, after });

    println!("the processor does what it should");
    Ok(())
}
