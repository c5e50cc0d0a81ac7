//! What is told when a queue can't be opened, in processes with environments of their own: the environment is most
//! of the SDK's configuration, and a test must not change its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use batchpipe::services::aws::AwsSettings;
use batchpipe::services::open::open_queue;

/// The queue that [`opens_a_queue_and_tells`] is to open.
const QUEUE: &str = "BATCHPIPE_TEST_QUEUE";

/// Not a test by itself: the child process of the others.
#[tokio::test]
#[ignore = "runs in a process of its own, started by the other tests"]
async fn opens_a_queue_and_tells() {
    let Ok(queue) = std::env::var(QUEUE) else { return };
    match open_queue(&queue, &AwsSettings::default()).await {
        Ok(queue) => println!("opened {}", queue.name()),
        Err(error) => println!("{error}\nexit {}", error.exit as u8),
    }
}

/// What opening `queue` tells in a process that has nothing but `environment`.
fn told(queue: &str, environment: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "aws_start::opens_a_queue_and_tells"])
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(QUEUE, queue)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let start = text.find("error[").or_else(|| text.find("opened")).unwrap_or_else(|| panic!("{text}"));
    let end = text[start..].find("\ntest ").map_or(text.len(), |length| start + length);
    text[start..end].trim_end().to_owned()
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDCANARY"), ("AWS_SECRET_ACCESS_KEY", "SECRETCANARY")];

#[test]
fn no_credentials_are_told_before_anything_is_sent() {
    let text = told("jobs", &[("AWS_REGION", "eu-west-1")]);
    let expected = "error[BP101]: no AWS credentials found\n  \
        cause: looked at environment, profile \"default\", container role, instance role; none gave a key\n  \
        help:  set AWS_PROFILE=<name>, or run on a machine with a role, or try without AWS:  \
        batchpipe map ./in ./out --process zstd\nexit 6";
    assert!(text.starts_with(expected), "{text}");
}

/// What the metadata service is asked for its keys by.
const KEYS_OF_ROLE: &str = "/security-credentials/role";

/// The metadata service of a machine with a role, which answers `refusal` the first `times` that it is asked for
/// `what`.
fn metadata(what: &'static str, times: u32, refusal: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut asked = 0;
        // Connection by connection, each for one request.
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut first, mut line) = (String::new(), String::from("-"));
            reader.read_line(&mut first).unwrap_or(0);
            while !matches!(line.as_str(), "" | "\r\n") {
                line.clear();
                reader.read_line(&mut line).unwrap_or(0);
            }
            let keys = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKID","SecretAccessKey":"SECRET",
                "Token":"TOKEN","Expiration":"2999-01-01T00:00:00Z","LastUpdated":"2026-01-01T00:00:00Z"}"#;
            asked += u32::from(first.contains(what));
            let (status, body) = match first.as_str() {
                first if first.contains(what) && asked <= times => (refusal, ""),
                first if first.starts_with("PUT") => ("200 OK", "token"),
                first if first.contains(KEYS_OF_ROLE) => ("200 OK", keys),
                _ => ("200 OK", "role"),
            };
            let head = "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close";
            let answer = format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            reader.get_mut().write_all(answer.as_bytes()).unwrap_or(());
        }
    });
    url
}

