//! The store hangs, the disk is full, the journal's end and the snapshot are damaged: no announce waits, nothing is lost beyond
//! the bytes that are gone, and the log and a metric say what happened.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::announce::Event;
use shared::id::InfoHash;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;
use tests::fake_member::FakeMember;
use tests::our_tracker::{OurTracker, Setup};
use tests::rig::{Deadline, SmallDisk, ask_until};

use crate::album::LIMIT;

/// A member who waits longer than this for an answer waits for a disk.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A tracker that flushes every second, and two members in one torrent.
struct House {
    tracker: OurTracker,
    torrent: InfoHash,
    clients: Vec<FakeMember>,
    folder: TempDir,
}

impl House {
    fn open() -> Self {
        Self::at(|_| ())
    }

    /// `prepare` has the folder before the tracker does.
    fn at<T>(prepare: impl FnOnce(&Path) -> T) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let _ = prepare(folder.path());
        let tracker = Setup::default()
            .log("info")
            .settings("[accounts]\nflush_secs = 1\n")
            .start(folder.path());
        let torrent = tracker.register("holiday");
        let clients = ["anna", "bert"]
            .iter()
            .zip(7_000..)
            .map(|(name, port)| tracker.client(&tracker.add_member(name), torrent, name, port))
            .collect();
        Self {
            tracker,
            torrent,
            clients,
            folder,
        }
    }

    /// Every client says something, and is answered at once.
    #[track_caller]
    fn all(&mut self, event: Event) {
        let address = self.tracker.address();
        for client in &mut self.clients {
            client.says.uploaded += 10;
            client.take(1_000);
            let deadline = Deadline::after(AT_ONCE);
            client.announce(address, event);
            assert!(deadline.left().is_some(), "{event:?} took more than {AT_ONCE:?}");
        }
    }

    /// The accounts are what the clients have counted.
    #[track_caller]
    fn check_accounts(&self, when: &str) {
        for (client, name) in self.clients.iter().zip(["anna", "bert"]) {
            let counted = (client.says.uploaded, client.says.downloaded);
            assert_eq!(self.tracker.account(name), counted, "{name}, {when}");
        }
    }

    fn kill_and_start(&mut self) {
        self.tracker.kill();
        self.tracker.start();
    }

    /// Files of the tracker's folder whose name holds a word.
    fn files(&self, word: &str) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.tracker.data())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_string_lossy().contains(word))
            .collect();
        files.sort();
        files
    }
}

/// Somebody else at the database, who does not let go.
struct Occupier {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Occupier {
    fn occupy(database: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let options = SqliteConnectOptions::new().filename(database).busy_timeout(LIMIT);
        let mut connection = runtime.block_on(options.connect()).unwrap();
        runtime.block_on(connection.execute("BEGIN EXCLUSIVE")).unwrap();
        Self { runtime, connection }
    }

