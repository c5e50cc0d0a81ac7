//! The catalogue of failures: one page for each `BPnnn`. `batchpipe explain BPnnn` prints the page.
//!
//! The hundreds tell who is asked to act: 1xx whoever set the worker up, 2xx whoever sent the message, 3xx whoever
//! made the object, 4xx whoever wrote the processor, 5xx the machine, 6xx nobody (it settles itself), 7xx us.
//! The numbers stand in `error/code.rs` alone. The files beside this one give each code its page,
//! its exit code and its help.

use std::fmt;

use crate::error::{Code, Exit};

mod messages;
mod objects;
mod setup;
mod work;

/// What the page of one code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The code.
    pub code: Code,
    /// What happened, in one line.
    pub title: &'static str,
    /// What it means for the job or the worker.
    pub meaning: &'static str,
    /// Why it happens.
    pub why: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// A command to start with.
    pub example: &'static str,
}

/// What the catalogue holds of one code: its page, how it ends the process, and what to do about it in one line.
#[derive(Clone, Copy)]
struct Text {
    title: &'static str,
    exit: Exit,
    help: &'static str,
    meaning: &'static str,
    why: &'static str,
    fix: &'static str,
    example: &'static str,
}

impl Text {
    #[expect(clippy::too_many_arguments, reason = "each is one column of a table of constants")]
    const fn new(
        title: &'static str,
        exit: Exit,
        help: &'static str,
        meaning: &'static str,
        why: &'static str,
        fix: &'static str,
        example: &'static str,
    ) -> Self {
        Self { title, exit, help, meaning, why, fix, example }
    }
}

/// Every page, in the order of the numbers.
pub fn all() -> impl Iterator<Item = Page> {
    Code::ALL.iter().copied().map(page)
}

/// The page of a code.
///
/// ```
/// use batchpipe::error::{Code, codes};
///
/// assert_eq!(codes::page(Code::LeaseLost).title, "the lease of a message was lost");
/// ```
pub const fn page(code: Code) -> Page {
    let Text { title, meaning, why, fix, example, .. } = text(code);
    Page { code, title, meaning, why, fix, example }
}

impl Code {
    /// How the process ends if this failure ends it. A mistake in the command line ends it with [`Exit::Usage`],
    /// whatever its code.
    pub const fn exit(self) -> Exit {
        text(self).exit
    }

    /// What to do about it, in one line. A caller that knows more gives a closer help.
    pub const fn help(self) -> &'static str {
        text(self).help
    }
}

