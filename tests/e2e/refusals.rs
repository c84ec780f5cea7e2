//! Every refusal to the byte: one sentence that fits where clients show it, when to come back, and never a failure for a
//! `stopped`, which Transmission would repeat for ever.

use serde_json::json;
use shared::announce::{AnnounceReply, Answer, Event};
use shared::id::InfoHash;
use tempfile::TempDir;
use tests::fake_member::FakeMember;
use tests::our_tracker::{OurTracker, Setup};
use tests::rig::{HttpRequest, ask_until};

use crate::album::LIMIT;

/// Clients show no more.
const SHOWN_MAX: usize = 64;

/// When clients are asked to try again.
#[derive(Clone, Copy, Debug)]
enum Again {
    After(u64),
    Never,
}

struct Desk {
    tracker: OurTracker,
    torrent: InfoHash,
    _folder: TempDir,
}

impl Desk {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tracker = Setup::default()
            .settings("[clients]\ndeny = [\"-YY\"]\n")
            .start(folder.path());
        let torrent = tracker.register("holiday");
        Self {
            tracker,
            torrent,
            _folder: folder,
        }
    }

    /// A client of a new member.
    fn client(&self, name: &str) -> FakeMember {
        let key = self.tracker.add_member(name);
        self.tracker.client(&key, self.torrent, name, 7_000)
    }

    /// What the owner does.
    #[track_caller]
    fn owner(&self, method: &str, path: &str, body: &serde_json::Value) {
        let request = HttpRequest::new(method, format!("/api/v1{path}"));
        let request = if body.is_null() {
            request
        } else {
            request.json(body)
        };
        self.tracker.control(&request).succeeded();
    }

    #[track_caller]
    fn refuses(&self, client: &FakeMember, words: &str, again: Again) {
        assert!(words.len() <= SHOWN_MAX, "{} bytes: {words}", words.len());
        // A client that its user tells to try again may do so after the usual shortest time.
        let (secs, minutes) = match again {
            Again::After(secs) => (secs, format!("i{}e", secs.div_ceil(60))),
            Again::Never => (1_800, "5:never".to_owned()),
        };
        let expected = format!(
            "d14:failure reason{}:{words}8:intervali{secs}e12:min intervali{}e8:retry in{minutes}e",
            words.len(),
            secs.min(300)
        );
        for event in [Event::Started, Event::None, Event::Completed] {
            let said = client.announce_raw(self.tracker.address(), event);
            assert_eq!(String::from_utf8_lossy(&said), expected, "{event:?}");
        }
        let farewell = client.announce_raw(self.tracker.address(), Event::Stopped);
        let Ok(Answer::Reply(AnnounceReply { warning, peers, .. })) = Answer::decode(&farewell) else {
            panic!("a farewell is refused: {}", String::from_utf8_lossy(&farewell));
        };
        assert_eq!(warning.as_deref(), Some(words));
        assert!(peers.is_empty());
    }
}

#[test]
fn a_key_that_nobody_has_is_unknown() {
    let desk = Desk::open();
    let client = desk
        .tracker
        .client(&"k".repeat(32), desk.torrent, "mallory", 7_000);
    desk.refuses(
        &client,
        "unknown key: take a fresh .torrent or link from your tracker",
        Again::After(3_600),
    );
}

#[test]
fn an_old_key_is_warned_about_while_it_is_in_grace_and_refused_afterwards() {
    let desk = Desk::open();
    let client = desk.client("anna");
    desk.owner("POST", "/members/anna/rotate", &json!({ "grace_secs": 3_600 }));
    let reply = client.announce(desk.tracker.address(), Event::Started);
    let warning = reply.warning.expect("a warning");
    assert!(warning.len() <= SHOWN_MAX && warning.contains("key"), "{warning}");
    client.announce(desk.tracker.address(), Event::Stopped);
    desk.owner("POST", "/members/anna/rotate", &json!({ "grace_secs": 0 }));
    desk.refuses(
        &client,
        "this key was replaced: take a fresh .torrent or link",
        Again::After(3_600),
    );
}

#[test]
fn a_disabled_member_reads_the_owners_reason() {
    let desk = Desk::open();
    let client = desk.client("anna");
    desk.owner(
        "POST",
        "/members/anna/disable",
        &json!({ "reason": "please call me" }),
    );
    desk.refuses(&client, "disabled: please call me", Again::After(3_600));
    desk.owner("POST", "/members/anna/enable", &json!({}));
    client.announce(desk.tracker.address(), Event::Started);
}

#[test]
fn a_reason_that_is_too_long_for_clients_is_cut_between_letters() {
    let desk = Desk::open();
    let client = desk.client("anna");
    let reason = "ä".repeat(40);
    desk.owner("POST", "/members/anna/disable", &json!({ "reason": reason }));
    let failure = client.refused(desk.tracker.address(), Event::Started);
    assert!(
        failure.reason.len() <= SHOWN_MAX && failure.reason.starts_with("disabled: ää"),
        "{failure:?}"
    );
}

#[test]
fn an_expired_key_says_so() {
    let desk = Desk::open();
    let client = desk.client("anna");
    let address = desk.tracker.address();
    client.announce(address, Event::Started);
    desk.tracker.expire("anna");
    desk.refuses(
        &client,
        "this key has expired: ask the tracker's owner for a new one",
        Again::After(3_600),
    );
}