    fn leave(mut self) {
        self.runtime
            .block_on(self.connection.execute("ROLLBACK"))
            .unwrap();
        self.runtime.block_on(self.connection.close()).unwrap();
    }
}

#[test]
fn a_store_that_hangs_keeps_no_announce_waiting_and_loses_nothing() {
    let mut house = House::open();
    house.all(Event::Started);
    let occupier = Occupier::occupy(&house.tracker.data().join("tracker.sqlite"));
    // For as long as two flushes take to give up, members go on as ever.
    ask_until("two failed flushes", LIMIT, || {
        house.all(Event::None);
        (house.tracker.metric("tracker_flush_failures_total") >= 2.0).then_some(())
    });
    house.all(Event::Stopped);
    house.all(Event::Started);
    assert!(house.tracker.metric("tracker_flush_age_seconds") >= 1.0);
    house.check_accounts("while the store hangs");
    house
        .tracker
        .wait_for_log(&["WARN", "accounts cannot be written"]);
    // It dies meanwhile: what was answered is in the journal.
    house.tracker.kill();
    occupier.leave();
    house.tracker.start();
    house.all(Event::Stopped);
    house.check_accounts("afterwards");
}

#[test]
fn a_store_that_comes_back_is_given_everything() {
    let mut house = House::open();
    house.all(Event::Started);
    let occupier = Occupier::occupy(&house.tracker.data().join("tracker.sqlite"));
    house.all(Event::None);
    house.tracker.wait_for_metric("tracker_flush_failures_total", 1.0);
    occupier.leave();
    house.all(Event::Stopped);
    // What only the store remembers: the journal is gone before the next start.
    house.tracker.stop();
    for journal in house.files("journal") {
        fs::remove_file(journal).unwrap();
    }
    house.tracker.start();
    house.check_accounts("from the store alone");
}

#[test]
fn a_full_disk_keeps_no_announce_waiting_and_is_told() {
    const MIB: u64 = 1024 * 1024;
    let mut disk = None;
    let mut house = House::at(|folder| disk = Some(SmallDisk::mount(&folder.join("data"), 2 * MIB)));
    let disk = disk.unwrap();
    house.all(Event::Started);
    house
        .tracker
        .wait_for_metric("tracker_journal_records_total", 2.0);
    // Whatever room is left is taken, to the last page.
    let mut ballast = fs::File::create(house.tracker.data().join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    ask_until("a journal or a store that cannot be written", LIMIT, || {
        house.all(Event::Stopped);
        house.all(Event::Started);
        let failed = |name| house.tracker.metric(name) >= 1.0;
        (failed("tracker_journal_failures_total") || failed("tracker_flush_failures_total")).then_some(())
    });
    house.tracker.wait_for_log(&["WARN", "journal", "No space left"]);
    house.check_accounts("while the disk is full");
    let _ = fs::remove_file(house.tracker.data().join("ballast"));
    disk.resize(64 * MIB);
    house.all(Event::None);
    house.tracker.wait_for_log(&["journal is written again"]);
    house.all(Event::Stopped);
    house.kill_and_start();
    house.check_accounts("after room was made");
    house.tracker.stop();
    drop(disk);
}

#[test]
fn a_damaged_end_of_the_journal_costs_no_more_than_the_damaged_bytes() {
    let mut house = House::open();
    house.all(Event::Started);
    house.all(Event::Stopped);
    // The store must not have seen what the journal holds.
    let occupier = Occupier::occupy(&house.tracker.data().join("tracker.sqlite"));
    house.all(Event::Started);
    house.all(Event::Stopped);
    house.tracker.wait_for_metric("tracker_flush_failures_total", 1.0);
    house.tracker.kill();
    occupier.leave();
    let newest = newest_with_bytes(&house.files("journal"));
    let mut bytes = fs::read(&newest).unwrap();
    // A write that was cut short by the power, and noise behind it.
    bytes.extend_from_slice(&[0xff; 37]);
    fs::write(&newest, bytes).unwrap();
    house.tracker.start();
    house.check_accounts("with noise behind the last record");
    assert!(house.tracker.metric("tracker_journal_damaged_records_total") >= 1.0);
    assert!(
        house
            .tracker
            .said()
            .iter()
            .any(|line| line.contains("journal") && line.contains("damaged")),
        "the log is silent:\n{}",
        house.tracker.said().join("\n")
    );
}

#[test]
fn a_damaged_record_costs_that_record_and_the_next_announce_brings_it_back() {
    let mut house = House::open();
    house.all(Event::Started);
    let occupier = Occupier::occupy(&house.tracker.data().join("tracker.sqlite"));
    house.all(Event::Completed);
    house.all(Event::Stopped);
    house.all(Event::Started);
    house.tracker.wait_for_metric("tracker_flush_failures_total", 1.0);
    house.tracker.kill();
    occupier.leave();
    let newest = newest_with_bytes(&house.files("journal"));
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&newest, bytes).unwrap();
    house.tracker.start();
    assert!(house.tracker.metric("tracker_journal_damaged_records_total") >= 1.0);
    // The counters are cumulative: who goes on loses nothing.
    house.all(Event::Stopped);
    house.check_accounts("after a damaged record");
}

fn newest_with_bytes(files: &[PathBuf]) -> PathBuf {
    let mut with_bytes = files.iter().filter(|path| fs::metadata(path).unwrap().len() > 64);
    with_bytes
        .next_back()
        .unwrap_or_else(|| panic!("no journal with records in {files:?}"))
        .clone()
}

#[test]
fn a_damaged_snapshot_costs_no_credit_and_is_told() {
    let mut house = House::open();
    house.all(Event::Started);
    house.all(Event::None);
    house.tracker.stop();
    let snapshots = house.files("snapshot");
    assert!(!snapshots.is_empty(), "a stop leaves no snapshot");
    for snapshot in &snapshots {
        let mut bytes = fs::read(snapshot).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(snapshot, bytes).unwrap();
    }
    house.tracker.start();
    assert!(
        house
            .tracker
            .said()
            .iter()
            .any(|line| line.contains("snapshot") && !line.contains("INFO")),
        "the log is silent:\n{}",
        house.tracker.said().join("\n")
    );
    house.check_accounts("without a snapshot");
    house.all(Event::Stopped);
    house.check_accounts("after the next announce");
}

#[test]
fn swarms_are_whole_after_a_stop_and_a_start() {
    let mut house = House::open();
    house.all(Event::Started);
    house.tracker.stop();
    house.tracker.start();
    let newcomer = house
        .tracker
        .client(&house.tracker.add_member("clara"), house.torrent, "clara", 7_009);
    let reply = newcomer.announce(house.tracker.address(), Event::Started);
    assert_eq!(reply.peers.len(), 2, "{reply:?}");
    house.all(Event::Stopped);
    house.check_accounts("after a stop and a start");
}

#[test]
fn public_swarms_are_whole_after_a_stop_and_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = Setup::default()
        .public()
        .settings("[snapshot]\nsecs = 10\n")
        .start(folder.path());
    let hash = InfoHash([3; 20]);
    let peer = |name: &str, port| FakeMember::stranger(hash, name, port);
    for port in 7_000..7_010 {
        peer("old", port).announce(tracker.address(), Event::Started);
    }
    tracker.stop();
    tracker.start();
    assert_eq!(
        peer("a", 8_000)
            .announce(tracker.address(), Event::Started)
            .peers
            .len(),
        10
    );
    // The next snapshot is written by the clock.
    let before = fs::metadata(snapshot_of(&tracker)).unwrap().modified().unwrap();
    ask_until("another snapshot", LIMIT, || {
        let now = fs::metadata(snapshot_of(&tracker)).ok()?.modified().ok()?;
        (now > before).then_some(())
    });
    tracker.kill();
    tracker.start();
    assert_eq!(
        peer("b", 8_001)
            .announce(tracker.address(), Event::Started)
            .peers
            .len(),
        11
    );
}

