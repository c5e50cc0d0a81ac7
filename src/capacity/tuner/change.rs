//! What the search asks for: a limit moved, and the reason that the log and the metrics tell.

/// Why a limit changed. The names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A trial of more, the first or after a pause.
    Trial,
    /// More did more work: on to yet more.
    Gain,
    /// More did no more work: back.
    NoGain,
    /// The service throttled: fewer at once.
    Throttled,
    /// Nothing was throttled for a while: one step up again.
    Recovery,
    /// Calls take longer and do no more work: a trial of fewer.
    Latency,
    /// A trial whether fewer do as much.
    Fewer,
    /// Fewer did less work: back.
    Loss,
}

impl Reason {
    /// The label used in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Gain => "gain",
            Self::NoGain => "no_gain",
            Self::Throttled => "throttled",
            Self::Recovery => "recovery",
            Self::Latency => "latency",
            Self::Fewer => "fewer",
            Self::Loss => "loss",
        }
    }
}

/// A limit is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub kind: usize,
    pub from: usize,
    pub to: usize,
    pub why: Reason,
}
