//! The other clients and how each is driven without a screen. Each runs on a host of its own and says when it has all.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken rig should stop the test and say why"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::rig::{Deadline, Host, Program, Running, Stream};

/// The port every client listens on: each has a host to itself.
pub const PORT: u16 = 16_900;

/// What is shared: the place of a .torrent file, or a link.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    Magnet(String),
}

impl Source {
    fn word(&self) -> String {
        match self {
            Self::File(path) => path.to_string_lossy().into_owned(),
            Self::Magnet(link) => link.clone(),
        }
    }
}

/// The clients of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Libtorrent,
    Transmission,
    Aria2,
    QBittorrent,
    RTorrent,
    Rqbit,
}

/// How a client lets us know that it has everything.
#[derive(Debug)]
enum Finish {
    Says(&'static str),
    Exits,
    Rings(Bell),
}

/// A client at work.
#[derive(Debug)]
pub struct Peer {
    running: Running,
    finish: Finish,
}

impl Peer {
    /// Waits until it has everything.
    #[track_caller]
    pub fn wait_until_done(&mut self, limit: Duration) {
        match &self.finish {
            Finish::Says(words) => drop(self.running.wait_for_line(words, limit)),
            Finish::Exits => {
                let status = self.running.wait_exit(limit);
                assert!(status.success(), "{status}\n{}", self.running.transcript());
            }
            Finish::Rings(bell) => {
                assert!(
                    bell.rings(&mut self.running, limit),
                    "it did not finish\n{}",
                    self.running.transcript()
                );
            }
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.running.is_running()
    }
}

impl Client {
    /// Starts a download into a folder.
    #[track_caller]
    pub fn leech(self, home: &Home<'_>, source: &Source, into: &Path) -> Peer {
        fs::create_dir_all(into).unwrap();
        self.start(&Task {
            host: home.host,
            source,
            folder: into,
            scratch: home.scratch,
            terms: home.terms,
            whole: false,
        })
    }

    /// Seeds what lies in a folder, whole.
    #[track_caller]
    pub fn seed(self, home: &Home<'_>, torrent: &Path, content: &Path) -> Peer {
        let source = Source::File(torrent.to_owned());
        self.start(&Task {
            host: home.host,
            source: &source,
            folder: content,
            scratch: home.scratch,
            terms: home.terms,
            whole: true,
        })
    }

    fn start(self, task: &Task<'_>) -> Peer {
        fs::create_dir_all(task.scratch).unwrap();
        match self {
            Self::Libtorrent => libtorrent(task),
            Self::Transmission => transmission(task),
            Self::Aria2 => aria2(task),
            Self::QBittorrent => qbittorrent(task),
            Self::RTorrent => rtorrent(task),
            Self::Rqbit => rqbit(task),
        }
    }
}

/// Where a client runs, and on what terms.
#[derive(Debug)]
pub struct Home<'a> {
    pub host: &'a Host,
    /// For the client's own files.
    pub scratch: &'a Path,
    pub terms: Terms,
}

/// What a client says of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Plain handshakes first, where it can be told so.
    Plain,
    /// Encrypted handshakes first, where it can be told so.
    Willing,
    /// Encrypted handshakes and RC4, and nothing else.
    Hidden,
}

/// What one client is to do.
struct Task<'a> {
    host: &'a Host,
    source: &'a Source,
    folder: &'a Path,
    scratch: &'a Path,
    terms: Terms,
    /// It has everything already, and seeds.
    whole: bool,
}

impl Task<'_> {
    fn is_hidden(&self) -> bool {
        self.terms == Terms::Hidden
    }
}

