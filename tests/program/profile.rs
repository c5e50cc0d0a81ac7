//! Which AWS keys are used when there are several: the real program, and a server that notes by whose key and for which
//! region each request is signed. Signed with the wrong key, `dlq purge` empties another account's queue.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A server that refuses everything and remembers the key and the region of each request, as `AKID/region`.
struct Server {
    url: String,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut line, mut length) = (String::from("-"), 0);
                while !matches!(line.as_str(), "" | "\r\n") {
                    line.clear();
                    reader.read_line(&mut line).unwrap_or(0);
                    let lower = line.to_ascii_lowercase();
                    if let Some(text) = lower.strip_prefix("content-length:") {
                        length = text.trim().parse().unwrap_or(0);
                    }
                    if let Some(start) = line.find("Credential=") {
                        let scope: Vec<&str> = line[start + "Credential=".len()..].split('/').collect();
                        noted.lock().unwrap().insert(format!("{}/{}", scope[0], scope[2]));
                    }
                }
                std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap_or(0);
                let body = r#"{"__type":"com.amazonaws.sqs#AccessDenied","message":"no"}"#;
                let head = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.0";
                let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                reader.get_mut().write_all(answer.as_bytes()).unwrap_or(());
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap()).into_iter().collect()
    }
}

/// A home with two profiles that hold keys, one with a region only, one that takes its keys from another, one of a
/// process.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    fs::create_dir(&aws).unwrap();
    let config = "[default]\nregion = eu-west-3\n[profile p1]\nregion = eu-north-1\n[profile p2]\nregion = eu-south-2\n\
        [profile bare]\nregion = eu-west-1\n\
        [profile process]\ncredential_process = /bin/echo \
        '{\"Version\":1,\"AccessKeyId\":\"AKIDPROC\",\"SecretAccessKey\":\"s\"}'\n\
        [profile lost]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = nobody\n";
    fs::write(aws.join("config"), config).unwrap();
    let keys =
        |name: &str| format!("[{name}]\naws_access_key_id = AKID{}\naws_secret_access_key = s\n", name.to_uppercase());
    fs::write(aws.join("credentials"), ["default", "p1", "p2"].map(keys).concat()).unwrap();
    home
}

