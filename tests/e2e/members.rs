//! Who is a peer: one client with two addresses, two clients of one person, a client that begins anew; and what is told about
//! them to others, over both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shared::announce::{AnnounceReply, Answer, Event};
use shared::id::InfoHash;
use tempfile::TempDir;
use tests::fake_member::FakeMember;
use tests::our_tracker::{OurTracker, Setup};
use tests::rig::ask_until;

use crate::album::LIMIT;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A tracker at both families of this machine.
struct House {
    tracker: OurTracker,
    torrent: InfoHash,
    v4: SocketAddr,
    v6: SocketAddr,
    _folder: TempDir,
}

impl House {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tracker = Setup::default()
            .http(&["127.0.0.1:0", "[::1]:0"])
            .start(folder.path());
        let torrent = tracker.register("holiday");
        let of = |v6: bool| *tracker.addresses.iter().find(|at| at.is_ipv6() == v6).unwrap();
        Self {
            v4: of(false),
            v6: of(true),
            torrent,
            tracker,
            _folder: folder,
        }
    }

    fn client(&self, key: &str, name: &str, port: u16) -> FakeMember {
        self.tracker.client(key, self.torrent, name, port)
    }
}

#[test]
fn a_client_with_two_addresses_is_one_peer_and_others_receive_both() {
    let house = House::open();
    let anna = house.tracker.add_member("anna");
    let mut both = house.client(&anna, "both", 7_000);
    assert_eq!(both.announce(house.v4, Event::Started).warning, None);
    let second = both.announce(house.v6, Event::Started);
    assert_eq!(second.warning, None, "an honest client announces once a family");
    assert!(second.peers.is_empty(), "it is no peer of its own: {second:?}");
    assert_eq!(both.scrape(house.v4), (0, 1));

    both.take(5_000);
    both.says.uploaded += 300;
    both.announce(house.v4, Event::None);
    both.announce(house.v6, Event::None);
    assert_eq!(
        house.tracker.account("anna"),
        (300, 5_000),
        "the same bytes count once"
    );

    let bert = house.tracker.add_member("bert");
    let expected = [SocketAddr::new(V4, 7_000), SocketAddr::new(V6, 7_000)];
    for (number, address) in [house.v4, house.v6].into_iter().enumerate() {
        let asker = house.client(&bert, &format!("asker{number}"), 8_000);
        let mut given = asker.announce(address, Event::Started).peers;
        given.sort();
        assert_eq!(given, expected, "asked at {address}");
        assert_eq!(asker.scrape(address), (0, 2));
        asker.announce(address, Event::Stopped);
    }

    both.says.left = 0;
    both.announce(house.v6, Event::Completed);
    assert_eq!(both.scrape(house.v4), (1, 0));
    both.announce(house.v4, Event::Completed);
    assert_eq!(both.scrape(house.v6), (1, 0));
    both.announce(house.v4, Event::Stopped);
    both.announce(house.v6, Event::Stopped);
    assert_eq!(both.scrape(house.v6), (0, 0));
    assert_eq!(house.tracker.account("anna"), (300, 5_000));
}

#[test]
fn a_laptop_and_a_nas_under_one_key_find_each_other() {
    let house = House::open();
    let key = house.tracker.add_member("anna");
    let laptop = house.client(&key, "laptop", 7_000);
    let nas = house.client(&key, "nas", 7_001).seeding();
    assert!(laptop.announce(house.v4, Event::Started).peers.is_empty());
    assert_eq!(
        nas.announce(house.v4, Event::Started).peers,
        [SocketAddr::new(V4, 7_000)]
    );
    laptop.announce(house.v4, Event::Stopped);
    assert_eq!(
        laptop.announce(house.v4, Event::Started).peers,
        [SocketAddr::new(V4, 7_001)]
    );
    assert_eq!(laptop.scrape(house.v4), (1, 1));
}

#[test]
fn a_client_that_comes_back_under_another_name_takes_its_own_place() {
    let house = House::open();
    let key = house.tracker.add_member("anna");
    let mut before = house.client(&key, "before", 7_000);
    before.announce(house.v4, Event::Started);
    before.take(100);
    before.announce(house.v4, Event::None);
    // It crashed, and begins anew: the same address and port, another peer id.
    let mut after = house.client(&key, "after", 7_000);
    assert!(after.announce(house.v4, Event::Started).peers.is_empty());
    assert_eq!(after.scrape(house.v4), (0, 1));
    after.take(50);
    after.announce(house.v4, Event::Stopped);
    assert_eq!(house.tracker.account("anna"), (0, 150));
}

