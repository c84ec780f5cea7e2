//! Private mode, sentence by sentence.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use shared::announce::{AnnounceReply, AnnounceRequest, Answer, Event};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;

use super::{MemberAnnounced, MemberVisit, PrivateSwarms, Stay};
use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::ledger::{AccountDelta, Changes, Entry, Scribe, SessionKey};
use crate::members::rules::{Mark, Tariff};
use crate::swarm::{Outcome, Pace, Policy, SHARD_COUNT, SnapshotError, SwarmLimits, Swept};

const TORRENT: TorrentId = TorrentId(7);
/// The date at the start of every scene.
const DAWN: u32 = 1_800_000_000;
const TIMEOUT: Duration = Duration::from_secs(3_900);
const SESSION_AGE: Duration = Duration::from_secs(60 * 86_400);

/// Remembers what was entered.
#[derive(Debug, Default)]
struct Notebook(Mutex<Vec<(u64, Entry)>>);

impl Scribe for Notebook {
    fn enter(&self, segment: u64, entry: &Entry) {
        self.0.lock().unwrap().push((segment, *entry));
    }
}

/// Swarms at a moment, and one function that knows how to announce.
struct Scene {
    swarms: PrivateSwarms,
    book: Notebook,
    secs: u64,
    policy: Policy,
    tariff: Tariff,
    warning: Option<&'static str>,
    dice: SmallRng,
}

fn scene() -> Scene {
    scene_with(SwarmLimits::default())
}

fn scene_with(limits: SwarmLimits) -> Scene {
    let pace = Pace {
        small_peers: 0,
        ..Pace::default()
    };
    Scene {
        swarms: PrivateSwarms::new(limits, [4, 3, 2, 1]),
        book: Notebook::default(),
        secs: 0,
        // Nobody is early, so that drawings may be told without a clock.
        policy: Policy {
            min_interval: Duration::ZERO,
            pace,
            ..Policy::default()
        },
        tariff: Tariff::default(),
        warning: None,
        dice: SmallRng::seed_from_u64(7),
    }
}

/// A member's client as a drawing has it: `"m1 a 198.51.100.1:6881 left=5 up=3 started"`, the words after the address in any
/// order; `a` is the peer id, twenty times over.
struct Drawn {
    request: AnnounceRequest,
    member: MemberId,
    which: Which,
    torrent: TorrentId,
    sender: IpAddr,
}

fn draw(drawing: &str) -> Drawn {
    let mut words = drawing.split(' ');
    let member = words.next().unwrap().strip_prefix('m').unwrap().parse().unwrap();
    let id = PeerId([words.next().unwrap().as_bytes()[0]; 20]);
    let at: SocketAddr = words.next().unwrap().parse().unwrap();
    let mut drawn = Drawn {
        request: AnnounceRequest::new(InfoHash([b'h'; 20]), id, at.port()),
        member: MemberId(member),
        which: Which::First,
        torrent: TORRENT,
        sender: at.ip(),
    };
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => drawn.set(name, value),
            None => drawn.say(word),
        }
    }
    drawn
}

impl Drawn {
    fn set(&mut self, name: &str, value: &str) {
        let request = &mut self.request;
        match name {
            "left" => request.left = value.parse().unwrap(),
            "up" => request.uploaded = value.parse().unwrap(),
            "down" => request.downloaded = value.parse().unwrap(),
            "numwant" => request.numwant = Some(value.parse().unwrap()),
            "ip" => request.ip = Some(value.parse().unwrap()),
            "ipv4" => request.ipv4 = Some(value.parse().unwrap()),
            "ipv6" => request.ipv6 = Some(value.parse().unwrap()),
            "torrent" => self.torrent = TorrentId(value.parse().unwrap()),
            _ => panic!("{name}"),
        }
    }

    fn say(&mut self, word: &str) {
        match word {
            "second" => self.which = Which::Second,
            "started" => self.request.event = Event::Started,
            "completed" => self.request.event = Event::Completed,
            "stopped" => self.request.event = Event::Stopped,
            "paused" => self.request.event = Event::Paused,
            "long" => self.request.compact = false,
            "nameless" => (self.request.compact, self.request.no_peer_id) = (false, true),
            _ => panic!("{word}"),
        }
    }
}

impl Scene {
    fn now(&self) -> Moment {
        Moment::from_secs(self.secs)
    }

    fn date(&self) -> Date {
        Date(DAWN) + Duration::from_secs(self.secs)
    }

    fn raw(&mut self, drawing: &str) -> (MemberAnnounced, Vec<u8>) {
        let drawn = draw(drawing);
        let visit = MemberVisit {
            now: self.now(),
            date: self.date(),
            request: &drawn.request,
            member: drawn.member,
            torrent: drawn.torrent,
            which: drawn.which,
            sender: drawn.sender,
            reached: None,
            policy: &self.policy,
            tariff: self.tariff,
            warning: self.warning,
        };
        let mut out = Vec::new();
        let announced = self.swarms.announce(&visit, &self.book, &mut self.dice, &mut out);
        (announced, out)
    }

