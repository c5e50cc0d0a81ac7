//! The codes: a name for each kind of failure, and the number that people see.
//!
//! A number is a contract: dead letters, scripts and pages hold it, so a number never changes its meaning and is never
//! used again. The numbers stand in this file alone. What a code means is in `error/codes/`.

use std::fmt;

/// A kind of failure, shown as `BPnnn`; `batchpipe explain BPnnn` tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[non_exhaustive]
pub enum Code {
    /// No AWS credentials found.
    CredentialsMissing = 101,
    /// No region.
    RegionMissing = 102,
    /// The queue does not exist, or its name can't be the name of a queue.
    QueueMissing = 103,
    /// Not allowed to use the queue.
    QueueDenied = 104,
    /// The bucket or the queue is in another region.
    WrongRegion = 105,
    /// Access denied.
    AccessDenied = 106,
    /// A service can't be reached or does not answer.
    Unreachable = 107,
    /// The credentials have expired.
    CredentialsExpired = 108,
    /// The clock is off.
    ClockOff = 109,
    /// The command line can't be right.
    CommandLine = 110,
    /// The program does not get the name of its input file.
    ProgramWithoutInput = 111,
    /// The program was not found or can't be run.
    ProgramNotFound = 112,
    /// The output is the input, or lies among the inputs.
    OutputAmongInputs = 113,
    /// A message names a bucket that is not allowed.
    BucketNotAllowed = 114,
    /// The metrics port is in use.
    MetricsPortInUse = 115,
    /// The visibility timeout is out of range or too short.
    VisibilityTimeout = 116,
    /// The configuration file or a variable can't be right.
    Configuration = 117,
    /// The metrics address is open to the network.
    MetricsAddressOpen = 118,
    /// The limit of open files or threads is too low.
    SystemLimit = 119,
    /// A place, a queue or a step of --process can't be read.
    BadPlaceOrStep = 120,
    /// --memory is too small for one job, or too large for the machine.
    Memory = 121,
    /// Cannot write to stdout.
    StdoutFailed = 122,
    /// The command needs confirmation.
    NeedsYes = 123,
    /// The file is not a journal, or the journal belongs to another command.
    WrongJournal = 124,
    /// Two inputs would have the same output.
    OutputCollision = 125,
    /// An address holds a user name, a password or a query.
    SecretInAddress = 126,
    /// The worker's --output was not used.
    OutputUnused = 128,
    /// The message is not a job.
    NotAJob = 201,
    /// The message has an unknown field.
    UnknownField = 202,
    /// The message has a field twice.
    RepeatedField = 203,
    /// A field of the message is missing or of the wrong type.
    BadField = 204,
    /// The message has a newer version.
    NewerVersion = 205,
    /// A key is empty, too long or not UTF-8.
    BadKey = 206,
    /// The message names a place that is not in the allow-list.
    PlaceNotAllowed = 207,
    /// This kind of event is not supported.
    UnsupportedEvent = 208,
    /// The input's key does not begin with the input prefix.
    OutsideInputPrefix = 209,
    /// Neither the message nor the worker names an output.
    NoOutputNamed = 210,
    /// The message arrived damaged.
    MessageDamaged = 211,
    /// The kind of the event is unknown.
    UnknownEvent = 212,
    /// The message only points to a message that is stored in S3.
    PointerMessage = 213,
    /// The object, or its bucket, does not exist.
    ObjectMissing = 301,
    /// The object changed.
    ObjectChanged = 302,
    /// The data is damaged or ends early.
    DataDamaged = 303,
    /// The data expands beyond the limit.
    ExpandsTooFar = 304,
    /// The bytes that arrived do not match their checksum or length.
    ChecksumMismatch = 305,
    /// The data is in no known compressed format.
    NotCompressed = 306,
    /// Another output already exists.
    OutputExists = 307,
    /// The service asked for fewer requests.
    Throttled = 308,
    /// The service refused the request as invalid.
    RequestInvalid = 309,
    /// The output has too many parts.
    TooManyParts = 310,
    /// The upload vanished before it was complete.
    UploadVanished = 311,
    /// The destination changed while the output was made.
    DestinationChanged = 312,
    /// Access to this object is denied, though others beside it can be read.
    ObjectRefused = 313,
    /// Decompressing the data needs more memory than is available.
    DecompressionMemory = 314,
    /// Another input has the same output.
    OutputOfAnotherInput = 315,
    /// The store reports success, but its response proves nothing.
    StoreProvesNothing = 316,
    /// The queue's response is incomplete.
    QueueAnswerIncomplete = 317,
    /// An input is already compressed.
    AlreadyCompressed = 318,
    /// A library user's processor rejected the input or failed.
    ProcessorFailed = 400,
    /// The program failed.
    ProgramFailed = 401,
    /// The program left no output.
    ProgramOutputMissing = 402,
    /// The processor panicked.
    ProcessorPanicked = 403,
    /// The job took too long.
    JobTimedOut = 404,
    /// No space left in the work directory or in the output directory.
    NoSpace = 501,
    /// The work directory can't be used.
    WorkDirectory = 502,
    /// An output would replace a file that batchpipe itself needs.
    OwnFile = 504,
    /// The lease of a message was lost.
    LeaseLost = 601,
    /// A stage ended because the stage next to it ended.
    NeighbourEnded = 602,
    /// The message was held for 12 hours.
    HeldTooLong = 603,
    /// The worker is stopping.
    Stopping = 604,
    /// A message waits for another message of its group.
    GroupWaits = 605,
    /// A message could not be deleted.
    DeleteFailed = 606,
    /// A rejected message holds up its FIFO group.
    GroupHeldUp = 607,
    /// The worker makes no progress any more.
    Stuck = 701,
    /// A part of batchpipe panicked.
    InternalPanic = 702,
}

