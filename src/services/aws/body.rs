//! The body of a response of S3, checked against the promised length.

use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::classify::body_error;
use crate::error::{ServiceError, ServiceErrorKind};

/// Which bytes of the response were requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bytes before them, if the server sent the whole object.
    skip: u64,
    /// The number of requested bytes.
    take: u64,
    /// Whether the response ends with them: then it is read to its end, where its checksum is verified.
    to_end: bool,
    /// The size of the whole object.
    pub size: u64,
}

impl Window {
    /// Whether the response has fewer bytes than the object.
    pub fn is_part(&self) -> bool {
        self.take < self.size
    }

    /// Finds the range `asked` in a response that contains `content_range` of an object or, without this header, the
    /// whole object.
    pub fn find(
        asked: &std::ops::Range<u64>,
        content_range: Option<&str>,
        content_length: Option<i64>,
    ) -> Option<Self> {
        let length = content_length.and_then(|length| u64::try_from(length).ok());
        let Some(range) = content_range else {
            let size = length?;
            let skip = asked.start.min(size);
            let take = asked.end.min(size) - skip;
            return Some(Self { skip, take, to_end: skip + take == size, size });
        };
        let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
        let take = last.checked_sub(first)?.checked_add(1)?;
        let as_asked = first == asked.start && last.checked_add(1)? == asked.end.min(size);
        let fits = length.is_none_or(|length| length == take);
        (as_asked && fits).then_some(Self { skip: 0, take, to_end: true, size })
    }
}

/// The bytes in `window`. The stream ends in an error if there are fewer or more bytes, or if their checksum does not
/// match.
pub fn read(body: ByteStream, window: Window) -> BoxStream<'static, Result<Bytes, ServiceError>> {
    stream::try_unfold((body, window), |(mut body, mut window)| async move {
        loop {
            if window.take == 0 && !window.to_end {
                return Ok(None);
            }
            let Some(chunk) = body.next().await else {
                return if window.take == 0 { Ok(None) } else { Err(wrong_length("ends early")) };
            };
            let mut chunk = chunk.map_err(body_error)?;
            let skipped = window.skip.min(chunk.len() as u64);
            chunk.advance(skipped as usize);
            window.skip -= skipped;
            if chunk.len() as u64 > window.take {
                if window.to_end {
                    return Err(wrong_length("goes on after its end"));
                }
                chunk.truncate(window.take as usize);
            }
            window.take -= chunk.len() as u64;
            if !chunk.is_empty() {
                return Ok(Some((chunk, (body, window))));
            }
        }
    })
    .boxed()
}

fn wrong_length(what: &str) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Corrupt, "IncompleteBody", format!("the body {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    fn cut(text: &'static [u8], window: Window) -> Result<Vec<u8>, ServiceError> {
        let chunks: BoxStream<'static, _> = read(ByteStream::from_static(text), window);
        let all = chunks.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        futures::executor::block_on(all)
    }

    #[test]
    fn a_part_is_found_in_what_the_server_says() {
        let found = Window::find(&(10..20), Some("bytes 10-19/100"), Some(10)).unwrap();
        assert_eq!(found, Window { skip: 0, take: 10, to_end: true, size: 100 });
        let last = Window::find(&(90..u64::MAX), Some("bytes 90-99/100"), Some(10)).unwrap();
        assert_eq!((last.take, last.size), (10, 100));
    }

    #[test]
    fn an_answer_that_is_not_what_was_asked_is_refused() {
        for range in
            ["bytes 0-9/100", "bytes 10-15/100", "bytes 10-25/100", "bytes 10-19/*", "10-19/100", "bytes 19-10/9"]
        {
            assert_eq!(Window::find(&(10..20), Some(range), None), None, "{range}");
        }
        assert_eq!(Window::find(&(10..20), Some("bytes 10-19/100"), Some(11)), None);
        assert_eq!(Window::find(&(10..20), None, None), None);
    }

    #[test]
    fn a_server_that_sends_everything_is_cut_to_what_was_asked() {
        let window = |range| Window::find(&range, None, Some(10)).unwrap();
        assert_eq!(cut(b"0123456789", window(2..5)).unwrap(), b"234");
        assert_eq!(cut(b"0123456789", window(8..50)).unwrap(), b"89");
        assert_eq!(cut(b"0123456789", window(10..50)).unwrap(), b"");
        assert_eq!(window(8..50).size, 10);
    }

    #[test]
    fn a_body_of_another_length_than_promised_ends_in_an_error() {
        let window = Window::find(&(0..10), Some("bytes 0-9/10"), Some(10)).unwrap();
        assert_eq!(cut(b"01234", window).unwrap_err().kind, ServiceErrorKind::Corrupt);
        assert_eq!(cut(b"0123456789a", window).unwrap_err().kind, ServiceErrorKind::Corrupt);
        assert_eq!(cut(b"0123456789", window).unwrap(), b"0123456789");
    }
}