    #[track_caller]
    fn say(&mut self, drawing: &str) -> MemberAnnounced {
        self.raw(drawing).0
    }

    #[track_caller]
    fn reply(&mut self, drawing: &str) -> AnnounceReply {
        match Answer::decode(&self.raw(drawing).1).unwrap() {
            Answer::Reply(reply) => reply,
            Answer::Failure(failure) => panic!("{failure:?}"),
        }
    }

    /// Announces, then compares seeders and leechers of the reply.
    #[track_caller]
    fn counts(&mut self, drawing: &str, seeders: u32, leechers: u32) {
        let reply = self.reply(drawing);
        let counts = (reply.complete, reply.incomplete);
        assert_eq!(counts, (Some(seeders), Some(leechers)), "{drawing}");
    }

    /// Announces, then compares the peers of the reply.
    #[track_caller]
    fn given(&mut self, drawing: &str, peers: &[&str]) {
        let given: BTreeSet<SocketAddr> = self.reply(drawing).peers.into_iter().collect();
        let expected: BTreeSet<SocketAddr> = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        assert_eq!(given, expected, "{drawing}");
    }

    /// Announces, then compares what it was worth.
    #[track_caller]
    fn worth(&mut self, drawing: &str, uploaded: u64, downloaded: u64) {
        let credit = self.say(drawing).credit;
        assert_eq!(
            (credit.uploaded, credit.downloaded),
            (uploaded, downloaded),
            "{drawing}"
        );
    }

    fn sweep(&self) -> Swept {
        let mut sum = Swept::default();
        for shard in 0..SHARD_COUNT {
            let (now, date) = (self.now(), self.date());
            sum.add(self.swarms.sweep_shard(shard, now, date, TIMEOUT, SESSION_AGE));
        }
        sum
    }

    fn collect(&self, segment: u64) -> Changes {
        let mut changes = Changes::default();
        for shard in 0..SHARD_COUNT {
            self.swarms
                .collect_shard(shard, segment, self.now(), &mut changes, None);
        }
        changes
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        for shard in 0..SHARD_COUNT {
            let mut chunk = Vec::new();
            let mut changes = Changes::default();
            self.swarms
                .collect_shard(shard, 9, self.now(), &mut changes, Some(&mut chunk));
            chunks.push(chunk);
        }
        chunks
    }

    /// Another process, so many seconds later, that has read the snapshot.
    fn restored(&self, chunks: &[Vec<u8>], later: u64) -> Scene {
        let mut next = scene();
        next.secs = self.secs + later;
        next.policy = self.policy.clone();
        let (age, now, date) = (Duration::from_secs(later), Moment::START, next.date());
        for chunk in chunks {
            next.swarms.restore(chunk, age, now, date).unwrap();
        }
        next
    }

    fn entries(&self) -> Vec<Event> {
        let book = self.book.0.lock().unwrap();
        book.iter().map(|(_, entry)| entry.report.event).collect()
    }
}

#[test]
fn counts_include_the_announcer_and_exclude_the_leaver() {
    let mut scene = scene();
    scene.counts("m1 a 198.51.100.1:1 left=9 started", 0, 1);
    scene.counts("m1 a 198.51.100.1:1 completed", 1, 0);
    scene.counts("m2 b 198.51.100.2:1 left=9 started", 1, 1);
    scene.counts("m3 c [2001:db8::3]:1 left=9 paused", 1, 2);
    scene.counts("m2 b 198.51.100.2:1 left=9 stopped", 1, 1);
    scene.counts("m3 c [2001:db8::3]:1 left=9 stopped", 1, 0);
    scene.counts("m1 a 198.51.100.1:1 stopped", 0, 0);
    assert_eq!(scene.swarms.totals().asleep, 3);
}

#[test]
fn a_client_with_both_families_is_one_peer_and_others_receive_both_addresses() {
    let mut scene = scene();
    scene.counts("m1 a 198.51.100.1:1 left=0 started", 1, 0);
    scene.counts("m1 a [2001:db8::1]:2 left=0 started", 1, 0);
    let totals = scene.swarms.totals();
    assert_eq!(
        (totals.peers(), totals.peers_both, totals.seeders_both),
        (1, 1, 1)
    );
    assert_eq!((totals.peers_v4, totals.peers_v6), (0, 0));
    scene.given(
        "m2 b 198.51.100.2:1 left=5 started",
        &["198.51.100.1:1", "[2001:db8::1]:2"],
    );
    assert_eq!(scene.say("m2 b 198.51.100.2:1 left=5").peers_given, 1);
}

