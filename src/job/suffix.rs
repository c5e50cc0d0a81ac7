//! How the end of a name changes, and which format it indicates: endings of compressed files are removed, others are
//! appended.
//!
//! A [`Chain`](crate::processor::codec::Chain) makes a suffix from its steps, or `--output-suffix` gives it; the
//! operator's [`Rules`](crate::job::message::Rules) use it. It is pure, so that every delivery of a message, on any
//! worker, writes the same key.

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz, and when reading also the older `.lzma`.
    Xz,
    /// RFC 7932. It has no magic bytes, so only a name indicates it.
    Brotli,
    /// The LZ4 frame format.
    Lz4,
}

impl Codec {
    /// All formats.
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

    /// The ending of the name of a file in this format.
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
    /// For each ending to remove, the format that it must belong to, if that is known.
    pub strip: Vec<Option<Codec>>,
    /// What is appended afterwards.
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
    /// The suffix for `--output-suffix TEXT`.
    pub fn of(text: &str) -> Self {
        Self { strip: Vec::new(), append: text.to_owned() }
    }

    /// Removes one ending of a compressed file, of any format.
    pub fn strip_one() -> Self {
        Self { strip: vec![None], append: String::new() }
    }

    /// The key of the output for `key`. A key without an ending to remove keeps its name.
    pub fn apply(&self, key: &str) -> String {
        let stripped = self.strip.iter().fold(key.to_owned(), |key, codec| strip(&key, *codec).unwrap_or(key));
        stripped + &self.append
    }
}

/// Whether a name indicates that its file is compressed.
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
            // A key that consists only of the ending would become a folder, or empty.
            let stem = fits.then(|| &key[..at]).filter(|stem| !stem.is_empty() && !stem.ends_with('/'))?;
            Some(format!("{stem}{instead}"))
        },
    )
}
