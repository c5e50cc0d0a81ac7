//! A server that answers what a test tells it to, byte for byte: for what no well-meaning server does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A server that gives each request the next answer and then hangs up; it ends with its last answer.
#[derive(Debug)]
pub(crate) struct Scripted {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Serves `answers`, in order.
    pub(crate) fn start(answers: &[&str]) -> Self {
        Self::start_with_bytes(answers.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    /// The same for answers that are no text.
    pub(crate) fn start_with_bytes(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().expect("a connection");
                let head = exchange(stream, &answer).expect("an exchange");
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
            }
        });
        Self { port, requests, thread: Some(thread) }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of the requests, once every answer is given.
    pub(crate) fn requests(mut self) -> Vec<String> {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server");
        }
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads one request and answers it; returns the request's head, in lower case.
fn exchange(stream: TcpStream, answer: &[u8]) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            break;
        }
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    std::io::copy(&mut (&mut reader).take(length.unwrap_or(0)), &mut std::io::sink())?;
    reader.into_inner().write_all(answer)?;
    Ok(head)
}
