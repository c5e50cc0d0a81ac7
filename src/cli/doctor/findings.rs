//! What the checks found, and how it is shown: a line each, with how to repair it, or an event each.

use serde_json::json;

use crate::cli::output::{event, print};
use crate::error::{Exit, UserError};
use crate::runtime::words::things;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    Ok,
    Warn,
    Fail,
}

/// What a check found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    pub(super) check: &'static str,
    pub(super) text: String,
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, check, text: text.into(), fix: None }
    }

    pub(super) fn warn(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { grade: Grade::Warn, check, text: text.into(), fix: Some(fix.into()) }
    }

    pub(super) fn fail(check: &'static str, error: &UserError) -> Self {
        let text = format!("{} ({}): {}", error.what, error.code, error.cause);
        Self { grade: Grade::Fail, check, text, fix: Some(error.help.clone()) }
    }
}

pub(super) fn report(findings: &[Finding], json: bool) -> Result<Exit, UserError> {
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (failures, warnings) = (count(Grade::Fail), count(Grade::Warn));
    let exit = if failures > 0 { Exit::Preflight } else { Exit::Done };
    if json {
        for finding in findings {
            let grade = format!("{:?}", finding.grade).to_ascii_lowercase();
            event(
                "check",
                json!({ "check": finding.check, "grade": grade, "text": finding.text, "fix": finding.fix }),
            )?;
        }
        event("summary", json!({ "failures": failures, "warnings": warnings, "exit": exit as u8 }))?;
        return Ok(exit);
    }
    let mut page = String::new();
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => "ok",
            Grade::Warn => "WARN",
            Grade::Fail => "FAIL",
        };
        page.push_str(&format!(" {grade:<5} {:<19} {}\n", finding.check, finding.text));
        if let Some(fix) = &finding.fix {
            page.push_str(&format!("{:27}fix: {fix}\n", ""));
        }
    }
    let [failures, warnings] = [things(failures as u64, "failure"), things(warnings as u64, "warning")];
    page.push_str(&format!("{failures}, {warnings}.  exit {}\n", exit as u8));
    print(&page)?;
    Ok(exit)
}
