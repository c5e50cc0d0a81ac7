//! Codecs: nothing lost, nothing made up, and no end that is not one.

use std::io::{BufReader, Read, Write};
use std::process::{Command, Stdio};

use batchpipe::error::Code;
use batchpipe::job::suffix::Codec;
use batchpipe::processor::codec::{Chain, Limits};
use batchpipe::record::Notices;
use batchpipe::{ProcessError, Processor};

use super::{job, sample};

const MIB: usize = 1 << 20;

fn apply(chain: &Chain, key: &str, data: &[u8]) -> Result<Vec<u8>, ProcessError> {
    let mut output = Vec::new();
    chain.process(&job(key), &mut &*data, &mut output)?;
    Ok(output)
}

fn encode(codec: Codec, data: &[u8]) -> Vec<u8> {
    apply(&Chain::parse(codec.as_str()).unwrap(), "x", data).unwrap()
}

fn decode(codec: Codec, data: &[u8]) -> Result<Vec<u8>, ProcessError> {
    apply(&Chain::parse("decompress").unwrap(), &format!("x{}", codec.suffix()), data)
}

#[track_caller]
fn rejected(result: Result<Vec<u8>, ProcessError>, with: Code, saying: &str) {
    match result {
        Err(ProcessError::Reject { code, reason }) => {
            assert_eq!(code, with, "{reason}");
            assert!(reason.contains(saying), "{reason:?} does not say {saying:?}");
        }
        Err(other) => panic!("not rejected but {other:?}"),
        Ok(data) => panic!("{} bytes came out", data.len()),
    }
}

#[test]
fn every_codec_gives_back_what_it_was_given() {
    for codec in Codec::ALL {
        for length in [0, 1, MIB + 1] {
            let data = sample(length);
            let encoded = encode(codec, &data);
            assert_eq!(decode(codec, &encoded).unwrap(), data, "{codec:?} {length}");
            assert!(length < 100 || encoded.len() < length, "{codec:?} does not compress");
        }
    }
}

#[test]
fn every_level_works() {
    let data = sample(3000);
    for codec in Codec::ALL {
        for level in codec.levels().filter(|level| (codec, *level) != (Codec::Zstd, 0)) {
            let chain = Chain::parse(&format!("{}:{level}", codec.as_str())).unwrap();
            let encoded = apply(&chain, "x", &data).unwrap();
            assert_eq!(decode(codec, &encoded).unwrap(), data, "{codec:?}:{level}");
        }
    }
}

#[test]
fn other_implementations_agree() {
    let data = sample(MIB + 1);
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(&*encode(Codec::Gzip, &data)).read_to_end(&mut out).unwrap();
    assert_eq!(out, data);
    assert_eq!(zstd::decode_all(&*encode(Codec::Zstd, &data)).unwrap(), data);
    let theirs = zstd::encode_all(&*data, 19).unwrap();
    assert_eq!(decode(Codec::Zstd, &theirs).unwrap(), data);
    let mut theirs = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    theirs.write_all(&data).unwrap();
    assert_eq!(decode(Codec::Gzip, &theirs.finish().unwrap()).unwrap(), data);
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Xz, Codec::Lz4] {
        let (Some(ours), Some(theirs)) = (tool(codec, "-dc", &encode(codec, &data)), tool(codec, "-c", &data)) else {
            eprintln!("not compared: {} is not installed", codec.as_str());
            continue;
        };
        assert_eq!(ours, data, "{codec:?}");
        assert_eq!(decode(codec, &theirs).unwrap(), data, "{codec:?}");
    }
}

fn tool(codec: Codec, flag: &str, data: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(codec.as_str()).arg(flag).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    let data = data.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&data));
    let output = child.wait_with_output().ok()?;
    feeding.join().unwrap().unwrap();
    Some(output.stdout)
}

#[test]
fn every_member_is_decoded_wherever_the_chunks_are_cut() {
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Xz, Codec::Lz4] {
        let (one, two) = (sample(5000), sample(70_000));
        let whole = [encode(codec, &one), encode(codec, b""), encode(codec, &two)].concat();
        let expected = [one, two].concat();
        for chunk in [1, 7, 4096, MIB] {
            let mut output = Vec::new();
            let mut input = BufReader::with_capacity(chunk, &*whole);
            Chain::parse("decompress").unwrap().process(&job("x"), &mut input, &mut output).unwrap();
            assert!(output == expected, "{codec:?} in chunks of {chunk}");
        }
    }
}

