//! Our tracker with members, as a program: started on a folder, killed, started again at the same address, asked by its command
//! line, its API and its metrics. Only what DESIGN §2 promises is relied on.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken rig should stop the test and say why"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use shared::id::InfoHash;

use crate::fake_member::FakeMember;
use crate::rig::{Finished, Host, HttpAnswer, HttpRequest, Program, Running, Stream, ask_until};

/// What any step may take on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

/// How a tracker is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    http: Vec<String>,
    settings: String,
    public: bool,
    host: Option<Host>,
    log: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            http: vec!["127.0.0.1:0".to_owned()],
            settings: String::new(),
            public: false,
            host: None,
            log: "debug".to_owned(),
        }
    }
}

impl Setup {
    /// Listens at these addresses instead of `127.0.0.1:0`.
    #[must_use]
    pub fn http(mut self, addresses: &[&str]) -> Self {
        self.http = addresses.iter().map(|address| (*address).to_owned()).collect();
        self
    }

    /// More of the settings file, in TOML.
    #[must_use]
    pub fn settings(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.settings);
        self
    }

    #[must_use]
    pub fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Logs as much as this instead of everything.
    #[must_use]
    pub fn log(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.log);
        self
    }

    /// On a host of a lab.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// Starts it in a folder, in which its state is `data` and its settings are `tracker.toml`.
    #[track_caller]
    pub fn start(self, folder: &Path) -> OurTracker {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("tracker.toml"), &self.settings).unwrap();
        let mut tracker = OurTracker {
            running: None,
            setup: self,
            folder: folder.to_owned(),
            said: Vec::new(),
            addresses: Vec::new(),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        tracker.start();
        tracker
    }
}

