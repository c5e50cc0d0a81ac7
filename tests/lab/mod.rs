//! A server that speaks S3 and SQS, for tests: ministack on a free port of the loopback, ended with the last test
//! that uses it; or the one at `BATCHPIPE_LAB_URL`, which somebody else has started.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long the server may take to start: it takes half a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A server that runs for as long as somebody holds it.
#[derive(Debug)]
pub(crate) struct Server {
    /// `None` if it is somebody else's.
    child: Option<Child>,
    url: String,
}

impl Server {
    /// The one that other tests of this process use, else a new one.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    fn start() -> Self {
        if let Ok(url) = std::env::var("BATCHPIPE_LAB_URL") {
            return Self { child: None, url };
        }
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let installed = Command::new(here.join("tests/lab/setup.sh")).arg("ministack").status();
        assert!(installed.is_ok_and(|status| status.success()), "tests/lab/setup.sh ministack failed");
        let lab = std::env::var_os("BATCHPIPE_LAB").map_or_else(|| here.join("target/lab"), PathBuf::from);
        let program = lab.join("ministack/bin/ministack");
        // Somebody else may take the port between our look and the server's start.
        for _ in 0..3 {
            let port = free_port();
            let mut child = Command::new(&program)
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("ministack starts");
            let started = answers(&mut child, port);
            let server = Self { child: Some(child), url: format!("http://127.0.0.1:{port}") };
            if started {
                return server;
            }
        }
        panic!("ministack did not start: run {} by hand to see why", program.display());
    }
}

/// Waits until the server answers; `false` if it has ended or takes too long.
fn answers(child: &mut Child, port: u16) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < START_TIMEOUT && child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if healthy(port).unwrap_or(false) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // What fails here has ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A port that is free now; of the loopback, where nobody else can reach the server.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn healthy(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /_ministack/health HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer)?;
    Ok(answer.windows(4).any(|bytes| bytes == b" 200"))
}