#[test]
fn an_end_too_early_is_found_at_every_byte() {
    let data = sample(600);
    for codec in Codec::ALL {
        let encoded = encode(codec, &data);
        let chain = Chain::parse(&format!("decompress:{}", codec.as_str())).unwrap();
        for cut in 0..encoded.len() {
            let result = apply(&chain, "x", &encoded[..cut]);
            let says = if cut == 0 { "empty".into() } else { format!("{} ends early at byte {cut}", codec.as_str()) };
            rejected(result, Code::DataDamaged, &says);
        }
    }
}

#[test]
fn garbage_after_the_end_is_an_error() {
    let data = sample(600);
    for codec in Codec::ALL {
        for garbage in [&b"garbage!"[..], b"\n", b"\x06"] {
            let encoded = [&*encode(codec, &data), garbage].concat();
            rejected(decode(codec, &encoded), Code::DataDamaged, codec.as_str());
        }
    }
}

/// Tapes and block devices hold whole blocks, so what was copied from one ends in zeros.
#[test]
fn zeros_to_the_end_are_padding_and_never_hide_what_follows_them() {
    let data = sample(5000);
    for codec in [Codec::Gzip, Codec::Bzip2, Codec::Xz] {
        let one = encode(codec, &data);
        for zeros in [1, 2, 3, 4, 511, 512, 700_000] {
            let padded = [&*one, &*one, &vec![0; zeros]].concat();
            for chunk in [1, 4096, MIB] {
                if chunk == 1 && zeros > 600 {
                    continue;
                }
                let mut output = Vec::new();
                let mut input = BufReader::with_capacity(chunk, &*padded);
                Chain::parse("decompress").unwrap().process(&job("x"), &mut input, &mut output).unwrap();
                assert!(output == [&*data, &*data].concat(), "{codec:?}, {zeros} zeros in chunks of {chunk}");
            }
            for more in [&*one, b"x"] {
                rejected(
                    decode(codec, &[&*one, &vec![0; zeros], more].concat()),
                    Code::DataDamaged,
                    "follows the zeros",
                );
            }
        }
        // Zeros in place of the rest of a member are damage.
        for cut in [5, 8, 20] {
            let torn = [&one[..one.len() - cut], &vec![0; 4096]].concat();
            assert!(
                matches!(decode(codec, &torn), Err(ProcessError::Reject { code: Code::DataDamaged, .. })),
                "{codec:?} {cut}"
            );
        }
    }
    for codec in [Codec::Zstd, Codec::Lz4] {
        rejected(decode(codec, &[&*encode(codec, &data), &[0; 512][..]].concat()), Code::DataDamaged, codec.as_str());
    }
}

#[test]
fn decompress_any_lets_through_what_neither_data_nor_name_call_compressed() {
    let data = sample(5000);
    let any = Chain::parse("decompress:any").unwrap();
    for plain in [&*data, b"", b"x", &[0x1f]] {
        assert_eq!(apply(&any, "notes.txt", plain).unwrap(), plain);
    }
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Xz, Codec::Lz4] {
        assert_eq!(apply(&any, "without an ending", &encode(codec, &data)).unwrap(), data, "{codec:?}");
        // Damage is no plain data.
        rejected(apply(&any, "x", &[&*encode(codec, &data), b"more"].concat()), Code::DataDamaged, codec.as_str());
    }
    assert_eq!(apply(&any, "a.br", &encode(Codec::Brotli, &data)).unwrap(), data);
    // Its output would have lost the ending, and be called what it is not.
    rejected(apply(&any, "notes.gz", &data), Code::NotCompressed, "not compressed in a format that is known");
    rejected(apply(&any, "notes.tgz", b""), Code::DataDamaged, "empty");
    let twice = Chain::parse("decompress:any,decompress:any").unwrap();
    assert_eq!(apply(&twice, "a.gz", &encode(Codec::Gzip, &data)).unwrap(), data);
    rejected(apply(&twice, "a.xz.gz", &encode(Codec::Gzip, &data)), Code::NotCompressed, "not compressed");
}

#[test]
fn what_is_compressed_already_is_counted_where_the_first_step_compresses() {
    let (data, gzip) = (sample(5000), encode(Codec::Gzip, &sample(5000)));
    for (steps, input, expected) in [
        ("zstd", &gzip, true),
        ("copy,gzip", &gzip, true),
        ("zstd", &data, false),
        ("decompress,zstd", &gzip, false),
        ("sha256", &gzip, false),
    ] {
        let notices = std::sync::Arc::new(Notices::default());
        let chain = Chain::parse(steps).unwrap().with_notices(std::sync::Arc::clone(&notices));
        apply(&chain, "x", input).unwrap();
        assert_eq!(notices.compressed() > 0, expected, "{steps}");
    }
}

