//! What a program can see of the worker that started it, where both are the same ordinary user: nothing that holds
//! keys.
//!
//! Root may look into any process, so a test that is run by root starts everything as nobody; where that can't be done,
//! it fails. Each test shows first that on this machine one process of that user can look into another.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The id that Linux keeps for nobody.
const NOBODY: u32 = 65534;

const CANARY: &str = "CANARY-IN-THE-ENVIRONMENT";

/// A folder of an ordinary user, and the program in a place which that user reaches.
struct Place {
    folder: TempDir,
    program: PathBuf,
    is_root: bool,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_batchpipe"));
        if is_root {
            let own = folder.path().join("batchpipe");
            fs::hard_link(&program, &own).or_else(|_| fs::copy(&program, &own).map(drop)).unwrap();
            program = own;
            fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { folder, program, is_root }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command of the ordinary user, with keys in its environment.
    fn command(&self, program: &Path) -> Command {
        let mut command = match self.is_root {
            true => {
                let mut command = Command::new("setpriv");
                let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
                command.args(ids).args(["--clear-groups", "--no-new-privs", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("AWS_SECRET_ACCESS_KEY", CANARY);
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    fn batchpipe(&self) -> Command {
        self.command(&self.program)
    }
}

/// Prints what the parent of the shell shows to it.
const LOOK: &str = "for file in environ maps auxv; do cat /proc/$PPID/$file && echo; done; \
                    ls -l /proc/$PPID/fd && echo files of the parent; echo cores $(ulimit -c)";

#[test]
fn a_program_sees_neither_the_environment_nor_the_memory_nor_the_files_of_its_worker() {
    let place = Place::new();
    let control = "sh -c \"$1\"; true";
    let seen = place.command(Path::new("sh")).args(["-c", control, "sh", LOOK]).output().unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned() + &String::from_utf8_lossy(&seen.stderr);
    assert!(seen.contains(CANARY) && seen.contains("files of the parent"), "the test can see nothing here: {seen}");

    fs::create_dir(place.path().join("in")).unwrap();
    fs::write(place.path().join("in/object"), b"x").unwrap();
    let script = format!("cat >/dev/null; {LOOK}");
    let done = place.batchpipe().args(["map", "in", "out", "--", "sh", "-c", &script]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let seen = fs::read(place.path().join("out/object")).unwrap();
    assert_eq!(String::from_utf8_lossy(&seen), "cores 0\n", "and a crash of the program leaves no core either");
}

const PASSWORD: &str = "PASSWORD-IN-AN-ADDRESS";

/// What the program says at the highest level of the log, with an address of a server that holds a password.
fn said(place: &Place, args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = place.batchpipe();
    command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_REGION", "eu-west-1").env("HOME", place.path());
    command.env("RUST_LOG", "trace").envs(environment.iter().copied()).args(args).args(["--no-input", "-vvv"]);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_password_in_an_address_is_shown_nowhere_and_at_no_level() {
    let place = Place::new();
    let url = format!("http://user:{PASSWORD}@127.0.0.1:9");
    let profile = format!("[default]\nendpoint_url = {url}\n");
    fs::write(place.path().join("profile"), profile).unwrap();
    let config = place.path().join("profile").to_string_lossy().into_owned();
    fs::create_dir(place.path().join("in")).unwrap();
    fs::write(place.path().join("in/object"), b"x").unwrap();
    let commands: [&[&str]; 7] = [
        &["doctor", "--queue", "jobs", "--output", "s3://acme-out/"],
        &[
            "run",
            "--queue",
            "jobs",
            "--until-empty",
            "--process",
            "copy",
            "--log-format",
            "json",
            "--metrics-addr",
            "none",
        ],
        &["map", "in", "s3://acme-out/x/", "--progress", "json"],
        &["submit", "in", "--queue", "jobs", "--input", "s3://acme-in/", "--journal", "none"],
        &["status", "--queue", "jobs", "--json"],
        &["dlq", "list", "--queue", "jobs"],
        &["config", "explain"],
    ];
    let variables =
        ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS", "BATCHPIPE_ENDPOINT_URL", "HTTP_PROXY"];
    for command in commands {
        for variable in variables {
            // Nothing may be asked of the network by the proxy alone.
            let settings = [(variable, url.as_str()), ("BATCHPIPE_REGION", "eu-west-1")];
            let closed = [settings[0], settings[1], ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
            let settings = if variable == "HTTP_PROXY" { &closed[..] } else { &settings[..] };
            let said = said(&place, command, settings);
            assert!(!said.is_empty() && !said.contains(PASSWORD), "{command:?} {variable}: {said}");
        }
        let text = said(&place, command, &[("AWS_CONFIG_FILE", &config)]);
        assert!(!text.is_empty() && !text.contains(PASSWORD), "{command:?} with a profile: {text}");
        let text = said(&place, &[command, &["--endpoint-url", &url]].concat(), &[]);
        assert!(text.contains("BP126") && !text.contains(PASSWORD), "{command:?} with a flag: {text}");
    }
    let queue = format!("{url}/1/jobs");
    let text = said(&place, &["run", "--queue", &queue, "--process", "copy"], &[]);
    assert!(text.contains("BP126") && !text.contains(PASSWORD), "{text}");
}

/// Ends with its guard.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_worker_that_nobody_can_look_into_still_measures_itself_and_is_found_by_its_port() {
    let place = Place::new();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let output = format!("file://{}/out/", place.path().display());
    let queue = ["run", "--queue", "sqlite:jobs.db", "--process", "copy"];
    let run = [&queue[..], &["--output", &output, "--metrics-addr", &address]].concat();
    let worker = Worker(place.batchpipe().args(&run).stderr(Stdio::null()).spawn().unwrap());
    let page = page(&address);
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse::<f64>().unwrap()
    };
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_start_time_seconds") > 1e9);

    let process = PathBuf::from(format!("/proc/{}", worker.0.id()));
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
    let status = fs::read_to_string(process.join("status")).unwrap();
    assert!(status.contains("VmHWM:"), "what others may know of a process, they still may: {status}");
    assert_eq!(fs::metadata(process.join("environ")).unwrap().uid(), 0, "its keys are nobody's but root's");

    let second = place.batchpipe().args(run).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    let named = format!("batchpipe (pid {})", worker.0.id());
    assert!(said.contains("error[BP115]") && said.contains(&named) && said.contains(" has it\n"), "{said}");
}

/// The metrics of the worker at `address`, as soon as it answers.
fn page(address: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            return answer;
        }
        assert!(Instant::now() < until, "the worker does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
}
