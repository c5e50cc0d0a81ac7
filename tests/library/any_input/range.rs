//! What holds of any answer to a ranged read: the bytes asked for, all of them, or an error.

use std::ops::Range;

use aws_smithy_types::byte_stream::ByteStream;
use batchpipe::services::aws::body::{Window, read};
use bytes::Bytes;
use futures::TryStreamExt;

/// `text` is `START END SIZE LENGTH HEADER`; words that are missing or no numbers make an honest answer.
pub(crate) fn check(text: &str) {
    let mut words = text.splitn(5, ' ');
    let mut number =
        |otherwise: u64, below: u64| words.next().and_then(|word| word.parse().ok()).unwrap_or(otherwise) % below;
    let (start, length, size) = (number(0, 5000), number(10, 5000), number(100, 5000));
    let sent = number(size, 6000);
    let asked = start..start + length.max(1);
    let object: Vec<u8> = (0..6000_u32).map(|at| (at * 7 + at / 256) as u8).collect();
    honest(&asked, &object[..size as usize]);
    if let Some(header) = words.next() {
        lying(&asked, header, &object[..sent as usize], size);
    }
}

/// What a server says that keeps to the rules, in a part or in the whole.
fn honest(asked: &Range<u64>, object: &[u8]) {
    let size = object.len() as u64;
    let wanted = &object[asked.start.min(size) as usize..asked.end.min(size) as usize];
    let whole = Window::find(asked, None, Some(object.len() as i64)).expect("the whole object is an answer");
    assert_eq!(whole.size, size);
    assert_eq!(collect(object, whole).as_deref(), Some(wanted));
    if !wanted.is_empty() {
        let header = format!("bytes {}-{}/{size}", asked.start, asked.end.min(size) - 1);
        let part = Window::find(asked, Some(&header), Some(wanted.len() as i64)).expect("a part is an answer");
        assert_eq!(collect(wanted, part).as_deref(), Some(wanted));
        if wanted.len() > 1 {
            assert_eq!(collect(&wanted[1..], part), None, "a body that is short is an error");
            let other = format!("bytes {}-{}/{size}", asked.start + 1, asked.end.min(size) - 1);
            assert_eq!(Window::find(asked, Some(&other), None), None, "{other}");
        }
    }
}

/// Whatever a server says, what comes of it has the length that was asked for, as far as it says there are bytes.
fn lying(asked: &Range<u64>, header: &str, body: &[u8], size: u64) {
    let length = i64::try_from(size).ok();
    for (header, length) in [(Some(header), None), (Some(header), length), (None, length)] {
        let Some(window) = Window::find(asked, header, length) else { continue };
        let wanted = asked.end.min(window.size).saturating_sub(asked.start);
        if let Some(bytes) = collect(body, window) {
            assert_eq!(bytes.len() as u64, wanted, "asked {asked:?}, told {header:?} of {} bytes", window.size);
        }
    }
}

fn collect(body: &[u8], window: Window) -> Option<Vec<u8>> {
    let chunks = read(ByteStream::from(Bytes::copy_from_slice(body)), window).try_collect::<Vec<Bytes>>();
    futures::executor::block_on(chunks).ok().map(|chunks| chunks.concat())
}
