//! Clients of members, of whom more is asked than of a peer: to say what they have counted, what they announced last and what
//! they show their users about the tracker, and to take their leave of it in due form.

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shared::announce::AnnounceRequest;
use tests::rig::{Host, HttpRequest, Program, Running, Stream, ask_until};

use crate::clients::{Client, PORT, libtorrent_script, python};
use crate::scene::LIMIT;

const TRANSMISSION_RPC: u16 = 9_091;
const ARIA2_RPC: u16 = 6_800;

/// Bytes given and taken.
pub(crate) type Counters = (u64, u64);

/// A member's client on a host of its own, with some torrents of one folder.
#[derive(Debug)]
pub(crate) struct MembersClient {
    kind: Client,
    running: Running,
    host: Host,
    scratch: PathBuf,
    session: RefCell<String>,
}

/// How a client is started.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) host: &'a Host,
    pub(crate) torrents: &'a [PathBuf],
    pub(crate) folder: &'a Path,
    pub(crate) scratch: &'a Path,
    /// It has everything already.
    pub(crate) whole: bool,
    /// Bytes a second that it gives at most, and it asks the tracker again at once when that was away.
    pub(crate) upload_rate: Option<u64>,
}

impl MembersClient {
    #[track_caller]
    pub(crate) fn start(kind: Client, start: &Start<'_>) -> Self {
        fs::create_dir_all(start.folder).unwrap();
        fs::create_dir_all(start.scratch).unwrap();
        let program = match kind {
            Client::Libtorrent => libtorrent(start),
            Client::Transmission => transmission(start),
            Client::Aria2 => aria2(start),
            other => panic!("{other:?} is not asked such things"),
        };
        let client = Self {
            kind,
            running: program.on(start.host).env("LC_ALL", "C.UTF-8").start(),
            host: start.host.clone(),
            scratch: start.scratch.to_owned(),
            session: RefCell::default(),
        };
        if kind == Client::Transmission {
            client.add_to_transmission(start);
        }
        client
    }

    fn add_to_transmission(&self, start: &Start<'_>) {
        ask_until("Transmission's ear", LIMIT, || {
            self.transmission("session-get", &json!({}))
        });
        for torrent in start.torrents {
            let wanted = json!({ "filename": torrent, "download-dir": start.folder });
            let added = self.transmission("torrent-add", &wanted).unwrap();
            assert!(added.get("torrent-added").is_some(), "{added}");
        }
    }

    /// Waits until it has everything.
    #[track_caller]
    pub(crate) fn wait_until_done(&self) {
        match self.kind {
            Client::Libtorrent => drop(self.running.wait_for_line("seeding", LIMIT)),
            Client::Transmission => ask_until("Transmission has everything", LIMIT, || {
                let torrents = self.torrents();
                torrents
                    .iter()
                    .all(|torrent| torrent["percentDone"] == 1)
                    .then_some(())
            }),
            _ => ask_until("aria2 has everything", LIMIT, || {
                let active = self.aria2("tellActive", json!([]))?;
                let all = active.as_array().filter(|all| !all.is_empty())?;
                all.iter()
                    .all(|one| one["completedLength"] == one["totalLength"])
                    .then_some(())
            }),
        }
    }

    /// Takes its leave of the tracker and says what it has counted. The tracker has been told then, but may not have answered.
    #[track_caller]
    pub(crate) fn leave(&self) -> Counters {
        match self.kind {
            Client::Libtorrent => {
                self.running.terminate();
                let line = self.running.wait_for_line("left ", LIMIT);
                let mut words = line.split(' ').skip(1).map(|word| word.parse().unwrap());
                (words.next().unwrap(), words.next().unwrap())
            }
            Client::Transmission => {
                self.transmission("torrent-stop", &json!({}));
                let torrents = self.torrents();
                let sum = |what: &str| torrents.iter().filter_map(|torrent| torrent[what].as_u64()).sum();
                (sum("uploadedEver"), sum("downloadedEver"))
            }
            _ => {
                let active = self.aria2("tellActive", json!([])).unwrap();
                self.aria2("shutdown", json!([]));
                let one = &active[0];
                let number = |what: &str| one[what].as_str().unwrap().parse().unwrap();
                (number("uploadLength"), number("completedLength"))
            }
        }
    }

    /// What it announced last, where it keeps a record of that.
    pub(crate) fn last_announce(&self) -> Option<AnnounceRequest> {
        let lines = match self.kind {
            Client::Transmission => self.running.lines(Stream::Err),
            Client::Aria2 => fs::read_to_string(self.scratch.join("log"))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect(),
            _ => return None,
        };
        let line = lines
            .iter()
            .rev()
            .find(|line| line.contains("GET /") && line.contains("/announce?"))?;
        let (_, query) = line.split_once("/announce?")?;
        AnnounceRequest::parse(query.split(' ').next()?.as_bytes()).ok()
    }

