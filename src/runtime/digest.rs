//! Short names for long texts: digests in hexadecimal.

use md5::Md5;
use sha2::{Digest, Sha256};

/// Bytes of a digest that are kept. With 16 bytes, the chance that two of 10^15 texts get the same digest is 10^-9.
pub const BYTES: usize = 16;

/// Bytes of a [`short`] name. It distinguishes what one user has at one time, and nothing is decided by it alone.
const SHORT_BYTES: usize = 8;

/// A digest that stands for the text.
pub fn digest(text: impl AsRef<[u8]>) -> String {
    hex::encode(&Sha256::digest(text)[..BYTES])
}

/// A short name for a text, for file names and job ids. The same text has the same name in every version.
pub fn short(text: &str) -> String {
    hex::encode(&Md5::digest(text)[..SHORT_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_the_same_from_version_to_version() {
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223", "the head of the SHA-256 that FIPS 180-2 gives");
        assert_eq!(short("abc"), "900150983cd24fb0", "the head of the MD5 that RFC 1321 gives");
    }
}