#[test]
fn each_family_ages_by_itself() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 started");
    scene.secs = 1_800;
    scene.say("m1 a [2001:db8::1]:1 started");
    scene.secs = 4_000;
    assert_eq!(scene.sweep().peers, 0);
    scene.given("m2 b 198.51.100.2:1 left=5", &["[2001:db8::1]:1"]);
    scene.secs = 5_800;
    assert_eq!(scene.sweep().peers, 1);
    scene.given("m2 b 198.51.100.2:1 left=5", &[]);
    assert_eq!(scene.swarms.totals().asleep, 1);
}

#[test]
fn a_laptop_and_a_nas_under_one_key_find_each_other_and_nobody_finds_itself() {
    let mut scene = scene();
    scene.given("m1 a 192.168.1.5:1 left=5 started", &[]);
    scene.given("m1 b 192.168.1.6:1 started", &["192.168.1.5:1"]);
    scene.given("m1 a 192.168.1.5:1 left=5", &["192.168.1.6:1"]);
    scene.given("m1 a [fd00::5]:1 left=5", &["192.168.1.6:1"]);
}

#[test]
fn a_client_that_begins_anew_under_another_peer_id_takes_the_place_of_the_old() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 left=5 up=10 started");
    scene.say("m1 a [2001:db8::1]:1 left=5 up=10 started");
    scene.counts("m1 b 198.51.100.1:1 left=5 started", 0, 1);
    scene.counts("m2 c 198.51.100.1:1 left=5 started", 0, 2);
    assert_eq!(scene.swarms.totals().asleep, 1);
    scene.worth("m1 a 198.51.100.1:1 left=5 up=12", 2, 0);
    scene.counts("m1 a 198.51.100.1:1 left=5", 0, 2);
}

#[test]
fn a_hybrid_is_one_torrent_and_each_hash_has_its_own_peers() {
    let mut scene = scene();
    scene.counts("m1 a 198.51.100.1:1 started", 1, 0);
    scene.counts("m2 b 198.51.100.2:1 second started", 2, 0);
    scene.counts("m3 c 198.51.100.3:1 started", 3, 0);
    scene.counts("m3 c 198.51.100.3:1 second started", 3, 0);
    scene.given(
        "m4 d 198.51.100.4:1 left=1",
        &["198.51.100.1:1", "198.51.100.3:1"],
    );
    scene.given(
        "m4 d 198.51.100.4:1 left=1 second",
        &["198.51.100.2:1", "198.51.100.3:1"],
    );
    scene.worth("m3 c 198.51.100.3:1 up=10", 10, 0);
    scene.worth("m3 c 198.51.100.3:1 up=10 second", 0, 0);
}

#[test]
fn a_completion_counts_once_and_only_of_a_session_that_missed_something() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 completed");
    scene.say("m2 b 198.51.100.2:1 left=5 completed");
    assert_eq!(scene.reply("m2 b 198.51.100.2:1 left=5").downloaded, Some(0));
    assert_eq!(
        scene.say("m2 b 198.51.100.2:1 completed").outcome,
        Outcome::Completed
    );
    assert_eq!(
        scene.say("m2 b 198.51.100.2:1 completed").outcome,
        Outcome::Refreshed
    );
    let mut out = Vec::new();
    let (hash, other) = (InfoHash([b'h'; 20]), InfoHash([b'i'; 20]));
    let asked = [
        (other, None),
        (hash, Some((TORRENT, Which::First))),
        (hash, Some((TORRENT, Which::First))),
    ];
    scene.swarms.scrape(&asked, &mut out);
    let expected = format!(
        "d5:filesd20:{}d8:completei2e10:downloadedi1e11:downloadersi0e10:incompletei0ee\
         20:{}d8:completei0e10:downloadedi0e11:downloadersi0e10:incompletei0eeee",
        "h".repeat(20),
        "i".repeat(20)
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn seeders_are_given_leechers_only_and_paused_peers_are_given_to_downloaders_only() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 started");
    scene.say("m2 b 198.51.100.2:1 left=5 paused");
    scene.say("m3 c 198.51.100.3:1 left=5 started");
    scene.given("m1 a 198.51.100.1:1", &["198.51.100.3:1"]);
    scene.given("m2 b 198.51.100.2:1 left=5 paused", &["198.51.100.3:1"]);
    scene.given(
        "m3 c 198.51.100.3:1 left=5",
        &["198.51.100.1:1", "198.51.100.2:1"],
    );
}