    /// Everything that it shows its user about trackers so far.
    pub(crate) fn shown(&self) -> String {
        match self.kind {
            Client::Libtorrent => self.running.lines(Stream::Out).join("\n"),
            Client::Transmission => {
                let torrents = self.torrents();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let words = torrents.iter().flat_map(|torrent| {
                    let stats = torrent["trackerStats"].as_array().cloned().unwrap_or_default();
                    let results: Vec<_> = stats
                        .iter()
                        .map(|stat| text(&stat["lastAnnounceResult"]))
                        .collect();
                    std::iter::once(text(&torrent["errorString"])).chain(results)
                });
                words.collect::<Vec<_>>().join("\n")
            }
            _ => fs::read_to_string(self.scratch.join("log")).unwrap_or_default(),
        }
    }

    fn torrents(&self) -> Vec<Value> {
        let fields = [
            "percentDone",
            "uploadedEver",
            "downloadedEver",
            "errorString",
            "trackerStats",
        ];
        self.transmission("torrent-get", &json!({ "fields": fields }))
            .and_then(|answer| answer["torrents"].as_array().cloned())
            .unwrap_or_default()
    }

    /// One call of Transmission's; none while it does not listen yet.
    fn transmission(&self, method: &str, arguments: &Value) -> Option<Value> {
        let body = json!({ "method": method, "arguments": arguments });
        for _ in 0..2 {
            let session = self.session.borrow().clone();
            let request = HttpRequest::post("/transmission/rpc")
                .header("X-Transmission-Session-Id", &session)
                .json(&body);
            let answer = self.call(&request, TRANSMISSION_RPC)?;
            if answer.status != 409 {
                let answer = answer.json();
                assert_eq!(answer["result"], "success", "{method}: {answer}");
                return Some(answer["arguments"].clone());
            }
            // Its guard against foreign pages: the first answer names the session.
            answer
                .header("x-transmission-session-id")?
                .clone_into(&mut self.session.borrow_mut());
        }
        None
    }

    fn aria2(&self, method: &str, params: Value) -> Option<Value> {
        let body =
            json!({ "jsonrpc": "2.0", "id": "1", "method": format!("aria2.{method}"), "params": params });
        let answer = self.call(&HttpRequest::post("/jsonrpc").json(&body), ARIA2_RPC)?;
        answer.json().get("result").cloned()
    }

    fn call(&self, request: &HttpRequest, port: u16) -> Option<tests::rig::HttpAnswer> {
        let address = SocketAddr::new(self.host.ip(), port);
        self.host.inside(|| request.try_send(address)).ok()
    }
}

fn libtorrent(start: &Start<'_>) -> Program {
    let program = Program::named(python())
        .called("libtorrent")
        .arg(libtorrent_script())
        .arg("peer")
        .args(start.torrents)
        .arg(start.folder)
        .args(["--listen", &format!("0.0.0.0:{PORT},[::]:{PORT}")])
        .args(start.whole.then_some("--seed"));
    match start.upload_rate {
        Some(rate) => program.args(["--impatient", "--upload-rate", &rate.to_string()]),
        None => program,
    }
}

fn transmission(start: &Start<'_>) -> Program {
    let settings = json!({
        "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
        "port-forwarding-enabled": false, "peer-port": PORT, "download-dir": start.folder, "rpc-port": TRANSMISSION_RPC,
        "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false, "speed-limit-up-enabled": false,
        "download-queue-size": 20,
    });
    fs::write(start.scratch.join("settings.json"), settings.to_string()).unwrap();
    Program::named("transmission-daemon")
        .args(["--foreground", "--config-dir"])
        .arg(start.scratch)
        .env("HOME", start.scratch)
        // What it asks of the tracker, it shows then.
        .env("TR_CURL_VERBOSE", "1")
}

fn aria2(start: &Start<'_>) -> Program {
    let rpc = format!("--rpc-listen-port={ARIA2_RPC}");
    Program::named("aria2c")
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
            "--enable-rpc=true",
            "--rpc-listen-all=true",
            "--seed-ratio=0.0",
            "--log-level=info",
            "--max-concurrent-downloads=20",
            &rpc,
        ])
        .arg(format!("--listen-port={PORT}"))
        .arg(format!("--dir={}", start.folder.display()))
        .arg(format!("--log={}", start.scratch.join("log").display()))
        .args(start.whole.then_some("--check-integrity=true"))
        .args(start.torrents)
}
