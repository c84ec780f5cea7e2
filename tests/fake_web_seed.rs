//! A web server with files that does what a script says: honest, lying, forgetful, busy. It knows as much of HTTP as web seeds
//! need.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken rig should stop the test and say why"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What it does with a request for a file that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// Gives whole files whatever was asked for.
    WithoutRanges,
    /// Gives half of what it promised in so many of its first answers, and hangs up.
    BreaksOff(usize),
    /// Has no time in so many of its first answers.
    Busy(usize),
    /// Every byte is another one.
    Lies,
    /// Has no file whose path ends like this.
    Lacks(&'static str),
    /// Answers with a page that says so.
    Apologises,
    /// Leads to the same path elsewhere.
    Redirects(String),
}

/// A running server.
#[derive(Debug)]
pub struct FakeWebSeed {
    address: SocketAddr,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    root: PathBuf,
    manner: Manner,
    answers: AtomicUsize,
    asked: Mutex<Vec<String>>,
    stops: AtomicBool,
}

impl FakeWebSeed {
    /// Serves what lies below a folder.
    #[track_caller]
    pub fn start(root: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            root: root.to_owned(),
            manner,
            answers: AtomicUsize::new(0),
            asked: Mutex::default(),
            stops: AtomicBool::new(false),
        });
        let server = Arc::clone(&state);
        let listener = thread::spawn(move || {
            for stream in listener.incoming() {
                if server.stops.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(stream), server) = (stream, Arc::clone(&server)) else {
                    continue;
                };
                // A client that hangs up ends its thread.
                thread::spawn(move || drop(server.serve(stream)));
            }
        });
        Self {
            address,
            state,
            listener: Some(listener),
        }
    }

    /// The URL of its root, with a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What was asked for: `PATH RANGE`.
    pub fn asked(&self) -> Vec<String> {
        self.state
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for FakeWebSeed {
    fn drop(&mut self) {
        self.state.stops.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        while let Some(head) = read_head(&mut stream)? {
            self.answer(&head, &mut stream)?;
        }
        Ok(())
    }

    fn answer(&self, head: &str, stream: &mut TcpStream) -> io::Result<()> {
        let path = head.split_whitespace().nth(1).unwrap_or_default();
        let range = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("range: bytes=")
                .map(str::to_owned)
        });
        let asked = format!("{path} {}", range.as_deref().unwrap_or("-"));
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(asked);
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        match &self.manner {
            Manner::Redirects(to) => {
                let to = format!("{}{path}", to.trim_end_matches('/'));
                return head_only(stream, &format!("302 Found\r\nLocation: {to}"));
            }
            Manner::Busy(times) if number < *times => {
                return head_only(stream, "503 Service Unavailable\r\nRetry-After: 1");
            }
            Manner::Apologises => {
                let page = "<html>Please log in</html>";
                let length = page.len();
                return write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
                );
            }
            Manner::Lacks(end) if path.ends_with(end) => return head_only(stream, "404 Not Found"),
            _ => (),
        }
        let path = self.root.join(decoded(path.trim_start_matches('/')));
        let Ok(mut content) = fs::read(&path) else {
            return head_only(stream, "404 Not Found");
        };
        if self.manner == Manner::Lies {
            for byte in &mut content {
                *byte = !*byte;
            }
        }
        let breaks = matches!(self.manner, Manner::BreaksOff(times) if number < times);
        let whole = self.manner == Manner::WithoutRanges;
        send(stream, &content, range.filter(|_| !whole).as_deref(), breaks)
    }
}

fn send(stream: &mut TcpStream, content: &[u8], range: Option<&str>, breaks: bool) -> io::Result<()> {
    let length = content.len();
    let (status, body) = match range.and_then(|range| range.split_once('-')) {
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let said = format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{length}");
            (said, content.get(first..=last).unwrap())
        }
        None => ("200 OK".to_owned(), content),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    if breaks {
        stream.write_all(body.get(..body.len() / 2).unwrap())?;
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    stream.write_all(body)
}

fn head_only(stream: &mut TcpStream, status: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

/// The head of the next request, if there is one.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&byte);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