fn snapshot_of(tracker: &OurTracker) -> PathBuf {
    let mut files = fs::read_dir(tracker.data())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("snapshot")
        })
        .expect("a snapshot")
}

#[test]
fn a_backup_is_taken_while_it_runs_and_a_start_on_it_knows_everybody() {
    let mut house = House::open();
    house.all(Event::Started);
    house.all(Event::Stopped);
    let file = house.folder.path().join("backup.sqlite");
    house.tracker.ask(&["backup", &file.to_string_lossy()]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds the secret");
    house.all(Event::Started);
    house.all(Event::Stopped);

    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::copy(&file, data.join("tracker.sqlite")).unwrap();
    let mut restored = Setup::default().log("info").start(elsewhere.path());
    assert_eq!(
        restored.account("anna"),
        (20, 2_000),
        "what it was at the time of the backup"
    );
    // The keys are the same, for they are derived from the same secret.
    house.clients[0].announce(restored.address(), Event::Started);
    restored.stop();
    restored.start();
    house.clients[0].announce(restored.address(), Event::Stopped);
    assert!(data.join("secret").is_file());
    let again = house
        .tracker
        .command(&["backup", &file.to_string_lossy()])
        .run(LIMIT);
    assert_eq!(again.code, Some(1), "a backup overwrites nothing");
}

#[test]
fn a_reload_takes_new_lists_and_refuses_what_is_wrong_as_a_whole() {
    let mut house = House::open();
    house.all(Event::Started);
    let address = house.tracker.address();
    house
        .tracker
        .rewrite_settings("[accounts]\nflush_secs = 1\n[clients]\ndeny = [\"-XX\"]\n");
    house.tracker.running().signal_reload();
    let refusal = ask_until("the new list", LIMIT, || {
        let answer = house.clients[0].announce_raw(address, Event::None);
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.contains("failure reason").then_some(text)
    });
    assert!(refusal.contains("client not allowed here"), "{refusal}");
    // One part is good and one is not: neither is taken.
    house
        .tracker
        .rewrite_settings("[clients]\ndeny = []\n[announce]\ninterval_secs = \"often\"\n");
    house.tracker.running().signal_reload();
    house.tracker.wait_for_log(&["interval_secs"]);
    let answer = house.clients[0].announce_raw(address, Event::None);
    assert!(String::from_utf8_lossy(&answer).contains("client not allowed here"));
    let refused = house.tracker.command(&["reload"]).run(LIMIT);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.join(" ").contains("interval_secs"), "{refused:?}");
    // And by the API, with the command line's own words.
    house.tracker.rewrite_settings("[accounts]\nflush_secs = 1\n");
    house.tracker.command(&["reload"]).run(LIMIT).succeeded();
    house.all(Event::None);
}

