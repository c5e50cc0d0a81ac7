//! Removes user names and passwords from addresses before they are shown.
//!
//! An address may contain them before its host (`http://user:password@host`). batchpipe refuses to use such
//! addresses, but the refusal shows the address, and the SDK may log an address that it found in the environment. So
//! errors, the log and `config explain` use this file. Data of others (messages, keys, dead letters) is shown
//! unchanged.

use std::borrow::Cow;
use std::io::{self, Write};

#[cfg(feature = "cli")]
use tracing_subscriber::fmt::MakeWriter;

/// The replacement for a secret.
const HIDDEN: &str = "***";

/// Why an address with a user name or a password before its host is refused. Requests are signed with AWS keys, and
/// HTTP has only one header for both.
pub const REFUSED: &str = "it holds a user name or a password, which S3 and SQS have no use for";

/// What to do about it.
pub const INSTEAD: &str = "leave out what stands before the @; keys belong in AWS_ACCESS_KEY_ID and \
     AWS_SECRET_ACCESS_KEY, or in a profile";

/// Why a server's address with a query or a fragment is refused. The SDK ignores both, and logs them.
const QUERY: &str = "it has a query or a fragment, which S3 and SQS have no use for, and which may be secret";

/// What to do about it.
const WITHOUT: &str = "leave out the ? or the # and all that stands behind it";

/// Why a server's address is refused, and what to do about it, if it contains something that is or may be secret.
pub fn refused(url: &str) -> Option<(&'static str, &'static str)> {
    match () {
        () if has_secret(url) => Some((REFUSED, INSTEAD)),
        () if url.contains(['?', '#']) => Some((QUERY, WITHOUT)),
        () => None,
    }
}

/// Where the host begins, including the @ before it. The @ may be percent-encoded by mistake.
fn end_of_user(text: &str) -> Option<usize> {
    text.rfind('@').max(text.rfind("%40"))
}

/// The text, without the user names and passwords of the addresses in it.
pub fn concealed(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') && !text.contains("%40") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find("://") {
        let (before, after) = rest.split_at(found + 3);
        out.push_str(before);
        rest = after;
        let secret = &after[..end_of_secret(before, after)];
        // After the host, %40 belongs to a key.
        let host = &secret[..secret.find(['/', '?', '#']).unwrap_or(secret.len())];
        if let Some(at) = secret.rfind('@').max(host.rfind("%40")) {
            out.push_str(HIDDEN);
            rest = &after[at..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// How far a password may extend. It should end before the first slash, but people forget to escape slashes in
/// passwords, and the http addresses that we use have no @ after the host. An @ in a key, as in `s3://bucket/a@b`, does
/// not mark a password.
fn end_of_secret(before: &str, after: &str) -> usize {
    let is_http = before.ends_with("http://") || before.ends_with("https://");
    let ends = |letter: char| {
        letter.is_whitespace() || matches!(letter, '"' | '<' | '>') || !is_http && matches!(letter, '/' | '?' | '#')
    };
    after.find(ends).unwrap_or(after.len())
}

/// The value of a setting that names a server, without user name, password, query and fragment; the scheme may be
/// missing.
pub fn concealed_address(text: &str) -> Cow<'_, str> {
    let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + 3));
    let (user, rest) = end_of_user(rest).map_or(("", rest), |at| (HIDDEN, &rest[at..]));
    // The path of an embedded queue is not an address, and may contain either character.
    let query = rest.find(['?', '#']).filter(|_| !text.starts_with("sqlite:"));
    let (place, query) = query.map_or((rest, ""), |at| (&rest[..=at], HIDDEN));
    if user.is_empty() && query.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{scheme}{user}{place}{query}"))
}

/// Whether a URL contains a user name or a password.
pub fn has_secret(url: &str) -> bool {
    end_of_user(url.split_once("://").map_or(url, |(_, rest)| rest)).is_some()
}

/// A log writer that shows no passwords. Each line must be written in one call.
#[derive(Debug)]
pub struct Concealing<W>(pub W);

#[cfg(feature = "cli")]
impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Concealing<W> {
    type Writer = Concealing<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Concealing(self.0.make_writer())
    }
}

impl<W: Write> Write for Concealing<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(concealed(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_the_password_before_its_host() {
        for (text, shown) in [
            ("http://user:CANARY@host:9000/x", "http://***@host:9000/x"),
            ("cannot reach https://CANARY@host; try", "cannot reach https://***@host; try"),
            ("a http://u:C/A?N#ARY@h b https://u:CAN@ARY@h2", "a http://***@h b https://***@h2"),
            ("{\"url\":\"http://u:CANARY@h/\",\"to\":\"a@b\"}", "{\"url\":\"http://***@h/\",\"to\":\"a@b\"}"),
            ("socks5://u:CANARY@proxy/a@b", "socks5://***@proxy/a@b"),
            ("`http://u:CANARY%40host:9000` was not valid", "`http://***%40host:9000` was not valid"),
            ("http://u:CANARY%40h/a%40b", "http://***%40h/a%40b"),
        ] {
            assert_eq!(concealed(text), shown);
        }
        for same in [
            "http://host/bucket/a%40b",
            "s3://bucket/a%40b",
            "s3://bucket/a@b",
            "http://host/",
            "mail a@b",
            "://",
            "http://",
            "@",
            "é://ü",
        ] {
            assert_eq!(concealed(same), same);
        }
    }

    #[test]
    fn a_server_is_named_without_its_password_with_and_without_a_scheme() {
        assert_eq!(concealed_address("user:CANARY@host:9000"), "***@host:9000");
        assert_eq!(concealed_address("https://user:CAN/ARY@host/1/jobs"), "https://***@host/1/jobs");
        assert_eq!(concealed_address("http://u:CANARY%40host:9000"), "http://***%40host:9000");
        assert_eq!(concealed_address("http://host/?token=CANARY"), "http://host/?***");
        assert_eq!(concealed_address("host:9000#CANARY"), "host:9000#***");
        assert_eq!(concealed_address("http://u:CANARY@host/?token=CANARY"), "http://***@host/?***");
        assert_eq!(concealed_address("sqlite:a#b?c"), "sqlite:a#b?c");
        assert!(has_secret("http://u@h") && !has_secret("http://h:1/x") && !has_secret("jobs"));
    }

    #[test]
    fn an_address_with_what_may_be_secret_is_refused() {
        for secret in ["http://u@h", "http://u%40h", "u:p@h:1", "http://h/?t=1", "http://h?t", "https://h/#f"] {
            assert!(refused(secret).is_some(), "{secret}");
        }
        for plain in ["http://h:1", "https://h/path/", ""] {
            assert_eq!(refused(plain), None, "{plain}");
        }
    }

    #[test]
    fn a_log_line_is_written_without_passwords() {
        let mut line = Concealing(Vec::new());
        line.write_all(b"DEBUG connecting to http://u:CANARY@h/\n").unwrap();
        line.write_all(&[0xff]).unwrap();
        assert_eq!(line.0, b"DEBUG connecting to http://***@h/\n\xff");
    }
}