#[test]
fn nobody_takes_another_members_place() {
    let house = House::open();
    let (anna, mallory) = (
        house.tracker.add_member("anna"),
        house.tracker.add_member("mallory"),
    );
    let honest = house.client(&anna, "honest", 7_000);
    honest.announce(house.v4, Event::Started);
    // The same peer id, which everyone sees, from the same address.
    let liar = house.client(&mallory, "honest", 7_005);
    liar.announce(house.v4, Event::Started);
    assert_eq!(honest.scrape(house.v4), (0, 2));
    liar.announce(house.v4, Event::Stopped);
    assert_eq!(honest.scrape(house.v4), (0, 1));
}

#[test]
fn a_seeder_is_given_leechers_only() {
    let house = House::open();
    let (anna, bert) = (house.tracker.add_member("anna"), house.tracker.add_member("bert"));
    for (name, port) in [("a", 7_001), ("b", 7_002)] {
        house
            .client(&anna, name, port)
            .seeding()
            .announce(house.v4, Event::Started);
    }
    house.client(&anna, "c", 7_003).announce(house.v4, Event::Started);
    // With `started`, aria2 says that nothing is missing until it knows how much that is.
    let seeder = house.client(&bert, "d", 7_004).seeding();
    assert_eq!(
        seeder.announce(house.v4, Event::None).peers,
        [SocketAddr::new(V4, 7_003)]
    );
}

#[test]
fn what_a_client_had_before_anybody_knew_it_is_no_credit() {
    let house = House::open();
    let key = house.tracker.add_member("anna");
    let mut stray = house.client(&key, "stray", 7_000);
    stray.says.uploaded = 1_000_000;
    stray.announce(house.v4, Event::None);
    assert_eq!(house.tracker.account("anna"), (0, 0));
    stray.says.uploaded += 7;
    stray.announce(house.v4, Event::Stopped);
    assert_eq!(house.tracker.account("anna"), (7, 0));
}

#[test]
fn a_download_that_is_free_counts_as_bytes_and_not_as_a_charge() {
    let house = House::open();
    let key = house.tracker.add_member("anna");
    let tariff = serde_json::json!({ "upload_percent": 200, "download_percent": 0 });
    let path = format!("/api/v1/torrents/{}/tariff", house.torrent);
    house
        .tracker
        .control(&tests::rig::HttpRequest::new("PUT", path).json(&tariff))
        .succeeded();
    let mut client = house.client(&key, "client", 7_000);
    client.announce(house.v4, Event::Started);
    client.take(1_000);
    client.says.uploaded = 10;
    client.announce(house.v4, Event::Stopped);
    let card = house.tracker.ask(&["member", "show", "anna"]);
    let number = |what: &str| card[what].as_u64();
    assert_eq!(
        (number("uploaded"), number("downloaded")),
        (Some(10), Some(1_000)),
        "{card}"
    );
    assert_eq!(
        (number("upload_credit"), number("download_charge")),
        (Some(20), Some(0)),
        "{card}"
    );
}

#[test]
fn a_forgotten_member_is_nowhere_and_the_sums_of_the_torrent_stay() {
    let house = House::open();
    let key = house.tracker.add_member("anna");
    let mut client = house.client(&key, "client", 7_000);
    client.announce(house.v4, Event::Started);
    client.take(4_321);
    client.announce(house.v4, Event::Stopped);
    let sums = |house: &House| {
        let card = house
            .tracker
            .ask(&["torrent", "show", &house.torrent.to_string()]);
        card["downloaded"].as_u64()
    };
    assert_eq!(sums(&house), Some(4_321));
    house.tracker.ask(&["member", "forget", "anna", "--yes"]);
    assert_eq!(sums(&house), Some(4_321), "the sums stay");
    let gone = house.tracker.command(&["member", "show", "anna"]).run(LIMIT);
    assert_eq!(gone.code, Some(1));
    client.refused(house.v4, Event::Started);
    let mut house = house;
    house.tracker.stop();
    for file in std::fs::read_dir(house.tracker.data()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let named = bytes.windows(4).any(|window| window == b"anna");
        assert!(!named, "{} still names her", path.display());
    }
}

/// A tracker that believes its neighbour about where clients are.
fn behind_a_proxy() -> (OurTracker, InfoHash, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let tracker = Setup::default()
        .settings("[http]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[members]\nnetworks_alarm = 4\n")
        .start(folder.path());
    let torrent = tracker.register("holiday");
    (tracker, torrent, folder)
}