#[test]
fn a_second_tracker_on_the_same_folder_is_refused() {
    let house = House::open();
    let second = house
        .tracker
        .command(&["serve", "--http", "127.0.0.1:0", "--admin", "off"])
        .run(LIMIT);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second
            .stderr
            .join(" ")
            .contains(&house.tracker.running().pid().to_string()),
        "{second:?}"
    );
}

#[test]
fn no_key_token_code_or_address_is_ever_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut tracker = Setup::default()
        .log("trace")
        .settings("[accounts]\nflush_secs = 1\n[clients]\ndeny = [\"-YY\"]\n")
        .start(folder.path());
    let torrent = tracker.register("holiday");
    let key = tracker.add_member("anna");
    let token = tracker.ask(&["token", "create", "bot", "--scope", "admin"])["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let code = tracker.ask(&["invite", "create"])["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let from = "127.12.34.56".parse().unwrap();
    let client = tracker.client(&key, torrent, "client", 7_000).from(from);
    let address = tracker.address();
    for event in [Event::Started, Event::None, Event::Completed, Event::Stopped] {
        client.announce(address, event);
    }
    let mut denied = client.clone();
    denied.says.peer_id.0[..3].copy_from_slice(b"-YY");
    denied.refused(address, Event::Started);
    let wrong = "w".repeat(32);
    tracker
        .client(&wrong, torrent, "client", 7_000)
        .from(from)
        .refused(address, Event::Started);
    client.scrape(address);
    let request = tests::rig::HttpRequest::get("/api/v1/stats")
        .bearer(&token)
        .from(from);
    tracker.send(&request).succeeded();
    let redeem = serde_json::json!({ "code": code, "name": "bert" });
    let redeem = tests::rig::HttpRequest::post("/api/v1/invitations/redeem")
        .json(&redeem)
        .from(from);
    let bert = tracker.send(&redeem).succeeded().json()["passkey"]
        .as_str()
        .unwrap()
        .to_owned();
    let garbage = tests::rig::HttpRequest::get(format!("/{key}/nothing")).from(from);
    let _ = garbage.try_send(address);
    let after = tracker.ask(&["member", "rotate", "anna"]);
    let new_key = after["passkey"].as_str().unwrap().to_owned();
    tracker.stop();
    let said = tracker.said().join("\n");
    assert!(said.contains("INFO"), "nothing was logged: {said}");
    for (what, secret) in [
        ("a passkey", &key),
        ("a new passkey", &new_key),
        ("an invited member's passkey", &bert),
        ("a wrong passkey", &wrong),
        ("a token", &token),
        ("a code", &code),
        ("an address", &"127.12.34.56".to_owned()),
    ] {
        let line = said.lines().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "{what} was logged: {}", line.unwrap_or_default());
    }
}