#[test]
fn an_unregistered_torrent_is_asked_for_again_within_a_minute_while_the_tracker_is_young() {
    let desk = Desk::open();
    let mut client = desk.client("anna");
    client.says.info_hash = InfoHash([9; 20]);
    desk.refuses(
        &client,
        "unregistered torrent: ask the tracker's owner to add it",
        Again::After(60),
    );
}

#[test]
fn a_removed_torrent_says_why() {
    let desk = Desk::open();
    let client = desk.client("anna");
    client.announce(desk.tracker.address(), Event::Started);
    desk.owner(
        "DELETE",
        &format!("/torrents/{}?reason=a%20better%20scan%20is%20here", desk.torrent),
        &json!(null),
    );
    desk.refuses(&client, "removed: a better scan is here", Again::After(3_600));
}

#[test]
fn a_client_that_is_not_wanted_is_named() {
    let desk = Desk::open();
    let mut client = desk.client("anna");
    client.says.peer_id.0[..8].copy_from_slice(b"-YY1234-");
    let failure = client.refused(desk.tracker.address(), Event::Started);
    assert!(
        failure.reason.starts_with("client not allowed here: ") && failure.reason.contains("YY"),
        "{failure:?}"
    );
    desk.refuses(&client, &failure.reason, Again::After(3_600));
}

#[test]
fn a_key_for_one_torrent_is_good_for_that_alone() {
    let desk = Desk::open();
    desk.tracker.add_member("anna");
    let other = desk.tracker.register("another holiday");
    let request = HttpRequest::get(format!(
        "/api/v1/torrents/{}/file?member=anna&one_torrent_key=true",
        desk.torrent
    ));
    let file = desk.tracker.control(&request).succeeded().body;
    let text = String::from_utf8_lossy(&file).into_owned();
    let (before, _) = text.split_once("/announce").expect("an announce URL");
    let key = before.rsplit('/').next().unwrap().to_owned();
    assert_ne!(
        key,
        desk.tracker.ask(&["member", "show", "anna"])["passkey"]
            .as_str()
            .unwrap_or_default()
    );
    let client = desk.tracker.client(&key, desk.torrent, "anna", 7_000);
    client.announce(desk.tracker.address(), Event::Started);
    let elsewhere = desk.tracker.client(&key, other, "anna", 7_000);
    desk.refuses(&elsewhere, "this key is for another torrent", Again::Never);
}

#[test]
fn whoever_asks_again_too_early_is_warned_and_credited_but_given_nobody() {
    let desk = Desk::open();
    let (mut client, other) = (desk.client("anna"), desk.client("bert"));
    let (mut other, address) = (other, desk.tracker.address());
    other.says.port = 7_001;
    other.announce(address, Event::Started);
    assert_eq!(client.announce(address, Event::Started).peers.len(), 1);
    client.take(1_234);
    let early = client.announce(address, Event::None);
    assert!(early.peers.is_empty(), "{early:?}");
    let warning = early.warning.expect("a warning");
    assert!(warning.len() <= SHOWN_MAX && !warning.is_empty(), "{warning}");
    println!("early: {warning}");
    assert_eq!(
        desk.tracker.account("anna"),
        (0, 1_234),
        "an early announce is credited"
    );
    assert!(desk.tracker.metric("tracker_announces_early_total") >= 1.0);
    // The first `completed`, a `stopped` and the `started` after it are never early.
    client.says.left = 0;
    let completed = client.announce(address, Event::Completed);
    assert_eq!((completed.warning, completed.peers.len()), (None, 1));
    assert_eq!(client.announce(address, Event::Stopped).warning, None);
    client.says.left = 1;
    let started = client.announce(address, Event::Started);
    assert_eq!((started.warning, started.peers.len()), (None, 1));
}

#[test]
fn what_cannot_be_read_is_named() {
    let desk = Desk::open();
    let key = desk.tracker.add_member("anna");
    let cases = [
        ("", "info_hash is missing"),
        ("info_hash=abc", "info_hash must be 20 bytes, not 3"),
        ("info_hash=%zz", "info_hash has a broken percent escape"),
        (
            "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=0&uploaded=0&downloaded=0&left=0",
            "port must be from 1 to 65535",
        ),
        (
            "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&uploaded=x&downloaded=0&left=0",
            "uploaded is not a whole number in range",
        ),
        (
            "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&port=2&uploaded=0&downloaded=0&left=0",
            "port is given twice",
        ),
        (
            "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&uploaded=0&downloaded=0&left=0&event=begun",
            "event is none of started, completed, stopped, paused",
        ),
    ];
    for (query, words) in cases {
        let answer = HttpRequest::get(format!("/{key}/announce?{query}")).send(desk.tracker.address());
        let expected = format!("d14:failure reason{}:{words}8:interval", words.len());
        assert!(answer.text().starts_with(&expected), "{}", answer.text());
        assert!(words.len() <= SHOWN_MAX);
    }
}

#[test]
fn a_torrent_that_is_registered_after_its_first_announce_is_found_at_the_next() {
    let desk = Desk::open();
    let mut client = desk.client("anna");
    let bytes = tests::our_tracker::made_torrent("late", None);
    let late = shared::metainfo::Metainfo::read(&bytes)
        .unwrap()
        .info
        .info_hash_v1()
        .unwrap();
    client.says.info_hash = late;
    client.refused(desk.tracker.address(), Event::Started);
    assert_eq!(desk.tracker.register("late"), late);
    ask_until("the new torrent", LIMIT, || {
        let answer = client.announce_raw(desk.tracker.address(), Event::Started);
        matches!(Answer::decode(&answer), Ok(Answer::Reply(_))).then_some(())
    });
}
