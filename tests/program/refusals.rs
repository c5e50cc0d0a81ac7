//! The same refusal reads the same wherever it happens: `run`, `map`, `submit`, `doctor` and a worker of the library
//! give one code, one help and one exit. The servers are fakes that refuse every request; the clients are real.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use batchpipe::services::aws::AwsSettings;
use batchpipe::services::open::open_queue;
use batchpipe::services::queue::Outgoing;
use batchpipe::{Job, ProcessError, Worker};

/// The queue of [`a_worker_of_the_library_works`], and where its outputs go.
const QUEUE: &str = "BATCHPIPE_TEST_QUEUE";

/// What a service answers to everything: the status line, headers, and the name of its error.
#[derive(Clone, Copy)]
struct Refusal {
    status: &'static str,
    header: &'static str,
    name: &'static str,
}

/// A server of S3 and SQS that refuses all that it is asked.
fn refusing(refusal: Refusal) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, refusal).unwrap_or(()));
        }
    });
    url
}

fn answer(stream: TcpStream, refusal: Refusal) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
        let line = head[from..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.starts_with("expect:") {
            reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    let Refusal { status, header, name } = refusal;
    let body = match head.to_ascii_lowercase().contains("x-amz-target") {
        true => format!("{{\"__type\":\"com.amazonaws.sqs#{name}\",\"message\":\"no\"}}"),
        false => format!("<Error><Code>{name}</Code><Message>no</Message></Error>"),
    };
    // The answer to HEAD has no body.
    let body = if head.starts_with("HEAD") { "" } else { &body };
    let lines =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len());
    reader.get_mut().write_all(lines.as_bytes())
}

/// Not a test by itself: a program that uses the library, in a process with an environment of its own.
#[tokio::test]
#[ignore = "runs in a process of its own, started by the other tests"]
async fn a_worker_of_the_library_works() {
    let Ok(queue) = std::env::var(QUEUE) else { return };
    let copy = |_: &Job, input: &mut dyn BufRead, output: &mut dyn Write| -> Result<(), ProcessError> {
        std::io::copy(input, output)?;
        Ok(())
    };
    let worker = Worker::new(&queue, copy);
    let here = std::env::current_dir().unwrap();
    let worker = worker.output("s3://acme-out/gz/").unwrap().allow("s3://acme-out/").unwrap();
    let worker = worker.allow(&format!("file://{}/", here.display())).unwrap();
    match worker.aws(AwsSettings::default()).until_empty().run().await {
        Ok(_) => println!("worked"),
        Err(error) => println!("{error}\nexit {}\n", error.exit as u8),
    }
}

/// A folder with four files in `in/`, and a queue `q.db` with a job for each. Four, because three refusals stop a run.
async fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let queue = format!("sqlite:{}", folder.path().join("q.db").display());
    let queue = open_queue(&queue, &AwsSettings::default()).await.unwrap();
    for number in 0..4 {
        let input = folder.path().join(format!("in/{number}"));
        fs::write(&input, "some text\n").unwrap();
        let body =
            format!("{{\"v\":1,\"input\":\"file://{}\",\"output\":\"s3://acme-out/gz/{number}\"}}", input.display());
        queue.send(&[Outgoing { body, ..Outgoing::default() }]).await.unwrap().remove(0).unwrap();
    }
    folder
}

/// The code, the help without what the command adds of its own, and the exit of what is told.
fn screen(told: &str, exit: Option<i32>) -> (String, String, Option<i32>) {
    let after = |opening: &str| told.split_once(opening).map(|(_, rest)| rest.to_owned());
    let code = after("error[").unwrap_or_else(|| panic!("no error in {told:?}"));
    let help = after("\n  help:  ").unwrap_or_else(|| panic!("no help in {told:?}"));
    let help = help.lines().next().unwrap_or_default();
    let help = help.split(".  Stopped receiving").next().unwrap_or_default();
    let help = help.split(".  Sent ").next().unwrap_or_default();
    (code.chars().take(5).collect(), help.to_owned(), exit)
}

fn client(program: &Path, folder: &Path, environment: &BTreeMap<&str, String>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", folder).env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir(folder);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "eu-west-1").envs(environment);
    command.stdin(Stdio::null());
    command
}

type Screen = (String, String, Option<i32>);

/// What the program tells.
fn by_program(args: &[&str], folder: &Path, environment: &BTreeMap<&str, String>) -> Screen {
    let program = Path::new(env!("CARGO_BIN_EXE_batchpipe"));
    let output = client(program, folder, environment).args(args).output().unwrap();
    screen(&String::from_utf8_lossy(&output.stderr), output.status.code())
}