impl Code {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 75] = [
        Self::CredentialsMissing,
        Self::RegionMissing,
        Self::QueueMissing,
        Self::QueueDenied,
        Self::WrongRegion,
        Self::AccessDenied,
        Self::Unreachable,
        Self::CredentialsExpired,
        Self::ClockOff,
        Self::CommandLine,
        Self::ProgramWithoutInput,
        Self::ProgramNotFound,
        Self::OutputAmongInputs,
        Self::BucketNotAllowed,
        Self::MetricsPortInUse,
        Self::VisibilityTimeout,
        Self::Configuration,
        Self::MetricsAddressOpen,
        Self::SystemLimit,
        Self::BadPlaceOrStep,
        Self::Memory,
        Self::StdoutFailed,
        Self::NeedsYes,
        Self::WrongJournal,
        Self::OutputCollision,
        Self::SecretInAddress,
        Self::OutputUnused,
        Self::NotAJob,
        Self::UnknownField,
        Self::RepeatedField,
        Self::BadField,
        Self::NewerVersion,
        Self::BadKey,
        Self::PlaceNotAllowed,
        Self::UnsupportedEvent,
        Self::OutsideInputPrefix,
        Self::NoOutputNamed,
        Self::MessageDamaged,
        Self::UnknownEvent,
        Self::PointerMessage,
        Self::ObjectMissing,
        Self::ObjectChanged,
        Self::DataDamaged,
        Self::ExpandsTooFar,
        Self::ChecksumMismatch,
        Self::NotCompressed,
        Self::OutputExists,
        Self::Throttled,
        Self::RequestInvalid,
        Self::TooManyParts,
        Self::UploadVanished,
        Self::DestinationChanged,
        Self::ObjectRefused,
        Self::DecompressionMemory,
        Self::OutputOfAnotherInput,
        Self::StoreProvesNothing,
        Self::QueueAnswerIncomplete,
        Self::AlreadyCompressed,
        Self::ProcessorFailed,
        Self::ProgramFailed,
        Self::ProgramOutputMissing,
        Self::ProcessorPanicked,
        Self::JobTimedOut,
        Self::NoSpace,
        Self::WorkDirectory,
        Self::OwnFile,
        Self::LeaseLost,
        Self::NeighbourEnded,
        Self::HeldTooLong,
        Self::Stopping,
        Self::GroupWaits,
        Self::DeleteFailed,
        Self::GroupHeldUp,
        Self::Stuck,
        Self::InternalPanic,
    ];

    /// The number that people see.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code of this number, if there is one.
    ///
    /// ```
    /// use batchpipe::error::Code;
    ///
    /// assert_eq!(Code::from_number(601), Some(Code::LeaseLost));
    /// assert_eq!(Code::from_number(999), None);
    /// ```
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BP{:03}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_all_codes_leaves_none_out() {
        let source = include_str!("code.rs");
        let (names, _) = source.split_once("\nimpl Code {").unwrap();
        let named = names.lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(named, Code::ALL.len());
        assert!(Code::ALL.is_sorted_by(|one, next| one < next), "{:?}", Code::ALL);
    }
}