#[test]
fn peers_known_to_be_reachable_come_first_until_they_move() {
    let mut scene = scene();
    for n in 1..=90 {
        scene.say(&format!("m{n} a 198.51.100.{n}:1 started"));
    }
    for n in [3, 40, 77] {
        let at = format!("198.51.100.{n}:1").parse().unwrap();
        scene.swarms.set_reachable(TORRENT, MemberId(n), at, true);
    }
    let reached = ["198.51.100.3:1", "198.51.100.40:1", "198.51.100.77:1"];
    scene.given("m200 z 203.0.113.1:1 left=5 numwant=3", &reached);
    scene.say("m40 a 198.51.100.140:1");
    scene
        .swarms
        .set_reachable(TORRENT, MemberId(77), reached[2].parse().unwrap(), false);
    for _ in 0..5 {
        let peers = scene.reply("m200 z 203.0.113.1:1 left=5 numwant=2").peers;
        assert!(peers.contains(&reached[0].parse().unwrap()) && peers.len() == 2);
    }
}

#[test]
fn numwant_counts_peers_and_not_addresses() {
    let mut scene = scene();
    for n in 1..=20 {
        scene.say(&format!("m{n} a 198.51.100.{n}:1 started"));
        scene.say(&format!("m{n} a [2001:db8::{n}]:1 started"));
    }
    assert_eq!(
        scene.reply("m99 z 203.0.113.1:1 left=5 numwant=7").peers.len(),
        14
    );
    let reply = scene.reply("m99 z 203.0.113.1:1 left=5 numwant=7 long");
    assert_eq!(reply.peers.len(), 14);
}

#[test]
fn everybody_is_chosen_alike() {
    let mut scene = scene();
    for n in 1..=100 {
        scene.say(&format!("m{n} a 198.51.100.{n}:1 started"));
    }
    let mut chosen = [0_u32; 101];
    for _ in 0..2_000 {
        for peer in scene.reply("m200 z 203.0.113.1:1 left=5 numwant=10").peers {
            let IpAddr::V4(ip) = peer.ip() else { panic!() };
            chosen[usize::from(ip.octets()[3])] += 1;
        }
    }
    assert_eq!(chosen.iter().sum::<u32>(), 20_000);
    assert!(
        chosen[1..].iter().all(|count| (120..280).contains(count)),
        "{chosen:?}"
    );
}

#[test]
fn dictionaries_hold_peer_ids_unless_the_client_does_without() {
    let mut scene = scene();
    scene.say("m1 a 1.2.3.4:1 started");
    let (_, out) = scene.raw("m2 b 5.6.7.8:1 left=5 long");
    let text = String::from_utf8_lossy(&out).into_owned();
    let id = "a".repeat(20);
    assert!(
        text.ends_with(&format!("5:peersld2:ip7:1.2.3.47:peer id20:{id}4:porti1eeee")),
        "{text}"
    );
    let (_, out) = scene.raw("m2 b 5.6.7.8:1 left=5 nameless");
    assert!(out.ends_with(b"5:peersld2:ip7:1.2.3.44:porti1eeee"));
}

#[test]
fn an_address_that_a_client_names_is_believed_at_home_only() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 started ip=203.0.113.66 ipv4=203.0.113.67:9 ipv6=[2001:db8::66]:9");
    scene.given("m9 z 198.51.100.9:1 left=5", &["198.51.100.1:1"]);
    scene.say("m1 a 198.51.100.1:1 stopped");
    scene.say("m2 b 10.0.0.2:5 started ip=203.0.113.66 ipv6=[2001:db8::66]:9");
    scene.given(
        "m9 z 198.51.100.9:1 left=5",
        &["203.0.113.66:5", "[2001:db8::66]:9"],
    );
    assert_eq!(scene.swarms.totals().peers_both, 1);
    scene.say("m2 b 10.0.0.2:5 ipv4=10.0.0.9:7");
    scene.given("m9 z 10.0.0.3:1 left=5", &["10.0.0.9:7", "[2001:db8::66]:9"]);
    scene.say("m2 b 10.0.0.2:5 ip=0.0.0.0 ipv6=[::]:9");
    scene.given("m9 z 10.0.0.3:1 left=5", &["10.0.0.2:5", "[2001:db8::66]:9"]);
}

#[test]
fn two_homes_and_a_tracker_inside_one_of_them_find_each_other() {
    let mut scene = scene();
    scene.policy.external_v4 = Some([203, 0, 113, 9].into());
    scene.say("m1 a 127.0.0.1:1 started");
    scene.say("m1 b 192.168.1.7:2 started");
    scene.given(
        "m2 c 198.51.100.1:3 left=5 started",
        &["203.0.113.9:1", "203.0.113.9:2"],
    );
    scene.given("m1 b 192.168.1.7:2", &["198.51.100.1:3"]);
    scene.say("m3 d 192.168.1.8:4 left=5 started");
    scene.given("m1 b 192.168.1.7:2", &["198.51.100.1:3", "192.168.1.8:4"]);
}

/// Five minutes between two announces.
fn strict() -> Scene {
    let mut scene = scene();
    scene.policy.min_interval = Duration::from_secs(300);
    scene.say("m9 z 198.51.100.9:9 left=1 started");
    scene
}