/// What a program that uses the library is told.
fn by_library(queue: &str, folder: &Path, environment: &BTreeMap<&str, String>) -> Screen {
    let mut command = client(&std::env::current_exe().unwrap(), folder, environment);
    command.args(["--ignored", "--exact", "--nocapture", "refusals::a_worker_of_the_library_works"]);
    let output = command.env(QUEUE, queue).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let exit = told.split_once("\nexit ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
    screen(&told, exit)
}

/// The code and the help of the first failure that `doctor` finds. Its exit is always 3, so `exit` stands for it.
fn by_doctor(args: &[&str], folder: &Path, environment: &BTreeMap<&str, String>, exit: Option<i32>) -> Screen {
    let program = Path::new(env!("CARGO_BIN_EXE_batchpipe"));
    let output = client(program, folder, environment).args(["doctor", "--json"]).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let findings = String::from_utf8_lossy(&output.stdout).into_owned();
    let finding = findings
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|finding| finding["grade"] == "fail")
        .unwrap_or_else(|| panic!("nothing failed: {findings}"));
    let text = finding["text"].as_str().unwrap();
    let code = text.split_once(" (BP").unwrap_or_else(|| panic!("{text}")).1;
    let help = finding["fix"].as_str().unwrap().split(".  Add to the role").next().unwrap();
    (format!("BP{}", &code[..3]), help.to_owned(), exit)
}

fn keys(endpoint: &str) -> BTreeMap<&'static str, String> {
    let (id, key) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    [(id, "AKID".into()), (key, "SECRET".into()), ("AWS_ENDPOINT_URL", endpoint.into())].into()
}

/// All screens of a refusal by the store that outputs go to.
async fn by_store(environment: &BTreeMap<&str, String>) -> Vec<(&'static str, Screen)> {
    let folder = folder().await;
    let at = folder.path();
    let here = format!("{}/", at.display());
    let place = "s3://acme-out/gz/";
    let queue = ["--queue", "sqlite:q.db", "--output", place];
    let run =
        ["run", "--allow", &here, "--allow", place, "--process", "copy", "--until-empty", "--metrics-addr", "none"];
    let ran = by_program(&[&run[..], &queue].concat(), at, environment);
    let exit = ran.2;
    vec![
        ("run", ran),
        ("map", by_program(&["map", "in", place], at, environment)),
        ("submit", by_program(&["submit", "in", "--input", place, "--queue", "sqlite:s.db"], at, environment)),
        ("doctor", by_doctor(&["--output", place, "--write"], at, environment, exit)),
        ("library", by_library("sqlite:q.db", at, environment)),
    ]
}

/// All screens of a refusal by the queue.
async fn by_queue(environment: &BTreeMap<&str, String>) -> Vec<(&'static str, Screen)> {
    let folder = folder().await;
    let at = folder.path();
    let run =
        ["run", "--queue", "jobs", "--output", "s3://acme-out/gz/", "--process", "copy", "--metrics-addr", "none"];
    let ran = by_program(&run, at, environment);
    let exit = ran.2;
    vec![
        ("run", ran),
        ("submit", by_program(&["submit", "in", "--input", "s3://acme-in/", "--queue", "jobs"], at, environment)),
        ("doctor", by_doctor(&["--queue", "jobs"], at, environment, exit)),
        ("library", by_library("jobs", at, environment)),
    ]
}

/// Fails unless all screens are the same, with this code and exit.
fn same(what: &str, screens: &[(&str, Screen)], code: &str, exit: i32) {
    let (_, (_, help, _)) = &screens[0];
    for (who, screen) in screens {
        assert_eq!(screen, &(code.to_owned(), help.clone(), Some(exit)), "{what}: {who}, in {screens:#?}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_store_reads_the_same_in_every_command_and_in_the_library() {
    let table = [
        ("missing bucket", "404 Not Found", "", "NoSuchBucket", "BP301"),
        ("denied", "403 Forbidden", "", "AccessDenied", "BP106"),
        ("wrong region", "301 Moved", "x-amz-bucket-region: us-east-1\r\n", "PermanentRedirect", "BP105"),
    ];
    for (what, status, header, name, code) in table {
        let server = refusing(Refusal { status, header, name });
        same(what, &by_store(&keys(&server)).await, code, 4);
    }
}

#[tokio::test]
async fn a_refusal_of_the_queue_reads_the_same_in_every_command_and_in_the_library() {
    let table = [
        ("missing queue", "400 Bad Request", "QueueDoesNotExist", "BP103"),
        ("denied", "403 Forbidden", "AccessDeniedException", "BP104"),
    ];
    for (what, status, name, code) in table {
        let server = refusing(Refusal { status, header: "", name });
        same(what, &by_queue(&keys(&server)).await, code, 4);
    }
    same("unreachable", &by_queue(&keys("http://127.0.0.1:9")).await, "BP107", 1);
}

#[tokio::test]
async fn missing_credentials_read_the_same_in_every_command_and_in_the_library() {
    let nothing = BTreeMap::new();
    let (stores, queues) = (by_store(&nothing).await, by_queue(&nothing).await);
    same("no credentials", &[stores, queues].concat(), "BP101", 6);
}