#[test]
fn a_metadata_service_that_fails_for_a_moment_is_not_no_credentials() {
    let url = metadata(KEYS_OF_ROLE, 5, "500 Internal Server Error");
    let role = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let text =
        told("jobs", &[role[0], role[1], ("AWS_REGION", "eu-west-1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]);
    // It found the keys, and went on to the queue.
    assert!(text.starts_with("error[BP107]"), "{text}");
}

#[test]
fn a_metadata_service_that_refuses_is_told_at_once_and_in_plain_words() {
    for what in ["PUT /latest/api/token", KEYS_OF_ROLE] {
        let url = metadata(what, u32::MAX, "403 Forbidden");
        let role = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
        let asked = Instant::now();
        let text = told("jobs", &[role[0], role[1], ("AWS_REGION", "eu-west-1")]);
        let cause = "\n  cause: the machine's metadata service answered with status 403: it is switched off";
        assert!(text.starts_with("error[BP101]") && text.contains(cause), "{what}: {text}");
        // A service that may recover is asked for 15 s.
        assert!(asked.elapsed() < Duration::from_secs(10), "{what}: {:?}", asked.elapsed());
    }
}

/// The services that give keys are read through the same bounds as S3 and SQS.
#[test]
fn a_metadata_service_whose_answer_never_ends_takes_no_memory_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let asked = stream.read(&mut request).unwrap_or(0);
                let head = "HTTP/1.1 200 OK\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n";
                if request[..asked].starts_with(b"PUT") {
                    return stream.write_all(format!("{head}Content-Length: 5\r\n\r\ntoken").as_bytes()).unwrap_or(());
                }
                let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
                let mut written = stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
                while written.is_ok() && counted.fetch_add(chunk.len() as u64, Relaxed) < 1 << 30 {
                    written = stream.write_all(&chunk);
                }
            });
        }
    });
    let role = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let text = told("jobs", &[role[0], role[1], ("AWS_REGION", "eu-west-1")]);
    assert!(text.starts_with("error[BP101]"), "{text}");
    let sent = sent.load(Relaxed);
    assert!(sent > 1 << 20, "it was asked: {sent}");
    assert!(sent < 1 << 29, "each of some tries is read up to 1 MiB and what sockets hold: {sent}");
}

#[test]
fn a_profile_that_is_not_there_is_named() {
    let text = told("jobs", &[("AWS_REGION", "eu-west-1"), ("AWS_PROFILE", "batch")]);
    assert!(text.starts_with("error[BP101]") && text.contains("batch"), "{text}");
}

#[test]
fn a_profile_that_is_not_signed_in_is_told_how_to() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let place = "sso_account_id = 123456789012\nsso_role_name = dev\nregion = eu-west-1\n";
    let start = "sso_start_url = https://corp.example/start\nsso_region = eu-west-1\n";
    let now = format!("[profile now]\nsso_session = corp\n{place}[sso-session corp]\n{start}");
    std::fs::write(&config, format!("{now}[profile before]\n{start}{place}")).unwrap();
    for profile in ["now", "before"] {
        let text = told("jobs", &[("AWS_CONFIG_FILE", config.to_str().unwrap()), ("AWS_PROFILE", profile)]);
        let cause = format!("cause: profile {profile:?} is not signed in, or no more (");
        let help = format!("help:  sign in with  aws sso login --profile {profile}\nexit 6");
        assert!(text.starts_with("error[BP101]") && text.contains(&cause) && text.contains(&help), "{text}");
    }
}

#[test]
fn no_region_is_told_unless_the_queue_tells_one() {
    let text = told("jobs", &KEYS);
    let expected = "error[BP102]: no region\n  \
        cause: AWS_REGION, --region and profile \"default\" do not set one\n  help:  add  --region";
    assert!(text.starts_with(expected) && text.contains("exit 2"), "{text}");
    // The URL names the region; the endpoint is one where nothing answers.
    let environment = [KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    let text = told("https://sqs.eu-west-1.amazonaws.com/1/jobs", &environment);
    assert!(text.starts_with("error[BP107]"), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_told_with_the_variable_that_named_it() {
    let named = |variable| {
        let bundle = ("AWS_CA_BUNDLE", "/no/such/file.pem");
        told("jobs", &[KEYS[0], KEYS[1], bundle, (variable, "http://127.0.0.1:9")])
    };
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"] {
        let text = named(variable);
        let help = format!("start your local server, or unset {variable} (it is set in your environment)");
        let start = "error[BP107]: cannot reach http://127.0.0.1:9\n  cause: ";
        assert!(text.starts_with(start) && text.contains(&help), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
    }
}

#[test]
fn a_machine_without_certificates_is_told_so_if_it_needs_them() {
    let with = |bundle, url| told("jobs", &[KEYS[0], KEYS[1], ("SSL_CERT_FILE", bundle), ("AWS_ENDPOINT_URL", url)]);
    for bundle in ["/dev/null", "/no/such/file.pem"] {
        let text = with(bundle, "https://127.0.0.1:9");
        assert!(text.starts_with("error[BP107]: this machine has no certificates"), "{bundle}: {text}");
        let text = with(bundle, "http://127.0.0.1:9");
        assert!(text.starts_with("error[BP107]: cannot reach http://127.0.0.1:9"), "{bundle}: {text}");
    }
}