#[track_caller]
fn check_early(scene: &mut Scene, secs: u64, drawing: &str, early: bool) {
    scene.secs = secs;
    let (announced, out) = scene.raw(drawing);
    let Ok(Answer::Reply(reply)) = Answer::decode(&out) else {
        panic!("{}", out.escape_ascii())
    };
    assert_eq!(announced.early, early, "{drawing} at {secs}");
    assert_eq!(reply.warning.is_some(), early, "{drawing} at {secs}");
    assert!(reply.warning.is_none_or(|warning| warning.len() <= 64));
    assert_eq!(reply.peers.is_empty(), early, "{drawing} at {secs}");
}

#[test]
fn an_honest_hybrid_with_both_families_announces_four_times_and_is_never_early() {
    let mut scene = strict();
    scene.say("m9 z 198.51.100.9:9 left=1 second");
    for secs in [0, 279, 600] {
        check_early(&mut scene, secs, "m1 a 198.51.100.1:1 left=5", false);
        check_early(&mut scene, secs, "m1 a 198.51.100.1:1 left=5 second", false);
        check_early(&mut scene, secs, "m1 a [2001:db8::1]:1 left=5", false);
        check_early(&mut scene, secs, "m1 a [2001:db8::1]:1 left=5 second", false);
    }
}

#[test]
fn who_comes_too_early_is_credited_and_refreshed_but_given_no_peers() {
    let mut scene = strict();
    check_early(&mut scene, 0, "m1 a 198.51.100.1:1 left=5 started", false);
    check_early(&mut scene, 200, "m1 a 198.51.100.1:1 left=5 up=3", true);
    scene.secs = 250;
    scene.worth("m1 a 198.51.100.1:1 left=5 up=7", 4, 0);
    scene.secs = 4_100;
    assert_eq!(
        scene.sweep().peers,
        1,
        "the other one is silent, this one was refreshed"
    );
}

#[test]
fn a_completion_a_farewell_and_the_start_after_it_are_never_early() {
    let mut scene = strict();
    check_early(&mut scene, 0, "m1 a 198.51.100.1:1 left=5 started", false);
    check_early(&mut scene, 20, "m1 a 198.51.100.1:1 completed", false);
    check_early(&mut scene, 40, "m1 a 198.51.100.1:1 completed", true);
    assert!(!scene.say("m1 a 198.51.100.1:1 stopped").early);
    check_early(&mut scene, 60, "m1 a 198.51.100.1:1 started", false);
}

#[test]
fn a_family_that_a_client_only_speaks_of_is_not_early_when_it_speaks_itself() {
    let mut scene = strict();
    check_early(
        &mut scene,
        0,
        "m1 a 127.0.0.1:1 left=5 started ipv6=[2001:db8::1]:1",
        false,
    );
    check_early(&mut scene, 5, "m1 a [::1]:1 left=5 started", false);
    check_early(
        &mut scene,
        300,
        "m1 a 127.0.0.1:1 left=5 ipv6=[2001:db8::1]:1",
        false,
    );
    check_early(&mut scene, 305, "m1 a [::1]:1 left=5", false);
}

#[test]
fn the_edges_warning_is_given_unless_there_is_one_of_ours() {
    let mut scene = strict();
    scene.warning = Some("take a fresh key");
    let reply = scene.reply("m1 a 198.51.100.1:1 left=5 started");
    assert_eq!(reply.warning.as_deref(), Some("take a fresh key"));
    let reply = scene.reply("m1 a 198.51.100.1:1 left=5");
    assert!(reply.warning.unwrap().starts_with("too early"));
}

#[test]
fn a_small_young_swarm_is_told_a_short_interval_and_may_use_it_even_after_it_has_grown() {
    let mut scene = scene();
    scene.policy = Policy::default();
    let interval = |scene: &mut Scene, drawing: &str| scene.reply(drawing).interval.as_secs();
    assert!((108..=132).contains(&interval(&mut scene, "m1 a 198.51.100.1:1 left=5 started")));
    for n in 20..40 {
        scene.say(&format!("m{n} a 198.51.100.{n}:1 left=5 started"));
    }
    assert!(interval(&mut scene, "m50 a 198.51.100.50:1 left=5 started") > 1_000);
    scene.secs = 110;
    assert!(!scene.say("m1 a 198.51.100.1:1 left=5").early);
    scene.secs = 220;
    assert!(
        scene.say("m1 a 198.51.100.1:1 left=5").early,
        "it was told a long one then"
    );
}

#[test]
fn nobody_is_sent_away_for_longer_than_the_tracker_remembers() {
    let mut scene = scene();
    scene.policy.pace.load_percent = Pace::load_percent(9_000, 2_000);
    scene.policy.pace.longest = Pace::longest_within(TIMEOUT);
    for _ in 0..100 {
        let interval = scene.reply("m1 a 198.51.100.1:1").interval;
        assert!(interval > Duration::from_secs(3_000) && interval + Duration::from_secs(300) <= TIMEOUT);
    }
    assert_eq!(Pace::load_percent(10, 2_000), 100);
    assert_eq!(Pace::load_percent(3_000, 2_000), 150);
    assert_eq!(Pace::load_percent(u64::MAX, 0), 400);
}

