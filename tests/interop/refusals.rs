//! What three clients show their users when our tracker refuses or warns: our sentence, whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tests::our_tracker::{OurTracker, Setup, made_torrent};
use tests::rig::{Host, HttpRequest, Lab, ask_until};

use crate::clients::Client;
use crate::members::{MembersClient, Start};

/// aria2 tries a tracker again after a minute where it heard nothing good.
const LIMIT: Duration = Duration::from_secs(120);

/// A tracker on a host, as its owner sees it.
struct Desk {
    tracker: OurTracker,
    host: Host,
    lab: Lab,
    folder: tempfile::TempDir,
}

impl Desk {
    fn open(settings: &str) -> Self {
        let (lab, folder) = (Lab::new(), tempfile::tempdir().unwrap());
        let host = lab.host();
        let tracker = Setup::default()
            .settings(settings)
            .http(&[&format!("{}:0", host.ipv4())])
            .on(&host)
            .start(&folder.path().join("tracker"));
        Self {
            tracker,
            host,
            lab,
            folder,
        }
    }

    fn owner(&self, method: &str, path: &str, body: &serde_json::Value) {
        let request = HttpRequest::new(method, format!("/api/v1{path}"));
        let request = if body.is_null() {
            request
        } else {
            request.json(body)
        };
        self.tracker.control(&request).succeeded();
    }

    /// A torrent of its own for a key; `more` stands behind the announce URL.
    fn torrent(&self, name: &str, key: &str, more: &str) -> PathBuf {
        let announce = format!("http://{}/{key}/announce{more}", self.tracker.address());
        let file = self.folder.path().join(format!("{name}.torrent"));
        fs::write(&file, made_torrent(name, Some(&announce))).unwrap();
        file
    }

    fn register(&self, file: &Path) -> String {
        let card = self.tracker.ask(&["torrent", "add", &file.to_string_lossy()]);
        card["info_hash_v1"].as_str().unwrap().to_owned()
    }

    fn start(&self, client: Client, torrents: &[PathBuf]) -> MembersClient {
        self.start_at(client, torrents, None)
    }

    fn start_at(&self, client: Client, torrents: &[PathBuf], upload_rate: Option<u64>) -> MembersClient {
        let host = self.lab.host();
        assert_ne!(host.ipv4(), self.host.ipv4());
        MembersClient::start(
            client,
            &Start {
                host: &host,
                torrents,
                folder: &self.folder.path().join("into"),
                scratch: &self.folder.path().join("scratch"),
                whole: false,
                upload_rate,
            },
        )
    }
}

/// Waits until all of these are shown, word for word.
#[track_caller]
fn shows(client: &MembersClient, sentences: &[&str]) {
    for sentence in sentences {
        ask_until(&format!("`{sentence}` to be shown"), LIMIT, || {
            client.shown().contains(sentence).then_some(())
        });
    }
    for line in client.shown().lines() {
        if sentences.iter().any(|sentence| line.contains(sentence)) {
            println!("{line}");
        }
    }
}

/// One torrent a refusal, all in one client.
fn shows_every_refusal(client: Client, name: &str) {
    let desk = Desk::open("");
    let (tracker, nothing) = (&desk.tracker, json!(null));
    let keys: Vec<String> = ["anna", "bert", "clara", "dora"]
        .iter()
        .map(|name| tracker.add_member(name))
        .collect();
    let torrents = [
        desk.torrent("unknown", &"k".repeat(32), ""),
        desk.torrent("replaced", &keys[0], ""),
        desk.torrent("disabled", &keys[1], ""),
        desk.torrent("expired", &keys[2], ""),
        desk.torrent("unregistered", &keys[3], ""),
        desk.torrent("removed", &keys[3], ""),
        desk.torrent("malformed", &keys[3], "?port=9"),
    ];
    for file in torrents
        .iter()
        .filter(|file| !file.ends_with("unregistered.torrent"))
    {
        let hash = desk.register(file);
        if file.ends_with("removed.torrent") {
            desk.owner(
                "DELETE",
                &format!("/torrents/{hash}?reason=a%20better%20scan%20is%20here"),
                &nothing,
            );
        }
    }
    desk.owner("POST", "/members/anna/rotate", &json!({ "grace_secs": 0 }));
    desk.owner(
        "POST",
        "/members/bert/disable",
        &json!({ "reason": "please call me" }),
    );
    desk.tracker.expire("clara");
    shows(
        &desk.start(client, &torrents),
        &[
            "unknown key: take a fresh .torrent or link from your tracker",
            "this key was replaced: take a fresh .torrent or link",
            "disabled: please call me",
            "this key has expired: ask the tracker's owner for a new one",
            "unregistered torrent: ask the tracker's owner to add it",
            "removed: a better scan is here",
            "port is given twice",
        ],
    );
    let desk = Desk::open("[clients]\ndeny = [\"LT\", \"TR\", \"A2-\"]\n");
    let key = desk.tracker.add_member("anna");
    let torrent = desk.torrent("denied", &key, "");
    desk.register(&torrent);
    shows(
        &desk.start(client, &[torrent]),
        &[&format!("client not allowed here: {name}")],
    );
}

/// Announces every few seconds, as it was told, until the owner asks for more time between two; the next one is too early.
fn shows_that_it_came_too_early(client: Client) {
    let eager =
        "[announce]\ninterval_secs = 60\nsmall_interval_secs = 2\nmin_interval_secs = 1\njitter_secs = 0\n";
    let desk = Desk::open(eager);
    let key = desk.tracker.add_member("anna");
    let torrent = desk.torrent("early", &key, "");
    desk.register(&torrent);
    let peer = desk.start_at(client, &[torrent], Some(600_000));
    desk.tracker.wait_for_metric("tracker_requests_total", 2.0);
    let calm = "[announce]\ninterval_secs = 600\nsmall_interval_secs = 300\nmin_interval_secs = 300\njitter_secs = 0\n";
    desk.tracker.rewrite_settings(calm);
    desk.tracker.command(&["reload"]).run(LIMIT).succeeded();
    shows(
        &peer,
        &["too early: no peers this time, please keep to min interval"],
    );
}

#[test]
fn an_early_announce_is_told_by_libtorrent() {
    shows_that_it_came_too_early(Client::Libtorrent);
}

#[test]
fn an_early_announce_is_told_by_transmission() {
    shows_that_it_came_too_early(Client::Transmission);
}

#[test]
fn an_early_announce_is_told_by_aria2() {
    shows_that_it_came_too_early(Client::Aria2);
}

#[test]
fn every_one_is_shown_by_libtorrent() {
    shows_every_refusal(Client::Libtorrent, "libtorrent 2.");
}

#[test]
fn every_one_is_shown_by_transmission() {
    shows_every_refusal(Client::Transmission, "Transmission 3.00");
}

#[test]
fn every_one_is_shown_by_aria2() {
    shows_every_refusal(Client::Aria2, "aria2 1.36");
}
