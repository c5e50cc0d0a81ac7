//! What the search asks for: a limit to move, and the reason for the log and the metrics.

/// Why a limit changed. The names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A higher limit is tried, for the first time or after a pause.
    Trial,
    /// The higher limit brought more work, so the next step up is tried.
    Gain,
    /// The higher limit brought no more work, so the limit returns.
    NoGain,
    /// The service throttled, so the limit is cut at once.
    Throttled,
    /// Nothing was throttled for a while, so the limit takes one step up again.
    Recovery,
    /// Calls take longer without more work, so a lower limit is tried.
    Latency,
    /// A trial of whether a lower limit does as much work.
    Fewer,
    /// The lower limit did less work, so the limit returns.
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

/// A limit that is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub kind: usize,
    pub from: usize,
    pub to: usize,
    pub why: Reason,
}