#[test]
fn the_journal_holds_openings_and_closings_and_nothing_else() {
    let mut scene = scene();
    scene.collect(4);
    scene.say("m1 a 198.51.100.1:1 left=5 up=1");
    for up in 2..10 {
        assert!(!scene.say(&format!("m1 a 198.51.100.1:1 left=5 up={up}")).entered);
    }
    scene.say("m1 a 198.51.100.1:1 left=5 up=9 started");
    scene.say("m1 a 198.51.100.1:1 up=12 completed");
    assert!(scene.say("m1 a 198.51.100.1:1 up=13 stopped").entered);
    assert_eq!(
        scene.entries(),
        [Event::None, Event::Started, Event::Completed, Event::Stopped]
    );
    let book = scene.book.0.lock().unwrap();
    assert!(book.iter().all(|(segment, _)| *segment == 4));
    let before = |at: usize| book[at].1.before.map(|mark: Mark| mark.uploaded);
    assert_eq!((before(0), before(1), before(3)), (None, Some(9), Some(12)));
}

#[test]
fn a_collection_holds_each_change_once_and_a_segment_begins_with_it() {
    let mut scene = scene();
    scene.tariff.download_percent = 50;
    scene.say("m1 a 198.51.100.1:1 left=5 started");
    scene.say("m1 a 198.51.100.1:1 left=5 up=100 down=30");
    scene.say("m1 b 198.51.100.2:1 left=5 up=7 started");
    let changes = scene.collect(2);
    assert_eq!((changes.sessions.len(), changes.accounts.len()), (2, 1));
    let account = changes.accounts[&(MemberId(1), TORRENT)];
    let expected = AccountDelta {
        uploaded: 107,
        downloaded: 30,
        upload_credit: 107,
        download_charge: 15,
        left: 5,
        first_seen: Date(DAWN),
        last_seen: Date(DAWN),
        client: [b'b'; 8],
        ..AccountDelta::default()
    };
    assert_eq!(account, expected);
    assert_eq!(scene.collect(3), Changes::default());
    scene.say("m1 a 198.51.100.1:1 left=5 stopped");
    assert_eq!(scene.book.0.lock().unwrap().last().unwrap().0, 3);
    assert_eq!(scene.collect(4).sessions.len(), 1);
}

#[test]
fn a_session_goes_on_after_its_peer_has_gone_and_is_forgotten_in_the_end() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 left=5 up=100 started");
    scene.say("m1 a 198.51.100.1:1 left=5 up=150 stopped");
    scene.worth("m1 a 198.51.100.1:1 left=5 up=170", 20, 0);
    scene.collect(2);
    scene.secs = 6_000;
    assert_eq!(scene.sweep().peers, 1);
    let swept = scene.collect(3);
    assert!(
        swept.sessions.values().all(|mark| mark.ended),
        "the store learns of it"
    );
    scene.secs = 30 * 86_400;
    assert_eq!(scene.sweep(), Swept::default());
    scene.worth("m1 a 198.51.100.2:1 left=5 up=175", 5, 0);
    scene.say("m1 a 198.51.100.2:1 left=5 up=175 stopped");
    scene.collect(4);
    scene.secs = 91 * 86_400;
    let swept = scene.sweep();
    assert_eq!((swept.sessions, swept.swarms), (1, 1));
    assert_eq!(scene.collect(5).forgotten.len(), 1);
    assert_eq!(scene.swarms.totals(), super::super::Totals::default());
}

#[test]
fn a_member_has_a_bounded_number_of_peers_and_sessions_in_a_torrent() {
    let limits = SwarmLimits {
        peers_per_member: 3,
        sessions_per_member: 5,
        ..SwarmLimits::default()
    };
    let mut scene = scene_with(limits);
    for (n, id) in ('a'..='j').enumerate() {
        scene.secs += 10;
        scene.say(&format!("m1 {id} 198.51.100.{n}:1 left=5 started"));
        scene.say(&format!("m2 {id} 198.51.101.{n}:1 left=5 stopped"));
    }
    let sessions = scene.swarms.sessions_of(TORRENT, MemberId(1));
    let here: String = sessions
        .iter()
        .filter(|session| session.is_here())
        .map(|session| char::from(session.peer_id.0[0]))
        .collect();
    assert_eq!((sessions.len(), here.len()), (5, 3));
    assert!(here.chars().all(|id| "hij".contains(id)), "the newest: {here}");
    assert_eq!(scene.swarms.sessions_of(TORRENT, MemberId(2)).len(), 5);
    assert_eq!(scene.collect(2).forgotten.len(), 10);
}