fn batchpipe(home: &Path, server: &str, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
    command.args(args).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("AWS_ENDPOINT_URL", server);
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(environment.iter().copied());
    command.current_dir(home).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
const REGION: (&str, &str) = ("AWS_REGION", "us-west-2");

#[test]
fn a_chosen_profile_wins_over_keys_in_the_environment_and_aws_profile_does_not() {
    let (home, server) = (home(), Server::start());
    let used = |args: &[&str], more: &[(&str, &str)]| {
        let output = batchpipe(home.path(), &server.url, &[&["status", "--queue", "jobs"], args].concat(), more);
        (server.seen(), text(&output))
    };
    let only = |seen: &str| vec![seen.to_owned()];
    let environment = [KEYS[0], KEYS[1]];
    let with = |more: (&'static str, &'static str)| [KEYS[0], KEYS[1], more];
    assert_eq!(used(&["--profile", "p2"], &environment).0, only("AKIDP2/eu-south-2"));
    assert_eq!(used(&[], &with(("BATCHPIPE_PROFILE", "p2"))).0, only("AKIDP2/eu-south-2"));
    assert_eq!(used(&["--profile", "p2"], &with(("AWS_PROFILE", "p1"))).0, only("AKIDP2/eu-south-2"));
    assert_eq!(used(&["--profile", "p2"], &with(("AWS_SESSION_TOKEN", "t"))).0, only("AKIDP2/eu-south-2"));
    assert_eq!(used(&["--profile", "process"], &with(REGION)).0, only("AKIDPROC/us-west-2"));
    // As the AWS command line does: keys before AWS_PROFILE, which still tells the region.
    assert_eq!(used(&[], &with(("AWS_PROFILE", "p2"))).0, only("AKIDENV/eu-south-2"));
    assert_eq!(used(&[], &[("AWS_PROFILE", "p2")]).0, only("AKIDP2/eu-south-2"));
    assert_eq!(used(&[], &[("AWS_PROFILE", "")]).0, only("AKIDDEFAULT/eu-west-3"));
    assert_eq!(used(&[], &[]).0, only("AKIDDEFAULT/eu-west-3"));
    // The queues of an account are in the region that its profile names.
    let (seen, said) = used(&["--profile", "p2"], &with(REGION));
    assert_eq!(seen, only("AKIDP2/eu-south-2"));
    assert!(said.contains("the profile's region is used, not that of AWS_REGION"), "{said}");
    assert_eq!(used(&["--profile", "p2", "--region", "us-east-2"], &with(REGION)).0, only("AKIDP2/us-east-2"));
    fs::write(home.path().join("batchpipe.toml"), "profile = \"p2\"\n").unwrap();
    assert_eq!(used(&[], &environment).0, only("AKIDP2/eu-south-2"));
    assert_eq!(used(&["--profile", "p1"], &environment).0, only("AKIDP1/eu-north-1"), "a flag before the file");
}

#[test]
fn every_command_and_every_connection_of_it_signs_with_the_chosen_profile() {
    let (home, server) = (home(), Server::start());
    fs::create_dir(home.path().join("in")).unwrap();
    fs::write(home.path().join("in/a"), "a").unwrap();
    let commands: [&[&str]; 8] = [
        &["dlq", "purge", "--queue", "jobs", "--yes"],
        &["dlq", "list", "--queue", "jobs", "--dead-letter", "dead"],
        &["run", "--queue", "jobs", "--dead-letter", "dead", "--process", "copy", "--metrics-addr", "none"],
        &["submit", "in", "--queue", "jobs", "--input", "s3://bucket/in/", "--journal", "none"],
        &["map", "in", "s3://bucket/out/", "--process", "copy"],
        &["map", "s3://bucket/in/", "out", "--process", "copy"],
        &["doctor", "--queue", "jobs", "--read", "s3://bucket/in/", "--output", "s3://bucket/out/"],
        &["gc", "s3://bucket/out/"],
    ];
    for command in commands {
        let output = batchpipe(home.path(), &server.url, &[command, &["--profile", "p2"]].concat(), &KEYS);
        assert_eq!(server.seen(), ["AKIDP2/eu-south-2"], "{command:?}: {}", text(&output));
    }
}

#[test]
fn a_profile_that_does_not_exist_is_an_error_that_names_those_that_do() {
    let (home, server) = (home(), Server::start());
    for (args, environment, by, near) in [
        (&["--profile", "pp2"][..], &KEYS[..], "--profile, BATCHPIPE_PROFILE or", "did you mean \"p2\"?"),
        (&[], &[("BATCHPIPE_PROFILE", "staging"), KEYS[0], KEYS[1]], "--profile, BATCHPIPE", "name one of these"),
        (&[], &[("AWS_PROFILE", "staging"), KEYS[0], KEYS[1]], "AWS_PROFILE names it", "name one of these"),
    ] {
        let output = batchpipe(home.path(), &server.url, &[&["status", "--queue", "jobs"], args].concat(), environment);
        let said = text(&output);
        assert!(said.contains("error[BP101]: there is no AWS profile \""), "{said}");
        assert!(said.contains(by) && said.contains("\"default\", \"lost\", \"p1\", \"p2\", \"process\""), "{said}");
        assert!(said.contains(near) && output.status.code() == Some(6), "{said}");
    }
    let moved = home.path().join("elsewhere");
    fs::write(&moved, "[profile other]\nregion = eu-west-1\n").unwrap();
    let files = [("AWS_CONFIG_FILE", moved.to_str().unwrap()), ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")];
    let said = text(&batchpipe(home.path(), &server.url, &["status", "--queue", "jobs", "--profile", "p2"], &files));
    assert!(said.contains("elsewhere\" and \"/nowhere\" hold \"other\""), "{said}");
    // Outputs in S3 alone connect later, and tell the same.
    fs::create_dir(home.path().join("in")).unwrap();
    let map = ["map", "in", "s3://bucket/out/", "--profile", "staging", "--process", "copy"];
    let output = batchpipe(home.path(), &server.url, &map, &KEYS);
    assert!(
        text(&output).contains("BP101") && text(&output).contains("there is no AWS profile \"staging\""),
        "{}",
        text(&output)
    );
    assert_eq!((output.status.code(), server.seen().len()), (Some(6), 0), "nothing was sent");
}

#[test]
fn a_chosen_profile_without_keys_is_an_error_and_no_reason_to_look_elsewhere() {
    let (home, server) = (home(), Server::start());
    for (profile, cause) in [("bare", "profile \"bare\" holds none"), ("lost", "nobody")] {
        let output = batchpipe(
            home.path(),
            &server.url,
            &["status", "--queue", "jobs", "--profile", profile, "--region", "eu-west-1"],
            &KEYS,
        );
        let said = text(&output);
        assert!(said.contains("error[BP101]: no AWS credentials found") && said.contains(cause), "{said}");
        assert_eq!((output.status.code(), server.seen().len()), (Some(6), 0), "{said}");
    }
}

#[test]
fn half_a_pair_of_keys_is_an_error_and_not_another_account() {
    let (home, server) = (home(), Server::start());
    for (set, missing) in [(KEYS[0], "AWS_SECRET_ACCESS_KEY"), (KEYS[1], "AWS_ACCESS_KEY_ID")] {
        let environment = [set, ("AWS_PROFILE", "p1")];
        let output = batchpipe(home.path(), &server.url, &["status", "--queue", "jobs"], &environment);
        let said = text(&output);
        assert!(said.contains("error[BP101]: half of a pair of AWS keys"), "{said}");
        assert!(said.contains(&format!("{missing} is not")) && output.status.code() == Some(6), "{said}");
        assert!(server.seen().is_empty());
        // They are left aside where a profile was chosen.
        let chosen = ["status", "--queue", "jobs", "--profile", "p2"];
        batchpipe(home.path(), &server.url, &chosen, &environment);
        assert_eq!(server.seen(), ["AKIDP2/eu-south-2"]);
    }
}

#[test]
fn the_endpoint_of_a_chosen_profile_wins_over_the_environments() {
    let (home, theirs, other) = (home(), Server::start(), Server::start());
    let config = home.path().join(".aws/config");
    let mut text = fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "[profile lab]\nregion = eu-west-1\nendpoint_url = {}\naws_access_key_id = \
        AKIDLAB\naws_secret_access_key = s\n",
        theirs.url
    ));
    fs::write(&config, text).unwrap();
    let status = |more: &[&str]| {
        batchpipe(home.path(), &other.url, &[&["status", "--queue", "jobs"], more].concat(), &KEYS);
        (theirs.seen(), other.seen())
    };
    assert_eq!(status(&["--profile", "lab"]), (vec!["AKIDLAB/eu-west-1".to_owned()], vec![]));
    let flag = ["--profile", "lab", "--endpoint-url", &other.url];
    assert_eq!(status(&flag), (vec![], vec!["AKIDLAB/eu-west-1".to_owned()]));
}

