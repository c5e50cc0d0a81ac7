//! How `--memory` is shared between the objects in flight and what the steps of `--process` need for themselves.
//!
//! An encoder's need is fixed by its level, and the output depends on it, so where memory is short fewer run at once:
//! never with smaller windows, for then the same job would make other bytes elsewhere. A decoder's need is written in
//! its input; each has an equal share of what there is, up to what the formats' own tools take, and data that asks for
//! more is refused. All of them together have half of the memory, or what one needs; two parts are left in any case.

use crate::processor::Processor;
use crate::processor::codec::{Chain, FULL_DECODER, LEAST_DECODER, Limits};

/// What is left to the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Processors that may run at once.
    pub processors: usize,
    /// The most bytes of one decoder.
    pub decoder: u64,
}

/// The least that one processor with these steps needs.
pub(super) fn least(chain: &Chain) -> u64 {
    needs(chain, LEAST_DECODER)
}

/// Shares `memory`, of which `parts` are not to be touched, among at most `processors`; `None` if it is not enough for
/// one.
pub(super) fn share(chain: &Chain, memory: u64, parts: u64, processors: usize) -> Option<Share> {
    let least = least(chain);
    if least == 0 {
        return Some(Share { processors, decoder: FULL_DECODER });
    }
    let room = (memory / 2).max(least).min(memory.saturating_sub(parts));
    let fitting = usize::try_from(room / least).unwrap_or(usize::MAX);
    let processors = processors.min(fitting);
    let each = room.checked_div(processors as u64)?;
    let decoder = match chain.decoders() {
        0 => FULL_DECODER,
        decoders => (LEAST_DECODER + (each - least) / decoders).min(FULL_DECODER),
    };
    Some(Share { processors, decoder })
}

fn needs(chain: &Chain, decoder_bytes: u64) -> u64 {
    chain.clone().with_limits(Limits { decoder_bytes, ..Limits::default() }).memory()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn shared(steps: &str, memory: u64, processors: usize) -> Option<(usize, u64)> {
        let chain = Chain::parse(steps).unwrap();
        let share = share(&chain, memory * MIB, 16 * MIB, processors)?;
        let used = needs(&chain, share.decoder) * share.processors as u64;
        assert!(used <= (memory - 16) * MIB, "{steps} takes {used} of {memory} MiB");
        Some((share.processors, share.decoder / MIB))
    }

    #[test]
    fn what_is_cheap_costs_no_processor_and_what_is_dear_runs_less_often_at_once() {
        assert_eq!(shared("copy", 18, 80), Some((80, 129)));
        assert_eq!(shared("gzip", 64, 3), Some((3, 129)));
        assert_eq!(shared("gzip", 64, 80), Some((42, 129)));
        assert_eq!(shared("zstd:3", 256, 80), Some((18, 129)));
        assert_eq!(shared("zstd:19", 256, 3), Some((1, 129)));
        assert_eq!(shared("zstd:19", 1024, 3), Some((3, 129)));
        assert_eq!(shared("xz:9", 700, 3), Some((1, 129)), "one may have more than half");
    }

    #[test]
    fn what_does_not_fit_once_does_not_fit() {
        assert_eq!(shared("zstd:22", 64, 3), None);
        assert_eq!(shared("xz:9", 690, 3), None);
        assert_eq!(shared("decompress", 20, 3), None);
        assert_eq!(shared("decompress,zstd:22", 800, 1), shared("zstd:22,decompress", 800, 1));
    }

    #[test]
    fn decoders_have_equal_shares_up_to_what_the_tools_take() {
        assert_eq!(shared("decompress", 64, 3), Some((3, 10)));
        assert_eq!(shared("decompress", 256, 3), Some((3, 42)));
        assert_eq!(shared("decompress", 256, 1), Some((1, 127)));
        assert_eq!(shared("decompress", 2048, 3), Some((3, 129)));
        assert_eq!(shared("decompress:gzip", 64, 3), Some((3, 129)), "it needs no window to speak of");
        assert_eq!(shared("decompress,decompress", 256, 3), Some((3, 21)));
    }
}
