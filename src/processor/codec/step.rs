//! The words of a `--process` chain and the values allowed after their colons.
//!
//! A level is always known: the default level is stored in the step, so that a chain's id names what was really
//! done.

use std::fmt;
use std::ops::RangeInclusive;

use crate::error::{Code, UserError};
use crate::job::suffix::Codec;
use crate::runtime::suggest::did_you_mean;

impl Codec {
    /// The levels that the format's own tool accepts. zstd's levels below 1 are its `--fast` levels.
    pub const fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::Gzip | Self::Xz => 0..=9,
            Self::Zstd => -7..=22,
            Self::Bzip2 => 1..=9,
            Self::Brotli => 0..=11,
            Self::Lz4 => 0..=12,
        }
    }

    /// The default of the format's own tool, except for brotli: its default of 11 takes a hundred times as long as 5 to
    /// save a tenth, and is meant for files that are compressed once and served many times.
    pub const fn default_level(self) -> i32 {
        match self {
            Self::Gzip | Self::Xz => 6,
            Self::Zstd => 3,
            Self::Bzip2 => 9,
            Self::Brotli => 5,
            Self::Lz4 => 1,
        }
    }

    /// Detects the format of data that begins with `head`.
    pub fn of_magic(head: &[u8]) -> Option<Self> {
        // zstd's skippable frames share their magic with lz4's. pzstd begins its files with such a frame; lz4's tool
        // never does.
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Some(Self::Xz),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            _ => None,
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == word)
    }
}

/// One step of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Changes nothing.
    Copy,
    /// Compresses, at a level.
    Encode(Codec, i32),
    /// Decompresses; without a codec, the magic bytes and then the name tell the format.
    Decode(Option<Codec>),
    /// Decompresses compressed input, and passes any other input unchanged.
    DecodeAny,
    /// Replaces the data by its SHA-256, as 64 lowercase hex digits and a newline.
    Sha256,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => f.write_str("copy"),
            Self::Encode(codec, level) => write!(f, "{}:{level}", codec.as_str()),
            Self::Decode(None) => f.write_str("decompress"),
            Self::DecodeAny => write!(f, "decompress:{ANY}"),
            Self::Decode(Some(codec)) => write!(f, "decompress:{}", codec.as_str()),
            Self::Sha256 => f.write_str("sha256"),
        }
    }
}

/// The word in the place of a format if the input may also be uncompressed.
const ANY: &str = "any";

/// The steps that are not formats.
const OTHER_STEPS: [&str; 3] = ["copy", "decompress", "sha256"];

impl Step {
    /// Reads one step of a chain.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let (word, value) = match text.split_once(':') {
            Some((word, value)) => (word, Some(value)),
            None => (text, None),
        };
        if let Some(codec) = Codec::of_word(word) {
            return Ok(Self::Encode(
                codec,
                value.map_or(Ok(codec.default_level()), |level| parse_level(codec, level))?,
            ));
        }
        match (word, value) {
            ("copy", None) => Ok(Self::Copy),
            ("sha256", None) => Ok(Self::Sha256),
            ("copy" | "sha256", Some(value)) => Err(UserError::usage(
                Code::BadPlaceOrStep,
                format!("step {word:?} takes no value"),
                format!("got {value:?} after the colon"),
                format!("write just  {word}"),
            )),
            ("decompress", None) => Ok(Self::Decode(None)),
            ("decompress", Some(ANY)) => Ok(Self::DecodeAny),
            ("decompress", Some(name)) => match Codec::of_word(name) {
                Some(codec) => Ok(Self::Decode(Some(codec))),
                None => Err(UserError::usage(
                    Code::BadPlaceOrStep,
                    format!("unknown format {name:?} in step {text:?}"),
                    format!("decompress knows {}, and {ANY}", Codec::ALL.map(Codec::as_str).join(", ")),
                    did_you_mean(name, Codec::ALL.map(Codec::as_str).into_iter().chain([ANY]))
                        .unwrap_or_else(|| "write just  decompress  to have the data tell its format".into()),
                )),
            },
            _ => {
                let known = || Codec::ALL.map(Codec::as_str).into_iter().chain(OTHER_STEPS);
                let list = known().collect::<Vec<_>>().join(", ");
                Err(UserError::usage(
                    Code::BadPlaceOrStep,
                    if text.is_empty() {
                        "an empty step in --process".into()
                    } else {
                        format!("unknown step {word:?}")
                    },
                    format!("the steps are {list}"),
                    did_you_mean(word, known()).unwrap_or_else(|| {
                        "separate steps with commas, e.g.  decompress,zstd:9 ; a program goes after  --".into()
                    }),
                ))
            }
        }
    }
}

fn parse_level(codec: Codec, text: &str) -> Result<i32, UserError> {
    let levels = codec.levels();
    // zstd reads 0 as "the default", which is misleading in a scale of speeds.
    let level = text.parse::<i32>().ok().filter(|level| levels.contains(level) && (codec, *level) != (Codec::Zstd, 0));
    level.ok_or_else(|| {
        let name = codec.as_str();
        let range = match codec {
            Codec::Zstd => "1 to 22, or -1 to -7 for speed".into(),
            _ => format!("{} to {}", levels.start(), levels.end()),
        };
        UserError::usage(
            Code::BadPlaceOrStep,
            format!("bad level {text:?} for {name}"),
            format!("the levels of {name} are {range}"),
            format!("write  {name}:{}  (the default), or just  {name}", codec.default_level()),
        )
    })
}