/// The python that has libtorrent: whichever the machine's own has, else Debian's.
pub fn python() -> &'static str {
    const CANDIDATES: [&str; 2] = ["python3", "/usr/bin/python3"];
    let has_libtorrent = |python: &&&str| {
        Command::new(python)
            .args(["-c", "import libtorrent"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    CANDIDATES.iter().find(has_libtorrent).copied().unwrap_or_else(|| {
        panic!("these tests need libtorrent's Python binding (package python3-libtorrent): run tests/run install")
    })
}

/// On its host, and able to write names that are not ASCII: where the system says nothing about that, qBittorrent cannot.
fn abroad(program: Program, task: &Task<'_>) -> Program {
    program.on(task.host).env("LC_ALL", "C.UTF-8")
}

/// The script that drives libtorrent.
pub fn libtorrent_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/drive_libtorrent.py")
}

fn libtorrent(task: &Task<'_>) -> Peer {
    let program = Program::named(python())
        .called("libtorrent")
        .arg(libtorrent_script())
        .args(["peer", &task.source.word()])
        .arg(task.folder)
        .args(["--listen", &format!("0.0.0.0:{PORT},[::]:{PORT}")])
        .args(task.whole.then_some("--seed"))
        .args(task.is_hidden().then_some("--hidden"));
    Peer {
        running: abroad(program, task).start(),
        finish: Finish::Says("seeding"),
    }
}

/// The daemon: transmission-cli now and then takes the moment between checking and starting for its end, and leaves.
fn transmission(task: &Task<'_>) -> Peer {
    const LIMIT: Duration = Duration::from_secs(60);
    const REMOTE: &str = "127.0.0.1:9091";
    let bell = Bell::hang(task.scratch);
    let settings = json!({
        "dht-enabled": false, "lpd-enabled": false, "pex-enabled": true, "utp-enabled": false,
        "port-forwarding-enabled": false, "rpc-bind-address": "127.0.0.1", "peer-port": PORT,
        "encryption": match task.terms {
            Terms::Plain => 0,
            Terms::Willing => 1,
            Terms::Hidden => 2,
        },
        "download-dir": task.folder,
        "script-torrent-done-enabled": true, "script-torrent-done-filename": bell.rope(),
    });
    fs::write(task.scratch.join("settings.json"), settings.to_string()).unwrap();
    let program = Program::named("transmission-daemon")
        .args(["--foreground", "--config-dir"])
        .arg(task.scratch)
        .env("HOME", task.scratch);
    let running = abroad(program, task).start();
    running.wait_for(Stream::Err, LIMIT, |line| {
        line.contains("Serving RPC").then_some(())
    });
    let adding = Program::named("transmission-remote").args([REMOTE, "--add", &task.source.word()]);
    let added = abroad(adding, task).run(LIMIT);
    assert!(
        added.stdout.iter().any(|line| line.contains("success")),
        "Transmission does not take it: {}",
        [added.stdout, added.stderr].concat().join(" ")
    );
    Peer {
        running,
        finish: Finish::Rings(bell),
    }
}

fn aria2(task: &Task<'_>) -> Peer {
    let program = Program::named("aria2c")
        .args([
            "--no-conf=true",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
        ])
        .args([
            "--enable-peer-exchange=false",
            "--file-allocation=none",
            "--summary-interval=0",
        ])
        .args([
            "--follow-torrent=mem",
            "--bt-save-metadata=false",
            "--disable-ipv6=false",
        ])
        .args(task.is_hidden().then_some("--bt-require-crypto=true"))
        .args(task.is_hidden().then_some("--bt-min-crypto-level=arc4"))
        .arg(format!("--listen-port={PORT}"))
        .arg(format!("--dir={}", task.folder.display()));
    let program = if task.whole {
        program.args(["--check-integrity=true", "--seed-ratio=0.0"])
    } else {
        program.arg("--seed-time=0")
    };
    Peer {
        running: abroad(program.arg(task.source.word()), task).start(),
        finish: Finish::Exits,
    }
}

fn qbittorrent(task: &Task<'_>) -> Peer {
    let bell = Bell::hang(task.scratch);
    let folder = task.scratch.join("qBittorrent/config");
    fs::create_dir_all(&folder).unwrap();
    let settings = format!(
        "[LegalNotice]\nAccepted=true\n[BitTorrent]\nSession\\Port={PORT}\nSession\\DHTEnabled=false\n\
         Session\\LSDEnabled=false\nSession\\PeXEnabled=false\nSession\\Encryption={}\nSession\\BTProtocol=TCP\n\
         Session\\QueueingSystemEnabled=false\n[Network]\nPortForwardingEnabled=false\n\
         [Preferences]\nWebUI\\Enabled=false\n[AutoRun]\nenabled=true\nprogram={}\n",
        u8::from(task.is_hidden()),
        bell.rope().display()
    );
    fs::write(folder.join("qBittorrent.conf"), settings).unwrap();
    let program = Program::named("qbittorrent-nox")
        .arg(format!("--profile={}", task.scratch.display()))
        .arg(format!("--save-path={}", task.folder.display()))
        .args(["--add-paused=false", "--skip-dialog=true"])
        .args(task.whole.then_some("--skip-hash-check"))
        .arg(task.source.word())
        .env("HOME", task.scratch);
    Peer {
        running: abroad(program, task).start(),
        finish: Finish::Rings(bell),
    }
}

fn rtorrent(task: &Task<'_>) -> Peer {
    let bell = Bell::hang(task.scratch);
    let session = task.scratch.join("session");
    fs::create_dir_all(&session).unwrap();
    let settings = format!(
        "system.daemon.set = true\ndirectory.default.set = {}\nsession.path.set = {}\n\
         network.port_range.set = {PORT}-{PORT}\nnetwork.port_random.set = no\ndht.mode.set = disable\n\
         protocol.pex.set = no\ntrackers.use_udp.set = no\nprotocol.encryption.set = {}\n\
         method.set_key = event.download.finished,ring,\"execute.nothrow={}\"\n\
         schedule2 = start,0,0,\"load.start=\\\"{}\\\"\"\n",
        task.folder.display(),
        session.display(),
        if task.is_hidden() {
            "allow_incoming,try_outgoing,require,require_RC4"
        } else {
            // What it does unasked.
            "allow_incoming,prefer_plaintext,enable_retry"
        },
        bell.rope().display(),
        task.source.word(),
    );
    let file = task.scratch.join("rtorrent.rc");
    fs::write(&file, settings).unwrap();
    let program = Program::named("rtorrent")
        .args(["-n", "-o", &format!("import={}", file.display())])
        .env("HOME", task.scratch)
        .env("TERM", "xterm");
    Peer {
        running: abroad(program, task).start(),
        finish: Finish::Rings(bell),
    }
}

/// It has no encryption, and asks trackers for itself only.
fn rqbit(task: &Task<'_>) -> Peer {
    let program = Program::named("rqbit")
        .args(["--disable-dht", "--disable-lsd", "--disable-upnp-port-forward"])
        .args(["--listen-port", &PORT.to_string()])
        .args(["download", "--disable-http-api", "--output-folder"])
        .arg(task.folder)
        .arg(if task.whole {
            "--overwrite"
        } else {
            "--exit-on-finish"
        })
        .arg(task.source.word())
        .env("HOME", task.scratch);
    Peer {
        running: abroad(program, task).start(),
        finish: Finish::Exits,
    }
}

/// A script that a client runs when it has finished, and a pipe on which we hear it.
#[derive(Debug)]
struct Bell {
    rope: PathBuf,
    rung: Receiver<()>,
}

impl Bell {
    fn hang(folder: &Path) -> Self {
        let (pipe, rope) = (folder.join("bell"), folder.join("ring"));
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success(), "mkfifo {}", pipe.display());
        fs::write(&rope, format!("#!/bin/sh\necho done > '{}'\n", pipe.display())).unwrap();
        fs::set_permissions(&rope, fs::Permissions::from_mode(0o755)).unwrap();
        // Open for both: neither side waits for the other.
        let mut reader = BufReader::new(fs::File::options().read(true).write(true).open(&pipe).unwrap());
        let (hammer, rung) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|length| length > 0) && hammer.send(()).is_ok() {}
        });
        Self { rope, rung }
    }

    fn rope(&self) -> &Path {
        &self.rope
    }

    /// False when the time is over or the client ended without ringing.
    fn rings(&self, client: &mut Running, limit: Duration) -> bool {
        let deadline = Deadline::after(limit);
        while let Some(left) = deadline.left() {
            match self.rung.recv_timeout(left.min(Duration::from_secs(1))) {
                Ok(()) => return true,
                Err(RecvTimeoutError::Timeout) if client.is_running() => (),
                Err(_) => return self.rung.try_recv().is_ok(),
            }
        }
        false
    }
}

impl Drop for Bell {
    /// A last ring lets the listening thread see that nobody hears it any more.
    fn drop(&mut self) {
        if let Ok(mut pipe) = fs::File::options()
            .read(true)
            .write(true)
            .open(self.rope.with_file_name("bell"))
        {
            let _ = pipe.write_all(b"gone\n");
        }
    }
}
