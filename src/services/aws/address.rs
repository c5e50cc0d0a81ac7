//! The ways to name a queue: its name, its ARN or its URL, and the region that each contains.

/// How a queue was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAddress {
    /// The queue's own name.
    pub name: String,
    /// The account that owns it, if given.
    pub account: Option<String>,
    /// The region of the queue, if given.
    pub region: Option<String>,
    /// Its URL, if a URL was given.
    pub url: Option<String>,
    /// The server to contact, if the URL names a server that does not follow from the region.
    pub server: Option<String>,
}

/// The longest name of a queue, in characters
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html>).
const MAX_NAME: usize = 80;

impl QueueAddress {
    /// Reads `jobs`, `arn:aws:sqs:eu-west-1:123456789012:jobs` or
    /// `https://sqs.eu-west-1.amazonaws.com/123456789012/jobs`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Self::from_url(text);
        }
        if text.starts_with("arn:") {
            return Self::from_arn(text);
        }
        is_name(text).then(|| Self { name: text.to_owned(), account: None, region: None, url: None, server: None })
    }

    fn from_arn(arn: &str) -> Option<Self> {
        let fields: Vec<&str> = arn.split(':').collect();
        let ["arn", _partition, "sqs", region, account, name] = fields[..] else { return None };
        let said = |field: &str| (!field.is_empty()).then(|| field.to_owned());
        is_name(name).then(|| Self {
            name: name.to_owned(),
            account: said(account),
            region: said(region),
            url: None,
            server: None,
        })
    }

    fn from_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let name = path.trim_end_matches('/').rsplit('/').next()?;
        if host.is_empty() || host.contains('@') || host.contains("%40") || url.contains(['?', '#']) || !is_name(name) {
            return None;
        }
        // The usual hosts follow from the region. Any other host, such as an interface endpoint of a private network or
        // a local server, must be contacted itself.
        let usual = region_of_usual_host(host);
        let region = usual.or_else(|| {
            let labels: Vec<&str> = host.split('.').collect();
            let sqs = labels.iter().position(|label| *label == "sqs")?;
            labels.get(sqs + 1).filter(|label| is_region(label)).copied()
        });
        Some(Self {
            name: name.to_owned(),
            account: None,
            region: region.map(str::to_owned),
            url: Some(url.to_owned()),
            server: usual.is_none().then(|| format!("{scheme}://{host}")),
        })
    }
}

/// The region in `sqs.REGION.amazonaws.com` and in the older `REGION.queue.amazonaws.com`.
fn region_of_usual_host(host: &str) -> Option<&str> {
    let host = host.strip_suffix(".cn").unwrap_or(host).strip_suffix(".amazonaws.com")?;
    let region = host.strip_prefix("sqs.").or_else(|| host.strip_suffix(".queue"))?;
    is_region(region).then_some(region)
}

fn is_region(text: &str) -> bool {
    text.contains('-') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_name(text: &str) -> bool {
    let plain = text.strip_suffix(".fifo").unwrap_or(text);
    text.len() <= MAX_NAME
        && !plain.is_empty()
        && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>, Option<String>, Option<String>) {
        let read = QueueAddress::parse(text).unwrap();
        (read.name, read.account, read.region, read.server)
    }

    #[test]
    fn a_queue_is_known_by_name_arn_or_url() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("jobs"), ("jobs".to_owned(), None, None, None));
        assert_eq!(read("jobs.fifo").0, "jobs.fifo");
        let arn = read("arn:aws:sqs:eu-west-1:123456789012:jobs");
        assert_eq!(arn, ("jobs".to_owned(), some("123456789012"), some("eu-west-1"), None));
        let url = read("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs");
        assert_eq!(url, ("jobs".to_owned(), None, some("eu-west-1"), None));
        assert_eq!(read("https://sqs.cn-north-1.amazonaws.com.cn/1/jobs").2, some("cn-north-1"));
        assert_eq!(read("https://eu-west-1.queue.amazonaws.com/1/jobs").2, some("eu-west-1"));
    }

    #[test]
    fn a_url_on_an_unusual_host_is_asked_there() {
        let some = |text: &str| Some(text.to_owned());
        let local = read("http://127.0.0.1:9324/000000000000/jobs");
        assert_eq!((local.2, local.3), (None, some("http://127.0.0.1:9324")));
        let private = read("https://vpce-1.sqs.us-east-1.vpce.amazonaws.com/1/jobs");
        assert_eq!(
            (private.2, private.3),
            (some("us-east-1"), some("https://vpce-1.sqs.us-east-1.vpce.amazonaws.com"))
        );
    }

    #[test]
    fn what_can_not_be_a_queue_is_refused() {
        for text in [
            "",
            "a b",
            "jobs/other",
            "arn:aws:s3:::bucket",
            "http://host",
            "https://u:p@host/1/jobs",
            "https://u%40host/1/jobs",
            "é",
            ".fifo",
        ] {
            assert_eq!(QueueAddress::parse(text), None, "{text:?}");
        }
        assert_eq!(QueueAddress::parse(&"x".repeat(81)), None);
    }
}
