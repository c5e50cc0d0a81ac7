//! Runs an external program on each object, like a Unix filter.
//!
//! The object arrives on stdin, or in a scratch file if an argument contains `{input}`; the result is read from
//! stdout, or from the scratch file that `{output}` names. There is never a shell. The async runtime, not a thread,
//! drives a program's pipes, so that cutting its job can kill it at once, with its whole process group.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Code, UserError};
use crate::processor::scratch::Scratch;
use crate::record::Notices;
use crate::runtime::digest::digest;

mod environment;
mod group;
mod lookup;
mod outcome;
mod pumps;
mod run;
mod template;

use template::Template;

/// The operator's options for programs.
#[derive(Clone)]
pub struct Options {
    /// `--pass-credentials`: leave the AWS variables in the program's environment.
    pub pass_credentials: bool,
    /// The worker's AWS profile: with `pass_credentials` the program gets this profile, and no keys that the worker
    /// itself ignores.
    pub profile: Option<String>,
    /// `--reject-codes`: additional exit statuses that mean "this input is bad".
    pub reject_codes: BTreeSet<u8>,
    /// The environment to pass on, and in which to look up the program.
    pub environment: Vec<(OsString, OsString)>,
}

/// No credentials, only the sysexits statuses, and this process's environment.
impl Default for Options {
    fn default() -> Self {
        Self {
            pass_credentials: false,
            profile: None,
            reject_codes: BTreeSet::new(),
            environment: std::env::vars_os().collect(),
        }
    }
}

/// Without the environment, whose contents must not appear in a log.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Options");
        shown.field("pass_credentials", &self.pass_credentials).field("reject_codes", &self.reject_codes);
        shown.finish_non_exhaustive()
    }
}

/// A program and its arguments.
#[derive(Clone)]
pub struct Program {
    /// The name as typed, used in errors and as its `argv[0]`.
    name: OsString,
    path: PathBuf,
    id: String,
    template: Template,
    environment: Vec<(OsString, OsString)>,
    reject_codes: BTreeSet<u8>,
    scratch: Option<Arc<Scratch>>,
    notices: Arc<Notices>,
}

/// Without the environment, as for [`Options`].
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Program");
        shown.field("name", &self.name).field("path", &self.path).field("template", &self.template);
        shown.finish_non_exhaustive()
    }
}

impl Program {
    /// Parses the words after `--` and finds the program.
    pub fn parse(argv: Vec<OsString>, options: Options) -> Result<Self, UserError> {
        let Some((name, arguments)) = argv.split_first() else {
            return Err(UserError::usage(
                Code::ProgramWithoutInput,
                "no program after --",
                "there is nothing to run",
                "name one, e.g.  -- gzip -9 ; or use  --process gzip",
            ));
        };
        if template::has_placeholder(name) {
            return Err(UserError::usage(
                Code::ProgramWithoutInput,
                "the program itself can't be a placeholder",
                format!("got: {:?}", name.display().to_string()),
                "name the program first and the files after it, e.g.  -- cp {input} {output}",
            ));
        }
        let template = Template::parse(arguments)?;
        let path =
            options.environment.iter().find(|(variable, _)| variable == "PATH").map(|(_, path)| path.as_os_str());
        Ok(Self {
            path: lookup::find(name, path)?,
            id: format!("program:{}", digest(argv.join(OsStr::new("\0")).as_bytes())),
            name: name.clone(),
            template,
            environment: environment::inherited(
                options.environment,
                options.pass_credentials,
                options.profile.as_deref(),
            ),
            reject_codes: options.reject_codes,
            scratch: None,
            notices: Arc::default(),
        })
    }

    /// Identifies the program: a digest of the command line as typed, because the command line may contain secrets. A
    /// new build of the program under the same name does not change it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether an argument contains `{input}` or `{output}`, so that [`with_scratch`](Self::with_scratch) is needed.
    pub fn wants_scratch(&self) -> bool {
        self.template.input.is_some() || self.template.output.is_some()
    }

    /// The same program, with a place for its files.
    #[must_use]
    pub fn with_scratch(mut self, scratch: Arc<Scratch>) -> Self {
        self.scratch = Some(scratch);
        self
    }

    /// The same program, which counts jobs without any output in `notices`.
    #[must_use]
    pub fn with_notices(mut self, notices: Arc<Notices>) -> Self {
        self.notices = notices;
        self
    }
}