/// Reads the number of a code as people type it: `BP303`, `bp303` or `303`. [`Code::from_number`] tells whether a code
/// has the number.
pub fn number(text: &str) -> Option<u16> {
    let prefix = text.get(..2).filter(|start| start.eq_ignore_ascii_case("BP"));
    let digits = &text[prefix.map_or(0, str::len)..];
    let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The catalogue. It matches every code, so the compiler finds a code that lacks a page, a help or an exit code.
const fn text(code: Code) -> Text {
    match code {
        Code::CredentialsMissing => setup::CREDENTIALS_MISSING,
        Code::RegionMissing => setup::REGION_MISSING,
        Code::QueueMissing => setup::QUEUE_MISSING,
        Code::QueueDenied => setup::QUEUE_DENIED,
        Code::WrongRegion => setup::WRONG_REGION,
        Code::AccessDenied => setup::ACCESS_DENIED,
        Code::Unreachable => setup::UNREACHABLE,
        Code::CredentialsExpired => setup::CREDENTIALS_EXPIRED,
        Code::ClockOff => setup::CLOCK_OFF,
        Code::CommandLine => setup::COMMAND_LINE,
        Code::ProgramWithoutInput => setup::PROGRAM_WITHOUT_INPUT,
        Code::ProgramNotFound => setup::PROGRAM_NOT_FOUND,
        Code::OutputAmongInputs => setup::OUTPUT_AMONG_INPUTS,
        Code::BucketNotAllowed => setup::BUCKET_NOT_ALLOWED,
        Code::MetricsPortInUse => setup::METRICS_PORT_IN_USE,
        Code::VisibilityTimeout => setup::VISIBILITY_TIMEOUT,
        Code::Configuration => setup::CONFIGURATION,
        Code::MetricsAddressOpen => setup::METRICS_ADDRESS_OPEN,
        Code::SystemLimit => setup::SYSTEM_LIMIT,
        Code::BadPlaceOrStep => setup::BAD_PLACE_OR_STEP,
        Code::Memory => setup::MEMORY,
        Code::StdoutFailed => setup::STDOUT_FAILED,
        Code::NeedsYes => setup::NEEDS_YES,
        Code::WrongJournal => setup::WRONG_JOURNAL,
        Code::OutputCollision => setup::OUTPUT_COLLISION,
        Code::SecretInAddress => setup::SECRET_IN_ADDRESS,
        Code::OutputUnused => setup::OUTPUT_UNUSED,
        Code::NotAJob => messages::NOT_A_JOB,
        Code::UnknownField => messages::UNKNOWN_FIELD,
        Code::RepeatedField => messages::REPEATED_FIELD,
        Code::BadField => messages::BAD_FIELD,
        Code::NewerVersion => messages::NEWER_VERSION,
        Code::BadKey => messages::BAD_KEY,
        Code::PlaceNotAllowed => messages::PLACE_NOT_ALLOWED,
        Code::UnsupportedEvent => messages::UNSUPPORTED_EVENT,
        Code::OutsideInputPrefix => messages::OUTSIDE_INPUT_PREFIX,
        Code::NoOutputNamed => messages::NO_OUTPUT_NAMED,
        Code::MessageDamaged => messages::MESSAGE_DAMAGED,
        Code::UnknownEvent => messages::UNKNOWN_EVENT,
        Code::PointerMessage => messages::POINTER_MESSAGE,
        Code::ObjectMissing => objects::OBJECT_MISSING,
        Code::ObjectChanged => objects::OBJECT_CHANGED,
        Code::DataDamaged => objects::DATA_DAMAGED,
        Code::ExpandsTooFar => objects::EXPANDS_TOO_FAR,
        Code::ChecksumMismatch => objects::CHECKSUM_MISMATCH,
        Code::NotCompressed => objects::NOT_COMPRESSED,
        Code::OutputExists => objects::OUTPUT_EXISTS,
        Code::Throttled => objects::THROTTLED,
        Code::RequestInvalid => objects::REQUEST_INVALID,
        Code::TooManyParts => objects::TOO_MANY_PARTS,
        Code::UploadVanished => objects::UPLOAD_VANISHED,
        Code::DestinationChanged => objects::DESTINATION_CHANGED,
        Code::ObjectRefused => objects::OBJECT_REFUSED,
        Code::DecompressionMemory => objects::DECOMPRESSION_MEMORY,
        Code::OutputOfAnotherInput => objects::OUTPUT_OF_ANOTHER_INPUT,
        Code::StoreProvesNothing => objects::STORE_PROVES_NOTHING,
        Code::QueueAnswerIncomplete => objects::QUEUE_ANSWER_INCOMPLETE,
        Code::AlreadyCompressed => objects::ALREADY_COMPRESSED,
        Code::ProcessorFailed => work::PROCESSOR_FAILED,
        Code::ProgramFailed => work::PROGRAM_FAILED,
        Code::ProgramOutputMissing => work::PROGRAM_OUTPUT_MISSING,
        Code::ProcessorPanicked => work::PROCESSOR_PANICKED,
        Code::JobTimedOut => work::JOB_TIMED_OUT,
        Code::NoSpace => work::NO_SPACE,
        Code::WorkDirectory => work::WORK_DIRECTORY,
        Code::OwnFile => work::OWN_FILE,
        Code::LeaseLost => work::LEASE_LOST,
        Code::NeighbourEnded => work::NEIGHBOUR_ENDED,
        Code::HeldTooLong => work::HELD_TOO_LONG,
        Code::Stopping => work::STOPPING,
        Code::GroupWaits => work::GROUP_WAITS,
        Code::DeleteFailed => work::DELETE_FAILED,
        Code::GroupHeldUp => work::GROUP_HELD_UP,
        Code::Stuck => work::STUCK,
        Code::InternalPanic => work::INTERNAL_PANIC,
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.code, self.title)?;
        for (name, text) in [("means", self.meaning), ("why", self.why), ("do", self.fix)] {
            writeln!(f)?;
            for (nth, line) in wrap(text).into_iter().enumerate() {
                writeln!(f, "  {:<6} {line}", if nth == 0 { name } else { "" })?;
            }
        }
        writeln!(f, "\n  try    {}", self.example)
    }
}

/// Lines of at most 80 characters, so that a page with its margin fits a terminal of 90.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= 80 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_whole_and_in_order_and_none_is_there_twice() {
        assert!(all().is_sorted_by(|one, next| one.code < next.code), "{:?}", Code::ALL);
        for page in all() {
            assert!(!page.title.ends_with('.') && page.title.len() <= 80, "{page:?}");
            for text in [page.meaning, page.why, page.fix] {
                assert!(text.ends_with('.') && text.len() > 10, "{}: {text:?}", page.code);
            }
            let help = page.code.help();
            assert!(!help.is_empty() && !help.ends_with('.') && !help.contains('\n'), "{}: {help:?}", page.code);
            assert!(!page.example.is_empty() && !page.example.contains('\n'), "{page:?}");
        }
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for text in ["BP303", "bp303", "303"] {
            assert_eq!(number(text), Some(303), "{text}");
        }
        for text in ["", "B", "BP", "BP30", "BP3033", "BP+30", "é303", "BPé1", "0x1", "[303]"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_fits_a_terminal() {
        for page in all() {
            for line in page.to_string().lines() {
                assert!(line.chars().count() <= 120, "{line}");
            }
        }
    }
}
