//! The whole of private mode with the clients that people have: from an empty folder to members whose accounts are, to the
//! byte, what their clients say.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use shared::announce::Event;
use tempfile::TempDir;
use tests::our_tracker::{OurTracker, Setup};
use tests::rig::{Host, HttpRequest, Lab, Program, ask_until, digests, fill_folder, spin};

use crate::clients::Client;
use crate::members::{Counters, MembersClient, Start};
use crate::scene::{LIMIT, check_same};

/// Three members and their clients.
const PEOPLE: [(&str, Client); 3] = [
    ("anna", Client::Libtorrent),
    ("bert", Client::Transmission),
    ("clara", Client::Aria2),
];

/// A tracker that nobody owns yet, on a cable of its own.
struct Village {
    tracker: OurTracker,
    lab: Lab,
    folder: TempDir,
    /// The owner's token.
    token: String,
    keys: Vec<String>,
    info_hash: String,
}

impl Village {
    /// From nothing, by the API alone: the one-time code makes an owner, who invites two and registers a torrent.
    fn found(settings: &str, lengths: &[u64]) -> Self {
        let (lab, folder) = (Lab::new(), tempfile::tempdir().unwrap());
        let host = lab.host();
        let tracker = Setup::default()
            .log("info")
            .settings(settings)
            .http(&[&format!("{}:0", host.ipv4())])
            .on(&host)
            .start(&folder.path().join("tracker"));
        let mut village = Self {
            tracker,
            lab,
            folder,
            token: String::new(),
            keys: Vec::new(),
            info_hash: String::new(),
        };
        village.take_over();
        for (name, _) in &PEOPLE[1..] {
            village.invite(name);
        }
        village.register(lengths);
        village
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn content(&self) -> PathBuf {
        self.place("anna/Photos of 2019")
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> Value {
        let request = HttpRequest::post(format!("/api/v1{path}")).json(body);
        let request = if token.is_empty() {
            request
        } else {
            request.bearer(token)
        };
        self.tracker.send(&request).succeeded().json()
    }

    fn take_over(&mut self) {
        let code = self.tracker.owner_code();
        let (name, _) = PEOPLE[0];
        let card = self.post("/owner", "", &json!({ "code": code, "name": name }));
        self.token = text(&card["token"]);
        self.keys.push(key_of(&card));
        let again = HttpRequest::post("/api/v1/owner").json(&json!({ "code": code, "name": "mallory" }));
        assert!(
            self.tracker.send(&again).status >= 400,
            "a one-time code is good once"
        );
    }

    fn invite(&mut self, name: &str) {
        let invitation = self.post("/invitations", &self.token, &json!({ "uses": 1 }));
        let code = text(&invitation["code"]);
        let card = self.post("/invitations/redeem", "", &json!({ "code": code, "name": name }));
        assert_eq!(card["name"], name);
        self.keys.push(key_of(&card));
    }

    fn register(&mut self, lengths: &[u64]) {
        fill_folder(&self.content(), 11, lengths);
        let file = self.place("made.torrent");
        Program::seeder()
            .args([
                "create",
                "--v1",
                "--private",
                "--tracker",
                "http://tracker.test/announce",
                "--output",
            ])
            .arg(&file)
            .arg(self.content())
            .run(LIMIT)
            .succeeded();
        let request = HttpRequest::post("/api/v1/torrents")
            .bearer(&self.token)
            .header("Content-Type", "application/x-bittorrent")
            .body(fs::read(file).unwrap());
        let card = self.tracker.send(&request).succeeded().json();
        self.info_hash = text(&card["info_hash_v1"]);
    }

    /// A member's own .torrent, as she fetches it.
    fn torrent_of(&self, number: usize) -> PathBuf {
        let request =
            HttpRequest::get(format!("/api/v1/torrents/{}/file", self.info_hash)).bearer(&self.keys[number]);
        let bytes = self.tracker.send(&request).succeeded().body;
        let file = self.place(&format!("{}.torrent", PEOPLE[number].0));
        fs::write(&file, bytes).unwrap();
        file
    }

    fn start(&self, number: usize, upload_rate: Option<u64>) -> MembersClient {
        let (name, client) = PEOPLE[number];
        let host: Host = self.lab.host();
        MembersClient::start(
            client,
            &Start {
                host: &host,
                torrents: &[self.torrent_of(number)],
                folder: &self.place(name),
                scratch: &self.place(&format!("{name}-state")),
                whole: number == 0,
                upload_rate,
            },
        )
    }

    /// Seeders and leechers, as a member's scrape shows them.
    fn counts(&self) -> (u32, u32) {
        let hash = self.info_hash.parse().unwrap();
        let asker = self.tracker.client(&self.keys[0], hash, "asker", 9_000);
        let address = self.tracker.address();
        self.tracker.inside(|| asker.scrape(address))
    }

    fn wait_for_peers(&self, number: usize) {
        ask_until(&format!("{number} peers"), LIMIT, || {
            let (seeders, leechers) = self.counts();
            (seeders + leechers == u32::try_from(number).unwrap()).then_some(())
        });
    }

    fn check_arrived(&self) {
        let left = digests(&self.content());
        for (name, client) in &PEOPLE[1..] {
            check_same(
                *client,
                &left,
                &digests(&self.place(&format!("{name}/Photos of 2019"))),
            );
        }
    }

    /// All take their leave, one after the other, and their accounts are what their clients say.
    fn check_accounts(&self, clients: &[MembersClient]) {
        let mut said: Vec<Counters> = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            said.push(client.leave());
            self.wait_for_peers(clients.len() - number - 1);
        }
        for (number, (client, said)) in clients.iter().zip(&said).enumerate() {
            let (name, kind) = PEOPLE[number];
            let account = self.tracker.account(name);
            println!("{name}: {kind:?} says {said:?}, the tracker {account:?}");
            let Some(last) = client.last_announce() else {
                assert_eq!(account, *said, "what {name}'s {kind:?} says");
                continue;
            };
            assert_eq!(last.event, Event::Stopped, "{name}");
            assert_eq!(
                account,
                (last.uploaded, last.downloaded),
                "what {name}'s {kind:?} announced last"
            );
            // A block that arrives twice is announced once by Transmission and shown twice, and the other way round by aria2.
            let (announced, shown) = (account.1, said.1);
            assert_eq!(account.0, said.0, "what {name}'s {kind:?} shows as uploaded");
            let fits = match kind {
                Client::Transmission => shown >= announced,
                _ => shown <= announced,
            };
            assert!(fits, "{name}: {shown} shown, {announced} announced");
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// A new member's passkey, which is also in its announce URL.
fn key_of(card: &Value) -> String {
    let key = text(&card["passkey"]);
    assert!(
        text(&card["announce_url"]).ends_with(&format!("/{key}/announce")),
        "{card}"
    );
    key
}

#[test]
fn are_what_three_clients_say_to_the_byte() {
    let village = Village::found("", &[3_000_000, 100_000, 1, 2_000_000, 0, 16_384, 70_000]);
    let mut clients = vec![village.start(0, None)];
    village.wait_for_peers(1);
    clients.extend([village.start(1, None), village.start(2, None)]);
    for client in &clients[1..] {
        client.wait_until_done();
    }
    village.check_arrived();
    village.check_accounts(&clients);
}

#[test]
fn are_what_three_clients_say_though_the_tracker_was_killed_while_they_transferred() {
    const KILLS: usize = 12;
    // Everyone announces every few seconds, so that kills meet announces.
    let settings =
        "[announce]\ninterval_secs = 60\nsmall_interval_secs = 2\nmin_interval_secs = 1\njitter_secs = 0\n";
    let mut village = Village::found(settings, &[12_000_000, 3_000_000, 5]);
    let mut clients = vec![village.start(0, Some(600_000))];
    village.wait_for_peers(1);
    clients.extend([village.start(1, None), village.start(2, None)]);
    village.wait_for_peers(3);
    let mut dice = SmallRng::seed_from_u64(12);
    for _ in 0..KILLS {
        let answered = village.tracker.metric("tracker_requests_total");
        let more = f64::from(dice.random_range(1..3));
        village
            .tracker
            .wait_for_metric("tracker_requests_total", answered + more);
        spin(Duration::from_millis(dice.random_range(0..20)));
        village.tracker.kill();
        village.tracker.start();
        // Whoever was there is there at the first question.
        let (seeders, leechers) = village.counts();
        assert_eq!(seeders + leechers, 3);
    }
    for client in &clients[1..] {
        client.wait_until_done();
    }
    village.check_arrived();
    village.check_accounts(&clients);
}