/// An announce of a client that is somewhere else in the world.
#[track_caller]
fn from_afar(tracker: &OurTracker, client: &FakeMember, address: &str) -> AnnounceReply {
    let request = client.request(Event::Started).header("X-Forwarded-For", address);
    match Answer::decode(&request.send(tracker.address()).body) {
        Ok(Answer::Reply(reply)) => reply,
        other => panic!("from {address}: {other:?}"),
    }
}

#[test]
fn a_key_that_is_used_in_too_many_networks_raises_an_alarm_and_goes_on_working() {
    let (tracker, torrent, _folder) = behind_a_proxy();
    let key = tracker.add_member("anna");
    let client = tracker.client(&key, torrent, "client", 7_000);
    // One home, whose addresses change within its network.
    for address in ["5.5.1.1", "5.5.1.2", "2a77::1", "2a77::2", "5.5.2.1"] {
        from_afar(&tracker, &client, address);
    }
    assert!(tracker.metric("tracker_key_alarms") < 0.5);
    assert_eq!(tracker.ask(&["member", "show", "anna"])["alarm"], false);
    for address in ["5.5.3.1", "5.5.4.1", "5.5.5.1"] {
        from_afar(&tracker, &client, address);
    }
    ask_until("the alarm", LIMIT, || {
        (tracker.metric("tracker_key_alarms") > 0.5).then_some(())
    });
    let card = tracker.ask(&["member", "show", "anna"]);
    assert_eq!(card["alarm"], true, "{card}");
    from_afar(&tracker, &client, "5.5.6.1");
    let shown = tracker
        .command(&["member", "show", "anna"])
        .run(LIMIT)
        .succeeded();
    assert!(
        !shown.stdout.join(" ").contains("5.5."),
        "addresses are not shown: {shown:?}"
    );
}

#[test]
fn peers_at_home_are_given_to_the_world_by_the_address_of_the_home() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = Setup::default()
        .settings(
            "[http]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[announce]\nexternal_addresses = [\"5.77.0.1\"]\n",
        )
        .start(folder.path());
    let torrent = tracker.register("holiday");
    let key = tracker.add_member("anna");
    let at_home = tracker.client(&key, torrent, "nas", 7_000);
    from_afar(&tracker, &at_home, "192.168.1.5");
    let at_home_too = tracker.client(&key, torrent, "tv", 7_001);
    assert_eq!(
        from_afar(&tracker, &at_home_too, "192.168.1.6").peers,
        ["192.168.1.5:7000".parse().unwrap()]
    );
    let far = tracker.client(&key, torrent, "far", 7_002);
    let mut given = from_afar(&tracker, &far, "5.5.5.5").peers;
    given.sort();
    assert_eq!(
        given,
        ["5.77.0.1:7000".parse().unwrap(), "5.77.0.1:7001".parse().unwrap()]
    );
}

#[test]
fn an_upload_to_nobody_leaves_a_mark_with_its_evidence_and_no_ban() {
    let house = House::open();
    let key = house.tracker.add_member("anna");
    let mut alone = house.client(&key, "alone", 7_000).seeding();
    alone.announce(house.v4, Event::Started);
    alone.says.uploaded = 5_000_000_000;
    alone.announce(house.v4, Event::None);
    let marks = ask_until("a mark", LIMIT, || {
        let card = house.tracker.ask(&["member", "show", "anna"]);
        let marks = card["marks"].as_array().cloned().unwrap_or_default();
        (!marks.is_empty()).then_some(marks)
    });
    println!("{marks:?}");
    let text = serde_json::to_string(&marks).unwrap();
    assert!(
        text.contains("5000000000") || text.contains("5.0 GB") || text.contains("5 GB"),
        "no evidence: {text}"
    );
    alone.announce(house.v4, Event::Stopped);
    assert_eq!(
        house.tracker.account("anna"),
        (5_000_000_000, 0),
        "a mark takes nothing away"
    );
}

#[test]
fn an_early_announce_in_public_mode_is_warned_and_given_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = Setup::default().public().start(folder.path());
    let peer = |name: &str, port| FakeMember::stranger(InfoHash([4; 20]), name, port);
    peer("a", 7_000).announce(tracker.address(), Event::Started);
    let b = peer("b", 7_001);
    assert_eq!(b.announce(tracker.address(), Event::Started).peers.len(), 1);
    let early = b.announce(tracker.address(), Event::None);
    assert!(early.peers.is_empty() && early.warning.is_some(), "{early:?}");
    assert_eq!(b.announce(tracker.address(), Event::Stopped).warning, None);
    assert_eq!(b.announce(tracker.address(), Event::Started).peers.len(), 1);
}
