//! The checksum of written data: CRC-64/NVME, computed once and sent as a header.
//!
//! This algorithm is used because the checksums of parts combine into the checksum of the whole object, so S3 can
//! verify everything that the processor wrote and not only each part, and because it costs a tenth of hashing the
//! payload for the signature
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).

use aws_smithy_types::base64;
use crc_fast::CrcAlgorithm::Crc64Nvme;

use crate::services::store::Part;

/// The checksum of `data` as S3 writes it: base64 of the eight bytes in big-endian order.
pub(crate) fn of(data: &[u8]) -> String {
    base64::encode(crc_fast::checksum(Crc64Nvme, data).to_be_bytes())
}

/// The checksum of the object that `parts` make; `None` if a part has no checksum of this kind.
pub(crate) fn of_parts(parts: &[Part]) -> Option<String> {
    let mut whole = crc_fast::checksum(Crc64Nvme, &[]);
    for part in parts {
        let bytes = base64::decode(part.checksum.as_deref()?).ok()?;
        let sum = u64::from_be_bytes(bytes.try_into().ok()?);
        whole = crc_fast::checksum_combine(Crc64Nvme, whole, sum, part.size);
    }
    Some(base64::encode(whole.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_s3_expects() {
        // The check value of CRC-64/NVME, from the catalogue of parametrised CRC algorithms.
        assert_eq!(of(b"123456789"), base64::encode(0xae8b_1486_0a79_9888_u64.to_be_bytes()));
        assert_eq!(of(b""), "AAAAAAAAAAA=");
    }

    #[test]
    fn the_sums_of_parts_make_the_sum_of_the_whole() {
        let data: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
        for cuts in [&[10_000][..], &[1, 9_999], &[0, 10_000], &[3_000, 3_000, 4_000]] {
            let mut rest = data.as_slice();
            let mut parts = Vec::new();
            for (number, cut) in (1..).zip(cuts) {
                let (piece, after) = rest.split_at(*cut);
                rest = after;
                let size = piece.len() as u64;
                parts.push(Part { number, etag: String::new(), size, checksum: Some(of(piece)) });
            }
            assert_eq!(of_parts(&parts), Some(of(&data)), "{cuts:?}");
        }
    }

    #[test]
    fn a_part_without_a_sum_leaves_the_whole_without_one() {
        let part = Part { number: 1, etag: String::new(), size: 1, checksum: None };
        assert_eq!(of_parts(&[part]), None);
    }
}