#[test]
fn a_flipped_bit_never_passes() {
    let data = sample(2000);
    // Brotli has no checksum, and a header's bits need not matter.
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Xz, Codec::Lz4] {
        let encoded = encode(codec, &data);
        for at in (12..encoded.len()).step_by(5) {
            let mut damaged = encoded.clone();
            damaged[at] ^= 0x10;
            match decode(codec, &damaged) {
                Ok(output) => assert!(output == data, "{codec:?}: a flip at {at} went unseen"),
                Err(ProcessError::Reject { code, .. }) => {
                    assert!(matches!(code, Code::DataDamaged | Code::ExpandsTooFar))
                }
                Err(other) => panic!("{codec:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn hostile_bytes_are_rejected_and_never_panic() {
    let data = sample(400);
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for codec in Codec::ALL {
        let whole = encode(codec, &data);
        for _ in 0..400 {
            let mut hostile = whole.clone();
            for _ in 0..=next(8) {
                let at = next(hostile.len());
                hostile[at] = next(256) as u8;
            }
            hostile.truncate(1 + next(hostile.len()));
            let chain = Chain::parse(&format!("decompress:{}", codec.as_str())).unwrap();
            let limits = Limits { max_expanded_bytes: Some(10_000_000), ..Limits::default() };
            match apply(&chain.with_limits(limits), "x", &hostile) {
                Ok(_)
                | Err(ProcessError::Reject {
                    code: Code::DataDamaged | Code::ExpandsTooFar | Code::DecompressionMemory,
                    ..
                }) => {}
                Err(other) => panic!("{codec:?} on {hostile:02x?}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_not_compressed_is_called_that() {
    let decompress = Chain::parse("decompress").unwrap();
    rejected(apply(&decompress, "notes.txt", b"just some text"), Code::NotCompressed, "6a 75 73 74");
    rejected(apply(&decompress, "notes.gz", b"just some text"), Code::NotCompressed, "format that is known");
    rejected(apply(&decompress, "notes.gz", b""), Code::DataDamaged, "empty");
    rejected(apply(&decompress, "x", &[0x1f]), Code::NotCompressed, "1f");
    rejected(apply(&decompress, "notes.br", b"just some text"), Code::DataDamaged, "brotli");
}

#[test]
fn a_bomb_is_an_error_and_never_a_shorter_object() {
    let mut zeros = BufReader::with_capacity(MIB, std::io::repeat(0).take(200 << 20));
    let mut bomb = Vec::new();
    Chain::parse("zstd:1").unwrap().process(&job("x"), &mut zeros, &mut bomb).unwrap();
    let chain = Chain::parse("decompress").unwrap();
    let result = chain.process(&job("x"), &mut &*bomb, &mut std::io::sink());
    rejected(result.map(|()| Vec::new()), Code::ExpandsTooFar, "more than 1000:1, after ");
    let result = chain.process(&job("x"), &mut &*bomb, &mut std::io::sink());
    rejected(result.map(|()| Vec::new()), Code::ExpandsTooFar, "the limit is --max-ratio");
    let wide = chain.clone().with_limits(Limits { max_ratio: Some(40_000), ..Limits::default() });
    wide.process(&job("x"), &mut &*bomb, &mut std::io::sink()).unwrap();
    let unlimited = chain.clone().with_limits(Limits { max_ratio: None, ..Limits::default() });
    unlimited.process(&job("x"), &mut &*bomb, &mut std::io::sink()).unwrap();
    let small = Limits { max_expanded_bytes: Some(1000), ..Limits::default() };
    let chain = chain.with_limits(small);
    assert_eq!(apply(&chain, "x", &encode(Codec::Gzip, &sample(1000))).unwrap().len(), 1000);
    rejected(apply(&chain, "x", &encode(Codec::Gzip, &sample(1001))), Code::ExpandsTooFar, "more than 1000 bytes");
}

/// At tens of thousands to one, and harmless.
#[test]
fn a_small_file_of_one_byte_is_no_bomb() {
    let mut zeros = BufReader::with_capacity(MIB, std::io::repeat(0).take(60 << 20));
    let mut small = Vec::new();
    Chain::parse("zstd:1").unwrap().process(&job("x"), &mut zeros, &mut small).unwrap();
    assert!(small.len() < (60 << 20) / 10_000, "{} bytes", small.len());
    Chain::parse("decompress").unwrap().process(&job("x"), &mut &*small, &mut std::io::sink()).unwrap();
}

#[test]
fn a_window_larger_than_allowed_is_refused() {
    let data = sample(MIB);
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(20).unwrap();
    encoder.write_all(&data).unwrap();
    let encoded = encoder.finish().unwrap();
    assert_eq!(decode(Codec::Zstd, &encoded).unwrap(), data);
    let narrow = Limits { decoder_bytes: 1 << 16, ..Limits::default() };
    rejected(
        apply(&Chain::parse("decompress").unwrap().with_limits(narrow), "x", &encoded),
        Code::DecompressionMemory,
        "zstd needs more than the 64 KiB",
    );
    // What a later frame asks for counts as well.
    let two = [&*encode(Codec::Zstd, b"small"), &*encoded].concat();
    rejected(
        apply(&Chain::parse("decompress").unwrap().with_limits(narrow), "x", &two),
        Code::DecompressionMemory,
        "zstd",
    );
}

#[test]
fn a_brotli_window_is_bounded_though_the_library_takes_no_limit() {
    let data = sample(1000);
    let encoded = encode(Codec::Brotli, &data);
    let narrow = Limits { decoder_bytes: 4 << 20, ..Limits::default() };
    let decompress = Chain::parse("decompress").unwrap();
    rejected(
        apply(&decompress.clone().with_limits(narrow), "x.br", &encoded),
        Code::DecompressionMemory,
        "brotli needs more than",
    );
    // A "large window" of 2^30 bytes: 8 bits that say so, 6 with the size, then one empty last block.
    rejected(apply(&decompress, "x.br", &[0x11, 0b1101_1110, 0]), Code::DataDamaged, "large window");
}

#[test]
fn an_xz_that_wants_gigabytes_is_refused() {
    // The block header follows the stream header's 12 bytes; its fifth byte is the dictionary's size, 40 for 4 GiB
    // (https://tukaani.org/xz/xz-file-format.txt, 5.3.1).
    let mut encoded = encode(Codec::Xz, &sample(1000));
    assert_eq!(encoded[12..16], [2, 0, 0x21, 1]);
    encoded[16] = 40;
    let mut crc = flate2::Crc::new();
    crc.update(&encoded[12..20]);
    encoded[20..24].copy_from_slice(&crc.sum().to_le_bytes());
    rejected(decode(Codec::Xz, &encoded), Code::DecompressionMemory, "xz needs more than the 132096 KiB");
}

#[test]
fn steps_stream_into_each_other() {
    let data = sample(MIB + 1);
    let chain = Chain::parse("zstd,gzip:1,decompress,xz:0,decompress,decompress,sha256").unwrap();
    let hex = String::from_utf8(apply(&chain, "x", &data).unwrap()).unwrap();
    let direct = apply(&Chain::parse("sha256").unwrap(), "x", &data).unwrap();
    assert_eq!(hex.as_bytes(), direct);
    let of_nothing = apply(&Chain::parse("sha256").unwrap(), "x", b"").unwrap();
    assert_eq!(of_nothing, b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n");
}

#[test]
fn a_skippable_frame_is_skipped() {
    let data = sample(1000);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"note"].concat();
    let encoded = [&*skippable, &*encode(Codec::Zstd, &data), &*skippable].concat();
    assert_eq!(decode(Codec::Zstd, &encoded).unwrap(), data);
}

/// `cargo test --test library processors:: -- --ignored --nocapture how_fast`; our own code is not optimised in a test
/// build.
#[test]
#[ignore = "a measurement"]
fn how_fast_a_chain_is_beside_the_codec_alone() {
    let data = sample(64 << 20);
    let rate = |start: std::time::Instant| 64.0 / start.elapsed().as_secs_f64();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        Chain::parse("zstd:1").unwrap().process(&job("x"), &mut &*data, &mut std::io::sink()).unwrap();
        let chain = rate(start);
        let start = std::time::Instant::now();
        zstd::stream::copy_encode(&*data, std::io::sink(), 1).unwrap();
        println!("zstd:1  chain {chain:.0} MiB/s, alone {:.0} MiB/s", rate(start));
        let start = std::time::Instant::now();
        Chain::parse("gzip:6").unwrap().process(&job("x"), &mut &*data, &mut std::io::sink()).unwrap();
        let chain = rate(start);
        let start = std::time::Instant::now();
        let mut alone = flate2::write::GzEncoder::new(std::io::sink(), flate2::Compression::new(6));
        alone.write_all(&data).unwrap();
        alone.finish().unwrap();
        println!("gzip:6  chain {chain:.0} MiB/s, alone {:.0} MiB/s", rate(start));
    }
    let small = sample(1000);
    for steps in ["zstd:1", "gzip:6", "decompress,zstd:1"] {
        let chain = Chain::parse(steps).unwrap();
        let input = if steps.starts_with("dec") { encode(Codec::Gzip, &small) } else { small.clone() };
        let start = std::time::Instant::now();
        for _ in 0..3000 {
            apply(&chain, "x", &input).unwrap();
        }
        println!("{steps}  1000 bytes in {:?}", start.elapsed() / 3000);
    }
}
