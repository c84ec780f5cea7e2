//! The program, a folder for it, and a member's client of three lines.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program, without any settings of whoever runs the tests.
pub(crate) fn tracker(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRACKER_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    tracker(args).output().unwrap()
}

#[track_caller]
pub(crate) fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    assert!(output.stdout.is_empty());
}

/// A tracker that runs; killed if a test forgets it.
pub(crate) struct Running {
    pub child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Running {
    /// One for anyone, on ports of its own.
    pub(crate) fn public(data: &Path, more: &[&str]) -> Self {
        Self::start(data, &[&["--public"], more].concat())
    }

    /// One for members, unless `more` says otherwise.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = tracker(&["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--data").arg(data).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, log }
    }

    pub(crate) fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Where announces are answered.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line();
        let rest = line.strip_prefix("listening http http://").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }

    /// Reads its log up to a line with all these words.
    pub(crate) fn logged(&mut self, words: &[&str]) -> String {
        let mut said = self.log.by_ref().map(Result::unwrap);
        let found = said.find(|line| words.iter().all(|word| line.contains(word)));
        found.unwrap_or_else(|| panic!("it never said {words:?}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop, and returns its exit code.
    pub(crate) fn stop(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A data folder, and a place for files beside it.
pub(crate) struct House {
    folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a command on the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        tracker(args).arg("--data").arg(self.data()).output().unwrap()
    }

    /// What a command prints for people.
    #[track_caller]
    pub(crate) fn words(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints for programs: a value a line.
    #[track_caller]
    pub(crate) fn lines(&self, args: &[&str]) -> Vec<Value> {
        let text = self.words(&[args, &["--json"]].concat());
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The one object that a command prints.
    #[track_caller]
    pub(crate) fn object(&self, args: &[&str]) -> Value {
        let lines = self.lines(args);
        assert_eq!(lines.len(), 1, "{args:?} printed {lines:?}");
        lines.into_iter().next().unwrap()
    }

    /// Writes a .torrent of one file, and returns its path.
    pub(crate) fn torrent(&self, name: &str) -> String {
        let mut bytes = b"d8:announce12:http://x/ann4:infod6:lengthi16384e".to_vec();
        bytes.extend(format!("4:name{}:{name}", name.len()).bytes());
        bytes.extend(b"12:piece lengthi16384e6:pieces20:");
        bytes.extend([7; 20]);
        bytes.extend(b"ee");
        let path = self.file(&format!("{name}.torrent"));
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The text of a field.
#[track_caller]
pub(crate) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {key} in {object}"))
}

/// The number of a field.
#[track_caller]
pub(crate) fn number(object: &Value, key: &str) -> u64 {
    object
        .get(key)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no {key} in {object}"))
}

/// Announces once, and returns the body of the answer.
pub(crate) fn announce(tracker: SocketAddr, key: &str, info_hash: &str, rest: &str) -> String {
    let hash: String = info_hash
        .as_bytes()
        .chunks(2)
        .flat_map(|two| ['%', two[0].into(), two[1].into()])
        .collect();
    let mut stream = TcpStream::connect(tracker).unwrap();
    write!(
        stream,
        "GET /{key}/announce?info_hash={hash}&peer_id=-TR4050-abcdefghijkl&port=7000&compact=1&{rest} HTTP/1.1\r\n\
         Host: t\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