#[test]
fn doctor_and_config_explain_tell_whose_keys_are_used() {
    let (home, server) = (home(), Server::start());
    let told =
        |args: &[&str], environment: &[(&str, &str)]| text(&batchpipe(home.path(), &server.url, args, environment));
    let doctor = ["doctor", "--queue", "jobs"];
    let chosen = ["doctor", "--queue", "jobs", "--profile", "p2"];
    assert!(told(&chosen, &KEYS).contains("keys of profile \"p2\" · region eu-south-2"), "{}", told(&chosen, &KEYS));
    let by_keys = told(&doctor, &KEYS);
    assert!(by_keys.contains("keys of AWS_ACCESS_KEY_ID in the environment"), "{by_keys}");
    assert!(told(&doctor, &[("AWS_PROFILE", "p1")]).contains("keys of profile \"p1\" · region eu-north-1"));
    let explained = told(&["config", "explain", "--profile", "p2"], &[KEYS[0], KEYS[1], REGION]);
    assert!(explained.contains("AWS keys: profile \"p2\", and nothing else"), "{explained}");
    let region = explained.lines().find(|line| line.starts_with("region ")).unwrap();
    assert!(region.contains("eu-south-2") && region.contains("profile \"p2\""), "{region}");
    let explained = told(&["config", "explain"], &[KEYS[0], KEYS[1], REGION]);
    assert!(explained.contains("AWS keys: AWS_ACCESS_KEY_ID in the environment"), "{explained}");
}