#[test]
fn a_full_swarm_turns_strangers_away_but_keeps_accounts_of_those_it_knows() {
    let limits = SwarmLimits {
        peers_per_swarm: 2,
        ..SwarmLimits::default()
    };
    let mut scene = scene_with(limits);
    scene.say("m1 a 198.51.100.1:1 left=5 up=1 started");
    scene.say("m1 a 198.51.100.1:1 left=5 up=1 stopped");
    scene.say("m2 b 198.51.100.2:1 left=5 started");
    scene.say("m3 c 198.51.100.3:1 left=5 started");
    let refused = scene.say("m4 d 198.51.100.4:1 left=5 started");
    assert!(matches!(refused.outcome, Outcome::Refused(_)) && !refused.entered);
    let refused = scene.say("m1 a 198.51.100.1:1 left=5 up=4");
    assert!(matches!(refused.outcome, Outcome::Refused(_)));
    assert_eq!(refused.credit.uploaded, 3);
    scene.counts("m2 b 198.51.100.2:1 left=0 completed", 1, 1);
    assert_eq!(
        scene.say("m4 d 198.51.100.4:1 left=5 stopped").outcome,
        Outcome::WasNotHere
    );
}

#[test]
fn bytes_that_nobody_missed_are_seen() {
    let mut scene = scene();
    assert!(
        scene.say("m1 a 198.51.100.1:1 started").wanted,
        "nothing can be measured yet"
    );
    scene.secs = 1_800;
    let announced = scene.say("m1 a 198.51.100.1:1 up=5");
    assert!(!announced.wanted);
    assert_eq!(announced.elapsed, Some(Duration::from_secs(1_800)));
    scene.secs = 1_900;
    scene.say("m2 b 198.51.100.2:1 left=5 started");
    scene.say("m2 b 198.51.100.2:1 left=5 stopped");
    scene.secs = 3_600;
    assert!(
        scene.say("m1 a 198.51.100.1:1 up=9").wanted,
        "somebody was here meanwhile"
    );
    scene.secs = 5_400;
    assert!(!scene.say("m1 a 198.51.100.1:1 up=12").wanted);
}

#[test]
fn a_snapshot_brings_back_peers_with_honest_ages_and_sessions_with_their_marks() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 left=0 up=100 started");
    scene.say("m1 a [2001:db8::1]:1 left=0 up=100 second");
    scene.say("m2 b 198.51.100.2:1 left=5 started");
    scene.say("m2 b 198.51.100.2:1 left=0");
    scene.say("m3 c 198.51.100.3:1 left=5 up=30 stopped");
    scene
        .swarms
        .set_reachable(TORRENT, MemberId(1), "198.51.100.1:1".parse().unwrap(), true);
    let next = scene.restored(&scene.snapshot(), 60);
    assert_eq!(next.swarms.totals(), scene.swarms.totals());
    for member in 1..=3 {
        let before = scene.swarms.sessions_of(TORRENT, MemberId(member));
        assert_eq!(next.swarms.sessions_of(TORRENT, MemberId(member)), before);
    }
    assert_eq!(next.collect(1), Changes::default(), "the store knows all of it");
    // The new process counts moments from its own start.
    let mut next = next;
    next.secs = 0;
    assert_eq!(next.reply("m2 b 198.51.100.2:1").downloaded, Some(1));
    next.secs = 3_800;
    assert_eq!(next.sweep().peers, 0);
    next.secs = 3_900;
    assert_eq!(
        next.sweep().peers,
        1,
        "it was silent for a minute before the start"
    );
}

#[test]
fn peers_too_old_for_the_clock_come_back_asleep() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 up=100 started");
    let next = scene.restored(&scene.snapshot(), 5 * 86_400);
    assert_eq!(
        (next.swarms.totals().peers(), next.swarms.totals().asleep),
        (0, 1)
    );
}

#[test]
fn what_the_store_knows_better_takes_the_place_of_what_was_restored() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 left=5 up=100 started");
    scene.say("m2 b 198.51.100.2:1 left=5 up=100 started");
    let mut next = scene.restored(&scene.snapshot(), 0);
    let key = |member, id| SessionKey {
        torrent: TORRENT,
        member: MemberId(member),
        peer_id: PeerId([id; 20]),
    };
    let mark = |uploaded, ended| Mark {
        uploaded,
        downloaded: 0,
        left: 5,
        heard: Date(DAWN),
        ended,
    };
    next.swarms.open_session(key(1, b'a'), mark(150, false));
    next.swarms.open_session(key(2, b'b'), mark(200, true));
    next.swarms.open_session(key(3, b'c'), mark(300, false));
    next.swarms.set_completed(TORRENT, 12);
    let totals = next.swarms.totals();
    assert_eq!((totals.peers(), totals.asleep), (1, 2));
    next.worth("m1 a 198.51.100.1:1 left=5 up=160", 10, 0);
    next.worth("m2 b 198.51.100.2:1 left=5 up=260", 60, 0);
    next.worth("m3 c 198.51.100.3:1 left=5 up=310", 10, 0);
    assert_eq!(next.reply("m3 c 198.51.100.3:1 left=5").downloaded, Some(12));
}

