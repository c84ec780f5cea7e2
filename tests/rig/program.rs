//! Programs under test and the programs of others: started, listened to line by line, and gone when the test is.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Deadline, Host, ask_until};

/// Lines that a program may print before the oldest are forgotten.
const LINES_MAX: usize = 200_000;

/// Lines of a program that a message about it shows, the last ones.
const SHOWN: usize = 80;

/// Set in the environment of a process whose parent has built our programs already.
pub const OURS_ARE_BUILT: &str = "KINSWARM_BUILT";

/// A program that has not been started yet.
#[derive(Debug)]
pub struct Program {
    name: String,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    namespace: Option<String>,
}

impl Program {
    /// Our `seeder`, built like the tests.
    pub fn seeder() -> Self {
        Self::named(ours("seeder")).called("seeder")
    }

    /// Our `tracker`, built like the tests.
    pub fn tracker() -> Self {
        Self::named(ours("tracker")).called("tracker")
    }

    /// Any program, by its path or by its name on `PATH`.
    pub fn named(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let name = program.to_string_lossy().into_owned();
        Self {
            name,
            words: vec![program.into()],
            environment: Vec::new(),
            directory: None,
            namespace: None,
        }
    }

    /// The name it has in messages.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().into());
        self
    }

    #[must_use]
    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words
            .extend(words.into_iter().map(|word| word.as_ref().into()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().into()));
        self
    }

    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs it on a host of a lab instead of on this machine's network.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        self.namespace = Some(host.namespace().to_owned());
        self
    }

    /// Starts it. It ends with the value that this returns, and also when the test itself is killed.
    #[track_caller]
    pub fn start(self) -> Running {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(namespace) = &self.namespace {
            command
                .arg("nsenter")
                .arg(format!("--net=/run/netns/{namespace}"))
                .arg("--");
        }
        command
            .args(&self.words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        let transcript = Arc::new(Transcript::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        listen(stdout, Stream::Out, Arc::clone(&transcript));
        listen(stderr, Stream::Err, Arc::clone(&transcript));
        Running {
            name: self.name,
            child,
            transcript,
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self, limit: Duration) -> Finished {
        self.start().finish(limit)
    }
}

/// The path of a program of ours, built first if it is not as new as its source.
fn ours(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        // target/PROFILE/deps/TEST, or target/PROFILE/PROGRAM
        let this = std::env::current_exe().expect("a test has a path");
        let folder = this
            .ancestors()
            .skip(1)
            .find(|folder| !folder.ends_with("deps"))
            .expect("tests lie in target/PROFILE/deps")
            .to_owned();
        if std::env::var_os(OURS_ARE_BUILT).is_some() {
            return folder;
        }
        let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        cargo
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo can be started");
        assert!(status.success(), "our programs do not build: {cargo:?}");
        folder
    });
    folder.join(name)
}

/// Where a line came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// Everything that a program has said so far.
#[derive(Debug, Default)]
struct Transcript {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<(Stream, String)>,
    streams_closed: u8,
}

impl Transcript {
    fn said(&self) -> MutexGuard<'_, Said> {
        // A test that gives up waiting panics with the guard in its hand; what was said is still true.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, stream: Stream, line: &[u8]) {
        let mut said = self.said();
        assert!(
            said.lines.len() < LINES_MAX,
            "a program said more than {LINES_MAX} lines"
        );
        said.lines
            .push((stream, String::from_utf8_lossy(line).into_owned()));
        self.news.notify_all();
    }
}

