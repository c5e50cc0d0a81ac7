//! What becomes of the end of a name, and which formats it tells: the endings of compressed files come off, others go
//! on.
//!
//! Made by a [`Chain`](crate::processor::codec::Chain) from its steps, or by `--output-suffix`; used by the operator's
//! [`Rules`](crate::job::message::Rules). Pure, so that every delivery of a message, on any worker, writes the same
//! key.

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz, and on reading the older `.lzma`.
    Xz,
    /// RFC 7932. It has no magic bytes: only a name tells it.
    Brotli,
    /// The LZ4 frame format.
    Lz4,
}

impl Codec {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Gzip, Self::Zstd, Self::Bzip2, Self::Xz, Self::Brotli, Self::Lz4];

    /// The word in a chain.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Brotli => "brotli",
            Self::Lz4 => "lz4",
        }
    }

    /// What the name of a file in this format ends in.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Brotli => ".br",
            Self::Lz4 => ".lz4",
        }
    }
}

/// How a key is renamed.
///
/// ```
/// use batchpipe::job::suffix::Suffix;
/// use batchpipe::processor::codec::Chain;
///
/// assert_eq!(Suffix::of(".zst").apply("a.csv"), "a.csv.zst");
/// assert_eq!(Chain::parse("decompress,zstd")?.suffix().apply("a.csv.gz"), "a.csv.zst");
/// # Ok::<(), batchpipe::error::UserError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffix {
    /// For each ending to take off, the format it must be of, if that is known.
    pub strip: Vec<Option<Codec>>,
    /// What is appended then.
    pub append: String,
}

/// Endings that stand for two.
const SHORT_TAR: [(&str, Codec); 6] = [
    (".tgz", Codec::Gzip),
    (".tzst", Codec::Zstd),
    (".tbz2", Codec::Bzip2),
    (".tbz", Codec::Bzip2),
    (".txz", Codec::Xz),
    (".tlz4", Codec::Lz4),
];

impl Suffix {
    /// The suffix that `--output-suffix TEXT` asks for.
    pub fn of(text: &str) -> Self {
        Self { strip: Vec::new(), append: text.to_owned() }
    }

    /// Takes off one ending of a compressed file, of whatever format.
    pub fn strip_one() -> Self {
        Self { strip: vec![None], append: String::new() }
    }

    /// The key of the output of `key`. A key without an ending to take off keeps its name.
    pub fn apply(&self, key: &str) -> String {
        let stripped = self.strip.iter().fold(key.to_owned(), |key, codec| strip(&key, *codec).unwrap_or(key));
        stripped + &self.append
    }
}

/// Whether a name says that its file is compressed.
pub(crate) fn is_of_compressed(key: &str) -> bool {
    strip(key, None).is_some()
}

fn strip(key: &str, only: Option<Codec>) -> Option<String> {
    let whole = Codec::ALL.into_iter().map(|codec| (codec.suffix(), codec, ""));
    let short = SHORT_TAR.into_iter().map(|(ending, codec)| (ending, codec, ".tar"));
    whole.chain(short).filter(|(_, codec, _)| only.is_none_or(|only| only == *codec)).find_map(
        |(ending, _, instead)| {
            let at = key.len().checked_sub(ending.len())?;
            let fits = key.is_char_boundary(at) && key[at..].eq_ignore_ascii_case(ending);
            // A key that is nothing but the ending would become a folder, or nothing.
            let stem = fits.then(|| &key[..at]).filter(|stem| !stem.is_empty() && !stem.ends_with('/'))?;
            Some(format!("{stem}{instead}"))
        },
    )
}