#[test]
fn a_replayed_entry_is_credited_again_and_its_peer_is_answered_as_if_for_the_first_time() {
    let mut scene = strict();
    scene.say("m1 a 198.51.100.1:1 left=5 up=100 started");
    scene.say("m2 b 198.51.100.2:1 left=5 up=30 started");
    scene.say("m2 b 198.51.100.2:1 left=5 up=40 stopped");
    let entries: Vec<Entry> = scene
        .book
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(_, entry)| *entry)
        .collect();
    let mut next = strict();
    next.swarms = PrivateSwarms::new(SwarmLimits::default(), [1, 1, 1, 1]);
    next.secs = 20;
    let credits: Vec<u64> = entries
        .iter()
        .map(|entry| {
            next.swarms
                .replay(entry, next.now(), next.date(), Tariff::default())
                .uploaded
        })
        .collect();
    assert_eq!(credits, [0, 100, 30, 10]);
    assert_eq!(next.collect(2).accounts, scene.collect(2).accounts);
    assert_eq!(
        (next.swarms.totals().peers(), next.swarms.totals().asleep),
        (2, 1)
    );
    check_early(&mut next, 30, "m1 a 198.51.100.1:1 left=5 up=100 started", false);
    check_early(&mut next, 40, "m1 a 198.51.100.1:1 left=5 up=100", true);
}

/// Clears everything: `who` is told what becomes of him, everybody else stays.
fn clear(scene: &Scene, who: MemberId, stay: Stay) {
    for shard in 0..SHARD_COUNT {
        let may = |_, member| if member == who { stay } else { Stay::Stays };
        scene.swarms.clear_shard(shard, scene.now(), may);
    }
}

#[test]
fn a_member_who_is_sent_away_or_forgotten_is_given_to_nobody() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 up=5 started");
    scene.say("m1 b 198.51.100.1:2 left=5 started");
    scene.say("m2 b 198.51.100.2:1 started");
    scene.collect(2);
    clear(&scene, MemberId(1), Stay::Leaves);
    scene.given("m3 c 198.51.100.3:1 left=5", &["198.51.100.2:1"]);
    assert_eq!(scene.swarms.sessions_of(TORRENT, MemberId(1)).len(), 2);
    assert_eq!(scene.collect(3).sessions.len(), 3);
    clear(&scene, MemberId(1), Stay::Forgotten);
    assert_eq!(scene.swarms.sessions_of(TORRENT, MemberId(1)), []);
    assert_eq!(scene.collect(4).forgotten.len(), 2);
    assert_eq!(
        (scene.swarms.totals().peers(), scene.swarms.totals().asleep),
        (2, 0)
    );
}

#[test]
fn whoever_is_forgotten_leaves_a_crowd_in_order() {
    let mut scene = scene_with(SwarmLimits {
        peers_per_member: 100,
        ..SwarmLimits::default()
    });
    for peer in b'!'..=b'z' {
        let (member, left) = (peer % 3 + 1, peer % 4 * 7);
        let peer_id = char::from(peer);
        scene.say(&format!(
            "m{member} {peer_id} 198.51.100.{member}:{peer} left={left} started"
        ));
    }
    clear(&scene, MemberId(2), Stay::Forgotten);
    let totals = scene.swarms.totals();
    assert_eq!(
        (totals.peers(), totals.asleep, scene.collect(2).forgotten.len()),
        (60, 0, 30)
    );
    clear(&scene, MemberId(1), Stay::Leaves);
    let totals = scene.swarms.totals();
    assert_eq!((totals.peers(), totals.asleep), (30, 30));
}

#[test]
fn a_snapshot_of_another_form_or_cut_short_is_refused_with_a_sentence() {
    let mut scene = scene();
    scene.say("m1 a 198.51.100.1:1 up=5 started");
    let chunk: Vec<u8> = scene.snapshot().concat();
    let restore = |bytes: &[u8]| {
        let next = PrivateSwarms::new(SwarmLimits::default(), [1, 1, 1, 1]);
        next.restore(bytes, Duration::ZERO, Moment::START, Date(DAWN))
    };
    assert_eq!(restore(&chunk), Ok(1));
    assert_eq!(restore(&[]), Ok(0));
    assert_eq!(restore(&chunk[..chunk.len() - 1]), Err(SnapshotError::Cut));
    assert_eq!(restore(&[77, 0, 0]), Err(SnapshotError::Version(77)));
}