/// A tracker that runs, or did.
#[derive(Debug)]
pub struct OurTracker {
    running: Option<Running>,
    setup: Setup,
    folder: PathBuf,
    /// What those said that ran before.
    said: Vec<String>,
    /// Where it answers.
    pub addresses: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl OurTracker {
    /// Starts it where it does not run, at the addresses that it had before.
    #[track_caller]
    pub fn start(&mut self) {
        self.launch();
        let heard = |what: &'static str| move |line: &str| listening(line, what);
        let admin = self.running().wait_for(Stream::Out, LIMIT, heard("admin"));
        self.admin = address_of(&admin);
        let lines = self.running().lines(Stream::Out);
        let http = lines.iter().filter_map(|line| listening(line, "http"));
        self.addresses = http.map(|line| address_of(&line)).collect();
        assert_eq!(self.addresses.len(), self.setup.http.len(), "{lines:?}");
        self.setup.http = self.addresses.iter().map(ToString::to_string).collect();
    }

    /// Starts it and does not wait until it listens.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut program = Program::tracker()
            .args(["serve", "--json", "--admin", "127.0.0.1:0"])
            .args(["--log", &self.setup.log])
            .arg("--config")
            .arg(self.settings_file())
            .arg("--data")
            .arg(self.data())
            .args(self.setup.public.then_some("--public"));
        for address in &self.setup.http {
            program = program.args(["--http", address]);
        }
        if let Some(host) = &self.setup.host {
            program = program.on(host);
        }
        self.running = Some(program.start());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            self.remember(&running);
            running.kill();
        }
    }

    /// As an operator stops it.
    #[track_caller]
    pub fn stop(&mut self) -> Finished {
        let running = self.running.take().expect("it runs");
        running.terminate();
        let ended = running.finish(Duration::from_secs(10));
        self.said
            .extend(ended.stdout.iter().chain(&ended.stderr).cloned());
        ended
    }

    /// `kill -9` by whoever holds this, at any moment and from any thread; [`Self::kill`] is still to be called.
    #[track_caller]
    pub fn killer(&self) -> impl Fn() + Send + Sync + 'static {
        let pid = i32::try_from(self.running().pid()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a program has an id");
        move || {
            // It may be dead already.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn remember(&mut self, running: &Running) {
        for stream in [Stream::Out, Stream::Err] {
            self.said.extend(running.lines(stream));
        }
    }

    /// Everything that it has said, in all its lives.
    pub fn said(&self) -> Vec<String> {
        let mut said = self.said.clone();
        if let Some(running) = &self.running {
            for stream in [Stream::Out, Stream::Err] {
                said.extend(running.lines(stream));
            }
        }
        said
    }

    /// Waits until a line of its log holds all these words.
    #[track_caller]
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        self.running().wait_for(Stream::Err, LIMIT, |line| {
            words
                .iter()
                .all(|word| line.contains(word))
                .then(|| line.to_owned())
        })
    }

    #[track_caller]
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(Running::is_running)
    }

    /// Where it answers, if at one address only.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("it has listened")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn settings_file(&self) -> PathBuf {
        self.folder.join("tracker.toml")
    }

    /// Writes other settings, which nobody has read yet.
    pub fn rewrite_settings(&self, toml: &str) {
        fs::write(self.settings_file(), toml).unwrap();
    }

    /// A place for a test's own files.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command about this tracker, whether it runs or not.
    pub fn command(&self, words: &[&str]) -> Program {
        Program::tracker()
            .args(words)
            .arg("--config")
            .arg(self.settings_file())
            .arg("--data")
            .arg(self.data())
            .arg("--json")
    }

    /// A command that succeeds, and the object that it prints.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> Value {
        self.command(words).run(LIMIT).succeeded().json()
    }

    /// The one-time code that a first start shows, in the command that it shows with it.
    #[track_caller]
    pub fn owner_code(&self) -> String {
        self.running().wait_for(Stream::Err, LIMIT, |line| {
            let (_, rest) = line.split_once(r#""code":""#)?;
            Some(rest.split('"').next()?.to_owned())
        })
    }

    /// A new member, by its passkey.
    #[track_caller]
    pub fn add_member(&self, name: &str) -> String {
        let card = self.ask(&["member", "add", name]);
        assert_eq!(card["name"], name, "{card}");
        let key = card["passkey"]
            .as_str()
            .unwrap_or_else(|| panic!("no passkey in {card}"));
        assert!(
            key.len() == 32 && key.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{key}"
        );
        let url = card["announce_url"].as_str().unwrap_or_default();
        assert!(url.ends_with(&format!("/{key}/announce")), "{card}");
        key.to_owned()
    }

    /// What a member has given and taken.
    #[track_caller]
    pub fn account(&self, name: &str) -> (u64, u64) {
        let card = self.ask(&["member", "show", name]);
        let bytes = |what: &str| {
            card[what]
                .as_u64()
                .unwrap_or_else(|| panic!("no {what} in {card}"))
        };
        (bytes("uploaded"), bytes("downloaded"))
    }

    /// A member's key ends in a moment; a date that has passed is none on which to expire.
    #[track_caller]
    pub fn expire(&self, name: &str) {
        let card = self.ask(&["member", "show", name]);
        let created: Timestamp = card["created"].as_str().unwrap().parse().unwrap();
        let path = format!("/api/v1/members/{name}/expire");
        let accepted = (1..600).step_by(2).any(|secs| {
            let body = json!({ "expires": (created + SignedDuration::from_secs(secs)).to_string() });
            self.control(&HttpRequest::post(&path).json(&body)).status < 300
        });
        assert!(accepted, "no date is to come");
        ask_until("the end of a key", LIMIT, || {
            (self.ask(&["member", "show", name])["state"] == "expired").then_some(())
        });
    }

    /// A registered torrent, made from nothing: its name makes it another than its neighbours.
    #[track_caller]
    pub fn register(&self, name: &str) -> InfoHash {
        let file = self.place(&format!("{name}.torrent"));
        fs::write(&file, made_torrent(name, None)).unwrap();
        let card = self.ask(&["torrent", "add", &file.to_string_lossy()]);
        card["info_hash_v1"]
            .as_str()
            .expect("a v1 hash")
            .parse()
            .expect("forty digits")
    }

    /// A client of the holder of a key.
    pub fn client(&self, key: &str, info_hash: InfoHash, name: &str, port: u16) -> FakeMember {
        FakeMember::new(key, info_hash, name, port)
    }

    /// Does something with the network of its host.
    #[track_caller]
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.setup.host {
            Some(host) => host.inside(work),
            None => work(),
        }
    }

    /// One request to the port for everyone.
    #[track_caller]
    pub fn send(&self, request: &HttpRequest) -> HttpAnswer {
        let address = self.address();
        self.inside(|| request.send(address))
    }

    /// One request to `control.sock`, with the owner's rights.
    #[track_caller]
    pub fn control(&self, request: &HttpRequest) -> HttpAnswer {
        request.send_unix(&self.data().join("control.sock"))
    }

    /// The text of `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let (request, admin) = (HttpRequest::get("/metrics"), self.admin);
        self.inside(|| request.send(admin)).succeeded().text()
    }

    /// One metric, by its name and labels as printed; all of a name are added up where none are given.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let values: Vec<f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| {
                *series == name
                    || series
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with('{'))
            })
            .filter_map(|(_, value)| value.parse().ok())
            .collect();
        assert!(!values.is_empty(), "there is no {name} in\n{text}");
        values.iter().sum()
    }

    /// Waits until a metric has reached a number.
    #[track_caller]
    pub fn wait_for_metric(&self, name: &str, number: f64) {
        ask_until(&format!("{name} >= {number}"), LIMIT, || {
            (self.metric(name) >= number).then_some(())
        });
    }
}

fn listening(line: &str, what: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line)
        .ok()
        .filter(|value| value["listening"] == what)
}

#[track_caller]
fn address_of(line: &Value) -> SocketAddr {
    line["address"].as_str().unwrap().parse().unwrap()
}

/// A private torrent of one file of 1 GB that nobody has; its pieces are made up.
pub fn made_torrent(name: &str, announce: Option<&str>) -> Vec<u8> {
    const LENGTH: usize = 1_000_000_000;
    const PIECE_LENGTH: usize = 16 << 20;
    let pieces = "0".repeat(LENGTH.div_ceil(PIECE_LENGTH) * 20);
    let announce = announce
        .map(|url| format!("8:announce{}:{url}", url.len()))
        .unwrap_or_default();
    format!(
        "d{announce}4:infod6:lengthi{LENGTH}e4:name{}:{name}12:piece lengthi{PIECE_LENGTH}e6:pieces{}:{pieces}7:privatei1eee",
        name.len(),
        pieces.len()
    )
    .into_bytes()
}
