//! The bytes of every object: a ring of access-log lines, read from its start. A codec finds in it what it finds in
//! logs: zstd makes a fifth of it, at the speed it has on text.

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;

/// The ring's length. No part size divides it, so that parts in the wrong order have another sum.
const LENGTH: usize = 16 * 1024 * 1024 - 1009;

const METHODS: [&str; 4] = ["GET", "GET", "POST", "HEAD"];
const PLACES: [&str; 8] = ["img", "css", "api/v2/orders", "api/v2/users", "docs", "static/js", "search", "feed"];
const AGENTS: [&str; 3] = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4)"];

/// Makes the ring from a fixed seed (splitmix64), so that every run has the same.
pub fn make() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % below as u64) as usize
    };
    let mut text = String::with_capacity(LENGTH + 1024);
    while text.len() < LENGTH {
        let (first, last, second, millis) = (random(256), random(256), random(86_400), random(1000));
        let (method, place, agent) = (METHODS[random(4)], PLACES[random(8)], AGENTS[random(3)]);
        let (thing, status, size) = (random(100_000), [200, 200, 200, 304, 404, 500][random(6)], random(65_536));
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        text += &format!(
            "10.{first}.7.{last} - - [24/Nov/2026:{hour:02}:{minute:02}:{second:02}.{millis:03} +0000] \
             \"{method} /{place}/{thing} HTTP/1.1\" {status} {size} \"{agent}\"\n"
        );
    }
    text.truncate(LENGTH);
    Bytes::from(text)
}

/// The bytes `start..end` of an object, as slices of the ring.
pub fn slices(ring: &Bytes, mut start: u64, end: u64) -> Vec<Bytes> {
    let mut slices = Vec::new();
    while start < end {
        let at = (start % ring.len() as u64) as usize;
        let length = ((end - start) as usize).min(ring.len() - at);
        slices.push(ring.slice(at..at + length));
        start += length as u64;
    }
    slices
}

/// The sum of an object of `size` bytes.
pub fn sum(ring: &Bytes, size: u64) -> u64 {
    let mut digest = crc_fast::Digest::new(Crc64Nvme);
    slices(ring, 0, size).iter().for_each(|slice| digest.update(slice));
    digest.finalize()
}