/// Progress lines end in a carriage return, others in a line feed: both end a line here.
fn listen(mut pipe: impl Read + Send + 'static, stream: Stream, transcript: Arc<Transcript>) {
    thread::spawn(move || {
        let (mut buffer, mut line) = (vec![0; 64 * 1024], Vec::new());
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            for byte in buffer.get(..length).unwrap_or_default() {
                match byte {
                    b'\n' | b'\r' if line.is_empty() => (),
                    b'\n' | b'\r' => transcript.add(stream, &std::mem::take(&mut line)),
                    byte => line.push(*byte),
                }
            }
        }
        if !line.is_empty() {
            transcript.add(stream, &line);
        }
        transcript.said().streams_closed += 1;
        transcript.news.notify_all();
    });
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    transcript: Arc<Transcript>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line, of those said and those to come, from which `find` makes something.
    #[track_caller]
    pub fn wait_for<T>(&self, stream: Stream, limit: Duration, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Deadline::after(limit);
        let mut seen = 0;
        let mut said = self.transcript.said();
        loop {
            let fresh = said.lines.iter().skip(seen).filter(|(from, _)| *from == stream);
            if let Some(found) = fresh.map(|(_, line)| line).find_map(|line| find(line)) {
                return found;
            }
            seen = said.lines.len();
            let over = said.streams_closed == 2;
            let Some(left) = deadline.left().filter(|_| !over) else {
                let why = if over {
                    "it ended"
                } else {
                    "it did not say it in time"
                };
                panic!(
                    "{} should have said something within {limit:?}, but {why}.\n{}",
                    self.name,
                    show(&said, SHOWN)
                );
            };
            said = self
                .transcript
                .news
                .wait_timeout(said, left)
                .expect("no listener panics")
                .0;
        }
    }

    /// The first line of standard output that holds these words.
    #[track_caller]
    pub fn wait_for_line(&self, words: &str, limit: Duration) -> String {
        self.wait_for(Stream::Out, limit, |line| {
            line.contains(words).then(|| line.to_owned())
        })
    }

    /// The first JSON object on standard output that has this key.
    #[track_caller]
    pub fn wait_for_json(&self, key: &str, limit: Duration) -> serde_json::Value {
        self.wait_for(Stream::Out, limit, |line| {
            serde_json::from_str::<serde_json::Value>(line)
                .ok()
                .filter(|value| value.get(key).is_some())
        })
    }

    /// Has it said this anywhere so far?
    pub fn has_said(&self, words: &str) -> bool {
        self.transcript
            .said()
            .lines
            .iter()
            .any(|(_, line)| line.contains(words))
    }

    /// All it has said so far.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        let said = self.transcript.said();
        said.lines
            .iter()
            .filter(|(from, _)| *from == stream)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Both streams in the order they were heard, for messages.
    pub fn transcript(&self) -> String {
        show(&self.transcript.said(), SHOWN)
    }

    /// All of both streams, in the order they were heard.
    pub fn transcript_whole(&self) -> String {
        show(&self.transcript.said(), usize::MAX)
    }

    /// Is it alive?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop, as an operator would.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Tells it that its settings have changed.
    pub fn signal_reload(&self) {
        self.signal(Signal::HUP);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has an id");
        // It may have ended by itself in the meantime.
        let _ = kill_process(pid, signal);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.ends_within(limit).unwrap_or_else(|| {
            panic!(
                "{} should have ended within {limit:?}.\n{}",
                self.name,
                self.transcript()
            )
        })
    }

    /// Waits for it to end by itself; `None` when the time is over first.
    #[track_caller]
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Deadline::after(limit);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            deadline.left()?;
            let said = self.transcript.said();
            // Its last word is usually followed by its end.
            let _ = self.transcript.news.wait_timeout(said, Duration::from_millis(20));
        }
    }

    /// Waits until it has ended and all it said is here.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Finished {
        let status = self.wait_exit(limit);
        ask_until("the last lines of a program", Duration::from_secs(5), || {
            (self.transcript.said().streams_closed == 2).then_some(())
        });
        Finished {
            name: self.name.clone(),
            code: status.code(),
            stdout: self.lines(Stream::Out),
            stderr: self.lines(Stream::Err),
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!(
                "{}",
                show(&self.transcript.said(), SHOWN)
                    .replace("what it said", &format!("what {} said", self.name))
            );
        }
    }
}

fn show(said: &Said, lines: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("--- what it said, the end of it\n");
    for (stream, line) in said.lines.iter().skip(said.lines.len().saturating_sub(lines)) {
        let mark = if *stream == Stream::Out { "out" } else { "err" };
        let _ = writeln!(text, "{mark}| {}", line.chars().take(400).collect::<String>());
    }
    text.push_str("---");
    text
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    name: String,
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Finished {
    /// Panics unless it succeeded.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "it is an assertion that may be read from"
    )]
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{} failed: {self:#?}", self.name);
        self
    }

    /// The last JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        self.stdout
            .iter()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("{} printed no JSON: {self:#?}", self.name))
    }
}
